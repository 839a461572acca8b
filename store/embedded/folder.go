package embedded

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/gofrs/flock"
	"google.golang.org/protobuf/proto"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	"github.com/cong1022/fieldsync/store/journal"
)

// folder is where an engine lives:
//
//	lock        held by the process that has it open
//	journal/    the journal, its snapshots, and the checkpoint: the truth
//	index/      Badger: made anew from journal/ when it is missing
type folder string

func (f folder) lock() string    { return filepath.Join(string(f), "lock") }
func (f folder) journal() string { return filepath.Join(string(f), "journal") }
func (f folder) reserve() string { return filepath.Join(string(f), "reserve") }
func (f folder) index() string   { return filepath.Join(string(f), "index") }

// oldManifest is there as long as Badger, or a part of it, still lies where it did before there was a journal.
func (f folder) oldManifest() string { return filepath.Join(string(f), badger.ManifestFilename) }

// IndexError means that Badger cannot be opened or does not hold what it should. What it holds can be made anew from the
// journal: see Rebuild.
type IndexError struct{ Err error }

// Error says so.
func (e *IndexError) Error() string {
	return "the index is damaged, and can be made anew with `fieldsync rebuild`: " + e.Err.Error()
}

// Unwrap returns what is wrong.
func (e *IndexError) Unwrap() error { return e.Err }

// take makes the folder where it is missing and locks it.
func (f folder) take() (*flock.Flock, error) {
	if err := probe(string(f)); err != nil {
		return nil, err
	}
	lock := flock.New(f.lock(), flock.SetPermissions(0o600))
	held, err := lock.TryLock()
	if err != nil {
		return nil, err
	}
	if !held {
		return nil, fmt.Errorf("%w: %s", ErrInUse, f)
	}
	return lock, os.MkdirAll(f.journal(), 0o700)
}

// open opens everything in the folder, or leaves nothing open.
func (e *Engine) open() (err error) {
	if e.lock, err = e.folder.take(); err != nil {
		return err
	}
	defer func() {
		if err == nil {
			return
		}
		e.stopInspecting()
		if e.db != nil {
			err = errors.Join(err, e.db.Close())
		}
		if e.journal != nil {
			err = errors.Join(err, e.journal.Close())
		}
		err = errors.Join(err, e.lock.Unlock())
	}()
	// Opening Badger writes to its maps, which without room kills the process, at each start anew. An error is better.
	if err := e.reserve.find(); err != nil {
		return err
	}
	if err := e.roomFor(0); err != nil {
		return err
	}
	if err := e.moveOld(); err != nil {
		return err
	}
	e.journal, err = journal.Open(e.folder.journal(), e.journalOptions())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return e.begin()
	case err != nil:
		return err
	}
	if _, err := os.Stat(filepath.Join(e.folder.index(), badger.ManifestFilename)); errors.Is(err, fs.ErrNotExist) {
		e.log.Warn("store: the index is missing and is made anew from the journal")
		if err := e.rebuild(); err != nil {
			return err
		}
	}
	// A stop in good order leaves nothing to replay.
	checkpoint := e.readCheckpoint()
	if err := e.roomFor(e.bytesBehind(checkpoint)); err != nil {
		return err
	}
	if err := e.openIndex(checkpoint == e.journal.Last()); err != nil {
		return err
	}
	return e.replay(checkpoint)
}

// memoryTables are, at most about, the files of Badger's memory tables that have not become tables yet.
const memoryTables = 32 << 20

// roomFor returns why there is too little room to open the store and to put so many bytes of records into Badger: they become tables, and lie
// in the files of memory tables before. The reserve is given for it where it is needed.
func (e *Engine) roomFor(records int64) error {
	bytes := uint64(records + min(records, memoryTables)) //nolint:gosec // Sizes of files.
	if e.space.atOpen(bytes) == nil {
		return nil
	}
	if err := e.reserve.giveAll(); err != nil {
		return err
	}
	return e.space.atOpen(bytes)
}

// bytesBehind is how much the journal holds behind a record, at most.
func (e *Engine) bytesBehind(record uint64) (sum int64) {
	for _, s := range e.journal.Segments() {
		if s.Last > record {
			sum += s.Bytes
		}
	}
	return sum
}

func (e *Engine) journalOptions() journal.Options {
	return journal.Options{SegmentBytes: e.options.SegmentBytes, Log: e.log}
}

// openIndex opens Badger. The tables are looked at whole before that after a start that is not known to follow a stop in good
// order, and else later.
func (e *Engine) openIndex(inGoodOrder bool) error {
	tables, err := inspect(e.folder.index(), !inGoodOrder)
	if err != nil {
		return err
	}
	db, err := openBadger(badgerOptions(e.folder.index(), e.log))
	if err != nil {
		return &IndexError{err} // With a half-open database that must not be closed.
	}
	e.db = db
	if err := e.findMemoryTable(); err != nil {
		return err
	}
	e.versions.advance(db.MaxVersion())
	e.cache.version = e.versions.newest()
	if inGoodOrder {
		e.inspectLater(tables)
	} else {
		close(e.inspected)
	}
	return nil
}

// commitAlone commits something of the engine's own, while nothing else is going on.
func (e *Engine) commitAlone(fn func(*badger.Txn) error) error {
	txn := e.db.NewTransactionAt(math.MaxUint64, true)
	defer txn.Discard()
	if err := fn(txn); err != nil {
		return err
	}
	version := e.versions.newest() + 1
	if err := txn.CommitAt(version, nil); err != nil {
		return err
	}
	e.backMemoryTable()
	e.cache.version = version // It is empty.
	e.db.SetDiscardTs(e.versions.advance(version))
	return nil
}

// begin makes the journal of a folder that has none: it is new, or was written before there was a journal. The snapshot comes
// first: the journal is what makes the folder one with a journal.
func (e *Engine) begin() error {
	if err := e.openIndex(false); err != nil {
		return err
	}
	if position, err := readPosition(e.db); err != nil || position != nil {
		return errors.Join(err, &journal.DamageError{
			File: e.folder.journal(), Sequence: position.GetSequence(),
			Err: errors.New("the journal is missing, and the index holds its records up to here"),
		})
	}
	return e.beginJournal(1)
}

// beginJournal begins a journal with what Badger holds now.
func (e *Engine) beginJournal(first uint64) error {
	id, err := newID()
	if err != nil {
		return err
	}
	position := &storagev1.JournalPosition{Journal: id, Sequence: first - 1}
	if err := e.writeSnapshot(position); err != nil {
		return err
	}
	if err := e.writeCheckpoint(position); err != nil {
		return err
	}
	if e.journal, err = journal.Create(e.folder.journal(), id, first, e.journalOptions()); err != nil {
		return err
	}
	e.applied.Store(position.GetSequence())
	return nil
}

func newID() (uint64, error) {
	var b [8]byte
	if _, err := rand.Read(b[:]); err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint64(b[:]), nil
}

// moveOld moves a Badger that lies in the folder itself, as it did before there was a journal, to its place. The manifest goes
// last: a crash on the way leaves it, and the next start goes on.
func (e *Engine) moveOld() error {
	if _, err := os.Stat(e.folder.oldManifest()); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if _, err := os.Stat(e.folder.index()); errors.Is(err, fs.ErrNotExist) {
		// Opening it takes Badger's own lock, which an older version that still runs would hold; closing it leaves tables only.
		db, err := badger.Open(badgerOptions(string(e.folder), e.log))
		if err != nil {
			return fmt.Errorf("taking over the store of an earlier version: %w", err)
		}
		if err := db.Close(); err != nil {
			return fmt.Errorf("taking over the store of an earlier version: %w", err)
		}
	}
	if err := os.MkdirAll(e.folder.index(), 0o700); err != nil {
		return err
	}
	entries, err := os.ReadDir(string(e.folder))
	if err != nil {
		return err
	}
	for _, entry := range entries {
		name := entry.Name()
		if entry.IsDir() || name == badger.ManifestFilename || name == filepath.Base(e.folder.lock()) || strings.HasPrefix(name, ".") {
			continue
		}
		if err := os.Rename(filepath.Join(string(e.folder), name), filepath.Join(e.folder.index(), name)); err != nil {
			return err
		}
	}
	if err := journal.SyncDir(e.folder.index()); err != nil {
		return err
	}
	if err := os.Rename(e.folder.oldManifest(), filepath.Join(e.folder.index(), badger.ManifestFilename)); err != nil {
		return err
	}
	e.log.Info("store: the data of an earlier version was taken over")
	return errors.Join(journal.SyncDir(e.folder.index()), journal.SyncDir(string(e.folder)))
}

// positionKey is where Badger keeps how far it has come in the journal, in the transaction of each batch.
const positionKey = "!journal"

func setPosition(txn *badger.Txn, id, sequence uint64, sum uint32) error {
	value, err := proto.Marshal(&storagev1.JournalPosition{Journal: id, Sequence: sequence, Sum: sum})
	if err != nil {
		return err
	}
	return txn.Set([]byte(positionKey), value)
}

// readPosition returns nil where Badger has never seen a journal.
func readPosition(db *badger.DB) (position *storagev1.JournalPosition, err error) {
	err = db.View(func(txn *badger.Txn) error {
		position, err = positionIn(txn)
		return err
	})
	return position, err
}

func positionIn(txn *badger.Txn) (*storagev1.JournalPosition, error) {
	item, err := txn.Get([]byte(positionKey))
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, nil //nolint:nilnil // There is none, and that is no error.
	}
	if err != nil {
		return nil, err
	}
	position := new(storagev1.JournalPosition)
	return position, item.Value(func(value []byte) error { return proto.Unmarshal(value, position) })
}

// replay puts into Badger what it may have lost: everything behind the checkpoint, from. Badger's own position does not tell what
// it holds after a power cut, since a newer of its memory tables may have reached the disk before an older one. Putting
// a record in twice changes nothing, as long as all that follow come after it.
func (e *Engine) replay(from uint64) error {
	held, err := readPosition(e.db)
	if err != nil {
		return &IndexError{err}
	}
	last := e.journal.Last()
	switch {
	case held != nil && held.GetJournal() != e.journal.ID():
		return &IndexError{fmt.Errorf("it belongs to the journal %016x, not %016x", held.GetJournal(), e.journal.ID())}
	case held.GetSequence() > last:
		return e.endsEarly(held.GetSequence())
	case held.GetSequence() < from:
		return &IndexError{fmt.Errorf("it holds the journal up to record %d and had it up to %d", held.GetSequence(), from)}
	}
	if from == last {
		e.applied.Store(last)
		return nil
	}
	e.log.Info("store: the journal is put into the index", "from", from+1, "to", last, "index_at", held.GetSequence())
	if err := e.putBehind(from); err != nil {
		return err
	}
	return e.checkpoint()
}

// putBehind puts the records behind from into Badger. All are read before the first is put there: what is older than what Badger holds
// would stay in the place of the newer if a damaged record ended it in between, and a journal that is begun anew from that index would
// have it for true.
func (e *Engine) putBehind(from uint64) error {
	held, err := readPosition(e.db)
	if err != nil {
		return &IndexError{err}
	}
	for record, err := range e.journal.Records(from + 1) {
		if err == nil {
			err = e.follows(record, held)
		}
		if err != nil {
			return err
		}
	}
	last := e.journal.Last()
	for record, err := range e.journal.Records(from + 1) {
		if err != nil {
			return err
		}
		if err := e.applyRecord(record); err != nil {
			return err
		}
		e.options.Progress(int64(record.Sequence-from), int64(last-from)) //nolint:gosec // Differences of counts.
	}
	e.applied.Store(last)
	return nil
}

// follows returns a *journal.DamageError for a record that is not the one that the index holds, or does not come behind that one: the index,
// or the snapshot that it was made of, is that of another copy of this folder.
func (e *Engine) follows(record journal.Record, held *storagev1.JournalPosition) error {
	sum := held.GetSum()
	if sum == 0 || record.Sequence < held.GetSequence() || record.Sequence > held.GetSequence()+1 {
		return nil
	}
	got := journal.Sum(record.Payload)
	if record.Sequence > held.GetSequence() {
		batch := new(storagev1.JournalBatch)
		if err := proto.Unmarshal(record.Payload, batch); err != nil {
			return &journal.DamageError{File: e.folder.journal(), Sequence: record.Sequence, Err: err}
		}
		if got = batch.GetAfter(); got == 0 { // Of an earlier version.
			return nil
		}
	}
	if got == sum {
		return nil
	}
	return &journal.DamageError{File: e.folder.journal(), Sequence: record.Sequence, Err: errors.New(
		"the record does not go on from what the index or the snapshot holds: one of the two comes from another copy of this folder")}
}

// endsEarly is for a journal that ends before what the index holds.
func (e *Engine) endsEarly(held uint64) error {
	segments := e.journal.Segments()
	newest := segments[len(segments)-1]
	return &journal.DamageError{File: newest.Path, Offset: newest.Bytes, Sequence: newest.Last + 1, Err: fmt.Errorf(
		"the journal ends here, and the index holds records up to %d", held)}
}

// applyRecord puts a record of the journal into Badger.
func (e *Engine) applyRecord(record journal.Record) error {
	batch := new(storagev1.JournalBatch)
	if err := proto.Unmarshal(record.Payload, batch); err != nil {
		return &journal.DamageError{File: e.folder.journal(), Sequence: record.Sequence, Err: err}
	}
	return e.commitAlone(func(txn *badger.Txn) error {
		for _, w := range batch.GetWrites() {
			var err error
			if w.Value == nil { // Absent is not empty.
				err = txn.Delete(w.GetKey())
			} else {
				err = txn.Set(w.GetKey(), w.GetValue())
			}
			if err != nil {
				return err
			}
		}
		return setPosition(txn, e.journal.ID(), record.Sequence, journal.Sum(record.Payload))
	})
}

const (
	// closePatience is how long Badger gets to write what it has in memory, and afterFailure how long when a commit has failed: then the
	// disk takes nothing, most likely.
	closePatience = time.Minute
	afterFailure  = 3 * time.Second
)

// closeIndex closes Badger, which tries for ever to write its memory tables where it cannot make a file, as on a disk without inodes or one that
// is read-only now. Nothing is lost by leaving it: the journal has all of it, and the next start puts it there again.
func (e *Engine) closeIndex() error {
	patience := e.patience
	if e.hasFailed() {
		patience = min(patience, afterFailure)
	}
	closed := make(chan error, 1)
	go func() { closed <- e.db.Close() }()
	select {
	case err := <-closed:
		return err
	case <-time.After(patience):
		return fmt.Errorf("the index could not be closed within %v: the next start mends that from the journal", patience)
	}
}

// release closes everything. What Badger held when it was closed in good order needs no replay.
func (e *Engine) release() error {
	e.stopInspecting()
	err := e.closeIndex()
	select {
	case <-e.failed:
	default:
		if err == nil {
			err = e.writeCheckpoint(&storagev1.JournalPosition{Journal: e.journal.ID(), Sequence: e.applied.Load()})
		}
	}
	return errors.Join(err, e.journal.Close(), e.lock.Unlock())
}
