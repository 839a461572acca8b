package embedded

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"github.com/dgraph-io/badger/v4"
	"google.golang.org/protobuf/proto"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	"github.com/cong1022/fieldsync/store/journal"
)

// rebuild makes Badger anew, beside the old one and then in its place, from the newest snapshot that is whole. The journal
// behind the snapshot is left to replay, which begins there. A *journal.DamageError where the journal ends before what Badger
// had: it would be gone from both.
func (e *Engine) rebuild() error {
	if held := e.held(); held > e.journal.Last() {
		return e.endsEarly(held)
	}
	if had := e.readCheckpoint(); had > e.journal.Last() {
		return e.endsBeforeCheckpoint(had)
	}
	fresh := e.folder.index() + ".new"
	if err := os.RemoveAll(fresh); err != nil {
		return err
	}
	position, err := e.load(fresh)
	if err != nil {
		return err
	}
	// From here on the old one is worth nothing: a start finds none and comes back here.
	if err := os.RemoveAll(e.folder.index()); err != nil {
		return err
	}
	// The checkpoint says what the old one held.
	if err := e.writeCheckpoint(position); err != nil {
		return err
	}
	if err := os.Rename(fresh, e.folder.index()); err != nil {
		return err
	}
	return journal.SyncDir(string(e.folder))
}

// held is up to which record of the journal the index is, 0 where that cannot be read: there is none, or it is damaged.
func (e *Engine) held() uint64 {
	if tables, err := inspect(e.folder.index(), false); err != nil || tables == nil {
		return 0
	}
	// Nothing of it may change, and no compaction meet what is damaged.
	db, err := openBadger(badgerOptions(e.folder.index(), slog.New(slog.DiscardHandler)).WithReadOnly(true))
	if err != nil {
		return 0
	}
	defer func() { _ = db.Close() }() // It was only read.
	position, err := readPosition(db)
	if err != nil || position.GetJournal() != e.journal.ID() {
		return 0
	}
	return position.GetSequence()
}

// endsBeforeCheckpoint is for a journal that ends before what an index that is not there any more, or cannot be read, had of it.
func (e *Engine) endsBeforeCheckpoint(had uint64) error {
	segments := e.journal.Segments()
	newest := segments[len(segments)-1]
	return &journal.DamageError{File: newest.Path, Offset: newest.Bytes, Sequence: newest.Last + 1, Err: fmt.Errorf(
		"the journal ends here and had records up to %d, and no index holds them: restore from the backup (`fieldsync restore`); where there is none, "+
			"what is left can be had without %s", had, filepath.Join(e.folder.journal(), checkpointFile))}
}

// load makes a Badger in dir with the newest snapshot that is whole and has its journal behind it.
func (e *Engine) load(dir string) (*storagev1.JournalPosition, error) {
	snapshots, err := journal.Snapshots(e.folder.journal())
	if err != nil {
		return nil, err
	}
	damage := errors.New("there is no snapshot")
	for _, s := range slices.Backward(snapshots) {
		if s.Position+1 < e.journal.First() || s.Position > e.journal.Last() {
			damage = fmt.Errorf("%s and the journal do not meet", s.Path)
			continue
		}
		if err := e.roomFor(s.Bytes + e.bytesBehind(s.Position)); err != nil {
			return nil, err
		}
		end, err := e.loadSnapshot(dir, s)
		if err == nil {
			return end.GetPosition(), nil
		}
		e.log.Error("store: a snapshot cannot be used, the one before it may do", "error", err)
		damage = err
		if err := os.RemoveAll(dir); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("the index cannot be made anew: %w", damage)
}

func (e *Engine) loadSnapshot(dir string, s journal.SnapshotInfo) (_ *storagev1.SnapshotEnd, err error) {
	db, err := openBadger(badgerOptions(dir, e.log))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }() // Which has all of it in synced tables.
	batch := db.NewWriteBatchAt(1)
	defer batch.Cancel()
	var done int64
	end, err := journal.ReadSnapshot(s.Path, func(writes []*storagev1.JournalWrite) error {
		for _, w := range writes {
			if err := batch.Set(w.GetKey(), w.GetValue()); err != nil {
				return err
			}
			done += int64(len(w.GetKey()) + len(w.GetValue()))
		}
		e.options.Progress(min(done, s.Bytes), s.Bytes)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if end.GetPosition().GetJournal() != e.journal.ID() {
		return nil, &journal.DamageError{File: s.Path, Err: errors.New("the snapshot belongs to another journal")}
	}
	if at := end.GetPosition().GetSequence(); at != s.Position {
		return nil, &journal.DamageError{File: s.Path, Err: fmt.Errorf("the snapshot is of record %d, which is not what its name says", at)}
	}
	if err := batch.Flush(); err != nil {
		return nil, err
	}
	txn := db.NewTransactionAt(1, true)
	defer txn.Discard()
	if err := setPosition(txn, e.journal.ID(), end.GetPosition().GetSequence(), end.GetPosition().GetSum()); err != nil {
		return nil, err
	}
	return end, txn.CommitAt(1, nil)
}

// Rebuild makes the index of the store in dir anew from snapshot and journal. The store must not be open. What Badger held
// and the journal does not hold is gone; there is nothing of the kind unless the journal was damaged.
func Rebuild(dir string, o Options) error {
	e := newEngine(dir, o)
	var err error
	if e.lock, err = e.folder.take(); err != nil {
		return fmt.Errorf("rebuilding the store in %s: %w", dir, err)
	}
	if err = e.reserve.find(); err == nil {
		e.journal, err = journal.Open(e.folder.journal(), e.journalOptions())
	}
	if err != nil {
		return errors.Join(fmt.Errorf("rebuilding the store in %s: %w", dir, err), e.lock.Unlock())
	}
	err = e.rebuild()
	if err == nil {
		err = e.openIndex(false)
	}
	if err == nil {
		err = e.replay(e.readCheckpoint())
	}
	if e.db != nil {
		err = errors.Join(err, e.db.Close())
	}
	if err == nil {
		err = e.writeCheckpoint(&storagev1.JournalPosition{Journal: e.journal.ID(), Sequence: e.applied.Load()})
	}
	return errors.Join(err, e.journal.Close(), e.lock.Unlock())
}

// RenewJournal begins a new journal from what the index of the store in dir holds. It is for a journal that is damaged beside
// an index that is not; the old journal's files are kept beside it, in a folder whose path is returned. The store must not
// be open. before are other journals in whose place the new one comes. An *IndexError where the index is missing or holds less than it
// did: then the journal is all that there is.
func RenewJournal(dir string, o Options, before ...uint64) (kept string, err error) {
	e := newEngine(dir, o)
	if e.lock, err = e.folder.take(); err != nil {
		return "", fmt.Errorf("renewing the journal in %s: %w", dir, err)
	}
	defer func() { err = errors.Join(err, e.lock.Unlock()) }()
	if _, err := os.Stat(filepath.Join(e.folder.index(), badger.ManifestFilename)); err != nil {
		return "", &IndexError{err} // Opening would make an empty one.
	}
	if err := e.openIndex(false); err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, e.db.Close()) }()
	position, err := e.catchUp()
	if err != nil {
		return "", err
	}
	kept = fmt.Sprintf("%s.damaged-%s", e.folder.journal(), e.options.Clock().UTC().Format("20060102T150405"))
	if err := os.Rename(e.folder.journal(), kept); err != nil {
		return "", err
	}
	if err := os.Mkdir(e.folder.journal(), 0o700); err != nil {
		return "", err
	}
	if err := e.beginJournal(position.GetSequence() + 1); err != nil {
		return "", err
	}
	if err := e.noteBefore(kept, append(before, position.GetJournal())); err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, e.journal.Close()) }()
	if err := e.commitAlone(func(txn *badger.Txn) error {
		return setPosition(txn, e.journal.ID(), position.GetSequence(), 0)
	}); err != nil {
		return "", err
	}
	return kept, nil
}

// beforeFile is where in the journal's folder it says which journals it went on from.
const beforeFile = "before"

// noteBefore notes what the journal goes on from: the last of ids, whose files are in kept, what that went on from, and the other ids.
func (e *Engine) noteBefore(kept string, ids []uint64) error {
	before := readBefore(kept, ids[len(ids)-1])
	before.Journals = append(before.Journals, ids...)
	payload, err := proto.Marshal(before)
	if err != nil {
		return err
	}
	return journal.WriteNote(filepath.Join(e.folder.journal(), beforeFile), e.journal.ID(), payload)
}

// Before returns the ids of the journals that this store's went on from, the oldest first. None where the note is lost: a backup asks
// for it once, after the journal was begun.
func (e *Engine) Before() []uint64 {
	return readBefore(e.folder.journal(), e.journal.ID()).GetJournals()
}

func readBefore(dir string, id uint64) *storagev1.JournalsBefore {
	before := new(storagev1.JournalsBefore)
	payload, err := journal.ReadNote(filepath.Join(dir, beforeFile), id)
	if err != nil || proto.Unmarshal(payload, before) != nil {
		return new(storagev1.JournalsBefore)
	}
	return before
}

// catchUp puts into Badger what a journal that can be opened holds behind it, and returns where Badger is then.
func (e *Engine) catchUp() (held *storagev1.JournalPosition, err error) {
	held, err = readPosition(e.db)
	if err != nil {
		return nil, &IndexError{err}
	}
	files, err := filepath.Glob(filepath.Join(e.folder.journal(), "*"))
	if err == nil && held == nil && len(files) > 0 {
		err = &IndexError{errors.New("it does not say up to which record of the journal it is")}
	}
	if err != nil {
		return nil, err
	}
	if e.journal, err = journal.Open(e.folder.journal(), e.journalOptions()); err != nil {
		e.log.Warn("store: the old journal cannot be read, and the new one begins with what the index holds", "record", held.GetSequence(), "error", err)
		return held, nil
	}
	defer func() { err = errors.Join(err, e.journal.Close()) }()
	switch had := e.readCheckpoint(); {
	case held.GetJournal() != e.journal.ID(): // A journal of another store, in the place of this one's.
		return held, nil
	case held.GetSequence() < had:
		return nil, &IndexError{fmt.Errorf("it holds the journal up to record %d and had it up to %d", held.GetSequence(), had)}
	case held.GetSequence() >= e.journal.Last():
		return held, nil
	}
	if err := e.putBehind(held.GetSequence()); err != nil {
		return nil, err
	}
	return readPosition(e.db)
}
