package embedded

import (
	"log/slog"
	"time"

	"github.com/cong1022/fieldsync/store/journal"
)

// Options are how an engine is kept. The zero value is right for a server.
type Options struct {
	// Log hears of what was recovered and of what is in the way. Nobody does by default.
	Log *slog.Logger
	// Clock dates the commits, by which a restore to a time goes. time.Now by default.
	Clock func() time.Time
	// Margins are what must be free for a write to be taken. DefaultMargins by default.
	Margins Margins
	// SegmentBytes is the size of a file of the journal. 16 MiB by default.
	SegmentBytes int64
	// CheckpointBytes is how much is written to the journal, about, before Badger is synced: so much at most is put into
	// Badger again at the next start. 64 MiB by default.
	CheckpointBytes int64
	// SnapshotBytes is how much is written to the journal, at least, before the next snapshot; and never less than the last
	// snapshot's size, so that snapshots cost no more than the writing itself. The journal behind the older of the two
	// newest snapshots is kept: that bounds it. 256 MiB by default.
	SnapshotBytes int64
	// SnapshotEvery is after how long the next snapshot is written if anything was committed since, however little: a restore
	// from a backup begins with a snapshot. Never for this reason by default.
	SnapshotEvery time.Duration
	// ReserveBytes are kept allocated in the folder, for Badger's compactions that are under way when others take the last bytes of the
	// disk, one half, and for opening the store on a full one, the other. None by default, and none where a file system cannot allocate without writing.
	ReserveBytes uint64
	// Progress hears how much of a start's, a rebuild's or a verification's work is done: bytes, or records of the journal when they are
	// put into the index; of how many, or -1. Nobody does by default.
	Progress func(done, total int64)
}

// Margins are what must be free for a write to be taken. Zero switches a guard off.
type Margins struct {
	// Bytes on the file system of the folder.
	Bytes uint64
	// Inodes of the file system. Not looked at where it does not count them.
	Inodes uint64
	// Descriptors that the process may still open.
	Descriptors uint64
}

// DefaultMargins leave Badger room for its memory tables (32 MiB each, and it maps them: writing to one without room would
// kill the process), a compaction, and a file of the journal.
func DefaultMargins() Margins { return Margins{Bytes: 512 << 20, Inodes: 1000, Descriptors: 64} }

func (o Options) withDefaults() Options {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Margins == (Margins{}) {
		o.Margins = DefaultMargins()
	}
	if o.SegmentBytes == 0 {
		o.SegmentBytes = journal.DefaultSegmentBytes
	}
	if o.CheckpointBytes == 0 {
		o.CheckpointBytes = 64 << 20
	}
	if o.SnapshotBytes == 0 {
		o.SnapshotBytes = 256 << 20
	}
	if o.Progress == nil {
		o.Progress = func(int64, int64) {}
	}
	return o
}
