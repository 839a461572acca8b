//nolint:thelper // As in storetest.go.
package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/cong1022/fieldsync/store"
)

var errGiveUp = errors.New("the transaction gives up")

// Random transactions, alone and side by side, some of which fail, with restarts between them: the engine holds what a map
// holds to which the same was done, within the transactions and after them.
func testMachine(t *testing.T, open func() store.Engine) {
	e := open()
	defer func() { _ = e.Close() }()
	rapid.Check(t, func(rt *rapid.T) {
		model := make(map[string]string)
		if err := e.Update(t.Context(), empty); err != nil {
			rt.Fatal(err)
		}
		rt.Repeat(map[string]func(*rapid.T){
			"Update": func(rt *rapid.T) {
				x := transactions.Draw(rt, "transaction")
				after, err := x.update(t, e, model, "")
				if x.check(rt, err) {
					model = after
				}
			},
			"SideBySide": func(rt *rapid.T) {
				xs := rapid.SliceOfN(transactions, 2, 6).Draw(rt, "transactions")
				afters, errs := make([]map[string]string, len(xs)), make([]error, len(xs))
				var all sync.WaitGroup
				for i, x := range xs {
					all.Go(func() { afters[i], errs[i] = x.update(t, e, model, own(i)) })
				}
				all.Wait()
				for i, x := range xs {
					if x.check(rt, errs[i]) {
						mine := func(k, _ string) bool { return strings.HasPrefix(k, own(i)) }
						maps.DeleteFunc(model, mine)
						maps.DeleteFunc(afters[i], func(k, v string) bool { return !mine(k, v) })
						maps.Copy(model, afters[i])
					}
				}
			},
			"View": func(rt *rapid.T) {
				start, end := keys.Draw(rt, "start"), keys.Draw(rt, "end")
				err := e.View(t.Context(), func(kv store.KV) error { return sameRange(kv, model, start, end) })
				if err != nil {
					rt.Fatal(err)
				}
			},
			"Restart": func(rt *rapid.T) {
				if rapid.IntRange(0, 7).Draw(rt, "seldom") != 0 {
					rt.Skip("a restart costs as much as fifty transactions")
				}
				if err := e.Close(); err != nil {
					rt.Fatal(err)
				}
				e = open()
			},
			"": func(rt *rapid.T) {
				err := e.View(t.Context(), func(kv store.KV) error {
					if got, err := everything(kv); err != nil || !maps.Equal(got, model) {
						return fmt.Errorf("the engine holds %q, not %q, error %w", got, model, err)
					}
					return nil
				})
				if err != nil {
					rt.Fatal(err)
				}
			},
		})
	})
}

// own begins the keys of one of the transactions side by side: where each keeps to its own, their order does not matter.
func own(i int) string { return string("ABCDEF"[i]) }

func empty(kv store.KV) error {
	for pair, err := range kv.Range(nil, key(behind)) {
		if err != nil {
			return err
		}
		if err := kv.Delete(pair.Key); err != nil {
			return err
		}
	}
	return nil
}

var (
	keys = rapid.StringMatching(`[a-c]{1,3}`)
	ops  = rapid.Custom(func(rt *rapid.T) op {
		return op{
			kind:  rapid.SampledFrom([]string{"set", "set", "delete", "get", "range", "move"}).Draw(rt, "kind"),
			key:   keys.Draw(rt, "key"),
			end:   keys.Draw(rt, "end"),
			value: rapid.SampledFrom([]string{"", "x", "yy"}).Draw(rt, "value"),
		}
	})
	transactions = rapid.Custom(func(rt *rapid.T) transaction {
		return transaction{
			ops:   rapid.SliceOfN(ops, 1, 8).Draw(rt, "ops"),
			fails: rapid.SampledFrom([]bool{false, false, true}).Draw(rt, "fails"),
		}
	})
)

type op struct{ kind, key, end, value string }

type transaction struct {
	ops   []op
	fails bool
}

// update runs the transaction and returns what the engine should hold then if it held model before. All keys begin with
// prefix.
func (x transaction) update(t *testing.T, e store.Engine, model map[string]string, prefix string) (after map[string]string, err error) {
	err = e.Update(t.Context(), func(kv store.KV) error {
		after = maps.Clone(model) // In each run anew.
		for _, o := range x.ops {
			if err := o.do(kv, after, prefix+o.key, prefix+o.end); err != nil {
				return err
			}
		}
		if x.fails {
			return errGiveUp
		}
		return nil
	})
	return after, err
}

// check tells whether the transaction was kept.
func (x transaction) check(rt *rapid.T, err error) (kept bool) {
	if x.fails != errors.Is(err, errGiveUp) || !x.fails && err != nil {
		rt.Fatalf("a transaction (giving up: %t) returned %v", x.fails, err)
	}
	return !x.fails
}

// do does the same to kv and to model, and compares what it reads.
func (o op) do(kv store.KV, model map[string]string, k, end string) error {
	switch o.kind {
	case "set":
		model[k] = o.value
		return kv.Set(key(k), key(o.value))
	case "delete":
		delete(model, k)
		return kv.Delete(key(k))
	case "get":
		value, err := kv.Get(key(k))
		if err != nil {
			return err
		}
		if want, held := model[k]; held != (value != nil) || string(value) != want {
			return fmt.Errorf("%s is %q (nil: %t), not %q", k, value, value == nil, want)
		}
		return nil
	case "range":
		return sameRange(kv, model, k, end)
	case "move": // Writes within a loop.
		before := maps.Clone(model)
		for _, from := range sorted(before, k, end) {
			delete(model, from)
			model[from+"m"] = before[from]
		}
		for pair, err := range kv.Range(key(k), key(end)) {
			if err != nil {
				return err
			}
			if err := errors.Join(kv.Delete(bytes.Clone(pair.Key)), kv.Set(append(pair.Key, 'm'), pair.Value)); err != nil {
				return err
			}
		}
		return nil
	default:
		return errors.New("no such kind: " + o.kind)
	}
}

func sameRange(kv store.KV, model map[string]string, start, end string) error {
	var got []string
	for pair, err := range kv.Range(key(start), key(end)) {
		if err != nil {
			return err
		}
		if string(pair.Value) != model[string(pair.Key)] {
			return fmt.Errorf("%s is %q in the range, not %q", pair.Key, pair.Value, model[string(pair.Key)])
		}
		got = append(got, string(pair.Key))
	}
	if want := sorted(model, start, end); !slices.Equal(got, want) {
		return fmt.Errorf("from %s to %s: %q, not %q", start, end, got, want)
	}
	return nil
}

func sorted(model map[string]string, start, end string) []string {
	var in []string
	for k := range model {
		if start <= k && k < end {
			in = append(in, k)
		}
	}
	slices.Sort(in)
	return in
}
