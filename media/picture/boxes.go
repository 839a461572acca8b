package picture

import (
	"encoding/binary"
	"io"
	"math"
)

// wholeBoxes tells whether a file of the ISO base media format (ISO/IEC 14496-12, 4.2), as HEIC is, ends where its outermost
// boxes say, and has the boxes of a picture (ISO/IEC 23008-12). What was cut off is noticed; a flipped bit is not.
func wholeBoxes(content io.ReadSeeker, size int64) bool {
	var described, data bool
	for offset := int64(0); offset < size; {
		if _, err := content.Seek(offset, io.SeekStart); err != nil {
			return false
		}
		var head [16]byte
		if _, err := io.ReadFull(content, head[:8]); err != nil {
			return false
		}
		length, least := uint64(binary.BigEndian.Uint32(head[:4])), uint64(8)
		switch length {
		case 0: // To the end of the file.
			length = uint64(size - offset) //nolint:gosec // Not negative.
		case 1: // The length follows in 64 bits.
			if _, err := io.ReadFull(content, head[8:]); err != nil {
				return false
			}
			length, least = binary.BigEndian.Uint64(head[8:]), 16
		}
		if length < least || length > math.MaxInt64 || int64(length) > size-offset {
			return false
		}
		switch string(head[4:8]) {
		case "meta":
			described = true
		case "mdat", "idat":
			data = true
		}
		offset += int64(length)
	}
	return described && data
}
