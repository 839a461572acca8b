package phone

import (
	"connectrpc.com/connect"
	"github.com/klauspost/compress/zstd"
)

// zstdAnswers is how large a window of an answer the phone unpacks: the server's is 1 MiB.
const zstdAnswers = 2 << 20

// AcceptZstd has a client take answers that are compressed with zstd: of large ones a fifth less than with gzip. What a phone
// sends is gzipped, which every server takes.
func AcceptZstd() connect.ClientOption {
	return connect.WithAcceptCompression("zstd",
		func() connect.Decompressor {
			// Without the last option, Reset decompresses a small buffer whole, before connect can look at its size.
			r, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(zstdAnswers), zstd.WithDecoderLowmem(true),
				zstd.WithDecodeBuffersBelow(0))
			if err != nil {
				panic(err) // The options are constants.
			}
			return answerReader{r}
		},
		func() connect.Compressor {
			w, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true))
			if err != nil {
				panic(err)
			}
			return w
		})
}

// answerReader is used again after it was closed.
type answerReader struct{ *zstd.Decoder }

// Close implements connect.Decompressor. There is no goroutine to end.
func (r answerReader) Close() error { return r.Reset(nil) }
