package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
)

// A file of the journal is a header and frames, each padded to eight bytes. Numbers are little-endian. The checksums are
// CRC-32C (RFC 3720); a frame's own is seeded with the journal's id, so that what somebody writes in a note can never be
// taken for a frame.
//
//	file:  magic 8 | journal 8 | first sequence 8 | 0 4 | CRC of the 28 bytes before 4
//	frame: magic 4 | length 4 | sequence 8 | CRC of the payload 4 | CRC of the 20 bytes before 4 | payload | 0 to 7 zeros
const (
	fileMagic   = "fsjourn1"
	fileHeader  = 32
	frameMagic  = "fsj\x01"
	frameHeader = 24
	alignment   = 8

	// MaxRecordBytes bounds a record. A commit gathers at most half of it.
	MaxRecordBytes = 8 << 20
)

// castagnoli is computed anew by no call: MakeTable returns the one of the standard library.
func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// Sum is the checksum of a record's payload.
func Sum(payload []byte) uint32 { return crc32.Checksum(payload, castagnoli()) }

func padded(n int) int { return (n + alignment - 1) &^ (alignment - 1) }

func newFileHeader(journal, first uint64) []byte {
	b := []byte(fileMagic)
	b = binary.LittleEndian.AppendUint64(b, journal)
	b = binary.LittleEndian.AppendUint64(b, first)
	b = binary.LittleEndian.AppendUint32(b, 0)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli()))
}

var (
	errFileHeader  = errors.New("the file's header is damaged")
	errFrameHeader = errors.New("the header of the record is damaged")
	errPayload     = errors.New("the record does not have its checksum")
	errCut         = errors.New("the file ends within the record")
)

func parseFileHeader(b []byte) (journal, first uint64, err error) {
	if len(b) < fileHeader || string(b[:8]) != fileMagic ||
		binary.LittleEndian.Uint32(b[28:]) != crc32.Checksum(b[:28], castagnoli()) {
		return 0, 0, errFileHeader
	}
	return binary.LittleEndian.Uint64(b[8:]), binary.LittleEndian.Uint64(b[16:]), nil
}

func seed(journal uint64) uint32 {
	return crc32.Checksum(binary.LittleEndian.AppendUint64(nil, journal), castagnoli())
}

func appendFrame(b []byte, journal, sequence uint64, payload []byte) []byte {
	start := len(b)
	b = append(b, frameMagic...)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(payload))) //nolint:gosec // At most MaxRecordBytes.
	b = binary.LittleEndian.AppendUint64(b, sequence)
	b = binary.LittleEndian.AppendUint32(b, Sum(payload))
	b = binary.LittleEndian.AppendUint32(b, crc32.Update(seed(journal), castagnoli(), b[start:]))
	b = append(b, payload...)
	return append(b, make([]byte, padded(len(payload))-len(payload))...)
}

type frame struct {
	length   int
	sequence uint64
	sum      uint32
}

func parseFrame(b []byte, journal uint64) (frame, error) {
	f := frame{int(binary.LittleEndian.Uint32(b[4:])), binary.LittleEndian.Uint64(b[8:]), binary.LittleEndian.Uint32(b[16:])}
	if string(b[:4]) != frameMagic || f.length > MaxRecordBytes ||
		binary.LittleEndian.Uint32(b[20:]) != crc32.Update(seed(journal), castagnoli(), b[:20]) {
		return frame{}, errFrameHeader
	}
	return f, nil
}

// frameReader reads the frames of a file one after the other.
type frameReader struct {
	r       io.Reader
	journal uint64
	offset  int64 // Where the next frame begins.
	buf     []byte
}

// onlyZeros tells whether there is nothing but zeros up to the end.
func onlyZeros(r io.Reader) (bool, error) {
	buf := make([]byte, 64<<10)
	for {
		n, err := r.Read(buf)
		if len(bytes.TrimLeft(buf[:n], "\x00")) > 0 {
			return false, nil
		}
		if errors.Is(err, io.EOF) {
			return true, nil
		}
		if err != nil {
			return false, err
		}
	}
}

// next returns the payload of the next frame, valid until the call after it. io.EOF where the file ends, or holds nothing but
// zeros. After another error, offset is where the damaged frame begins.
func (r *frameReader) next() (frame, []byte, error) {
	var header [frameHeader]byte
	n, err := io.ReadFull(r.r, header[:])
	if len(bytes.TrimLeft(header[:n], "\x00")) == 0 && (err == nil || errors.Is(err, io.ErrUnexpectedEOF)) {
		end, err := onlyZeros(r.r)
		if err == nil && end {
			err = io.EOF
		} else if err == nil {
			err = errFrameHeader
		}
		return frame{}, nil, err
	}
	if err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = errCut
		}
		return frame{}, nil, err
	}
	f, err := parseFrame(header[:], r.journal)
	if err != nil {
		return frame{}, nil, err
	}
	size := padded(f.length)
	if cap(r.buf) < size {
		r.buf = make([]byte, max(size, 64<<10))
	}
	body := r.buf[:size]
	if _, err := io.ReadFull(r.r, body); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = errCut
		}
		return frame{}, nil, err
	}
	for _, b := range body[f.length:] {
		if b != 0 {
			return frame{}, nil, errPayload
		}
	}
	if Sum(body[:f.length]) != f.sum {
		return frame{}, nil, errPayload
	}
	r.offset += int64(frameHeader + size)
	return f, body[:f.length], nil
}
