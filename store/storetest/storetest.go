// Package storetest holds every engine of package store to the same promises.
//
//nolint:thelper // Tests, not helpers: it is their own lines that a failure has to name.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

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

const accounts, balance = 8, 100

func account(i int) []byte { return fmt.Appendf(nil, "account/%d", i%accounts) }

// A view stands on one commit while writers go on, and sees everything that had been acknowledged when it began.
func testSnapshot(t *testing.T, open func() store.Engine) {
	e := opened(t, open)
	update(t, e, func(kv store.KV) error {
		var errs []error
		for i := range accounts {
			errs = append(errs, kv.Set(account(i), number(balance)))
		}
		return errors.Join(errs...)
	})
	var writers, readers sync.WaitGroup
	stop := make(chan struct{})
	for w := range 4 {
		mine := fmt.Appendf(nil, "mine/%d", w)
		writers.Go(func() {
			for i := range 50 {
				err := e.Update(t.Context(), func(kv store.KV) error {
					return errors.Join(add(kv, account(w+i), -1), add(kv, account(w*i+3), 1), kv.Set(bytes.Clone(mine), number(i)))
				})
				if err != nil {
					t.Error(err)
				}
				err = e.View(t.Context(), func(kv store.KV) error {
					if got, err := read(kv, mine); err != nil || got != i {
						return fmt.Errorf("update %d of %d had returned, the view sees %d, %w", i, w, got, err)
					}
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := e.View(t.Context(), balanced); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	writers.Wait()
	close(stop)
	readers.Wait()
}

// balanced adds the accounts up, one after the other, twice, and as a range: all three see the same moment.
func balanced(kv store.KV) error {
	for range 2 {
		total, ranged := 0, 0
		for i := range accounts {
			n, err := read(kv, account(i))
			if err != nil {
				return err
			}
			total += n
		}
		for pair, err := range kv.Range(key("account/"), key("account0")) {
			if err != nil {
				return err
			}
			n, err := strconv.Atoi(string(pair.Value))
			if err != nil {
				return err
			}
			ranged += n
		}
		if total != accounts*balance || ranged != total {
			return fmt.Errorf("the accounts hold %d, in the range %d, not %d", total, ranged, accounts*balance)
		}
	}
	return nil
}

// Of increments side by side none is lost.
func testIncrements(t *testing.T, open func() store.Engine) {
	e := opened(t, open)
	const writers, each = 16, 25
	var all sync.WaitGroup
	for range writers {
		all.Go(func() {
			for range each {
				if err := e.Update(t.Context(), func(kv store.KV) error { return add(kv, key("n"), 1) }); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	holds(t, e, map[string]string{"n": strconv.Itoa(writers * each)})
}

// Two transactions that each read what the other writes do not both go by the state before: one at most takes the last
// place, by key and by range.
func testWriteSkew(t *testing.T, open func() store.Engine) {
	e := opened(t, open)
	for round := range 50 {
		var all sync.WaitGroup
		for who := range 2 {
			all.Go(func() {
				err := e.Update(t.Context(), func(kv store.KV) error {
					taken, err := kv.Get(fmt.Appendf(nil, "on-call/%d/%d", round, 1-who))
					if err != nil || taken != nil {
						return err
					}
					return kv.Set(fmt.Appendf(nil, "on-call/%d/%d", round, who), key("yes"))
				})
				if err != nil {
					t.Error(err)
				}
			})
			all.Go(func() {
				err := e.Update(t.Context(), func(kv store.KV) error {
					for _, err := range kv.Range(fmt.Appendf(nil, "range/%d/", round), fmt.Appendf(nil, "range/%d0", round)) {
						return err
					}
					return kv.Set(fmt.Appendf(nil, "range/%d/%d", round, who), key("yes"))
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		view(t, e, func(kv store.KV) error {
			for _, family := range []string{"on-call", "range"} {
				n := 0
				for _, err := range kv.Range(fmt.Appendf(nil, "%s/%d/", family, round), fmt.Appendf(nil, "%s/%d0", family, round)) {
					if err != nil {
						return err
					}
					n++
				}
				if n != 1 {
					return fmt.Errorf("round %d: %d took the one place of %s", round, n, family)
				}
			}
			return nil
		})
	}
}

// A panic reaches whoever called, keeps nothing, and leaves an engine that works.
func testPanic(t *testing.T, open func() store.Engine) {
	e := opened(t, open)
	caught := func(call func()) (value any) {
		defer func() { value = recover() }()
		call()
		return nil
	}
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			got := caught(func() {
				_ = e.Update(t.Context(), func(kv store.KV) error {
					_ = kv.Set(key("panicked"), key("v"))
					for _, err := range kv.Range(key("a"), key("z")) {
						if err == nil {
							panic(i)
						}
					}
					panic("the transaction does not see its write")
				})
			})
			if got != i {
				t.Errorf("caught %v, not %d", got, i)
			}
		})
	}
	all.Wait()
	if got := caught(func() { _ = e.View(t.Context(), func(store.KV) error { panic("boom") }) }); got != "boom" {
		t.Errorf("caught %v in a view", got)
	}
	fill(t, e, "after")
	holds(t, e, map[string]string{"after": "after"})
}

// A context that has ended before the function runs, even while it waits for its turn, keeps it from running. One that
// ends later changes nothing.
func testContext(t *testing.T, open func() store.Engine) {
	e := opened(t, open)
	ended, end := context.WithCancel(t.Context())
	end()
	if err := e.Update(ended, func(kv store.KV) error { return kv.Set(key("ended"), key("v")) }); !errors.Is(err, context.Canceled) {
		t.Errorf("an update after its context's end: %v", err)
	}
	if err := e.View(ended, nothing); !errors.Is(err, context.Canceled) {
		t.Errorf("a view after its context's end: %v", err)
	}
	within, endWithin := context.WithCancel(t.Context())
	if err := e.Update(within, func(kv store.KV) error { endWithin(); return kv.Set(key("within"), key("v")) }); err != nil {
		t.Errorf("an update whose context ended while it ran: %v", err)
	}
	holds(t, e, map[string]string{"within": "v"})
}

// Close waits for what runs, which is kept, and turns away what comes later, from within it as well.
func testClose(t *testing.T, open func() store.Engine) {
	for _, run := range []func(store.Engine, context.Context, func(store.KV) error) error{store.Engine.Update, store.Engine.View} {
		e := open()
		var once sync.Once
		running, release := make(chan struct{}), make(chan struct{})
		result, closed := make(chan error, 1), make(chan error, 1)
		go func() {
			result <- run(e, t.Context(), func(kv store.KV) error {
				once.Do(func() { close(running) })
				<-release
				if err := e.View(t.Context(), nothing); !errors.Is(err, store.ErrClosed) {
					return fmt.Errorf("a view within: %w", err)
				}
				if err := kv.Set(key("under way"), key("v")); err != nil && !errors.Is(err, store.ErrReadOnly) {
					return err
				}
				_, err := kv.Get(key("under way"))
				return err
			})
		}()
		<-running
		go func() { closed <- e.Close() }()
		for !errors.Is(e.View(t.Context(), nothing), store.ErrClosed) {
			runtime.Gosched() // Until Close has begun.
		}
		select {
		case err := <-closed:
			t.Fatalf("Close did not wait: %v", err)
		case <-time.After(100 * time.Millisecond): // Time enough for a Close that does not wait to show itself.
		}
		close(release)
		if err := <-result; err != nil {
			t.Errorf("the transaction under way: %v", err)
		}
		if err := <-closed; err != nil {
			t.Errorf("Close: %v", err)
		}
		for name, err := range map[string]error{
			"Update": e.Update(t.Context(), nothing), "View": e.View(t.Context(), nothing), "Close": e.Close(),
		} {
			if !errors.Is(err, store.ErrClosed) {
				t.Errorf("%s after Close: %v", name, err)
			}
		}
		select {
		case <-e.Failed():
			t.Error("an engine that was closed counts as failed")
		default:
		}
	}
	holds(t, opened(t, open), map[string]string{"under way": "v"})
}

func nothing(store.KV) error { return nil }

// Whatever was acknowledged is there after the next start, empty values and deletions included.
func testDurable(t *testing.T, open func() store.Engine) {
	e := open()
	want := make(map[string]string)
	for generation := range 4 {
		var all sync.WaitGroup
		for i := range 64 {
			all.Go(func() {
				err := e.Update(t.Context(), func(kv store.KV) error {
					k := fmt.Appendf(nil, "k/%02d", i)
					switch (i + generation) % 4 {
					case 0:
						return kv.Delete(k)
					case 1:
						return kv.Set(k, []byte{})
					default:
						return kv.Set(k, fmt.Appendf(nil, "%d in generation %d", i, generation))
					}
				})
				if err != nil {
					t.Error(err)
				}
			})
			k := fmt.Sprintf("k/%02d", i)
			switch (i + generation) % 4 {
			case 0:
				delete(want, k)
			case 1:
				want[k] = ""
			default:
				want[k] = fmt.Sprintf("%d in generation %d", i, generation)
			}
		}
		all.Wait()
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		e = open()
		if got := contents(t, e); !maps.Equal(got, want) {
			t.Fatalf("generation %d: %d keys are not the %d acknowledged ones", generation, len(got), len(want))
		}
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
}
