package store_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	"github.com/cong1022/fieldsync/store"
)

const lease = time.Minute

func enqueue(tb testing.TB, s *store.Store, device string) {
	tb.Helper()
	update(tb, s, func(tx *store.Tx) error {
		return store.Enqueue(tx, &storagev1.OutboxRow{Work: &storagev1.OutboxRow_Push{Push: &storagev1.PushHint{DeviceId: device}}})
	})
}

func claim(tb testing.TB, s *store.Store, limit int) (rows []*storagev1.OutboxRow, next time.Time) {
	tb.Helper()
	update(tb, s, func(tx *store.Tx) (err error) {
		rows, next, err = store.Claim(tx, limit, lease)
		return err
	})
	return rows, next
}

func devices(rows []*storagev1.OutboxRow) (names []string) {
	for _, row := range rows {
		names = append(names, row.GetPush().GetDeviceId())
	}
	return names
}

func outbox(tb testing.TB, s *store.Store) (rows []*storagev1.OutboxRow) {
	tb.Helper()
	view(tb, s, func(tx *store.Tx) error {
		rows = nil
		for row, err := range store.Scan(tx, store.Outbox(), nil) {
			if err != nil {
				return err
			}
			rows = append(rows, row)
		}
		return nil
	})
	return rows
}

// settle runs what a worker does with a claimed row.
func settle(s *store.Store, do func(*store.Tx) error) error {
	return s.Update(context.Background(), do)
}

// A row's way: claimed when due, in the order of the due times, hidden for the time of the lease, given back, claimed
// again with its attempts counted, done.
func TestOutbox(t *testing.T) {
	for name, e := range engines(t) {
		t.Run(name, func(t *testing.T) {
			c := newClock()
			s := opened(t, e, c)
			if rows, next := claim(t, s, 10); rows != nil || !next.IsZero() {
				t.Fatalf("from an empty outbox: %v, next %s", rows, next)
			}
			wake, stop := s.Subscribe(store.OutboxTopic)
			defer stop()
			for _, device := range []string{"first", "second", "third"} {
				enqueue(t, s, device)
				c.advance(time.Second)
			}
			select {
			case <-wake:
			default:
				t.Error("nobody was woken for a new row")
			}
			begin := c.Now()
			rows, next := claim(t, s, 2)
			if got := devices(rows); !slices.Equal(got, []string{"first", "second"}) {
				t.Fatalf("the claim has %q", got)
			}
			if want := begin.Add(-time.Second); !next.Equal(want) {
				t.Errorf("next is %s, not %s, when the third fell due", next, want)
			}
			if rows[0].GetAttempts() != 1 || rows[0].GetLease() == "" || rows[0].GetLease() == rows[1].GetLease() {
				t.Errorf("claimed: %v", rows)
			}
			rest, next := claim(t, s, 10)
			if got := devices(rest); !slices.Equal(got, []string{"third"}) || !next.Equal(begin.Add(lease)) {
				t.Fatalf("the rest is %q, next %s", got, next)
			}

			if err := settle(s, func(tx *store.Tx) error { return store.Settle(tx, rows[0]) }); err != nil {
				t.Errorf("settling: %v", err)
			}
			before, due := proto.CloneOf(rows[1]), c.Now().Add(10*time.Second)
			if err := settle(s, func(tx *store.Tx) error { return store.Postpone(tx, rows[1], due) }); err != nil {
				t.Errorf("postponing: %v", err)
			}
			if !proto.Equal(before, rows[1]) {
				t.Errorf("postponing made the caller's row %v", rows[1])
			}
			if err := settle(s, func(tx *store.Tx) error { return store.Bury(tx, rest[0], "gone") }); err != nil {
				t.Errorf("burying: %v", err)
			}
			view(t, s, func(tx *store.Tx) error {
				dead, err := store.Get(tx, store.OutboxDeadKey(rest[0].GetId()))
				if err != nil || !proto.Equal(dead, &storagev1.OutboxDead{Row: rest[0], At: tx.Timestamp(), Error: "gone"}) {
					t.Errorf("buried is %v, %v", dead, err)
				}
				return nil
			})
			if rows, next := claim(t, s, 10); rows != nil || !next.Equal(due) {
				t.Errorf("before it is due again: %v, next %s", rows, next)
			}
			c.advance(10 * time.Second)
			again, _ := claim(t, s, 10)
			if got := devices(again); !slices.Equal(got, []string{"second"}) || again[0].GetAttempts() != 2 {
				t.Fatalf("the second claim has %v", again)
			}
			if err := settle(s, func(tx *store.Tx) error { return store.Settle(tx, again[0]) }); err != nil {
				t.Error(err)
			}
			if left := outbox(t, s); left != nil {
				t.Errorf("left: %v", left)
			}
		})
	}
}

// Who has lost a row can neither settle, postpone nor bury it: another has it, or has done with it, or it was never theirs.
// Who was slow but is still the only one can.
func TestLeases(t *testing.T) {
	for name, e := range engines(t) {
		t.Run(name, func(t *testing.T) {
			c := newClock()
			s := opened(t, e, c)
			refused := func(when string, row *storagev1.OutboxRow) {
				t.Helper()
				before := outbox(t, s)
				for name, do := range map[string]func(*store.Tx) error{
					"settle":   func(tx *store.Tx) error { return store.Settle(tx, row) },
					"postpone": func(tx *store.Tx) error { return store.Postpone(tx, row, c.Now()) },
					"bury":     func(tx *store.Tx) error { return store.Bury(tx, row, "reason") },
				} {
					if err := settle(s, do); !errors.Is(err, store.ErrLeaseLost) {
						t.Errorf("%s %s: %v", name, when, err)
					}
				}
				if after := outbox(t, s); !slices.EqualFunc(before, after, func(a, b *storagev1.OutboxRow) bool { return proto.Equal(a, b) }) {
					t.Errorf("%s: the outbox went from %v to %v", when, before, after)
				}
			}
			enqueue(t, s, "d")
			refused("before the claim", outbox(t, s)[0])
			slow, _ := claim(t, s, 1)
			c.advance(lease)
			quick, _ := claim(t, s, 1)
			if len(quick) != 1 || quick[0].GetAttempts() != 2 {
				t.Fatalf("after the lease's end: %v", quick)
			}
			refused("while another has it", slow[0])
			if err := settle(s, func(tx *store.Tx) error { return store.Postpone(tx, quick[0], quick[0].GetDueAt().AsTime()) }); err != nil {
				t.Fatal(err)
			}
			refused("after giving it back for the very end of the lease", quick[0])
			c.advance(lease)
			late, _ := claim(t, s, 1)
			c.advance(10 * lease)
			if err := settle(s, func(tx *store.Tx) error { return store.Settle(tx, late[0]) }); err != nil {
				t.Errorf("a late one that nobody else has taken: %v", err)
			}
			refused("when it is done", late[0])
		})
	}
}

// Of two workers side by side each row is had by one, and none is left lying.
func TestTwoWorkers(t *testing.T) {
	s := opened(t, engine(t), newClock())
	const n = 60
	for i := range n {
		enqueue(t, s, fmt.Sprint(i))
	}
	var mu sync.Mutex
	var had []string
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for {
				var rows []*storagev1.OutboxRow
				err := s.Update(t.Context(), func(tx *store.Tx) (err error) {
					rows, _, err = store.Claim(tx, 3, lease)
					return err
				})
				if err != nil {
					t.Error(err)
				}
				if len(rows) == 0 {
					return
				}
				mu.Lock()
				had = append(had, devices(rows)...)
				mu.Unlock()
				for _, row := range rows {
					if err := settle(s, func(tx *store.Tx) error { return store.Settle(tx, row) }); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	all.Wait()
	slices.Sort(had)
	if len(had) != n || len(slices.Compact(had)) != n {
		t.Errorf("%d rows were had %d times", n, len(had))
	}
	if left := outbox(t, s); left != nil {
		t.Errorf("left: %v", left)
	}
}

// Whatever workers do and fail to do, a row is in the outbox or was settled or buried by somebody who held it, and comes
// up for whoever asks once it is due.
func TestOutboxAgainstModel(t *testing.T) {
	c := newClock()
	s := opened(t, engine(t), c)
	rapid.Check(t, func(rt *rapid.T) {
		update(t, s, func(tx *store.Tx) error { // The check before may have left some.
			for row, err := range store.Scan(tx, store.Outbox(), nil) {
				if err != nil {
					return err
				}
				if err := store.Delete(tx, store.OutboxKey(row.GetDueAt().AsTime(), row.GetId())); err != nil {
					return err
				}
			}
			return nil
		})
		due := make(map[string]time.Time)             // Of each device's row.
		mine := make(map[string]*storagev1.OutboxRow) // Who claimed last.
		var stale []*storagev1.OutboxRow
		serial := 0
		finish := func(rt *rapid.T, name string, do func(*store.Tx, *storagev1.OutboxRow) error, then func(device string)) {
			all := slices.Clone(stale)
			for _, row := range mine {
				all = append(all, row)
			}
			if len(all) == 0 {
				rt.Skip("nobody has a row")
			}
			slices.SortFunc(all, func(a, b *storagev1.OutboxRow) int { return int(a.GetAttempts()) - int(b.GetAttempts()) })
			row := all[rapid.IntRange(0, len(all)-1).Draw(rt, "row")]
			device := row.GetPush().GetDeviceId()
			err := settle(s, func(tx *store.Tx) error { return do(tx, row) })
			if mine[device] != row {
				if !errors.Is(err, store.ErrLeaseLost) {
					rt.Fatalf("%s of a stale row: %v", name, err)
				}
				return
			}
			if err != nil {
				rt.Fatalf("%s: %v", name, err)
			}
			stale = append(stale, row)
			delete(mine, device)
			then(device)
		}
		rt.Repeat(map[string]func(*rapid.T){
			"Enqueue": func(*rapid.T) {
				serial++
				device := fmt.Sprint(serial)
				enqueue(t, s, device)
				due[device] = c.Now()
			},
			"Wait": func(rt *rapid.T) {
				c.advance(time.Duration(rapid.IntRange(1, 90).Draw(rt, "seconds")) * time.Second)
			},
			"Claim": func(rt *rapid.T) {
				limit := rapid.IntRange(1, 4).Draw(rt, "limit")
				rows, next := claim(t, s, limit)
				var ripe int
				var first time.Time // When the first of those that stay falls due.
				for device, at := range due {
					if !at.After(c.Now()) {
						ripe++
					}
					if !slices.Contains(devices(rows), device) && (first.IsZero() || at.Before(first)) {
						first = at
					}
				}
				if len(rows) != min(limit, ripe) || !next.Equal(first) {
					rt.Fatalf("%d of %d due with limit %d, next %s, not %s", len(rows), ripe, limit, next, first)
				}
				for _, row := range rows {
					device := row.GetPush().GetDeviceId()
					if due[device].After(c.Now()) {
						rt.Fatalf("%s was claimed before its time", device)
					}
					if mine[device] != nil {
						stale = append(stale, mine[device])
					}
					mine[device], due[device] = row, c.Now().Add(lease)
				}
			},
			"Settle": func(rt *rapid.T) {
				finish(rt, "settle", store.Settle, func(device string) { delete(due, device) })
			},
			"Bury": func(rt *rapid.T) {
				bury := func(tx *store.Tx, row *storagev1.OutboxRow) error { return store.Bury(tx, row, "reason") }
				finish(rt, "bury", bury, func(device string) { delete(due, device) })
			},
			"Postpone": func(rt *rapid.T) {
				at := c.Now().Add(time.Duration(rapid.IntRange(0, 90).Draw(rt, "later")) * time.Second)
				postpone := func(tx *store.Tx, row *storagev1.OutboxRow) error { return store.Postpone(tx, row, at) }
				finish(rt, "postpone", postpone, func(device string) { due[device] = at })
			},
			"": func(rt *rapid.T) {
				rows := outbox(t, s)
				if len(rows) != len(due) {
					rt.Fatalf("%d rows, not %d", len(rows), len(due))
				}
				for _, row := range rows {
					if at := due[row.GetPush().GetDeviceId()]; !at.Equal(row.GetDueAt().AsTime()) {
						rt.Fatalf("%v should be due at %s", row, at)
					}
				}
			},
		})
	})
}
