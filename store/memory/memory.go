// Package memory is the store's engine in memory, for simulations and tests: the same promises as the others, where what
// counts as durable is a Disk, which outlives the engines that are opened over it one after the other.
package memory

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"sync"

	"github.com/tidwall/btree"

	"github.com/cong1022/fieldsync/store"
)

// overhead is counted for each entry beside key and value, as the engine over Badger does: what fits there fits here.
const overhead = 96

var (
	errKey      = errors.New(`store: a key has 1 to 1,024 bytes and does not begin with "!"`)
	errNilValue = errors.New("store: a nil value")
)

type tree = btree.Map[string, []byte]

// Disk holds what was committed. The zero value is empty. All methods are safe for concurrent use. An engine that is
// simply dropped is a process that was killed: the disk has all that was committed, and another engine can be opened.
type Disk struct {
	mu sync.Mutex
	// kept is never written: a commit puts another tree in its place, so whoever has got hold of one has a snapshot.
	kept *tree
}

// Open returns an engine over the disk. Two engines over one disk are two servers over one folder: the caller sees to it
// that the former is closed or dropped.
func (d *Disk) Open() *Engine {
	return &Engine{disk: d, failed: make(chan struct{})}
}

// Clone returns another disk with the same content: a backup. The two share what neither has written since.
func (d *Disk) Clone() *Disk { return &Disk{kept: d.draft()} }

func (d *Disk) snapshot() *tree {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.kept == nil {
		d.kept = new(tree)
	}
	return d.kept
}

// draft is a copy of what is kept that may be written.
func (d *Disk) draft() *tree {
	kept := d.snapshot()
	d.mu.Lock() // Copying marks the original as shared.
	defer d.mu.Unlock()
	return kept.Copy()
}

func (d *Disk) keep(t *tree) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.kept = t
}

// Engine implements store.Engine. Its transactions run in the callers' goroutines, one writer at a time.
type Engine struct {
	disk    *Disk
	failed  chan struct{}
	writing sync.Mutex

	mu     sync.Mutex
	closed bool
	active sync.WaitGroup // Transactions under way: Close waits for them.
}

var _ store.Engine = (*Engine)(nil)

// Failed implements store.Engine. Memory never fails.
func (e *Engine) Failed() <-chan struct{} { return e.failed }

// Close implements store.Engine.
func (e *Engine) Close() error {
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return store.ErrClosed
	}
	e.closed = true
	e.mu.Unlock()
	e.active.Wait()
	return nil
}

func (e *Engine) enter(ctx context.Context) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if e.closed {
		return store.ErrClosed
	}
	e.active.Add(1)
	return nil
}

// View implements store.Engine.
func (e *Engine) View(ctx context.Context, fn func(store.KV) error) error {
	if err := e.enter(ctx); err != nil {
		return err
	}
	defer e.active.Done()
	return fn(snapshot{e.disk.snapshot()})
}

// Update implements store.Engine.
func (e *Engine) Update(ctx context.Context, fn func(store.KV) error) error {
	if err := e.enter(ctx); err != nil {
		return err
	}
	defer e.active.Done()
	e.writing.Lock()
	defer e.writing.Unlock()
	if err := ctx.Err(); err != nil {
		return err // It ended while others were writing.
	}
	tx := &transaction{snapshot: snapshot{e.disk.draft()}}
	if err := fn(tx); err != nil {
		return err
	}
	if tx.written > store.MaxTransactionBytes {
		return store.ErrTooLarge // Though fn swallowed what Set said.
	}
	if tx.written > 0 {
		e.disk.keep(tx.tree)
	}
	return nil
}

// snapshot is a read-only transaction.
type snapshot struct{ tree *tree }

// Get implements store.KV.
func (s snapshot) Get(key []byte) ([]byte, error) {
	value, _ := s.tree.Get(string(key))
	return bytes.Clone(value), nil
}

// Set implements store.KV.
func (s snapshot) Set([]byte, []byte) error { return store.ErrReadOnly }

// Delete implements store.KV.
func (s snapshot) Delete([]byte) error { return store.ErrReadOnly }

// Range implements store.KV.
func (s snapshot) Range(start, end []byte) iter.Seq2[store.Pair, error] {
	return func(yield func(store.Pair, error) bool) {
		it := s.tree.Iter()
		for ok := it.Seek(string(start)); ok && it.Key() < string(end); ok = it.Next() {
			if !yield(store.Pair{Key: []byte(it.Key()), Value: bytes.Clone(it.Value())}, nil) {
				return
			}
		}
	}
}

// transaction writes into a draft that nobody else sees.
type transaction struct {
	snapshot

	written int
}

// Set implements store.KV.
func (t *transaction) Set(key, value []byte) error {
	if value == nil {
		return errNilValue
	}
	if err := t.count(key, value); err != nil {
		return err
	}
	t.tree.Set(string(key), value)
	return nil
}

// Delete implements store.KV.
func (t *transaction) Delete(key []byte) error {
	if err := t.count(key, nil); err != nil {
		return err
	}
	t.tree.Delete(string(key))
	return nil
}

func (t *transaction) count(key, value []byte) error {
	if len(key) == 0 || len(key) > store.MaxKeyBytes || key[0] == '!' {
		return errKey
	}
	if t.written += len(key) + len(value) + overhead; t.written > store.MaxTransactionBytes {
		return store.ErrTooLarge
	}
	return nil
}

// Range implements store.KV.
func (t *transaction) Range(start, end []byte) iter.Seq2[store.Pair, error] {
	return func(yield func(store.Pair, error) bool) {
		// The copy stays as it is while the loop writes.
		snapshot{t.tree.Copy()}.Range(start, end)(yield)
	}
}
