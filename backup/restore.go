package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"filippo.io/age"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/store"
	"github.com/cong1022/fieldsync/store/embedded"
	"github.com/cong1022/fieldsync/store/journal"
)

const (
	// fetching is how many objects are on their way at a time: a day of parts of a second each are tens of thousands.
	fetching = 16
	// workSuffix ends the name of the folder in which a store is put together.
	workSuffix = ".restoring"
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

// RestoreOptions say what to restore.
type RestoreOptions struct {
	Target     Target
	Identities []age.Identity
	// To is the time as of which the store is wanted: all that was committed until then, as far as the backup reaches. The
	// newest where it is zero.
	To time.Time
	// Journal is whose history is wanted where several servers have shipped into the target at the same time. 0: that is refused.
	Journal uint64
	// Photo takes an original. Photos are left out where it is nil.
	Photo func(ctx context.Context, sha256 string, content io.Reader) error
	// Progress hears how much was brought: a snapshot, parts of the journal, the index that is made of them, photos.
	Progress Progress
	Log      *slog.Logger
}

// Restored is what a restore has come to.
type Restored struct {
	// Sequence is the number of the newest record that is in it, At when that was committed: the snapshot's time where it
	// is the snapshot alone.
	Sequence uint64
	At       time.Time
	Photos   int
	// Damaged are the photos that could not be brought. The rest is restored.
	Damaged []error
}

// Restore makes a store in the folder dir, which must be empty or missing, from a target. The store gets another server epoch
// and begins another journal: phones and the hotline find out that it may know less than they do. Where Restore fails, or ctx
// ends, dir is as it was, and the folder beside it in which the store was put together is gone.
//
// Faults: Precondition "restore_folder_in_use", "backup_identity_needed", "backup_identity_wrong", NotFound "backup_empty",
// "backup_time_unknown", DataLoss "backup_gap", "backup_object_damaged", Precondition "backup_histories" where several servers have shipped
// into the target at the same time and Journal does not say whose history is wanted.
func Restore(ctx context.Context, dir string, o RestoreOptions) (r Restored, err error) {
	if o.Progress == nil {
		o.Progress = func(Step, int64, int64) {}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	switch entries, err := os.ReadDir(dir); {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return r, err
	case len(entries) > 0:
		return r, errFolderInUse(dir)
	}
	objects, _, err := List(ctx, o.Target)
	if err != nil {
		return r, err
	}
	snapshot, parts, err := choose(objects, o.To, o.Journal)
	if err != nil {
		return r, err
	}
	// The store is put together in a folder beside, so that dir becomes a store only when it is whole.
	work := filepath.Clean(dir) + workSuffix
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
		return save(journal.SnapshotPath(embedded.JournalFolder(work), snapshot.Last), &telling{Reader: content, total: -1, told: o.Progress})
	}); err != nil {
		return r, err
	}
	if err := restoreParts(ctx, work, snapshot, parts, o, &r); err != nil {
		return r, err
	}
	if err := renew(ctx, work, r.At, objects, o); err != nil {
		if _, damaged := errors.AsType[*journal.DamageError](err); damaged { // Each part was read: it is the snapshot.
			return r, errDamaged(snapshot.Name, err)
		}
		return r, err
	}
	if err := restorePhotos(ctx, objects, o, &r); err != nil {
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

// choose finds the newest snapshot until then and the parts of its journal that follow on it. Where others have written into the target
// since that journal began, somebody must say which is meant: its id, or 0.
func choose(objects []Object, to time.Time, id uint64) (snapshot Object, parts []Object, err error) {
	if id != 0 {
		objects = slices.DeleteFunc(slices.Clone(objects), func(o Object) bool { return o.Journal != id })
	}
	until := func(at time.Time) bool { return to.IsZero() || !at.After(to) }
	var first time.Time
	for _, o := range objects {
		if o.Kind != kindSnapshot {
			continue
		}
		if first.IsZero() || o.At.Before(first) {
			first = o.At
		}
		if until(o.At) && (snapshot.Name == "" || o.At.After(snapshot.At)) {
			snapshot = o
		}
	}
	switch {
	case first.IsZero():
		return snapshot, nil, ErrEmpty()
	case snapshot.Name == "":
		return snapshot, nil, errTooEarly(first)
	}
	if beside := besideEachOther(spansOf(objects, to)); slices.ContainsFunc(beside, func(s span) bool { return s.Journal == snapshot.Journal }) {
		return snapshot, nil, errHistories(beside)
	}
	next, reached := snapshot.Last+1, snapshot.At
	for _, o := range objects {
		if o.Kind != kindPart || o.Journal != snapshot.Journal || o.Last < next {
			continue
		}
		if o.First > next {
			if until(o.At) || to.After(reached) { // When the missing ones were committed is not known.
				return snapshot, nil, errGap(next, o.First-1, reached)
			}
			break
		}
		parts = append(parts, o)
		next, reached = o.Last+1, o.At
		if !until(o.At) {
			break // It holds the moment; what is behind it does not.
		}
	}
	return snapshot, parts, nil
}

// restoreParts writes the records of the parts that are wanted into the journal of the store in dir. Parts come several at a time
// and are taken in their order.
func restoreParts(ctx context.Context, dir string, snapshot Object, parts []Object, o RestoreOptions, r *Restored) error {
	group, ctx := errgroup.WithContext(ctx)
	coming := make(chan chan []byte, fetching) // Bounds what is on its way, and what waits in memory.
	group.Go(func() error {
		defer close(coming)
		for _, p := range parts {
			content := make(chan []byte, 1)
			select {
			case coming <- content:
			case <-ctx.Done():
				return ctx.Err()
			}
			group.Go(func() error {
				return fetch(ctx, o.Target, p, o.Identities, func(reader io.Reader) error {
					all, err := io.ReadAll(reader)
					if err == nil {
						content <- all
					}
					return err
				})
			})
		}
		return nil
	})
	group.Go(func() error {
		j := joiner{dir: embedded.JournalFolder(dir), journal: snapshot.Journal, to: o.To, restored: r, chain: chain{last: snapshot.Last}}
		j.begin()
		done := 0
		for content := range coming {
			select {
			case all := <-content:
				if err := j.add(parts[done].Name, all); err != nil {
					return err
				}
			case <-ctx.Done():
				return ctx.Err()
			}
			done++
			o.Progress(StepJournal, int64(done), int64(len(parts)))
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return j.flush()
	})
	return group.Wait()
}

// joiner makes segments of a journal out of parts.
type joiner struct {
	dir      string
	journal  uint64
	to       time.Time
	restored *Restored
	chain    chain

	writer  *journal.Writer
	first   uint64
	reached bool
}

func (j *joiner) begin() {
	j.first = j.restored.Sequence + 1
	j.writer = journal.NewWriter(j.journal, j.first)
}

// add takes the records of a part that are wanted: it may begin before the snapshot, or before where the one before it ended, and
// go on behind the moment that is wanted.
func (j *joiner) add(name string, content []byte) error {
	id, _, _, err := journal.ReadSegment(name, content, func(record journal.Record) error {
		if record.Sequence < j.restored.Sequence || j.reached {
			return nil
		}
		if record.Sequence > j.restored.Sequence+1 {
			return errMisnamed // The name has promised the records before.
		}
		batch := new(storagev1.JournalBatch)
		if err := proto.Unmarshal(record.Payload, batch); err != nil {
			return err
		}
		at := batch.GetAt().AsTime()
		if !j.to.IsZero() && at.After(j.to) {
			j.reached = true
			return nil
		}
		if err := j.chain.follow(record, batch.GetAfter()); err != nil || record.Sequence == j.restored.Sequence {
			return err
		}
		j.writer.Add(record.Payload)
		j.restored.Sequence, j.restored.At = record.Sequence, at
		return nil
	})
	if err == nil && id != j.journal {
		err = errMisnamed
	}
	switch {
	case errors.Is(err, errMixed):
		return errPartMixed(name, j.restored.At)
	case err != nil:
		return errDamaged(name, err)
	}
	if len(j.writer.Bytes()) < partBytes {
		return nil
	}
	if err := j.flush(); err != nil {
		return err
	}
	j.begin()
	return nil
}

// flush writes what has come together. The last segment may be one without records: a journal has at least one.
func (j *joiner) flush() error {
	return save(journal.SegmentPath(j.dir, j.first), bytes.NewReader(j.writer.Bytes()))
}

// renew makes the index, gives the store another epoch, and begins another journal, which may go on shipping in the place of all that have
// shipped into the target. kept is when the newest record was committed.
func renew(ctx context.Context, dir string, kept time.Time, objects []Object, o RestoreOptions) error {
	options := embedded.Options{Log: o.Log, Progress: func(done, total int64) { o.Progress(StepIndex, done, total) }}
	engine, err := embedded.OpenWith(dir, options)
	if err != nil {
		return err
	}
	s, err := store.Open(ctx, engine, store.Options{})
	if err != nil {
		return errors.Join(err, engine.Close())
	}
	if err := errors.Join(s.RenewEpoch(ctx, kept), s.Close()); err != nil {
		return err
	}
	old, err := embedded.RenewJournal(dir, options, journals(objects)...)
	if err != nil {
		return err
	}
	return os.RemoveAll(old)
}

// journals are those that have shipped into a target.
func journals(objects []Object) (ids []uint64) {
	for _, o := range objects {
		if o.Kind != kindPhoto && !slices.Contains(ids, o.Journal) {
			ids = append(ids, o.Journal)
		}
	}
	return ids
}

// restorePhotos brings the photos. One that is damaged does not hold up the others.
func restorePhotos(ctx context.Context, objects []Object, o RestoreOptions, r *Restored) error {
	if o.Photo == nil {
		return nil
	}
	var all []Object
	for _, p := range objects {
		if p.Kind == kindPhoto {
			all = append(all, p)
		}
	}
	for i, p := range all {
		o.Progress(StepPhotos, int64(i), int64(len(all)))
		err := fetch(ctx, o.Target, p, o.Identities, func(content io.Reader) error {
			photo, err := readPhoto(p, content)
			if err != nil {
				return err
			}
			return o.Photo(ctx, p.sum, bytes.NewReader(photo))
		})
		var f *fault.Error
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.As(err, &f) && f.Code == "backup_object_damaged":
			r.Damaged = append(r.Damaged, err)
		case err != nil:
			return err
		default:
			r.Photos++
		}
	}
	o.Progress(StepPhotos, int64(len(all)), int64(len(all)))
	return nil
}

// FetchPhoto gives one photo of a backup to take, whole, by its SHA-256 in hexadecimal digits. NotFound "backup_photo_unknown" where it has none of that name.
func FetchPhoto(ctx context.Context, target Target, sha256 string, identities []age.Identity, take func(content []byte) error) error {
	names, err := target.List(ctx, kindPhoto+"/"+sha256)
	if err != nil {
		return err
	}
	for _, name := range names {
		o, ours := parse(name)
		if !ours {
			continue
		}
		return fetch(ctx, target, o, identities, func(content io.Reader) error {
			photo, err := readPhoto(o, content)
			if err != nil {
				return err
			}
			return take(photo)
		})
	}
	return errPhotoUnknown(sha256)
}

// save writes a file of its own, durably.
func save(path string, content io.Reader) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, content)
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}
