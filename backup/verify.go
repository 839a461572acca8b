package backup

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"filippo.io/age"
	"google.golang.org/protobuf/proto"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	"github.com/cong1022/fieldsync/store/journal"
)

// Verify reads all of a target and returns what is damaged or missing, by name. The error is for when it could not go on. A
// part that no snapshot precedes, or that does not follow on another, is a finding: no time behind the gap can be restored
// from what is before it.
func Verify(ctx context.Context, target Target, identities []age.Identity, progress func(done, total int64)) (found []error, err error) {
	objects, foreign, err := List(ctx, target)
	if err != nil {
		return nil, err
	}
	for _, name := range foreign {
		found = append(found, errForeign(name))
	}
	if len(objects) == 0 {
		found = append(found, ErrEmpty()) // A mistyped address is one, too.
	}
	if err := Mixed(objects); err != nil {
		found = append(found, err)
	}
	next, chains := make(map[uint64]uint64), make(map[uint64]*chain) // By journal.
	for _, o := range objects {
		if o.Kind == kindSnapshot && (next[o.Journal] == 0 || o.Last+1 < next[o.Journal]) {
			next[o.Journal] = o.Last + 1
		}
	}
	for i, o := range objects {
		if err := ctx.Err(); err != nil {
			return found, err
		}
		if progress != nil {
			progress(int64(i), int64(len(objects)))
		}
		if chains[o.Journal] == nil {
			chains[o.Journal] = new(chain)
		}
		if err := verifyObject(ctx, target, o, identities, chains[o.Journal]); err != nil {
			found = append(found, err)
		}
		if o.Kind != kindPart {
			continue
		}
		if expected := next[o.Journal]; expected == 0 || o.First > expected {
			switch {
			case startsAgain(objects, o):
			case expected == 0:
				found = append(found, errNoSnapshot(o.Name))
			default:
				found = append(found, errMissingBefore(o.Name, expected, o.First-1))
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

func verifyObject(ctx context.Context, target Target, o Object, identities []age.Identity, before *chain) error {
	err := fetch(ctx, target, o, identities, func(content io.Reader) error {
		switch o.Kind {
		case kindPhoto:
			_, err := readPhoto(o, content)
			return err
		case kindWriter:
			_, err := io.Copy(io.Discard, content)
			return err
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
				err = errMisnamed
			}
			return err
		default:
			all, err := io.ReadAll(content)
			if err != nil {
				return err
			}
			id, first, last, err := journal.ReadSegment(o.Name, all, func(record journal.Record) error {
				batch := new(storagev1.JournalBatch)
				if err := proto.Unmarshal(record.Payload, batch); err != nil {
					return err
				}
				return before.follow(record, batch.GetAfter())
			})
			if err == nil && (id != o.Journal || first != o.First || last != o.Last) {
				err = errMisnamed
			}
			return err
		}
	})
	if errors.Is(err, errMixed) {
		return errPartMixed(o.Name, time.Time{})
	}
	if _, damaged := errors.AsType[*journal.DamageError](err); damaged || errors.Is(err, errMisnamed) {
		return errDamaged(o.Name, err)
	}
	return err
}
