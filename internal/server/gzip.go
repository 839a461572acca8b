package server

import (
	"compress/gzip"
	"errors"
	"io"
	"runtime"

	"connectrpc.com/connect"
	kgzip "github.com/klauspost/compress/gzip"
)

var errMessageTooLarge = errors.New("the message is too large")

// largeMessage is from which size on messages take turns at being decompressed.
const largeMessage = 256 << 10

// turns are had by those who decompress large messages: half of the processors can be kept busy with bombs, and the other half answers
// everybody else.
var turns = make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2))

// bound fails once it has yielded more than a message may have. Past the limit connect reads on to tell how large the message would
// have been: of 4 MiB that were compressed well, 4 GiB.
type bound struct {
	max, left int64
	turn      bool // Whether it has one.
}

// begin is a message's begin, end its end, whatever has become of it.
func (b *bound) begin() { b.left = b.max + 1 } // One more than allowed is how connect knows.

func (b *bound) read(r io.Reader, p []byte) (int, error) {
	if b.left == 0 {
		return 0, errMessageTooLarge
	}
	if !b.turn && b.max+1-b.left >= largeMessage {
		turns <- struct{}{} // All of the message is in memory: whoever has a turn is done in milliseconds.
		b.turn = true
	}
	n, err := r.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

func (b *bound) end() {
	if b.turn {
		<-turns
		b.turn = false
	}
}

// boundedGzip is gzip within a bound.
type boundedGzip struct {
	gzip.Reader

	bound bound
}

func newBoundedGzip(most int64) func() connect.Decompressor {
	return func() connect.Decompressor { return &boundedGzip{bound: bound{max: most}} }
}

// newGzip compresses as much as the standard library's in half the time, and costs nothing to use again: of a small answer
// that was most of it. Its reader is not used: it can write by itself, past the bound.
func newGzip() connect.Compressor { return kgzip.NewWriter(io.Discard) }

// Reset implements connect.Decompressor.
func (b *boundedGzip) Reset(r io.Reader) error {
	b.bound.begin()
	return b.Reader.Reset(r)
}

// Read implements io.Reader.
func (b *boundedGzip) Read(p []byte) (int, error) { return b.bound.read(&b.Reader, p) }

// Close implements connect.Decompressor.
func (b *boundedGzip) Close() error {
	b.bound.end()
	return b.Reader.Close()
}
