package journal

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
)

// Create makes a journal in a folder that has none: id tells it from every other one, first is the number of its first
// record. It is durable when Create returns.
func Create(dir string, id, first uint64, o Options) (*Journal, error) {
	if files, err := listed(dir); err != nil || len(files) > 0 {
		return nil, errors.Join(err, fmt.Errorf("a journal is to be made in %s, which holds %d files of one", dir, len(files)))
	}
	j := newJournal(dir, id, o)
	if err := j.begin(first); err != nil {
		return nil, fmt.Errorf("making the journal: %w", err)
	}
	return j, nil
}

func newJournal(dir string, id uint64, o Options) *Journal {
	if o.SegmentBytes == 0 {
		o.SegmentBytes = DefaultSegmentBytes
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Journal{dir: dir, id: id, max: o.SegmentBytes, log: o.Log}
}

// Open opens the journal in a folder: fs.ErrNotExist where there is none. The newest file is read to its end. A record there
// that a crash cut off while it was written is taken away, with a line in the log; nobody was told that it was kept. Any
// other damage is a *DamageError: a broken record with another one behind it was whole once, since each is on the disk
// before the next is written. What lies in older files is checked when it is read.
func Open(dir string, o Options) (*Journal, error) {
	files, err := listed(dir)
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%s holds no journal: %w", dir, fs.ErrNotExist)
	}
	j := newJournal(dir, 0, o)
	for i, path := range files {
		// A header is on the disk before its first record is written, so a newest file without a good one and without a record holds none.
		if i > 0 && i == len(files)-1 {
			begun, err := onlyBegun(path)
			if err != nil {
				return nil, err
			}
			if begun {
				j.log.Warn("journal: a file was begun when the process ended, and is begun again", "file", path)
				if err := os.Remove(path); err != nil {
					return nil, err
				}
				break
			}
		}
		if err := j.add(path); err != nil {
			return nil, err
		}
	}
	if err := j.recover(); err != nil {
		return nil, err
	}
	return j, nil
}

// listed returns the segments' paths, oldest first.
func listed(dir string) ([]string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*"+segmentSuffix))
	slices.Sort(files)
	return files, err
}

func readHeader(path string) (journal, first uint64, err error) {
	file, err := os.Open(path)
	if err != nil {
		return 0, 0, err
	}
	defer file.Close()
	header := make([]byte, fileHeader)
	if _, err := io.ReadFull(file, header); err != nil {
		return 0, 0, errFileHeader
	}
	return parseFileHeader(header)
}

// onlyBegun tells whether a file holds nothing but zeros behind the place of its header, and the header is no good.
func onlyBegun(path string) (bool, error) {
	if _, _, err := readHeader(path); err == nil {
		return false, nil
	}
	file, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer file.Close()
	if _, err := file.Seek(fileHeader, io.SeekStart); err != nil {
		return false, err
	}
	return onlyZeros(bufio.NewReader(file))
}

// add takes a file into the journal as its newest.
func (j *Journal) add(path string) error {
	id, first, err := readHeader(path)
	if err == nil && filepath.Base(path) != segmentName(first) {
		err = fmt.Errorf("the file says that it begins with record %d", first)
	}
	if err == nil && len(j.segments) > 0 && id != j.id {
		err = errors.New("the file belongs to another journal")
	}
	if err == nil && len(j.segments) > 0 {
		before := &j.segments[len(j.segments)-1]
		if first <= before.First {
			err = fmt.Errorf("the file before it begins with record %d", before.First)
		}
		before.Last = first - 1 // Whether that is so shows when it is read.
	}
	if err != nil {
		return &DamageError{File: path, Err: err}
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	j.id = id
	j.segments = append(j.segments, Segment{Path: path, First: first, Last: first - 1, Bytes: info.Size()})
	return nil
}

// recover reads the newest segment and makes it ready for what comes next.
func (j *Journal) recover() (err error) {
	tail := &j.segments[len(j.segments)-1]
	if j.file, err = os.OpenFile(tail.Path, os.O_RDWR, 0); err != nil {
		return err
	}
	size := tail.Bytes
	note := func(_ uint64, payload []byte) error { j.sum = Sum(payload); return nil }
	if tail.Last, tail.Bytes, err = scan(*tail, j.id, note); err != nil {
		if err := j.cut(tail, size, err); err != nil {
			return err
		}
	}
	if n := len(j.segments); tail.Last < tail.First && n > 1 { // The newest record is the last one of the file before.
		if _, _, err := scan(j.segments[n-2], j.id, note); err != nil {
			j.sum = 0 // Which is told when it is read.
		}
	}
	if err := j.file.Sync(); err != nil { // Something may have been cut off.
		return err
	}
	j.fillLater(tail.Bytes)
	return nil
}

// cut takes a torn record off the end of the newest segment, or returns what is wrong where it is not torn but damaged.
func (j *Journal) cut(tail *Segment, size int64, damage error) error {
	var d *DamageError
	if !errors.As(damage, &d) {
		return damage
	}
	later, err := j.laterRecord(d.Offset, tail.Last)
	if err != nil {
		return err
	}
	if later != 0 {
		return &DamageError{d.File, d.Offset, d.Sequence, fmt.Errorf("%w, but record %d stands behind it", d.Err, later)}
	}
	j.log.Warn("journal: a record that was being written when the process ended is taken away",
		"file", tail.Path, "offset", d.Offset, "bytes", size-d.Offset, "record", d.Sequence)
	return j.file.Truncate(d.Offset) // What fills it up again syncs.
}

// laterRecord looks behind a broken record for the header of one with a higher number than last+1.
func (j *Journal) laterRecord(offset int64, last uint64) (uint64, error) {
	rest, err := io.ReadAll(io.NewSectionReader(j.file, offset, 1<<62))
	if err != nil {
		return 0, err
	}
	for at := 0; at+frameHeader <= len(rest); at += alignment {
		if f, err := parseFrame(rest[at:at+frameHeader], j.id); err == nil && f.sequence > last+1 {
			return f.sequence, nil
		}
	}
	return 0, nil
}
