package embedded

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/cong1022/fieldsync/store"
)

const (
	benchKeys  = 10
	benchValue = 1 << 10
)

// BenchmarkUpdate sets the engine beside three others, in one run and interleaved, since the disk's mood changes from second to
// second: raw Badger with SyncWrites and the same gathering, but without journal, overlay, undo and limits, which is what
// the journal replaced; the same without gathering, which is what Badger does by itself; and the bytes appended to a file with one
// fdatasync for all that waited. An update is ten keys of 1 KiB.
func BenchmarkUpdate(b *testing.B) {
	for _, writers := range []int{1, 16, 64} {
		b.Run("writers="+strconv.Itoa(writers), func(b *testing.B) {
			subjects := []*subject{engineSubject(b), gatheredSubject(b), badgerSubject(b), fileSubject(b)}
			const rounds = 8
			for range rounds {
				for _, s := range subjects {
					s.run(b, writers, max(writers, b.N/rounds))
				}
			}
			b.ReportMetric(0, "ns/op")
			for _, s := range subjects {
				b.ReportMetric(s.rate(), s.name+"/s")
			}
			for _, floor := range subjects[1:] {
				b.ReportMetric(subjects[0].rate()/floor.rate(), "of-"+floor.name)
			}
		})
	}
}

// BenchmarkRangeOverWrites reads 20 pairs between two writes in a transaction that has written 1,000.
func BenchmarkRangeOverWrites(b *testing.B) {
	e, err := Open(b.TempDir(), slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = e.Close() }()
	batch := &batch{snapshot: e.snapshotAt(e.versions.begin())}
	defer batch.end()
	for i := range 1000 {
		if err := batch.Set(fmt.Appendf(nil, "bench/%04d", i), []byte("value")); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		batch.undo, batch.written = batch.undo[:0], 0
		if err := batch.Set([]byte("bench/0500"), []byte("value")); err != nil {
			b.Fatal(err)
		}
		pairs := 0
		for _, err := range batch.Range([]byte("bench/0490"), []byte("bench/0510")) {
			if err != nil {
				b.Fatal(err)
			}
			pairs++
		}
		if pairs != 20 {
			b.Fatal(pairs, "pairs")
		}
	}
}

// subject is one way to make an update durable.
type subject struct {
	name   string
	update func(pairs []store.Pair) error

	serial  atomic.Uint64
	updates int
	elapsed time.Duration
}

func (s *subject) rate() float64 { return float64(s.updates) / s.elapsed.Seconds() }

func (s *subject) run(b *testing.B, writers, updates int) {
	b.Helper()
	begin := time.Now()
	var done sync.WaitGroup
	for w := range writers {
		done.Go(func() {
			value := make([]byte, benchValue)
			for range updates / writers {
				pairs := make([]store.Pair, benchKeys)
				for i := range pairs {
					pairs[i] = store.Pair{Key: fmt.Appendf(nil, "bench/%03d/%012d", w, s.serial.Add(1)), Value: value}
				}
				if err := s.update(pairs); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	done.Wait()
	s.elapsed += time.Since(begin)
	s.updates += updates / writers * writers
}

func engineSubject(b *testing.B) *subject {
	b.Helper()
	e, err := Open(b.TempDir(), slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := e.Close(); err != nil {
			b.Error(err)
		}
	})
	return &subject{name: "engine", update: func(pairs []store.Pair) error {
		return e.Update(b.Context(), func(kv store.KV) error {
			for _, p := range pairs {
				if err := kv.Set(p.Key, p.Value); err != nil {
					return err
				}
			}
			return nil
		})
	}}
}

func gatheredSubject(b *testing.B) *subject {
	b.Helper()
	db := syncedBadger(b)
	return &subject{name: "syncwrites", update: grouped(b, func(group [][]store.Pair) error { return commit(db, group...) })}
}

func badgerSubject(b *testing.B) *subject {
	b.Helper()
	db := syncedBadger(b)
	return &subject{name: "ungathered", update: func(pairs []store.Pair) error { return commit(db, pairs) }}
}

func syncedBadger(b *testing.B) *badger.DB {
	b.Helper()
	db, err := badger.Open(badgerOptions(b.TempDir(), slog.New(slog.DiscardHandler)).WithSyncWrites(true))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := db.Close(); err != nil {
			b.Error(err)
		}
	})
	return db
}

func commit(db *badger.DB, group ...[]store.Pair) error {
	txn := db.NewTransaction(true)
	defer txn.Discard()
	for _, pairs := range group {
		for _, p := range pairs {
			if err := txn.Set(p.Key, p.Value); err != nil {
				return err
			}
		}
	}
	return txn.Commit()
}

func fileSubject(b *testing.B) *subject {
	b.Helper()
	f, err := os.Create(filepath.Join(b.TempDir(), "log"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = f.Close() })
	return &subject{name: "fdatasync", update: grouped(b, func(group [][]store.Pair) error {
		var buf []byte
		for _, pairs := range group {
			for _, p := range pairs {
				buf = append(append(buf, p.Key...), p.Value...)
			}
		}
		if _, err := f.Write(buf); err != nil {
			return err
		}
		return syscall.Fdatasync(int(f.Fd()))
	})}
}

// grouped gathers what waits as the engine does and leaves it to commit.
func grouped(b *testing.B, commit func(group [][]store.Pair) error) func([]store.Pair) error {
	b.Helper()
	type waiting struct {
		pairs []store.Pair
		done  chan error
	}
	queue := make(chan waiting, batchTransactions)
	var ended sync.WaitGroup
	ended.Go(func() {
		for first := range queue {
			group, who, size := [][]store.Pair{first.pairs}, []waiting{first}, benchKeys*benchValue
		gather:
			for len(group) < batchTransactions && size < batchBytes {
				select {
				case w, ok := <-queue:
					if !ok {
						break gather
					}
					group, who, size = append(group, w.pairs), append(who, w), size+benchKeys*benchValue
				default:
					break gather
				}
			}
			err := commit(group)
			for _, w := range who {
				w.done <- err
			}
		}
	})
	b.Cleanup(func() { close(queue); ended.Wait() })
	return func(pairs []store.Pair) error {
		w := waiting{pairs, make(chan error, 1)}
		queue <- w
		return <-w.done
	}
}
