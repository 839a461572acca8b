package media

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"
	"github.com/tus/tusd/v2/pkg/handler"
	"github.com/tus/tusd/v2/pkg/memorylocker"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
)

// transfer is a request for an upload and its body. A later request for the same upload may end a PATCH: a phone that comes
// back over a new connection must not wait until the server notices that the old one is dead. A HEAD is soon over anyway.
type transfer struct {
	io.ReadCloser

	upload  *storagev1.Upload
	control *http.ResponseController

	mu    sync.Mutex
	ended bool
	// broken means that the body has ended before its end.
	broken bool
	// over means that there is nothing to end any more: the connection may be at another request already.
	over bool
}

// transferKey is where a request's context carries its transfer, once the owner of the upload is known.
type transferKey struct{}

func newTransfer(w http.ResponseWriter, r *http.Request, upload *storagev1.Upload) *transfer {
	return &transfer{
		ReadCloser: r.Body, upload: upload, control: http.NewResponseController(w),
		over: r.Method == http.MethodHead,
	}
}

// Read implements io.Reader.
func (t *transfer) Read(p []byte) (int, error) {
	t.mu.Lock()
	ended := t.ended
	t.mu.Unlock()
	if ended {
		return 0, handler.ErrUploadInterrupted
	}
	n, err := t.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		t.mu.Lock()
		t.broken = true
		t.mu.Unlock()
	}
	return n, inTusForm(err)
}

// inTusForm is why the server itself has ended a body, as tusd answers it: anything else it would call an error of its own.
func inTusForm(err error) error {
	var shown *connect.Error
	if !errors.As(err, &shown) {
		return err
	}
	code, sentence, _ := strings.Cut(shown.Message(), ": ")
	switch shown.Code() {
	case connect.CodeUnauthenticated:
		return handler.NewError(code, sentence, http.StatusUnauthorized)
	case connect.CodeInvalidArgument:
		return handler.NewError("ERR_MALFORMED_BODY", shown.Message(), http.StatusBadRequest)
	default:
		return comeBack(code, sentence)
	}
}

// end makes the read that is waiting return, and fails all reads after it. tusd extends the deadline after each read, so
// it may extend this one, but then the next read meets the mark.
func (t *transfer) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over {
		return
	}
	t.ended = true
	// Where the connection cannot do it, the request ends with its connection.
	_ = t.control.SetReadDeadline(longPast())
}

// finish tells whether the transfer was ended. It cannot be from then on.
func (t *transfer) finish() (ended bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.over = true
	if t.ended || t.broken {
		// tusd may have extended the deadline, and the server would wait for the rest of the body until then.
		_ = t.control.SetReadDeadline(longPast())
	}
	return t.ended
}

// longPast is a deadline that has passed by whatever clock, and is not the zero time, which means none.
func longPast() time.Time { return time.Unix(1, 0) }

// takeover locks uploads for tusd. tusd's own way of taking a lock over misses a request that has the lock and has not begun
// to read its body (a data race on the body in tusd 2.10.0): that request would then hang on until its connection times out.
type takeover struct{ locks *memorylocker.MemoryLocker }

func newTakeover() takeover { return takeover{memorylocker.New()} }

// NewLock implements tusd's Locker.
func (t takeover) NewLock(id string) (handler.Lock, error) {
	lock, err := t.locks.NewLock(id)
	return takeoverLock{lock}, err
}

type takeoverLock struct{ tusd handler.Lock }

// Lock implements tusd's Lock for a request whose context carries its transfer.
func (l takeoverLock) Lock(ctx context.Context, _ func()) error {
	transfer, ok := ctx.Value(transferKey{}).(*transfer)
	if !ok {
		return handler.ErrNotFound
	}
	return l.tusd.Lock(ctx, transfer.end)
}

// Unlock implements tusd's Lock.
func (l takeoverLock) Unlock() error { return l.tusd.Unlock() }
