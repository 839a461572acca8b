// Package journal keeps the records of committed batches in a folder: in order, numbered without gaps, checked, and on the
// disk before Append returns. What was appended is never changed; it goes, a file at a time, when Forget is told so.
//
// A Journal is the folder's records, DamageError what is wrong with them and where. A snapshot (WriteSnapshot,
// ReadSnapshot) holds all that the records up to a place have come to, in a file of the same frames, so that the records
// before it can go.
package journal

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// DefaultSegmentBytes is the size at which a file is full and the next one begins.
const DefaultSegmentBytes = 16 << 20

// ErrOutcomeUnknown means that a record may or may not be on the disk. Nothing can be appended any more: open again.
var ErrOutcomeUnknown = errors.New("journal: it is not known whether the record is on the disk")

// DamageError says where a journal or a snapshot does not hold what was written.
type DamageError struct {
	// File is the path.
	File string
	// Offset is where in the file, in bytes, the damaged record begins.
	Offset int64
	// Sequence is the number that the record should have, or 0 where it is not about one.
	Sequence uint64
	// Err is what is wrong.
	Err error
}

// Error names file and place.
func (e *DamageError) Error() string {
	return fmt.Sprintf("journal damaged: %s at byte %d, record %d: %v", e.File, e.Offset, e.Sequence, e.Err)
}

// Unwrap returns what is wrong.
func (e *DamageError) Unwrap() error { return e.Err }

// Options are how a journal is kept. The zero value is right for a server.
type Options struct {
	// SegmentBytes is the size at which a file is full. DefaultSegmentBytes by default.
	SegmentBytes int64
	// Log hears of torn records. Nobody does by default.
	Log *slog.Logger
}

// Journal is an open journal. One goroutine may append; all other methods but Close are safe beside it.
type Journal struct {
	dir  string
	id   uint64
	max  int64
	log  *slog.Logger
	file *os.File // The newest segment.
	buf  []byte   // Of the appender.
	// filling is closed when the goroutine has ended that fills the newest segment; stop ends it before.
	filling, stop chan struct{}
	// writing is held for each write into the newest segment: no zeros over a record.
	writing sync.Mutex
	end     int64  // Behind the newest record of the newest segment, and the one that is being written.
	mean    int64  // Of the sizes of the newest records.
	sum     uint32 // Of the newest record. 0 where it is not known.

	mu       sync.Mutex
	broken   bool
	segments []Segment // Oldest first. Never empty.
}

// Segment is a file of the journal.
type Segment struct {
	// Path is where it lies.
	Path string
	// First is the number of its first record, Last that of its last: First-1 where it has none.
	First, Last uint64
	// Bytes is how far its records reach. Zeros may follow, into which the next ones are written: a sync that need not change
	// the file's length costs half.
	Bytes int64
}

const segmentSuffix = ".journal"

func segmentName(first uint64) string { return fmt.Sprintf("%020d%s", first, segmentSuffix) }

// scan reads a segment and gives each record to yield, where there is one. It returns the last good record's number and
// where the next one would begin. Where the file does not end there the error is a *DamageError.
func scan(s Segment, journal uint64, yield func(sequence uint64, payload []byte) error) (last uint64, end int64, err error) {
	file, err := os.Open(s.Path)
	if err != nil {
		return s.First - 1, 0, err
	}
	defer file.Close()
	header := make([]byte, fileHeader)
	if _, err := io.ReadFull(file, header); err != nil {
		return s.First - 1, 0, &DamageError{File: s.Path, Err: errFileHeader}
	}
	if id, first, err := parseFileHeader(header); err != nil || id != journal || first != s.First {
		return s.First - 1, 0, &DamageError{File: s.Path, Err: errFileHeader}
	}
	body := io.LimitReader(file, s.Bytes-fileHeader)
	r := &frameReader{r: bufio.NewReaderSize(body, 256<<10), journal: journal, offset: fileHeader}
	for next := s.First; ; next++ {
		f, payload, err := r.next()
		if errors.Is(err, io.EOF) {
			return next - 1, r.offset, nil
		}
		if err == nil && f.sequence != next {
			err = fmt.Errorf("record %d stands in its place", f.sequence)
			r.offset -= int64(frameHeader + padded(f.length))
		}
		if err != nil {
			return next - 1, r.offset, &DamageError{s.Path, r.offset, next, err}
		}
		if yield == nil {
			continue
		}
		if err := yield(f.sequence, payload); err != nil {
			return next, r.offset, err
		}
	}
}

// ID tells this journal from every other one.
func (j *Journal) ID() uint64 { return j.id }

// First is the number of the oldest record that is still there, and one more than Last where there is none.
func (j *Journal) First() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.segments[0].First
}

// Last is the number of the newest record: one less than the first will have where there was none yet.
func (j *Journal) Last() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.segments[len(j.segments)-1].Last
}

// Sum is the checksum of the newest record: 0 where there is none, or where its file was forgotten.
func (j *Journal) Sum() uint32 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.sum
}

// InPlace tells whether the newest file still lies in the folder under its name. What is appended to one that does not is gone when the
// process ends. For the goroutine that appends.
func (j *Journal) InPlace() bool {
	open, err := j.file.Stat()
	if err != nil {
		return true // Which says nothing of the name.
	}
	named, err := os.Stat(j.file.Name())
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist)
	}
	return os.SameFile(open, named)
}

// Segments returns the files, oldest first. The newest is the one that is being written.
func (j *Journal) Segments() []Segment {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.segments)
}

// Append writes a record and returns its number once it is on the disk: it survives kill -9 and a power cut.
//
// ErrOutcomeUnknown: it may or may not be there. After any other error nothing was kept and the next Append may succeed, as
// when there is room again (syscall.ENOSPC).
func (j *Journal) Append(payload []byte) (uint64, error) {
	if len(payload) > MaxRecordBytes {
		return 0, fmt.Errorf("journal: a record of %d bytes is larger than %d", len(payload), MaxRecordBytes)
	}
	j.mu.Lock()
	tail, broken := j.segments[len(j.segments)-1], j.broken
	j.mu.Unlock()
	if broken {
		return 0, ErrOutcomeUnknown
	}
	if tail.Bytes >= j.max && tail.Last >= tail.First {
		if err := j.begin(tail.Last + 1); err != nil {
			return 0, fmt.Errorf("journal: beginning a file: %w", err)
		}
		return j.Append(payload)
	}
	j.buf = appendFrame(j.buf[:0], j.id, tail.Last+1, payload)
	j.writing.Lock()
	j.end = tail.Bytes + int64(len(j.buf))
	j.mean += (int64(len(j.buf)) - j.mean) / 8
	_, err := j.file.WriteAt(j.buf, tail.Bytes)
	j.writing.Unlock()
	if err != nil {
		return 0, j.takeBack(tail.Bytes, err)
	}
	// Before this line a crash loses the record, or leaves a part of it, which Open takes away; after it the record stays.
	if err := datasync(j.file); err != nil {
		// The kernel may have dropped what it could not write and call the next sync a success.
		return 0, j.fail(err)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	newest := &j.segments[len(j.segments)-1]
	newest.Last++
	newest.Bytes += int64(len(j.buf))
	j.sum = Sum(payload)
	return newest.Last, nil
}

// takeBack removes what a failed write has left behind the end.
func (j *Journal) takeBack(end int64, cause error) error {
	j.stopFilling() // There is no room for zeros either.
	if err := j.file.Truncate(end); err != nil {
		return j.fail(errors.Join(cause, err))
	}
	return fmt.Errorf("journal: nothing was kept: %w", cause)
}

func (j *Journal) fail(cause error) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.broken = true
	return fmt.Errorf("%w: %w", ErrOutcomeUnknown, cause)
}

// begin makes the file for the records from first on. The name is durable before the first of them is written.
func (j *Journal) begin(first uint64) error {
	path := filepath.Join(j.dir, segmentName(first))
	// A file of this name is one that could not be begun before: no record was ever written to it.
	file, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(newFileHeader(j.id, first))
	if err == nil {
		err = file.Sync()
	}
	if err == nil {
		err = SyncDir(j.dir)
	}
	if err != nil {
		return errors.Join(err, file.Close(), os.Remove(path))
	}
	j.stopFilling()
	full := j.file
	j.file = file
	j.fillLater(fileHeader)
	if full != nil {
		if err := full.Close(); err != nil {
			j.log.Warn("journal: closing a full file", "error", err) // All of it was synced.
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.segments = append(j.segments, Segment{Path: path, First: first, Last: first - 1, Bytes: fileHeader})
	return nil
}

// Record is one of the journal's.
type Record struct {
	Sequence uint64
	// Payload is valid until the next one is read.
	Payload []byte
}

var errStop = errors.New("stop")

// Records yields the records from the number from on, as far as there are any when it begins. Each is checked; what is not as
// it was written, or is not there any more, ends it with a *DamageError.
func (j *Journal) Records(from uint64) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		segments := j.Segments()
		if from < segments[0].First {
			yield(Record{}, &DamageError{File: segments[0].Path, Sequence: from, Err: errors.New("the journal begins later")})
			return
		}
		for i, s := range segments {
			if s.Last < from {
				continue
			}
			last, end, err := scan(s, j.id, func(sequence uint64, payload []byte) error {
				if sequence >= from && !yield(Record{sequence, payload}, nil) {
					return errStop
				}
				return nil
			})
			if errors.Is(err, errStop) {
				return
			}
			if err == nil && last != s.Last {
				err = &DamageError{s.Path, end, last + 1, fmt.Errorf("the file ends, and record %d comes next", segments[min(i+1, len(segments)-1)].First)}
			}
			if err != nil {
				yield(Record{}, err)
				return
			}
		}
	}
}

// Verify reads all of the journal and returns everything that is damaged: in each file the first place.
func (j *Journal) Verify() []error {
	var found []error
	for _, s := range j.Segments() {
		last, end, err := scan(s, j.id, nil)
		if err == nil && last != s.Last {
			err = &DamageError{s.Path, end, last + 1, errCut}
		}
		if err != nil {
			found = append(found, err)
		}
	}
	return found
}

// Forget removes the files that hold no record behind the number through. The newest file always stays.
func (j *Journal) Forget(through uint64) error {
	j.mu.Lock()
	n := 0
	for n < len(j.segments)-1 && j.segments[n].Last <= through {
		n++
	}
	gone := slices.Clone(j.segments[:n])
	j.segments = slices.Clone(j.segments[n:])
	j.mu.Unlock()
	for _, s := range gone { // Oldest first: a crash between two leaves no gap.
		if err := os.Remove(s.Path); err != nil {
			return fmt.Errorf("forgetting a file of the journal: %w", err)
		}
	}
	if n == 0 {
		return nil
	}
	return SyncDir(j.dir)
}

// Close closes the files. Everything appended is durable already; the zeros behind it go.
func (j *Journal) Close() error {
	j.stopFilling()
	segments := j.Segments()
	return errors.Join(j.file.Truncate(segments[len(segments)-1].Bytes), j.file.Close())
}

// SyncDir makes the names in a folder durable.
func SyncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
