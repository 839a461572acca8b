package media

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
)

// Blobs is the seam between evidence and whatever keeps its bytes: originals, each once, under the SHA-256 of its content.
// What is kept is never changed and never removed through this seam. Package folder is the one over a file system, package
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
}

// The errors of the seam.
var (
	ErrBlobNotFound = errors.New("media: no content is kept under this hash")
	ErrBlobMismatch = errors.New("media: the content does not have the hash it should have")
)
