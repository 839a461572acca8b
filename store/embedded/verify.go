package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	"github.com/cong1022/fieldsync/store/journal"
)

// Verify reads the journal, the snapshots and the index to their ends, beside writes, and returns everything that is damaged,
// by file and place: checksums, numbers without gaps, and whether the index holds exactly what snapshot and journal come to.
// The error is for when it could not go on. Memory grows with the keys that the journal holds.
func (e *Engine) Verify(ctx context.Context) (found []error, err error) {
	if err := e.enter(); err != nil {
		return nil, err
	}
	defer e.active.Done()
	return e.verify(ctx)
}

func (e *Engine) verify(ctx context.Context) (found []error, err error) {
	e.snapshotting.Lock() // Nothing is forgotten meanwhile.
	defer e.snapshotting.Unlock()

	found = e.journal.Verify()
	snapshots, err := journal.Snapshots(e.folder.journal())
	if err != nil {
		return found, err
	}
	var whole *journal.SnapshotInfo // The newest.
	read := reading{told: e.options.Progress}
	for _, s := range snapshots {
		read.total += s.Bytes
	}
	if len(snapshots) > 0 {
		read.total += 2 * snapshots[len(snapshots)-1].Bytes // Read again, and held against the index.
	}
	for i, s := range snapshots {
		if err := ctx.Err(); err != nil {
			return found, err
		}
		if _, err := journal.ReadSnapshot(s.Path, func(writes []*storagev1.JournalWrite) error {
			read.pairs(writes)
			return ctx.Err()
		}); err != nil {
			found = append(found, err)
			continue
		}
		whole = &snapshots[i]
	}
	if err := unpanicked(e.db.VerifyChecksum); err != nil {
		found = append(found, &IndexError{err})
	}
	if whole == nil {
		return append(found, errors.New("no snapshot is whole: the index cannot be made anew")), nil
	}
	if len(found) > 0 {
		return found, nil // What is damaged cannot be compared.
	}
	var different []error
	if err := unpanicked(func() (err error) {
		different, err = e.compare(ctx, whole.Path, &read)
		return err
	}); err != nil {
		return found, err
	}
	return append(found, different...), nil
}

// compare holds the index against the snapshot and the journal behind it, by the family of keys.
func (e *Engine) compare(ctx context.Context, snapshot string, read *reading) ([]error, error) {
	s := e.snapshotAt(e.versions.begin())
	defer s.end()
	position, err := positionIn(s.txn)
	if err != nil {
		return []error{&IndexError{err}}, nil
	}
	// What became of the keys since the snapshot. How far the snapshot goes is known only at its end, so all of the journal
	// is taken: what the snapshot holds already is the same in both.
	since := make(map[string]*uint64) // nil: deleted.
	for record, err := range e.journal.Records(e.journal.First()) {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return nil, err
		}
		if record.Sequence > position.GetSequence() {
			break
		}
		batch := new(storagev1.JournalBatch)
		if err := proto.Unmarshal(record.Payload, batch); err != nil {
			return []error{&journal.DamageError{File: e.folder.journal(), Sequence: record.Sequence, Err: err}}, nil
		}
		for _, w := range batch.GetWrites() {
			since[string(w.GetKey())] = nil
			if w.Value != nil { // Absent is not empty.
				since[string(w.GetKey())] = new(journal.PairSum(w.GetKey(), w.GetValue()))
			}
		}
	}
	want := make(families)
	for key, sum := range since {
		if sum != nil {
			want.add([]byte(key), *sum)
		}
	}
	if _, err := journal.ReadSnapshot(snapshot, func(writes []*storagev1.JournalWrite) error {
		for _, w := range writes {
			if _, changed := since[string(w.GetKey())]; !changed {
				want.add(w.GetKey(), journal.PairSum(w.GetKey(), w.GetValue()))
			}
		}
		read.pairs(writes)
		return ctx.Err()
	}); err != nil {
		return nil, err
	}
	got := make(families)
	if err := everyPair(s.txn, func(key, value []byte) bool {
		got.add(key, journal.PairSum(key, value))
		read.pair(key, value)
		return ctx.Err() == nil
	}); err != nil {
		return []error{&IndexError{err}}, nil
	}
	return got.different(want), ctx.Err()
}

// reading tells how many bytes of pairs were read.
type reading struct {
	done, unsaid, total int64
	told                func(done, total int64)
}

func (r *reading) pairs(writes []*storagev1.JournalWrite) {
	for _, w := range writes {
		r.pair(w.GetKey(), w.GetValue())
	}
}

func (r *reading) pair(key, value []byte) {
	r.done += int64(len(key) + len(value))
	if r.unsaid += int64(len(key) + len(value)); r.unsaid >= 1<<20 {
		r.told(min(r.done, r.total), r.total)
		r.unsaid = 0
	}
}

// families are the digests of the keys that begin with the same word.
type families map[string]journal.Digest

func (f families) add(key []byte, sum uint64) {
	word, _, _ := bytes.Cut(key, []byte{0})
	d := f[string(word)]
	d.Keys++
	d.Sum += sum
	f[string(word)] = d
}

func (f families) different(want families) (found []error) {
	words := make(map[string]bool)
	for word := range f {
		words[word] = true
	}
	for word := range want {
		words[word] = true
	}
	for _, word := range slices.Sorted(maps.Keys(words)) {
		if f[word] != want[word] {
			found = append(found, &IndexError{fmt.Errorf("of the records %q it holds %d, digest %016x; snapshot and journal come to %d, digest %016x",
				word, f[word].Keys, f[word].Sum, want[word].Keys, want[word].Sum)})
		}
	}
	return found
}

// Digest counts and sums all that the engine holds: the same for two engines that hold the same.
func (e *Engine) Digest() (d journal.Digest, err error) {
	if err := e.enter(); err != nil {
		return d, err
	}
	defer e.active.Done()
	s := e.snapshotAt(e.versions.begin())
	defer s.end()
	return d, everyPair(s.txn, func(key, value []byte) bool {
		d.Add(key, value)
		return true
	})
}
