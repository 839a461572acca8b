package media

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"iter"
	"time"
)

// Blobs is the seam between evidence and whatever keeps its bytes: originals, each once, under the SHA-256 of its content.
// What is kept is never changed. Package folder is the one over a file system, package
// s3 the one over an S3-compatible object store; one suite, package blobtest, runs over both. All methods are safe for
// concurrent use, for the same content too.
type Blobs interface {
	// Put reads content from its beginning to its end and keeps it under sum. It is durable when Put returns: it survives
	// kill -9 and a power cut. What is kept already stays as it is, and that is a success. Whoever opens sum sees all of
	// the content or ErrBlobNotFound, never a part.
	//
	// ErrBlobMismatch: the content has another SHA-256, and nothing was kept, even where sum is kept already. After any other
	// error the content may or may not have been kept: put it again.
	Put(ctx context.Context, sum [sha256.Size]byte, content io.ReadSeeker) error
	// Open returns the content under sum and its size in bytes. Reading fails once ctx has ended. ErrBlobNotFound: nothing
	// is kept under sum.
	Open(ctx context.Context, sum [sha256.Size]byte) (io.ReadSeekCloser, int64, error)
	// List yields what is kept, in no particular order. What is put or removed meanwhile may be among it or not. After an error
	// it ends.
	List(ctx context.Context) iter.Seq2[Kept, error]
	// Remove removes what is kept under sum; it is a success where nothing is. It is for content that no record refers to, and for
	// nothing else. ErrBlobLocked: the store itself keeps it (object lock, legal hold), and nothing was removed.
	Remove(ctx context.Context, sum [sha256.Size]byte) error
	// Hold puts what is kept under sum under the store's own legal hold, or ends it. It does nothing where the store has none: the
	// server's records keep held content from Remove all the same. ErrBlobNotFound where nothing is kept under sum.
	Hold(ctx context.Context, sum [sha256.Size]byte, on bool) error
}

// Kept is what List yields.
type Kept struct {
	// Sum is the SHA-256 under which it is kept.
	Sum [sha256.Size]byte
	// Since is when it was put, by the clock of whatever keeps it.
	Since time.Time
}

// The errors of the seam.
var (
	ErrBlobNotFound = errors.New("media: no content is kept under this hash")
	ErrBlobMismatch = errors.New("media: the content does not have the hash it should have")
	ErrBlobLocked   = errors.New("media: the store keeps the content under lock")
)
