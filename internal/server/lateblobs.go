package server

import (
	"context"
	"crypto/sha256"
	"io"
	"iter"
	"log/slog"
	"sync"
	"time"

	"github.com/cong1022/fieldsync/media"
)

// openAgainAfter is how long an object store is left alone that has just not answered.
const openAgainAfter = time.Second

// lateBlobs are originals in an object store that did not answer when the server started: it is opened when it is needed. Until then
// photos wait in the spool, as they do when the store goes away later, and all else works.
type lateBlobs struct {
	open func(context.Context) (media.Blobs, error)
	log  *slog.Logger

	mu     sync.Mutex
	opened media.Blobs
	failed error
	tried  time.Time
}

func (l *lateBlobs) blobs(ctx context.Context) (media.Blobs, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.opened != nil || l.failed != nil && time.Since(l.tried) < openAgainAfter { //nolint:forbidigo // How long the machine waits.
		return l.opened, l.failed
	}
	opened, err := l.open(ctx)
	if l.failed, l.tried = err, time.Now(); err == nil { //nolint:forbidigo // The same.
		l.opened = opened
		reportStore(ctx, opened, l.log)
	}
	return l.opened, err
}

// Put implements media.Blobs.
func (l *lateBlobs) Put(ctx context.Context, sum [sha256.Size]byte, content io.ReadSeeker) error {
	blobs, err := l.blobs(ctx)
	if err != nil {
		return err
	}
	return blobs.Put(ctx, sum, content)
}

// Open implements media.Blobs.
func (l *lateBlobs) Open(ctx context.Context, sum [sha256.Size]byte) (io.ReadSeekCloser, int64, error) {
	blobs, err := l.blobs(ctx)
	if err != nil {
		return nil, 0, err
	}
	return blobs.Open(ctx, sum)
}

// List implements media.Blobs.
func (l *lateBlobs) List(ctx context.Context) iter.Seq2[media.Kept, error] {
	blobs, err := l.blobs(ctx)
	if err != nil {
		return func(yield func(media.Kept, error) bool) { yield(media.Kept{}, err) }
	}
	return blobs.List(ctx)
}

// Remove implements media.Blobs.
func (l *lateBlobs) Remove(ctx context.Context, sum [sha256.Size]byte) error {
	blobs, err := l.blobs(ctx)
	if err != nil {
		return err
	}
	return blobs.Remove(ctx, sum)
}

// Hold implements media.Blobs.
func (l *lateBlobs) Hold(ctx context.Context, sum [sha256.Size]byte, on bool) error {
	blobs, err := l.blobs(ctx)
	if err != nil {
		return err
	}
	return blobs.Hold(ctx, sum, on)
}
