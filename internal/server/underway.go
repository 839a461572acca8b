package server

import (
	"container/list"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/internal/faultwire"
)

const (
	// refusedTime is how long the answer to one call too many may take to be taken. Any client that reads has it by then.
	refusedTime = 2 * time.Second
	// restTime is how long the answer to a call that was refused at its header waits for the rest of a short body.
	restTime = 5 * time.Second
)

// underWay is a call from its arrival until its answer is taken: over HTTP/2, where a client may let the server wait with the last
// bytes of each, that is later than the handler's end.
//
// Until a token has shown whose it is, it is its address's and nobody's. Of those there are so many at most; where one more comes, the
// one goes that has been under way longest: whoever holds calls open keeps nobody out, as at the door, and least of all the phones that
// stand behind the same address and want a token.
type underWay struct {
	address *bucket // Nil where it has none.
	counted []*atomic.Int64
	beyond  bool

	// What follows is for calls of those whom nobody knows; quotas.mu guards it.
	inAll, inAddress *list.Element
	cancel           context.CancelCauseFunc
	control          *http.ResponseController
	bodyOver         atomic.Bool
}

type underWayKey struct{}

// callUnderWay is the context's, as byAddress has put it there.
func callUnderWay(ctx context.Context) *underWay {
	u, _ := ctx.Value(underWayKey{}).(*underWay)
	return u
}

// within counts the call in until its answer is taken, and tells whether it is within the limit. A limit of 0 is none.
func (u *underWay) within(count *atomic.Int64, limit int) bool {
	u.counted = append(u.counted, count)
	if n := count.Add(1); limit > 0 && n > int64(limit) {
		u.beyond = true
	}
	return !u.beyond
}

func (u *underWay) over() {
	for _, count := range u.counted {
		count.Add(-1)
	}
}

// stranger serves the call of one whom nobody knows.
func (q *quotas) stranger(log *slog.Logger, u *underWay, next http.Handler, w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	u.cancel, u.control = cancel, http.NewResponseController(w)
	r = r.WithContext(ctx)
	u.bodyOver.Store(r.Body == nil || r.Body == http.NoBody)
	if !u.bodyOver.Load() {
		r.Body = &strangerBody{r.Body, u, ctx, log}
	}
	q.enter(u)
	defer q.leave(u)
	next.ServeHTTP(w, r)
}

// enter counts the call in, and ends another where it is one too many.
func (q *quotas) enter(u *underWay) {
	q.mu.Lock()
	defer q.mu.Unlock()
	u.inAll = q.strangers.PushBack(u)
	if a := u.address; a != nil {
		u.inAddress = a.strangers.PushBack(u)
		if q.c.AddressCalls > 0 && a.strangers.Len() > q.c.AddressCalls {
			q.turnOut(a.strangers.Front(), errAddressBusy())
		}
	}
	if q.c.AnonymousCalls > 0 && q.strangers.Len() > q.c.AnonymousCalls {
		q.turnOut(q.strangers.Front(), errAnonymousBusy())
	}
}

// turnOut ends a call: its context ends with the reason, and a body that is being read.
func (q *quotas) turnOut(place *list.Element, reason error) {
	u, _ := place.Value.(*underWay)
	q.forget(u)
	u.beyond = true
	u.cancel(reason)
	if !u.bodyOver.Load() { // Behind its end stands the next request.
		_ = u.control.SetReadDeadline(time.Unix(1, 0))
	}
}

func (q *quotas) leave(u *underWay) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.forget(u)
}

func (q *quotas) forget(u *underWay) {
	if u.inAll == nil {
		return
	}
	q.strangers.Remove(u.inAll)
	if u.inAddress != nil {
		u.address.strangers.Remove(u.inAddress)
	}
	u.inAll, u.inAddress = nil, nil
}

// strangerBody says why it ends early where its call was turned out.
type strangerBody struct {
	io.ReadCloser

	call *underWay
	ctx  context.Context //nolint:containedctx // Of the request whose body it is.
	log  *slog.Logger
}

// Read implements io.Reader.
func (b *strangerBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == nil {
		return n, nil
	}
	b.call.bodyOver.Store(true)
	var why *fault.Error
	if !errors.Is(err, io.EOF) && errors.As(context.Cause(b.ctx), &why) {
		err = errors.Join(faultwire.Connect(b.ctx, b.log, why), why) // For RPCs, and for other faces.
	}
	return n, err
}

// end is the end of the handler's part. From here on nobody is turned out any more; of answers that nobody knows who waits for, those
// beyond the limit have little time to be taken.
func (q *quotas) end(u *underWay, w http.ResponseWriter, r *http.Request) {
	if len(u.counted) == 0 {
		if u.address != nil {
			u.within(&u.address.calls, q.c.AddressCalls)
		}
		u.within(&q.answers, q.c.AnonymousCalls)
	}
	switch {
	case !u.beyond && waitsForRest(r):
		// As net/http does over HTTP/1.1. Else it answers and resets the stream, without an error (RFC 9113, 8.1), and a client that is
		// still sending may take that for a failure and not look at the answer: curl 7.88 does, each second time.
		_ = http.NewResponseController(w).SetReadDeadline(q.now().Add(restTime))
		_, _ = io.Copy(io.Discard, r.Body) // Nothing where it was read.
	case u.beyond:
		// Where the connection has no deadlines, there is nothing that waits.
		_ = http.NewResponseController(w).SetWriteDeadline(q.now().Add(refusedTime))
	}
	ended := streamEnd(w)
	if ended == nil {
		u.over()
		return
	}
	go func() {
		<-ended // At the latest when write_timeout is over, or the connection.
		u.over()
	}()
}

// waitsForRest tells whether the answer to a call that is refused at its header waits for the rest of its body: a short one over HTTP/2.
func waitsForRest(r *http.Request) bool {
	return r.ProtoMajor >= 2 && r.ContentLength > 0 && r.ContentLength <= maxPublicBytes
}

// streamEnd tells when the stream behind w is over; nil where there is none: what can be hijacked is a connection of HTTP/1.1, where the
// preface of HTTP/2 is a request of that version, too. The request's context ends earlier, with its handler.
func streamEnd(w http.ResponseWriter) <-chan bool {
	for {
		switch at := w.(type) {
		case http.Hijacker:
			return nil
		case http.CloseNotifier: //nolint:staticcheck // Deprecated for handlers; nothing else tells the end of a stream.
			return at.CloseNotify()
		case interface{ Unwrap() http.ResponseWriter }:
			w = at.Unwrap()
		default:
			return nil
		}
	}
}

func errAddressBusy() error {
	f := fault.New(fault.Exhausted, "address_busy",
		"Từ địa chỉ này đang có quá nhiều yêu cầu không kèm mã truy cập cùng lúc: hãy thử lại sau ít giây.",
		"Too many calls without a token are under way from this address: try again in a few seconds.")
	f.RetryAfter = time.Second
	return f
}

// errAnonymousBusy is 503 and not 429: it is not the caller who does too much.
func errAnonymousBusy() error {
	f := fault.New(fault.Unavailable, "anonymous_busy",
		"Máy chủ đang nhận quá nhiều yêu cầu không kèm mã truy cập cùng lúc: hãy thử lại sau ít giây.",
		"The server has too many calls without a token under way: try again in a few seconds.")
	f.RetryAfter = 5 * time.Second
	return f
}
