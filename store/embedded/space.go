package embedded

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/cong1022/fieldsync/store"
)

// lookEvery bounds how often the file system and the process are asked.
const lookEvery = 100 * time.Millisecond

// space turns writes away while there is less than a margin left of what Badger cannot do without: it dies of a disk that
// is full under its maps, and loses data when a compaction cannot make a file. Only the writer uses it.
type space struct {
	dir     string
	margins Margins
	clock   func() time.Time
	log     *slog.Logger
	look    func(dir string) (Margins, error) // What is free. Margins of the largest number where it is not known.

	// inPlace tells whether what is written still lies in the folder.
	inPlace func() bool

	looked time.Time
	short  error
	metEnd bool // A write has met the end itself, and none has succeeded since.
}

func newSpace(dir string, margins Margins, clock func() time.Time, log *slog.Logger) *space {
	return &space{dir: dir, margins: margins, clock: clock, log: log, look: free, inPlace: func() bool { return true }}
}

// check returns store.ErrNoSpace while there is too little, for reasons that are at most lookEvery old.
func (s *space) check() error {
	now := s.clock()
	if age := now.Sub(s.looked); age >= 0 && age < lookEvery && !s.looked.IsZero() {
		return s.short
	}
	before := s.short
	s.looked, s.short = now, s.measure(s.margins, store.NoSpace)
	if !s.inPlace() {
		s.short = store.Gone()
	}
	switch {
	case s.short != nil && before == nil:
		s.log.Error("store: writes are turned away until there is room", "error", s.short)
	case s.short == nil && before != nil:
		s.log.Info("store: there is room again, writes are taken")
	}
	return s.short
}

// atOpen asks for a quarter of the margins, since a store that turns writes away must still open, and at least for so many bytes.
func (s *space) atOpen(bytes uint64) error {
	return s.measure(Margins{max(s.margins.Bytes/4, bytes), s.margins.Inodes / 4, s.margins.Descriptors / 4}, store.NoSpaceToOpen)
}

// measure returns what lacking makes of the first margin that is not free: what is meant in both languages, how much is left, the margin.
func (s *space) measure(margins Margins, lacking func(whatVi, whatEn, left, margin string) error) error {
	left, err := s.look(s.dir)
	switch {
	case noRoom(err):
		return lacking("bộ mô tả tệp", "file descriptors", "0", fmt.Sprint(margins.Descriptors))
	case err != nil:
		s.log.Warn("store: what is free cannot be told", "error", err)
		return nil // Asking may fail where writing does not.
	case left.Bytes < margins.Bytes:
		return lacking("dung lượng đĩa", "disk space", humanize.IBytes(left.Bytes), humanize.IBytes(margins.Bytes))
	case left.Inodes < margins.Inodes:
		return lacking("inode", "inodes", fmt.Sprint(left.Inodes), fmt.Sprint(margins.Inodes))
	case left.Descriptors < margins.Descriptors:
		return lacking("bộ mô tả tệp", "file descriptors", fmt.Sprint(left.Descriptors), fmt.Sprint(margins.Descriptors))
	}
	return nil
}

// full is the answer when a write has met the end itself: the margin was too small, or somebody else was faster.
func (s *space) full(cause error) error {
	if !s.metEnd {
		s.log.Error("store: writes are turned away until there is room", "error", cause)
	}
	s.looked, s.metEnd = time.Time{}, true
	return store.NoSpace("dung lượng đĩa", "disk space", "0", humanize.IBytes(s.margins.Bytes))
}

// wrote notes that a write has succeeded.
func (s *space) wrote() {
	if s.metEnd {
		s.log.Info("store: there is room again, writes are taken")
		s.metEnd = false
	}
}

// Room tells what the file system of the store and the process have left, and the margins below which writes are turned away.
// What is not counted, or not known here, is the largest number.
func (e *Engine) Room() (left, margins Margins, err error) {
	left, err = free(string(e.folder))
	return left, e.options.Margins, err
}
