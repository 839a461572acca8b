package bench

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"google.golang.org/protobuf/types/known/timestamppb"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/store"
	"github.com/cong1022/fieldsync/store/embedded"
	syncengine "github.com/cong1022/fieldsync/sync"
)

const (
	// recordedBatches is how many batches a phone pushes for the recording.
	recordedBatches = 20
	// rawGroup and rawGroupBytes end the gathering of a commit, as in the store's engine.
	rawGroup      = 256
	rawGroupBytes = 1 << 20
)

// write is one key that a transaction set, or deleted where value is nil.
type write struct{ key, value []byte }

// recorder is an engine that keeps what each transaction writes while it is on.
type recorder struct {
	store.Engine

	mu      sync.Mutex
	on      bool
	updates [][]write
}

// Update implements store.Engine.
func (r *recorder) Update(ctx context.Context, fn func(store.KV) error) error {
	var writes []write
	err := r.Engine.Update(ctx, func(kv store.KV) error {
		writes = writes[:0]
		return fn(recordingKV{kv, &writes})
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil && r.on && len(writes) > 0 {
		r.updates = append(r.updates, writes)
	}
	return err
}

type recordingKV struct {
	kv     store.KV
	writes *[]write
}

// Get implements store.KV.
func (r recordingKV) Get(key []byte) ([]byte, error) { return r.kv.Get(key) }

// Range implements store.KV.
func (r recordingKV) Range(start, end []byte) iter.Seq2[store.Pair, error] {
	return r.kv.Range(start, end)
}

// Set implements store.KV.
func (r recordingKV) Set(key, value []byte) error {
	*r.writes = append(*r.writes, write{key, value})
	return r.kv.Set(key, value)
}

// Delete implements store.KV.
func (r recordingKV) Delete(key []byte) error {
	*r.writes = append(*r.writes, write{key, nil})
	return r.kv.Delete(key)
}

// record lets phones push through the engine, without HTTP and login, and returns what each transaction wrote: keys and
// values of one batch of updates, most of the time.
func record(ctx context.Context, dir string, phones int) (_ [][]write, err error) {
	engine, err := embedded.Open(filepath.Join(dir, "store"), slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	r := &recorder{Engine: engine}
	st, err := store.Open(ctx, r, store.Options{})
	if err != nil {
		return nil, errors.Join(err, engine.Close())
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	f, err := fill(ctx, st, pushPlan(phones), func(int) {})
	if err != nil {
		return nil, err
	}
	sync, err := syncengine.New(syncengine.Options{Store: st, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	r.on = true
	for i := range recordedBatches {
		for s, seat := range f.seats {
			req := &fieldsyncv1.SyncRequest{
				Cursor: seat.Cursor, InstallEpoch: seat.Epoch, Clock: &fieldsyncv1.CaptureTime{Wall: timestamppb.Now()},
			}
			for j := range batch {
				n := i*batch + j
				task := seat.Held[n%len(seat.Held)]
				req.Mutations = append(req.Mutations, &fieldsyncv1.Mutation{
					Number: uint64(n + 1), TaskId: task.ID, AssignmentEpoch: 1, Recorded: req.GetClock(),
					Intent: &fieldsyncv1.Mutation_Tick{Tick: &fieldsyncv1.Tick{ItemId: task.Item, Checked: n/len(seat.Held)%2 == 0}},
				})
			}
			answer, err := sync.Sync(seat.as(ctx), req)
			if err != nil {
				return nil, err
			}
			f.seats[s].Cursor = answer.GetCursor()
		}
	}
	return pushesOnly(r.updates), nil
}

// pushesOnly leaves out the small transactions beside the pushes, such as a device's status: the floor writes only what a push
// must.
func pushesOnly(updates [][]write) [][]write {
	var pushes [][]write
	for _, u := range updates {
		if len(u) >= batch {
			pushes = append(pushes, u)
		}
	}
	return pushes
}

// rawOptions are those of the store's engine, but for the fsync of each commit, which there is the journal's.
func rawOptions(dir string) badger.Options {
	return badger.DefaultOptions(dir).WithSyncWrites(true).WithDetectConflicts(false).WithValueThreshold(1 << 20).
		WithValueLogFileSize(2 << 20).WithMemTableSize(16 << 20).WithNumMemtables(3).WithNumVersionsToKeep(1).
		WithBlockCacheSize(64 << 20).WithChecksumVerificationMode(options.OnTableAndBlockRead).WithLogger(nil)
}

// raw writes the recorded transactions with raw Badger: writers beside each other, all that wait in one synced commit.
func (f *floor) raw(writers int, limit time.Duration) (answer, error) {
	if f.db == nil {
		var err error
		if f.db, err = badger.Open(rawOptions(filepath.Join(f.dir, "raw"))); err != nil {
			return answer{}, err
		}
	}
	queue := make(chan waiting, rawGroup)
	var committing sync.WaitGroup
	committing.Go(func() { commitGroups(f.db, queue) })
	var t tally
	var writing sync.WaitGroup
	begun := time.Now()
	for w := range writers {
		writing.Go(func() {
			for i := w; time.Since(begun) < limit; i += writers {
				one := waiting{f.updates[i%len(f.updates)], make(chan error, 1)}
				called := time.Now()
				queue <- one
				if err := <-one.kept; err != nil {
					t.failed(err)
					return
				}
				t.add(done{mutations: batch}, milliseconds(time.Since(called)))
			}
		})
	}
	writing.Wait()
	elapsed := time.Since(begun)
	close(queue)
	committing.Wait()
	return t.sum(elapsed, 0, 0), nil
}

// waiting is a transaction that waits for its commit.
type waiting struct {
	writes []write
	kept   chan error
}

// commitGroups commits what waits, together, until the queue is closed.
func commitGroups(db *badger.DB, queue <-chan waiting) {
	for first := range queue {
		group, size := []waiting{first}, bytesOf(first.writes)
	gather:
		for len(group) < rawGroup && size < rawGroupBytes {
			select {
			case next, ok := <-queue:
				if !ok {
					break gather
				}
				group, size = append(group, next), size+bytesOf(next.writes)
			default:
				break gather
			}
		}
		err := commitGroup(db, group)
		for _, w := range group {
			w.kept <- err
		}
	}
}

func commitGroup(db *badger.DB, group []waiting) error {
	txn := db.NewTransaction(true)
	defer txn.Discard()
	for _, w := range group {
		for _, one := range w.writes {
			var err error
			if one.value == nil {
				err = txn.Delete(one.key)
			} else {
				err = txn.Set(one.key, one.value)
			}
			if err != nil {
				return err
			}
		}
	}
	return txn.Commit()
}

func bytesOf(writes []write) (size int) {
	for _, w := range writes {
		size += len(w.key) + len(w.value)
	}
	return size
}
