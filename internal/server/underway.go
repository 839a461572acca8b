package server

import (
	"context"
	"io"
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
// bytes of each, that is later than the handler's end. Until a token has shown whose it is, it is its address's and nobody's; whoever
// has shown a good one notices nothing of how many such calls there are.
type underWay struct {
	address *bucket // Nil where it has none.
	counted []*atomic.Int64
	beyond  bool
}

type underWayKey struct{}

// within counts the call in, and tells whether it is within the limit. A limit of 0 is none.
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

// callUnderWay is the context's, as byAddress has put it there.
func callUnderWay(ctx context.Context) *underWay {
	u, _ := ctx.Value(underWayKey{}).(*underWay)
	return u
}

// anonymous counts the call of one whom nobody knows.
func (q *quotas) anonymous(u *underWay) error {
	if u.address != nil && !u.within(&u.address.calls, q.c.AddressCalls) {
		return errAddressBusy()
	}
	if !u.within(&q.strangers, q.c.AnonymousCalls) {
		return errAnonymousBusy()
	}
	return nil
}

// stranger lets the call of one whom nobody knows go on, or refuses it.
func (q *quotas) stranger(s *Rooms, u *underWay, next http.Handler, w http.ResponseWriter, r *http.Request) {
	// Who asks whether the server lives must not be told to restart it because others crowd it.
	if err := q.anonymous(u); err != nil && r.URL.Path != "/livez" && r.URL.Path != "/readyz" {
		if r.ProtoMajor < 2 {
			w.Header().Set("Connection", "close") // Else the answer would wait for a body that may never come.
		}
		faultwire.WriteHTTP(w, r, s.log, err)
		return
	}
	next.ServeHTTP(w, r)
}

// end is the end of the handler's part. Calls that were refused for their tokens count from here on: there is no other limit to how many
// of their answers wait to be taken.
func (q *quotas) end(u *underWay, w http.ResponseWriter, r *http.Request) {
	if len(u.counted) == 0 {
		_ = q.anonymous(u) // It has its answer.
	}
	switch {
	case !u.beyond && r.ProtoMajor >= 2 && r.ContentLength > 0 && r.ContentLength <= maxPublicBytes:
		// As net/http does over HTTP/1.1. Else it answers and resets the stream, without an error (RFC 9113, 8.1), and a client that is
		// still sending may take that for a failure and not look at the answer: curl 7.88 does, each second time.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(restTime))
		_, _ = io.Copy(io.Discard, r.Body) // Nothing where it was read.
	case u.beyond:
		// Where the connection has no deadlines, there is nothing that waits.
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(refusedTime))
	}
	ended := streamEnd(w)
	if r.ProtoMajor < 2 || ended == nil {
		u.over()
		return
	}
	go func() {
		<-ended // At the latest when write_timeout is over, or the connection.
		u.over()
	}()
}

// streamEnd tells when the stream behind w is over; nil where there is none. The request's context ends earlier, with
// its handler.
func streamEnd(w http.ResponseWriter) <-chan bool {
	for {
		switch at := w.(type) {
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
