package server

import (
	"bytes"
	"io"
	"testing"

	"connectrpc.com/connect"
	"github.com/klauspost/compress/zstd"
)

// Protects the server's memory: whatever claims to be gzip or zstd yields at most one byte more than a message may have, once and again with
// the same decompressor, and gives its turn back.
func FuzzDecompress(f *testing.F) {
	const most = largeMessage + 4096
	zeros := make([]byte, 2*most)
	var zipped bytes.Buffer
	w := newGzip()
	w.Reset(&zipped)
	_, _ = w.Write(zeros)
	_ = w.Close()
	f.Add(zipped.Bytes())
	f.Add(zipped.Bytes()[:zipped.Len()/2])
	f.Add(append(bytes.Clone(zipped.Bytes()), zipped.Bytes()...))
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(encoder.EncodeAll(zeros, nil))
	f.Add(encoder.EncodeAll([]byte("x"), nil))
	f.Add([]byte{})
	all := map[string]connect.Decompressor{"gzip": newBoundedGzip(most)(), "zstd": newBoundedZstd(most)()}
	f.Fuzz(func(t *testing.T, content []byte) {
		for name, d := range all {
			if err := d.Reset(bytes.NewReader(content)); err == nil {
				if n, err := io.Copy(io.Discard, d); n > most+1 {
					t.Fatalf("%s: %d bytes, %v", name, n, err)
				}
			}
			_ = d.Close()
			if len(turns) != 0 {
				t.Fatalf("%s: a turn is not given back", name)
			}
		}
	})
}
