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
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cong1022/fieldsync/store"
)

// batch is the transactions of one commit, on top of a snapshot and of the batches that were in flight when it began. Each
// sees the writes of those before it; one that fails takes its own back.
type batch struct {
	snapshot

	before   []*batch // Newest first.
	requests []*request
	pending  btree.Map[string, []byte] // nil: deleted. Not changed any more once it is handed over.
	size     int

	undo    []undo // Of the running transaction.
	written int    // By the running transaction.

	err      error       // Why the journal does not hold it.
	toBadger *badger.Txn // With all writes, for Badger.
	sequence uint64      // In the journal. 0 where it has not come there.
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

func (e *Engine) newBatch() *batch {
	b := new(batch)
	version, before := e.versions.launch(b)
	b.snapshot, b.before = e.snapshotAt(version), before
	return b
}

// run runs a transaction and leaves its error with it.
func (b *batch) run(r *request) {
	b.requests = append(b.requests, r)
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

// The fields of storage.JournalBatch and JournalWrite.
const (
	fieldBatchAt     = 1
	fieldBatchWrites = 2
	fieldBatchAfter  = 3
	fieldWriteKey    = 1
	fieldWriteValue  = 2
)

// encode appends the journal's record of all writes: a storage.JournalBatch, without making one, which would be as large once
// more. after is the sum of the record before.
func (b *batch) encode(to []byte, at time.Time, after uint32) []byte {
	stamp, _ := proto.Marshal(timestamppb.New(at)) // Two numbers.
	to = protowire.AppendTag(to, fieldBatchAt, protowire.BytesType)
	to = protowire.AppendBytes(to, stamp)
	b.pending.Scan(func(key string, value []byte) bool {
		size := protowire.SizeTag(fieldWriteKey) + protowire.SizeBytes(len(key))
		if value != nil {
			size += protowire.SizeTag(fieldWriteValue) + protowire.SizeBytes(len(value))
		}
		to = protowire.AppendTag(to, fieldBatchWrites, protowire.BytesType)
		to = protowire.AppendVarint(to, uint64(size)) //nolint:gosec // Of lengths.
		to = protowire.AppendTag(to, fieldWriteKey, protowire.BytesType)
		to = protowire.AppendString(to, key)
		if value != nil {
			to = protowire.AppendTag(to, fieldWriteValue, protowire.BytesType)
			to = protowire.AppendBytes(to, value)
		}
		return true
	})
	if after != 0 {
		to = protowire.AppendTag(to, fieldBatchAfter, protowire.Fixed32Type)
		to = protowire.AppendFixed32(to, after)
	}
	return to
}

func (b *batch) Get(key []byte) ([]byte, error) {
	k := string(key)
	if value, held := b.pending.Get(k); held {
		return bytes.Clone(value), nil
	}
	for _, before := range b.before {
		if value, held := before.pending.Get(k); held {
			return bytes.Clone(value), nil
		}
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
		layers := make([]*btree.Map[string, []byte], 0, 1+len(b.before))
		if b.pending.Len() > 0 {
			// A copy shares the tree until one of the two is written: the range sees what was written before it began.
			layers = append(layers, b.pending.Copy())
		}
		for _, before := range b.before {
			layers = append(layers, &before.pending)
		}
		rangeOver(b.txn, layers, start, end)(yield)
	}
}

// rangeOver merges the snapshot's pairs with the layers of writes over it, the newest first, which hide them.
func rangeOver(txn *badger.Txn, layers []*btree.Map[string, []byte], start, end []byte) iter.Seq2[store.Pair, error] {
	return func(yield func(store.Pair, error) bool) {
		// No fetching ahead: it starts a goroutine for each value, and the values lie beside their keys.
		stored := txn.NewIterator(badger.IteratorOptions{Prefix: commonPrefix(start, end)})
		defer stored.Close()
		stored.Seek(start)

		overlay := newOverlay(layers, start, end)
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

// overlay walks the layers of writes of a range beside each other. Of a key that stands in several the newest holds.
type overlay struct {
	layers []layer
	end    string
	key    string
	value  []byte
	valid  bool
}

type layer struct {
	iter  btree.MapIter[string, []byte]
	valid bool
}

func newOverlay(writes []*btree.Map[string, []byte], start, end []byte) *overlay {
	o := &overlay{end: string(end), layers: make([]layer, len(writes))}
	for i, w := range writes {
		l := &o.layers[i]
		l.iter = w.Iter()
		l.valid = l.iter.Seek(string(start))
	}
	o.settle()
	return o
}

// next goes on to the next key.
func (o *overlay) next() {
	for i := range o.layers {
		if l := &o.layers[i]; l.valid && l.iter.Key() == o.key {
			l.valid = l.iter.Next()
		}
	}
	o.settle()
}

// settle finds the least key.
func (o *overlay) settle() {
	o.valid = false
	for i := range o.layers {
		if l := &o.layers[i]; l.valid && l.iter.Key() < o.end && (!o.valid || l.iter.Key() < o.key) {
			o.key, o.value, o.valid = l.iter.Key(), l.iter.Value(), true
		}
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
