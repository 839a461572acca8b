// Package storetest holds every engine of package store to the same promises.
//
//nolint:thelper // Tests, not helpers: it is their own lines that a failure has to name.
package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/cong1022/fieldsync/store"
)

// Storage makes an empty storage and returns what opens it. Called again after the engine was closed, it opens the same
// storage again. It fails t itself where that does not work.
type Storage func(t *testing.T) (open func() store.Engine)

// Run runs the suite over the engines that storage makes. Reruns of a transaction's function are taken into account.
func Run(t *testing.T, storage Storage) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, func() store.Engine){
		"ReadYourWrites":    testReadYourWrites,
		"Rollback":          testRollback,
		"Range":             testRange,
		"RangeInUpdate":     testRangeInUpdate,
		"Ownership":         testOwnership,
		"Keys":              testKeys,
		"TooLarge":          testTooLarge,
		"ReadOnly":          testReadOnly,
		"Snapshot":          testSnapshot,
		"Increments":        testIncrements,
		"WriteSkew":         testWriteSkew,
		"Panic":             testPanic,
		"Context":           testContext,
		"Close":             testClose,
		"Durable":           testDurable,
		"AgainstASimpleMap": testMachine,
	} {
		t.Run(name, func(t *testing.T) { test(t, storage(t)) })
	}
}

// A transaction sees what it wrote, an empty value and a deletion included, and so do all that begin after it.
func testReadYourWrites(t *testing.T, open func() store.Engine) {
	e := opened(t, open)
	update(t, e, func(kv store.KV) error {
		return errors.Join(kv.Set(key("kept"), key("1")), kv.Set(key("gone"), key("1")))
	})
	seen := map[string]string{"kept": "2", "empty": ""}
	check := func(kv store.KV) error {
		for _, k := range []string{"kept", "empty", "gone", "never"} {
			value, err := kv.Get(key(k))
			if err != nil {
				return err
			}
			if want, held := seen[k]; held != (value != nil) || string(value) != want {
				return fmt.Errorf("%s is %q (nil: %t), not %q", k, value, value == nil, want)
			}
		}
		return nil
	}
	update(t, e, func(kv store.KV) error {
		return errors.Join(kv.Set(key("kept"), key("2")), kv.Set(key("empty"), []byte{}), kv.Delete(key("gone")),
			kv.Delete(key("never")), check(kv))
	})
	update(t, e, check)
	view(t, e, check)
	view(t, e, func(kv store.KV) error {
		for pair, err := range kv.Range(key("a"), key("z")) {
			if err != nil {
				return err
			}
			if pair.Value == nil {
				return fmt.Errorf("the value of %s is nil, not empty", pair.Key)
			}
		}
		return nil
	})
}

// A function that fails leaves nothing behind, in the others of its commit neither, and its error comes back untouched.
func testRollback(t *testing.T, open func() store.Engine) {
	e := opened(t, open)
	update(t, e, func(kv store.KV) error {
		return errors.Join(kv.Set(key("a"), key("1")), kv.Set(key("b"), key("1")))
	})
	sentinel := errors.New("sentinel")
	var all sync.WaitGroup
	for i := range 32 {
		all.Go(func() {
			err := e.Update(t.Context(), func(kv store.KV) error {
				mine := fmt.Appendf(nil, "mine/%02d", i)
				if i%2 == 0 {
					return errors.Join(kv.Set(mine, mine), add(kv, key("n"), 1))
				}
				return errors.Join(kv.Set(mine, mine), kv.Set(key("a"), mine), kv.Delete(key("b")), kv.Set(key("b"), mine),
					kv.Delete(key("a")), kv.Set(key("n"), key("7")), kv.Delete(key("n")), sentinel)
			})
			if odd := i%2 == 1; odd != errors.Is(err, sentinel) || !odd && err != nil {
				t.Errorf("transaction %d returned %v", i, err)
			}
		})
	}
	all.Wait()
	if err := e.Update(t.Context(), func(store.KV) error { return sentinel }); err != sentinel { //nolint:errorlint // The very same.
		t.Errorf("the function's error came back as %v", err)
	}
	want := map[string]string{"a": "1", "b": "1", "n": "16"}
	for i := 0; i < 32; i += 2 {
		mine := fmt.Sprintf("mine/%02d", i)
		want[mine] = mine
	}
	holds(t, e, want)
}

// A range has its lower bound and not its upper one, goes by bytes, can be left early and be nested.
func testRange(t *testing.T, open func() store.Engine) {
	e := opened(t, open)
	keys := []string{"\x00", "a", "a\x00", "a\x00b", "ab", "b", "b\xff", "b\xff\xff", "c", "\xff\xff"}
	update(t, e, func(kv store.KV) error {
		for _, k := range keys {
			if err := kv.Set(key(k), key("value of "+k)); err != nil {
				return err
			}
		}
		return nil
	})
	in := func(kv store.KV) error {
		for _, start := range append(keys, "", "aa", "d") {
			for _, end := range append(keys, "", "aa", "d") {
				if err := ranges(kv, keys, start, end); err != nil {
					return err
				}
			}
		}
		return nested(kv)
	}
	view(t, e, in)
	update(t, e, in)
	// The same with half of the keys written by the transaction itself.
	update(t, e, func(kv store.KV) error {
		for i, k := range keys {
			if i%2 == 0 {
				if err := kv.Set(key(k), key("value of "+k)); err != nil {
					return err
				}
			}
		}
		return in(kv)
	})
}

// ranges compares a range with those of the keys that lie within it.
func ranges(kv store.KV, keys []string, start, end string) error {
	var want, got []string
	for _, k := range keys {
		if start <= k && k < end {
			want = append(want, k)
		}
	}
	for pair, err := range kv.Range(key(start), key(end)) {
		if err != nil {
			return err
		}
		if string(pair.Value) != "value of "+string(pair.Key) {
			return fmt.Errorf("%q holds %q", pair.Key, pair.Value)
		}
		got = append(got, string(pair.Key))
	}
	if !slices.Equal(got, want) {
		return fmt.Errorf("from %q to %q: %q, not %q", start, end, got, want)
	}
	return nil
}

func nested(kv store.KV) error {
	for outer, err := range kv.Range(key("a"), key("b")) {
		if err != nil {
			return err
		}
		for inner, err := range kv.Range(key("b"), key("d")) {
			if err != nil || string(inner.Key) != "b" {
				return fmt.Errorf("in the loop at %q: %q, error %w", outer.Key, inner.Key, err)
			}
			break
		}
	}
	return nil
}

// A range in a transaction shows its writes until the loop began, hides what it deleted, and is not disturbed by what is
// written within the loop.
func testRangeInUpdate(t *testing.T, open func() store.Engine) {
	e := opened(t, open)
	fill(t, e, "a1", "a3", "a5", "a7", "b1")
	update(t, e, func(kv store.KV) error {
		if err := errors.Join(kv.Set(key("a2"), key("new")), kv.Set(key("a3"), key("new")), kv.Delete(key("a5")),
			kv.Set(key("a6"), key("new")), kv.Delete(key("a6"))); err != nil {
			return err
		}
		var got []string
		for pair, err := range kv.Range(key("a"), key("b")) {
			if err != nil {
				return err
			}
			got = append(got, string(pair.Key)+"="+string(pair.Value))
			// Everything is moved ahead of the loop and out of its way.
			if err := errors.Join(kv.Delete(pair.Key), kv.Set(append(key("a9"), pair.Key...), pair.Value),
				kv.Delete(key("a7")), kv.Set(key("a4"), key("late"))); err != nil {
				return err
			}
		}
		if want := []string{"a1=a1", "a2=new", "a3=new", "a7=a7"}; !slices.Equal(got, want) {
			return fmt.Errorf("got %q, not %q", got, want)
		}
		return nil
	})
	holds(t, e, map[string]string{"a4": "late", "a9a1": "a1", "a9a2": "new", "a9a3": "new", "a9a7": "a7", "b1": "b1"})
}

// What a transaction hands out is the caller's: writing into it changes nothing in the store.
func testOwnership(t *testing.T, open func() store.Engine) {
	e := opened(t, open)
	spoil := func(kv store.KV) error {
		value, err := kv.Get(key("a"))
		if err != nil {
			return err
		}
		for pair, err := range kv.Range(key("a"), key("c")) {
			if err != nil {
				return err
			}
			clear(pair.Key)
			clear(pair.Value)
		}
		clear(value)
		return nil
	}
	fill(t, e, "a", "b")
	view(t, e, spoil)
	update(t, e, spoil)
	update(t, e, func(kv store.KV) error {
		return errors.Join(kv.Set(key("a"), key("a")), kv.Set(key("b"), key("b")), spoil(kv))
	})
	holds(t, e, map[string]string{"a": "a", "b": "b"})
}

// A key that an engine could not keep is refused by itself, and does no harm to the others in its commit.
func testKeys(t *testing.T, open func() store.Engine) {
	e := opened(t, open)
	longest := bytes.Repeat(key("k"), store.MaxKeyBytes)
	refused := [][]byte{nil, {}, append(longest, 'k'), key("!"), key("!badger!txn")}
	var all sync.WaitGroup
	for _, k := range refused {
		all.Go(func() {
			if err := e.Update(t.Context(), func(kv store.KV) error { return kv.Set(bytes.Clone(k), key("v")) }); err == nil {
				t.Errorf("a key of %d bytes (%.8q) was taken", len(k), k)
			}
			if err := e.Update(t.Context(), func(kv store.KV) error { return kv.Delete(bytes.Clone(k)) }); err == nil {
				t.Errorf("a key of %d bytes (%.8q) was taken", len(k), k)
			}
		})
	}
	all.Go(func() {
		if err := e.Update(t.Context(), func(kv store.KV) error { return kv.Set(bytes.Clone(longest), key("v")) }); err != nil {
			t.Errorf("a key of %d bytes: %v", len(longest), err)
		}
	})
	all.Wait()
	if err := e.Update(t.Context(), func(kv store.KV) error { return kv.Set(key("nil"), nil) }); err == nil {
		t.Error("a nil value was taken")
	}
	look := func(kv store.KV) error {
		for _, k := range refused {
			if value, err := kv.Get(k); value != nil || err != nil {
				return fmt.Errorf("under %.8q: %q, %w", k, value, err)
			}
		}
		return nil
	}
	view(t, e, look)
	update(t, e, look)
	holds(t, e, map[string]string{string(longest): "v"})
}

// A transaction up to the limit is kept and one beyond is not, not in part, not even where its function does not mind.
func testTooLarge(t *testing.T, open func() store.Engine) {
	e := opened(t, open)
	most := store.MaxTransactionBytes - 256
	update(t, e, func(kv store.KV) error { return kv.Set(key("most"), make([]byte, most)) })
	for name, write := range map[string]func(kv store.KV) error{
		"in one value": func(kv store.KV) error {
			return errors.Join(kv.Set(key("small"), key("v")), kv.Set(key("large"), make([]byte, store.MaxTransactionBytes)))
		},
		"in many values": func(kv store.KV) error {
			var err error
			for i := 0; i <= store.MaxTransactionBytes>>10 && err == nil; i++ {
				err = kv.Set(fmt.Appendf(nil, "many/%06d", i), make([]byte, 1<<10))
			}
			return err
		},
		"over and over": func(kv store.KV) error {
			var err error
			for i := 0; i <= store.MaxTransactionBytes>>10 && err == nil; i++ {
				err = kv.Set(key("again"), make([]byte, 1<<10))
			}
			return err
		},
	} {
		if err := e.Update(t.Context(), write); !errors.Is(err, store.ErrTooLarge) {
			t.Errorf("%s: %v", name, err)
		}
		swallow := func(kv store.KV) error { _ = write(kv); return nil }
		if err := e.Update(t.Context(), swallow); !errors.Is(err, store.ErrTooLarge) {
			t.Errorf("%s, swallowed: %v", name, err)
		}
	}
	holds(t, e, map[string]string{"most": string(make([]byte, most))})

	// As many of the largest as one commit may gather, and more.
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			err := e.Update(t.Context(), func(kv store.KV) error { return kv.Set(fmt.Appendf(nil, "large/%d", i), make([]byte, most)) })
			if err != nil {
				t.Errorf("large transaction %d: %v", i, err)
			}
		})
	}
	all.Wait()
}

// A view does not write.
func testReadOnly(t *testing.T, open func() store.Engine) {
	e := opened(t, open)
	fill(t, e, "a")
	view(t, e, func(kv store.KV) error {
		if err := kv.Set(key("b"), key("b")); !errors.Is(err, store.ErrReadOnly) {
			return fmt.Errorf("set: %w", err)
		}
		if err := kv.Delete(key("a")); !errors.Is(err, store.ErrReadOnly) {
			return fmt.Errorf("delete: %w", err)
		}
		return nil
	})
	holds(t, e, map[string]string{"a": "a"})
}
