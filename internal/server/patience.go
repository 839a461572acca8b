package server

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"connectrpc.com/connect"

	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/internal/faultwire"
)

const (
	// bodyPace is how many bytes of a body must come in each body_timeout, or its end: 4 KiB in 30 s is far below the worst
	// mobile network, and far above whoever sends a byte now and then to hold the server.
	bodyPace = 4 << 10
	// bodyWindows is how many such times a whole message may take: 10 minutes by default. Uploads are larger, and go on.
	bodyWindows = 20
	// writeStep is what a client must have taken of an answer within write_timeout.
	writeStep = 32 << 10
)

// patience ends the wait for clients that are slower than any phone, in sending a body as in reading an answer, so that none
// of them holds a goroutine, a buffer or an upload's lock for as long as it likes. A stream may be silent for hours; what is
// written to it must be taken.
type patience struct {
	body, write time.Duration
	now         func() time.Time
	log         *slog.Logger
}

func (p patience) handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		control := http.NewResponseController(w)
		if r.Body != nil && r.Body != http.NoBody && p.body > 0 {
			paced := &pacedBody{
				ReadCloser: r.Body, patience: p, ctx: r.Context(), control: control,
				message: r.Method == http.MethodPost, framed: r.ProtoMajor == 1,
			}
			// From now on: where nobody reads the body, because the call is refused, the server itself reads some of it.
			paced.wait(p.now())
			// On a copy: of its own request the server must see the body that it made. It closes a connection with an unread rest of
			// one only if it knows it again, and would else take that rest for the next request.
			r = r.WithContext(r.Context())
			r.Body = paced
		}
		if p.write <= 0 {
			next.ServeHTTP(w, r)
			return
		}
		paced := &pacedWriter{ResponseWriter: w, patience: p, control: control}
		next.ServeHTTP(paced, r)
		paced.extend() // The server writes out what it has buffered.
	})
}

// pacedBody fails when a body comes too slowly.
type pacedBody struct {
	io.ReadCloser
	patience

	ctx     context.Context //nolint:containedctx // Of the request whose body it is.
	control *http.ResponseController
	message bool
	framed  bool // By HTTP/1.1 itself: in chunks.

	began, until time.Time
	got          int
}

// Read implements io.Reader.
func (b *pacedBody) Read(p []byte) (int, error) {
	now := b.now()
	switch {
	case b.got >= bodyPace:
		b.wait(now)
	case now.After(b.until):
		return 0, b.tooSlow()
	}
	if b.message && now.After(b.began.Add(bodyWindows*b.body)) {
		return 0, b.tooSlow()
	}
	n, err := b.ReadCloser.Read(p)
	b.got += n
	switch {
	case errors.Is(err, io.EOF):
		// The server watches the connection from here on, to see whether the client goes: for as long as the answer takes.
		_ = b.control.SetReadDeadline(time.Time{})
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = b.tooSlow()
	case b.framed && malformed(err):
		err = connect.NewError(connect.CodeInvalidArgument, err)
	}
	return n, err
}

// malformed tells whether a body has ended since it is not written as HTTP/1.1 wants it: chunks without a size, a trailer without an
// end. net/http has no type for these; what else ends a body is known by its own.
func malformed(err error) bool {
	var network net.Error
	return err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, http.ErrBodyReadAfterClose) && !errors.As(err, &network)
}

// wait begins the time in which the next bytes must come. Where the connection has no deadlines, the next read tells.
func (b *pacedBody) wait(now time.Time) {
	if b.began.IsZero() {
		b.began = now
	}
	b.until, b.got = now.Add(b.body), 0
	_ = b.control.SetReadDeadline(b.until)
}

func (b *pacedBody) tooSlow() error {
	return faultwire.Connect(b.ctx, b.log, fault.New(fault.Unavailable, "body_too_slow",
		"Dữ liệu gửi lên quá chậm nên máy chủ đã ngừng nhận: hãy thử lại khi mạng tốt hơn.",
		"The request came too slowly and the server stopped waiting: try again on a better network."))
}

// pacedWriter gives each step of an answer write_timeout to be taken.
type pacedWriter struct {
	http.ResponseWriter
	patience

	control *http.ResponseController
	set     time.Time
}

// extend moves the deadline, though not at each small write: half of the time is always left.
func (w *pacedWriter) extend() {
	if now := w.now(); w.set.IsZero() || now.Sub(w.set) > w.write/2 {
		_ = w.control.SetWriteDeadline(now.Add(w.write))
		w.set = now
	}
}

// Write implements io.Writer.
func (w *pacedWriter) Write(p []byte) (n int, err error) {
	for {
		w.extend()
		step, err := w.ResponseWriter.Write(p[:min(len(p), writeStep)])
		n += step
		p = p[step:]
		if err != nil || len(p) == 0 {
			return n, err
		}
	}
}

// Flush implements http.Flusher.
func (w *pacedWriter) Flush() { _ = w.FlushError() }

// FlushError is what http.ResponseController asks for.
func (w *pacedWriter) FlushError() error {
	w.extend()
	return w.control.Flush()
}

// Unwrap is for http.ResponseController.
func (w *pacedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
