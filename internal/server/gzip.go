package server

import (
	"compress/gzip"
	"errors"
	"io"

	"connectrpc.com/connect"
	kgzip "github.com/klauspost/compress/gzip"
)

var errMessageTooLarge = errors.New("the message is too large")

// boundedGzip fails once it has yielded more than a message may have. Past the limit connect reads on to tell how large the
// message would have been: of 4 MiB that were compressed well, 4 GiB.
type boundedGzip struct {
	gzip.Reader

	max, left int64
}

func newBoundedGzip(most int64) func() connect.Decompressor {
	return func() connect.Decompressor { return &boundedGzip{max: most} }
}

// newGzip compresses as much as the standard library's in half the time, and costs nothing to use again: of a small answer
// that was most of it. Its reader is not used: it can write by itself, past the bound.
func newGzip() connect.Compressor { return kgzip.NewWriter(io.Discard) }

// Reset implements connect.Decompressor.
func (b *boundedGzip) Reset(r io.Reader) error {
	b.left = b.max + 1 // One more than allowed is how connect knows.
	return b.Reader.Reset(r)
}

// Read implements io.Reader.
func (b *boundedGzip) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, errMessageTooLarge
	}
	n, err := b.Reader.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}
