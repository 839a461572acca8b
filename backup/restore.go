package backup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"filippo.io/age"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	"github.com/cong1022/fieldsync/store"
	"github.com/cong1022/fieldsync/store/embedded"
	"github.com/cong1022/fieldsync/store/journal"
)

// List returns what a target holds, by journal and first record, and the names that are none of a backup.
func List(ctx context.Context, target Target) (objects []Object, foreign []string, err error) {
	names, err := target.List(ctx, "")
	for _, name := range names {
		if o, ours := parse(name); ours {
			objects = append(objects, o)
		} else {
			foreign = append(foreign, name)
		}
	}
	return objects, foreign, err
}

// Verify reads all of a target and returns what is damaged or missing, by name. The error is for when it could not go on. A
// part that no snapshot precedes, or that does not follow on another, is a finding: no time behind the gap can be restored
// from what is before it.
func Verify(ctx context.Context, target Target, identities []age.Identity) (found []error, err error) {
	objects, foreign, err := List(ctx, target)
	if err != nil {
		return nil, err
	}
	for _, name := range foreign {
		found = append(found, fmt.Errorf("%s does not belong to a backup", name))
	}
	next := make(map[uint64]uint64) // By journal.
	for _, o := range objects {
		if o.Kind == kindSnapshot && (next[o.Journal] == 0 || o.Last+1 < next[o.Journal]) {
			next[o.Journal] = o.Last + 1
		}
	}
	for _, o := range objects {
		if err := ctx.Err(); err != nil {
			return found, err
		}
		if err := verifyObject(ctx, target, o, identities); err != nil {
			found = append(found, err)
		}
		if o.Kind != kindPart {
			continue
		}
		if expected := next[o.Journal]; expected == 0 || o.First > expected {
			if !startsAgain(objects, o) {
				found = append(found, fmt.Errorf("%s: the records from %d to %d are missing before it", o.Name, max(expected, 1), o.First-1))
			}
		}
		next[o.Journal] = max(next[o.Journal], o.Last+1)
	}
	return found, nil
}

// startsAgain: a snapshot stands where the part begins, since the journal had forgotten what was between.
func startsAgain(objects []Object, part Object) bool {
	return slices.ContainsFunc(objects, func(o Object) bool {
		return o.Kind == kindSnapshot && o.Journal == part.Journal && o.Last+1 >= part.First && o.Last <= part.Last
	})
}

func verifyObject(ctx context.Context, target Target, o Object, identities []age.Identity) error {
	return fetch(ctx, target, o, identities, func(content io.Reader) error {
		switch o.Kind {
		case kindPhoto:
			hash := sha256.New()
			if _, err := io.Copy(hash, content); err != nil {
				return err
			}
			if hex.EncodeToString(hash.Sum(nil)) != o.sum {
				return errors.New("the photo does not have its hash")
			}
			return nil
		case kindSnapshot:
			dir, err := os.MkdirTemp("", "fieldsync-backup-")
			if err != nil {
				return err
			}
			defer func() { _ = os.RemoveAll(dir) }() // The system's folder for temporary files.
			path := filepath.Join(dir, "snapshot")
			if err := save(path, content); err != nil {
				return err
			}
			end, err := journal.ReadSnapshot(path, func([]*storagev1.JournalWrite) error { return ctx.Err() })
			if err == nil && (end.GetPosition().GetJournal() != o.Journal || end.GetPosition().GetSequence() != o.Last) {
				err = errors.New("the snapshot is not the one of its name")
			}
			return err
		default:
			all, err := io.ReadAll(content)
			if err != nil {
				return err
			}
			id, first, last, err := journal.ReadSegment(o.Name, all, func(journal.Record) error { return nil })
			if err == nil && (id != o.Journal || first != o.First || last != o.Last) {
				err = errors.New("the part is not the one of its name")
			}
			return err
		}
	})
}

func save(path string, content io.Reader) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, content)
	if err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}

// RestoreOptions say what to restore.
type RestoreOptions struct {
	Target     Target
	Identities []age.Identity
	// To is the time as of which the store is wanted: all that was committed until then, as far as the backup reaches. The
	// newest where it is zero.
	To time.Time
	// Photo takes an original. Photos are left out where it is nil.
	Photo func(ctx context.Context, sha256 string, content io.Reader) error
	// Progress hears how many of how many objects were brought.
	Progress func(done, total int64)
	Log      *slog.Logger
}

// Restored is what a restore has come to.
type Restored struct {
	// Sequence is the number of the newest record that is in it, At when that was committed: the snapshot's time where it
	// is the snapshot alone.
	Sequence uint64
	At       time.Time
	Photos   int
}

// Restore makes a store in the folder dir, which must be empty or missing, from a target. The store gets another server epoch
// and begins another journal: phones and the hotline find out that it may know less than they do. Where Restore fails, dir
// is not a store, and may be removed.
func Restore(ctx context.Context, dir string, o RestoreOptions) (r Restored, err error) {
	if o.Progress == nil {
		o.Progress = func(int64, int64) {}
	}
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return r, fmt.Errorf("%s is not empty: a restore goes into a folder of its own", dir)
	}
	objects, _, err := List(ctx, o.Target)
	if err != nil {
		return r, err
	}
	snapshot, parts, err := choose(objects, o.To)
	if err != nil {
		return r, err
	}
	// The journal is put together in a folder beside, so that dir becomes a store only when it is whole.
	work := dir + ".restoring"
	if err := errors.Join(os.RemoveAll(work), os.MkdirAll(embedded.JournalFolder(work), 0o700)); err != nil {
		return r, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(work))
		}
	}()
	r = Restored{Sequence: snapshot.Last, At: snapshot.At}
	if err := fetch(ctx, o.Target, snapshot, o.Identities, func(content io.Reader) error {
		return save(journal.SnapshotPath(embedded.JournalFolder(work), snapshot.Last), content)
	}); err != nil {
		return r, err
	}
	for i, p := range parts {
		o.Progress(int64(i), int64(len(parts)))
		if err := restorePart(ctx, work, p, o, &r); err != nil {
			return r, err
		}
	}
	if len(parts) == 0 {
		first := journal.NewWriter(snapshot.Journal, snapshot.Last+1)
		if err := save(journal.SegmentPath(embedded.JournalFolder(work), snapshot.Last+1), bytes.NewReader(first.Bytes())); err != nil {
			return r, err
		}
	}
	if err := renew(ctx, work, o); err != nil {
		return r, err
	}
	if r.Photos, err = restorePhotos(ctx, objects, o); err != nil {
		return r, err
	}
	if err := os.RemoveAll(dir); err != nil { // Empty.
		return r, err
	}
	if err := os.Rename(work, dir); err != nil {
		return r, err
	}
	return r, journal.SyncDir(filepath.Dir(filepath.Clean(dir)))
}

// choose finds the newest snapshot until then and the parts of its journal that follow on it.
func choose(objects []Object, to time.Time) (snapshot Object, parts []Object, err error) {
	until := func(at time.Time) bool { return to.IsZero() || !at.After(to) }
	for _, o := range objects {
		if o.Kind == kindSnapshot && until(o.At) && (snapshot.Name == "" || o.At.After(snapshot.At)) {
			snapshot = o
		}
	}
	if snapshot.Name == "" {
		return snapshot, nil, errors.New("the backup holds no snapshot from before that time")
	}
	next := snapshot.Last + 1
	for _, o := range objects {
		if o.Kind != kindPart || o.Journal != snapshot.Journal || o.Last < next {
			continue
		}
		if o.First > next {
			if until(o.At) {
				return snapshot, nil, fmt.Errorf("the records from %d to %d are missing in the backup", next, o.First-1)
			}
			break
		}
		parts = append(parts, o)
		next = o.Last + 1
		if !until(o.At) {
			break // It holds the moment; what is behind it does not.
		}
	}
	return snapshot, parts, nil
}

var errReached = errors.New("the time is reached")

// restorePart writes the records of a part that are wanted into the journal of the store in dir.
func restorePart(ctx context.Context, dir string, p Object, o RestoreOptions, r *Restored) error {
	return fetch(ctx, o.Target, p, o.Identities, func(content io.Reader) error {
		all, err := io.ReadAll(content)
		if err != nil {
			return err
		}
		// A part may begin before the snapshot, or before where the one before it ended.
		first := max(p.First, r.Sequence+1)
		w := journal.NewWriter(p.Journal, first)
		if _, _, _, err := journal.ReadSegment(p.Name, all, func(record journal.Record) error {
			if record.Sequence < first {
				return nil
			}
			at, err := commitTime(record.Payload)
			if err != nil {
				return err
			}
			if !o.To.IsZero() && at.After(o.To) {
				return errReached
			}
			w.Add(record.Payload)
			r.Sequence, r.At = record.Sequence, at
			return nil
		}); err != nil && !errors.Is(err, errReached) {
			return err
		}
		return save(journal.SegmentPath(embedded.JournalFolder(dir), first), bytes.NewReader(w.Bytes()))
	})
}

// renew makes the index, gives the store another epoch, and begins another journal.
func renew(ctx context.Context, dir string, o RestoreOptions) error {
	engine, err := embedded.OpenWith(dir, embedded.Options{Log: o.Log})
	if err != nil {
		return err
	}
	s, err := store.Open(ctx, engine, store.Options{})
	if err != nil {
		return errors.Join(err, engine.Close())
	}
	if err := errors.Join(s.RenewEpoch(ctx), s.Close()); err != nil {
		return err
	}
	old, err := embedded.RenewJournal(dir, embedded.Options{Log: o.Log})
	if err != nil {
		return err
	}
	return os.RemoveAll(old)
}

func restorePhotos(ctx context.Context, objects []Object, o RestoreOptions) (count int, err error) {
	if o.Photo == nil {
		return 0, nil
	}
	for _, p := range objects {
		if p.Kind != kindPhoto {
			continue
		}
		if err := fetch(ctx, o.Target, p, o.Identities, func(content io.Reader) error { return o.Photo(ctx, p.sum, content) }); err != nil {
			return count, err
		}
		count++
	}
	return count, nil
}
