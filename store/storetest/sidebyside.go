//nolint:thelper // As in storetest.go.
package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"

	"github.com/cong1022/fieldsync/store"
)

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
