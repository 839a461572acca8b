package embedded

import (
	"bytes"
	"errors"
	"iter"
	"runtime/debug"
	"slices"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/tidwall/btree"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	"github.com/cong1022/fieldsync/store"
)

// batch is the transactions of one commit on top of the snapshot before it. Each sees the writes of those before it; one
// that fails takes its own back.
type batch struct {
	snapshot

	pending btree.Map[string, []byte] // nil: deleted.
	size    int

	undo    []undo // Of the running transaction.
	written int    // By the running transaction.
}

// undo is what pending held for a key before the running transaction wrote it.
type undo struct {
	key   string
	value []byte
	held  bool
}

var (
	errKey      = errors.New(`store: a key has 1 to 1,024 bytes and does not begin with "!"`)
	errNilValue = errors.New("store: a nil value")
)

// fits tells whether something can lie under key. Badger's own keys begin with "!badger!".
func fits(key []byte) bool {
	return len(key) > 0 && len(key) <= store.MaxKeyBytes && key[0] != '!'
}

func newBatch(txn *badger.Txn) *batch { return &batch{snapshot: snapshot{txn}} }

// run runs a transaction and leaves its error with it.
func (b *batch) run(r *request) {
	b.undo, b.written = b.undo[:0], 0
	defer func() {
		if r.pan = recover(); r.pan != nil {
			r.stack = debug.Stack()
		} else if r.err == nil {
			b.size += b.written
			return
		}
		for _, u := range slices.Backward(b.undo) {
			if u.held {
				b.pending.Set(u.key, u.value)
			} else {
				b.pending.Delete(u.key)
			}
		}
	}()
	if r.err = r.ctx.Err(); r.err == nil {
		r.err = r.fn(b)
	}
	if r.err == nil && b.written > store.MaxTransactionBytes {
		r.err = store.ErrTooLarge // Though fn swallowed what Set said.
	}
}

// flush hands all writes to a transaction of Badger.
func (b *batch) flush(txn *badger.Txn) error {
	var err error
	b.pending.Scan(func(key string, value []byte) bool {
		if value == nil {
			err = txn.Delete([]byte(key))
		} else {
			err = txn.Set([]byte(key), value)
		}
		return err == nil
	})
	return err
}

// encode makes the journal's record of all writes.
func (b *batch) encode(at time.Time) ([]byte, error) {
	record := &storagev1.JournalBatch{At: timestamppb.New(at), Writes: make([]*storagev1.JournalWrite, 0, b.pending.Len())}
	writes := make([]storagev1.JournalWrite, b.pending.Len())
	b.pending.Scan(func(key string, value []byte) bool {
		w := &writes[len(record.Writes)] //nolint:protogetter // Appended to below.
		w.Key, w.Value = []byte(key), value
		record.Writes = append(record.Writes, w)
		return true
	})
	return proto.Marshal(record)
}

func (b *batch) Get(key []byte) ([]byte, error) {
	if value, held := b.pending.Get(string(key)); held {
		return bytes.Clone(value), nil
	}
	return b.snapshot.Get(key)
}

func (b *batch) Set(key, value []byte) error {
	if value == nil {
		return errNilValue
	}
	return b.put(key, value)
}

func (b *batch) Delete(key []byte) error { return b.put(key, nil) }

func (b *batch) put(key, value []byte) error {
	if !fits(key) {
		return errKey
	}
	if b.written += len(key) + len(value) + overhead; b.written > store.MaxTransactionBytes {
		return store.ErrTooLarge
	}
	k := string(key)
	before, held := b.pending.Set(k, value)
	b.undo = append(b.undo, undo{k, before, held})
	return nil
}

func (b *batch) Range(start, end []byte) iter.Seq2[store.Pair, error] {
	return func(yield func(store.Pair, error) bool) {
		if b.pending.Len() == 0 {
			rangeOver(b.txn, nil, start, end)(yield)
			return
		}
		// A copy shares the tree until one of the two is written: the range sees what was written before it began.
		rangeOver(b.txn, b.pending.Copy(), start, end)(yield)
	}
}

// rangeOver merges the snapshot's pairs with the pending ones, which hide them.
func rangeOver(txn *badger.Txn, pending *btree.Map[string, []byte], start, end []byte) iter.Seq2[store.Pair, error] {
	return func(yield func(store.Pair, error) bool) {
		// No fetching ahead: it starts a goroutine for each value, and the values lie beside their keys.
		stored := txn.NewIterator(badger.IteratorOptions{Prefix: commonPrefix(start, end)})
		defer stored.Close()
		stored.Seek(start)

		overlay := newOverlay(pending, start, end)
		for {
			var key []byte
			if stored.Valid() {
				if key = stored.Item().Key(); bytes.Compare(key, end) >= 0 {
					key = nil
				} else if key[0] == '!' { // The engine's own.
					stored.Seek([]byte{'!' + 1})
					continue
				}
			}
			if overlay.valid && (key == nil || overlay.key <= string(key)) {
				if key != nil && overlay.key == string(key) {
					stored.Next()
				}
				if overlay.value != nil && !yield(store.Pair{Key: []byte(overlay.key), Value: bytes.Clone(overlay.value)}, nil) {
					return
				}
				overlay.next()
				continue
			}
			if key == nil {
				return
			}
			value, err := stored.Item().ValueCopy(nil)
			if !yield(store.Pair{Key: bytes.Clone(key), Value: value}, err) || err != nil {
				return
			}
			stored.Next()
		}
	}
}

// overlay walks the pending writes of a range.
type overlay struct {
	iter  btree.MapIter[string, []byte]
	end   string
	key   string
	value []byte
	valid bool
}

func newOverlay(pending *btree.Map[string, []byte], start, end []byte) *overlay {
	o := &overlay{end: string(end)}
	if pending != nil {
		o.iter = pending.Iter()
		o.set(o.iter.Seek(string(start)))
	}
	return o
}

func (o *overlay) next() { o.set(o.iter.Next()) }

func (o *overlay) set(found bool) {
	if o.valid = found && o.iter.Key() < o.end; o.valid {
		o.key, o.value = o.iter.Key(), o.iter.Value()
	}
}

// commonPrefix lets Badger skip the tables that hold nothing of a range.
func commonPrefix(start, end []byte) []byte {
	n := 0
	for n < len(start) && n < len(end) && start[n] == end[n] {
		n++
	}
	return start[:n]
}
