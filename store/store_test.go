package store_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/store"
	"github.com/cong1022/fieldsync/store/embedded"
)

// clock is a time that stands still until it is moved.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 11, 20, 7, 30, 0, 123_456_789, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func engine(tb testing.TB) store.Engine {
	tb.Helper()
	e, err := embedded.Open(tb.TempDir(), slog.New(slog.DiscardHandler))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := e.Close(); err != nil && !errors.Is(err, store.ErrClosed) {
			tb.Error(err)
		}
	})
	return e
}

// twice is an engine that runs each function two times and keeps only what the second did, as one may that retries.
type twice struct{ store.Engine }

var errAgain = errors.New("again")

func (e twice) Update(ctx context.Context, fn func(store.KV) error) error {
	err := e.Engine.Update(ctx, func(kv store.KV) error {
		if err := fn(kv); err != nil {
			return err
		}
		return errAgain
	})
	if err == nil || !errors.Is(err, errAgain) {
		return err
	}
	return e.Engine.Update(ctx, fn)
}

func opened(tb testing.TB, e store.Engine, c *clock) *store.Store {
	tb.Helper()
	s, err := store.Open(tb.Context(), e, store.Options{Clock: c.Now})
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// engines are the engine as it is, and one that runs everything twice.
func engines(t *testing.T) map[string]store.Engine {
	t.Helper()
	return map[string]store.Engine{"once": engine(t), "twice": twice{engine(t)}}
}

func update(tb testing.TB, s *store.Store, fn func(*store.Tx) error) {
	tb.Helper()
	if err := s.Update(tb.Context(), fn); err != nil {
		tb.Fatal(err)
	}
}

func view(tb testing.TB, s *store.Store, fn func(*store.Tx) error) {
	tb.Helper()
	if err := s.View(tb.Context(), fn); err != nil {
		tb.Fatal(err)
	}
}

// A store keeps its epoch from start to start, and a store of another format is left alone.
func TestOpen(t *testing.T) {
	e, c := engine(t), newClock()
	first := opened(t, e, c)
	if first.ServerEpoch() == 0 {
		t.Error("the epoch is 0")
	}
	c.advance(time.Hour)
	if second := opened(t, e, c); second.ServerEpoch() != first.ServerEpoch() {
		t.Errorf("the epoch went from %d to %d", first.ServerEpoch(), second.ServerEpoch())
	}
	if other := opened(t, engine(t), c); other.ServerEpoch() == first.ServerEpoch() {
		t.Error("two stores have one epoch")
	}
	later := &storagev1.Meta{Format: 3, ServerEpoch: 7}
	update(t, first, func(tx *store.Tx) error { return store.Put(tx, store.MetaKey(), later) })
	if _, err := store.Open(t.Context(), e, store.Options{}); err == nil || !strings.Contains(err.Error(), "format 3") {
		t.Errorf("a store of format 3: %v", err)
	}
	view(t, first, func(tx *store.Tx) error {
		if got, err := store.Get(tx, store.MetaKey()); err != nil || !proto.Equal(got, later) {
			t.Errorf("it was changed to %v, %v", got, err)
		}
		return nil
	})
}

// Without random bytes there is no store, rather than one with an epoch that everybody has.
func TestOpenWithoutRandom(t *testing.T) {
	if _, err := store.Open(t.Context(), engine(t), store.Options{Random: strings.NewReader("abc")}); err == nil {
		t.Error("it was opened")
	}
}

// Records come back as they were put, one by one and in the order of their keys, from behind the key given.
func TestRecords(t *testing.T) {
	s := opened(t, engine(t), newClock())
	ids := []string{"a", "ab", "b", "bb"}
	update(t, s, func(tx *store.Tx) error {
		for _, id := range ids {
			if err := store.Put(tx, store.UnitKey(id), &fieldsyncv1.Unit{Id: id}); err != nil {
				return err
			}
		}
		// The neighbour in the order of keys, and a record of no bytes.
		return errors.Join(store.Put(tx, store.UnitTicketKey("a", "t"), &storagev1.Ticket{}),
			store.Put(tx, store.TicketKey("t"), &storagev1.Ticket{Id: "t"}))
	})
	scan := func(after store.Key[fieldsyncv1.Unit]) (got []string) {
		view(t, s, func(tx *store.Tx) error {
			for unit, err := range store.Scan(tx, store.Units(), after) {
				if err != nil {
					return err
				}
				got = append(got, unit.GetId())
			}
			return nil
		})
		return got
	}
	if got := scan(nil); !slices.Equal(got, ids) {
		t.Errorf("all: %q", got)
	}
	if got := scan(store.UnitKey("ab")); !slices.Equal(got, ids[2:]) {
		t.Errorf("behind ab: %q", got)
	}
	if got := scan(store.UnitKey("aa")); !slices.Equal(got, ids[1:]) {
		t.Errorf("behind aa, which is not there: %q", got)
	}
	view(t, s, func(tx *store.Tx) error {
		if got, err := store.Get(tx, store.UnitTicketKey("a", "t")); got == nil || err != nil {
			t.Errorf("the record of no bytes: %v, %v", got, err)
		}
		if got, err := store.Get(tx, store.UnitKey("never")); got != nil || err != nil {
			t.Errorf("what was never there: %v, %v", got, err)
		}
		return nil
	})
}

// A damaged record is an error that names its key, and ends a scan.
func TestDamagedRecord(t *testing.T) {
	e := engine(t)
	s := opened(t, e, newClock())
	update(t, s, func(tx *store.Tx) error {
		return errors.Join(store.Put(tx, store.UnitKey("a"), &fieldsyncv1.Unit{Id: "a"}),
			store.Put(tx, store.UnitKey("c"), &fieldsyncv1.Unit{Id: "c"}))
	})
	if err := e.Update(t.Context(), func(kv store.KV) error { return kv.Set(store.UnitKey("b"), []byte{0xff}) }); err != nil {
		t.Fatal(err)
	}
	view(t, s, func(tx *store.Tx) error {
		if got, err := store.Get(tx, store.UnitKey("b")); got != nil || err == nil || !strings.Contains(err.Error(), `unit\x00b`) {
			t.Errorf("got %v, %v", got, err)
		}
		n := 0
		for _, err := range store.Scan(tx, store.Units(), nil) {
			if n++; (n == 2) != (err != nil) || n > 2 {
				t.Errorf("number %d of the scan: %v", n, err)
			}
		}
		return nil
	})
}

// Whoever subscribed is woken after the commit, when the change can be read, once for many, and never for a transaction
// that failed.
func TestSignals(t *testing.T) {
	for name, e := range engines(t) {
		t.Run(name, func(t *testing.T) {
			s := opened(t, e, newClock())
			wake, stop := s.Subscribe("topic")
			other, stopOther := s.Subscribe("other")
			defer stopOther()
			woken := func(ch <-chan struct{}) bool {
				select {
				case <-ch:
					return true
				default:
					return false
				}
			}
			if err := s.Update(t.Context(), func(tx *store.Tx) error { tx.Signal("topic"); return errors.New("no") }); err == nil {
				t.Error("the failed transaction did not fail")
			}
			if woken(wake) {
				t.Error("woken by a transaction that failed")
			}
			var inside bool
			update(t, s, func(tx *store.Tx) error {
				tx.Signal("topic")
				inside = inside || woken(wake)
				return store.Put(tx, store.UnitKey("a"), &fieldsyncv1.Unit{Id: "a"})
			})
			if inside {
				t.Error("woken before the commit")
			}
			if !woken(wake) || woken(other) {
				t.Error("the commit woke the wrong ones")
			}
			// A run that was discarded signals nothing.
			runs := 0
			update(t, s, func(tx *store.Tx) error {
				if runs++; runs == 1 {
					tx.Signal("other")
				}
				tx.Signal("topic")
				return nil
			})
			if runs == 2 && woken(other) {
				t.Error("woken by a run that was discarded")
			}
			update(t, s, func(tx *store.Tx) error { tx.Signal("topic"); return nil })
			if !woken(wake) || woken(wake) {
				t.Error("two commits did not wake once")
			}
			stop()
			stop() // Once more is no harm.
			update(t, s, func(tx *store.Tx) error { tx.Signal("topic"); return nil })
			if woken(wake) {
				t.Error("woken after the end of the subscription")
			}
		})
	}
}

// A subscriber that reads the store each time it is woken ends with the last state, however fast the commits follow.
func TestSignalsLoseNothing(t *testing.T) {
	s := opened(t, engine(t), newClock())
	const last = 200
	wake, stop := s.Subscribe("topic")
	defer stop()
	seen := make(chan error, 1)
	go func() {
		for range wake {
			var unit *fieldsyncv1.Unit
			err := s.View(t.Context(), func(tx *store.Tx) (err error) {
				unit, err = store.Get(tx, store.UnitKey("u"))
				return err
			})
			if err != nil || len(unit.GetName()) == last {
				seen <- err
				return
			}
		}
	}()
	for n := 1; n <= last; n++ {
		update(t, s, func(tx *store.Tx) error {
			tx.Signal("topic")
			return store.Put(tx, store.UnitKey("u"), &fieldsyncv1.Unit{Id: "u", Name: strings.Repeat("n", n)})
		})
	}
	if err := <-seen; err != nil {
		t.Error(err)
	}
}
