package server

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"runtime"

	"connectrpc.com/connect"
	kgzip "github.com/klauspost/compress/gzip"
)

var errMessageTooLarge = errors.New("the message is too large")

// largeMessage is from which size on messages take turns at being decompressed.
const largeMessage = 256 << 10

// tooLargeHeader is on an answer to a message that was large when decompressed, and too large: so the quotas hear of it.
const tooLargeHeader = "Fieldsync-Too-Large"

// turns are had by those who decompress large messages: half of the processors can be kept busy with bombs, and the other half answers
// everybody else.
var turns = make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2))

// restartable is what decompresses: Reset begins anew with another source.
type restartable interface {
	io.Reader
	Reset(r io.Reader) error
}

// bound fails once it has yielded more than a message may have. Past the limit connect reads on to tell how large the message would
// have been: of 4 MiB that were compressed well, 4 GiB.
type bound struct {
	max, left int64
	turn      bool // Whether it has one.
	// message is all of it, as it came; nil where it is not in memory as a whole.
	message []byte
}

// begin is a message's begin, end its end, whatever has become of it.
func (b *bound) begin(from restartable, r io.Reader) error {
	b.left = b.max + 1                      // One more than allowed is how connect knows.
	if whole, ok := r.(*bytes.Buffer); ok { // So connect hands it over.
		b.message = whole.Bytes()
		r = bytes.NewReader(b.message)
	}
	return from.Reset(r)
}

func (b *bound) read(from restartable, p []byte) (int, error) {
	if b.left == 0 {
		return 0, errMessageTooLarge
	}
	if !b.turn && b.max+1-b.left >= largeMessage {
		turns <- struct{}{} // All of the message is in memory: whoever has a turn is done in milliseconds.
		b.turn = true
		if err := b.measure(from); err != nil {
			return 0, err
		}
	}
	n, err := from.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

// measure refuses a large message that is too large before room is made for it: connect doubles its buffer until 8 MiB are full, and to
// make that room took ten times as long as to decompress what a bomb yields until it is refused. A message that is not refused is
// decompressed twice, which is milliseconds, for the few that are large.
func (b *bound) measure(from restartable) error {
	if b.message == nil {
		return nil
	}
	if err := from.Reset(bytes.NewReader(b.message)); err != nil {
		return err
	}
	size, err := io.Copy(io.Discard, io.LimitReader(from, b.max+1)) // A few KiB at a time.
	if err != nil {
		return err
	}
	if size > b.max {
		err := connect.NewError(connect.CodeResourceExhausted, fmt.Errorf("%w: it has more than %d bytes", errMessageTooLarge, b.max))
		err.Meta().Set(tooLargeHeader, "decompressed")
		return err
	}
	if err := from.Reset(bytes.NewReader(b.message)); err != nil {
		return err
	}
	_, err = io.CopyN(io.Discard, from, b.max+1-b.left)
	return err
}

func (b *bound) end() {
	b.message = nil
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
	return b.bound.begin(&b.Reader, r)
}

// Read implements io.Reader.
func (b *boundedGzip) Read(p []byte) (int, error) { return b.bound.read(&b.Reader, p) }

// Close implements connect.Decompressor.
func (b *boundedGzip) Close() error {
	b.bound.end()
	return b.Reader.Close()
}
