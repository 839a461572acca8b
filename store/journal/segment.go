package journal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
)

// Writer makes a segment, byte for byte as a Journal does, for another place than its folder.
type Writer struct {
	id, next uint64
	buf      []byte
}

// NewWriter begins a segment of the journal id whose first record is first.
func NewWriter(id, first uint64) *Writer {
	return &Writer{id: id, next: first, buf: newFileHeader(id, first)}
}

// Add adds the next record.
func (w *Writer) Add(payload []byte) {
	w.buf = appendFrame(w.buf, w.id, w.next, payload)
	w.next++
}

// Next is the number that the next record gets.
func (w *Writer) Next() uint64 { return w.next }

// Bytes is the segment so far.
func (w *Writer) Bytes() []byte { return w.buf }

// ReadSegment reads a whole segment, gives each record to yield, and returns its journal and the numbers of its first and
// last record. Anything that is not as it was written is a *DamageError, which calls the segment name.
func ReadSegment(name string, content []byte, yield func(Record) error) (id, first, last uint64, err error) {
	id, first, err = parseFileHeader(content)
	if err != nil {
		return 0, 0, 0, &DamageError{File: name, Err: err}
	}
	r := &frameReader{r: bytes.NewReader(content[fileHeader:]), journal: id, offset: fileHeader}
	for last = first - 1; ; last++ {
		f, payload, err := r.next()
		if errors.Is(err, io.EOF) {
			return id, first, last, nil
		}
		if err == nil && f.sequence != last+1 {
			err = fmt.Errorf("record %d stands in its place", f.sequence)
		}
		if err != nil {
			return id, first, last, &DamageError{name, r.offset, last + 1, err}
		}
		if err := yield(Record{f.sequence, payload}); err != nil {
			return id, first, last, err
		}
	}
}

// SegmentPath is where in dir a Journal looks for the segment that begins with the record first.
func SegmentPath(dir string, first uint64) string { return filepath.Join(dir, segmentName(first)) }

// SnapshotPath is where in dir the snapshot at a position lies.
func SnapshotPath(dir string, position uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%020d"+snapshotSuffix, position))
}
