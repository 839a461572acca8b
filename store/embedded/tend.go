package embedded

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/dgraph-io/badger/v4"
	"google.golang.org/protobuf/proto"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	"github.com/cong1022/fieldsync/store"
	"github.com/cong1022/fieldsync/store/journal"
)

// The checkpoint says up to which record of the journal Badger is known to be on the disk. It is a journal of one record, so
// that it is checked like everything else; damaged or missing it only makes a start slower.
const checkpointFile = "checkpoint"

// tendFiles runs beside the writer: checkpoints, snapshots, and the end of what they make superfluous. What fails is tried
// again after the next commits; nothing acknowledged depends on it.
func (e *Engine) tendFiles() {
	defer close(e.tended)
	checkpointAt, snapshotAt := e.written(), e.sinceSnapshot()
	for range e.tend {
		written := e.written()
		if written-checkpointAt >= e.options.CheckpointBytes {
			if err := e.checkpoint(); err != nil {
				e.log.Error("store: syncing the index", "error", err)
			}
			checkpointAt = written
		}
		if due := written-snapshotAt >= e.snapshotDue() || written > snapshotAt && e.snapshotOld(); due && e.isInspected() {
			if err := e.Snapshot(); err != nil {
				e.log.Error("store: writing a snapshot", "error", err)
			}
			snapshotAt = written
		}
	}
}

func (e *Engine) isInspected() bool {
	select {
	case <-e.inspected:
		return true
	default:
		return false
	}
}

// written counts the bytes that the journal has come to, those of forgotten files included as far as it matters here: it never
// falls while nothing is forgotten, and tendFiles alone forgets.
func (e *Engine) written() int64 {
	var sum int64
	for _, s := range e.journal.Segments() {
		sum += s.Bytes
	}
	return sum + e.forgotten.Load()
}

// sinceSnapshot is where the journal stood, about, at the newest snapshot.
func (e *Engine) sinceSnapshot() int64 {
	snapshots, err := journal.Snapshots(e.folder.journal())
	if err != nil || len(snapshots) == 0 {
		return 0
	}
	var before int64
	for _, s := range e.journal.Segments() {
		if s.Last <= snapshots[len(snapshots)-1].Position {
			before += s.Bytes
		}
	}
	return before
}

func (e *Engine) snapshotDue() int64 {
	snapshots, err := journal.Snapshots(e.folder.journal())
	if err != nil || len(snapshots) == 0 {
		return e.options.SnapshotBytes
	}
	return max(e.options.SnapshotBytes, snapshots[len(snapshots)-1].Bytes)
}

// snapshotOld tells whether the newest snapshot is from so long ago that there should be another one.
func (e *Engine) snapshotOld() bool {
	if e.options.SnapshotEvery == 0 {
		return false
	}
	snapshots, err := journal.Snapshots(e.folder.journal())
	if err != nil || len(snapshots) == 0 {
		return false
	}
	info, err := os.Stat(snapshots[len(snapshots)-1].Path)
	return err == nil && e.options.Clock().Sub(info.ModTime()) >= e.options.SnapshotEvery
}

// checkpoint has all that Badger holds on the disk, and notes it.
func (e *Engine) checkpoint() error {
	e.checkpointing.Lock()
	defer e.checkpointing.Unlock()
	position := &storagev1.JournalPosition{Journal: e.journal.ID(), Sequence: e.applied.Load()}
	if err := e.db.Sync(); err != nil {
		return err
	}
	// Badger syncs only the memory table that it writes to. Those that wait to become tables are files too.
	tables, err := filepath.Glob(filepath.Join(e.folder.index(), "*.mem"))
	if err != nil {
		return err
	}
	for _, path := range tables {
		if err := syncFile(path); err != nil && !errors.Is(err, fs.ErrNotExist) { // Gone: it has become a table, which was synced.
			return err
		}
	}
	if err := journal.SyncDir(e.folder.index()); err != nil {
		return err
	}
	return e.writeCheckpoint(position)
}

func syncFile(path string) error {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(file.Sync(), file.Close())
}

func (e *Engine) writeCheckpoint(position *storagev1.JournalPosition) error {
	payload, err := proto.Marshal(position)
	if err != nil {
		return err
	}
	return journal.WriteNote(filepath.Join(e.folder.journal(), checkpointFile), position.GetJournal(), payload)
}

// readCheckpoint returns the number of the record behind which replaying begins.
func (e *Engine) readCheckpoint() uint64 {
	position := new(storagev1.JournalPosition)
	payload, err := journal.ReadNote(filepath.Join(e.folder.journal(), checkpointFile), e.journal.ID())
	if err == nil {
		err = proto.Unmarshal(payload, position)
	}
	if err != nil || position.GetJournal() != e.journal.ID() || position.GetSequence()+1 < e.journal.First() {
		e.log.Warn("store: the checkpoint cannot be used, so all of the journal is put into the index", "error", err)
		return e.journal.First() - 1
	}
	return position.GetSequence()
}

// Snapshot writes all that is committed into a new snapshot, and removes the snapshots and the part of the journal that it
// makes superfluous: the two newest snapshots stay, with the journal behind the older one. One at a time. It waits until the
// index is known to be whole.
func (e *Engine) Snapshot() error {
	select {
	case <-e.inspected:
	case <-e.failed:
		return errStopped
	case <-e.closing:
		return store.ErrClosed
	}
	e.snapshotting.Lock()
	defer e.snapshotting.Unlock()
	if err := e.writeSnapshot(nil); err != nil {
		return err
	}
	snapshots, err := journal.Snapshots(e.folder.journal())
	if err != nil || len(snapshots) <= 2 {
		return err
	}
	for _, s := range snapshots[:len(snapshots)-2] {
		if err := os.Remove(s.Path); err != nil {
			return err
		}
	}
	before := e.written()
	// Badger may need what is behind the checkpoint, which is never older than a snapshot: it was synced for it.
	if err := e.journal.Forget(snapshots[len(snapshots)-2].Position); err != nil {
		return err
	}
	e.forgotten.Add(before - e.written())
	return nil
}

// writeSnapshot writes what Badger holds. Its place in the journal is Badger's own, unless it is given.
func (e *Engine) writeSnapshot(position *storagev1.JournalPosition) error {
	s := e.snapshotAt(e.versions.begin())
	defer s.end()
	if position == nil {
		var err error
		if position, err = positionIn(s.txn); err != nil {
			return err
		}
		if position == nil {
			position = &storagev1.JournalPosition{Journal: e.journal.ID()}
		}
		if err := e.checkpoint(); err != nil {
			return err
		}
	}
	var failure error
	info, err := journal.WriteSnapshot(e.folder.journal(), position, e.options.Clock(), func(yield func([]byte, []byte) bool) {
		var done, told int64
		failure = everyPair(s.txn, func(key, value []byte) bool {
			if done += int64(len(key) + len(value)); done-told >= 1<<20 {
				e.options.Progress(done, -1)
				told = done
			}
			return yield(key, value)
		})
	}, func() error { return failure })
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	e.log.Info("store: a snapshot was written", "record", position.GetSequence(), "bytes", info.Bytes)
	return nil
}

// everyPair yields what belongs to the store's users, in the order of the keys.
func everyPair(txn *badger.Txn, yield func(key, value []byte) bool) error {
	it := txn.NewIterator(badger.DefaultIteratorOptions)
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		item := it.Item()
		if item.Key()[0] == '!' {
			continue
		}
		value, err := item.ValueCopy(nil)
		if err != nil {
			return err
		}
		if !yield(item.KeyCopy(nil), value) {
			return nil
		}
	}
	return nil
}
