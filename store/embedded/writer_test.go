package embedded

import (
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cong1022/fieldsync/store"
)

// refusing makes the engine turn away every batch but each n-th, as a disk does that fills up and is cleared again.
func refusing(e *Engine, n int32) {
	var looks atomic.Int32
	e.space.look = func(string) (Margins, error) {
		if looks.Add(1)%n != 0 {
			return Margins{}, nil
		}
		return Margins{1 << 40, 1 << 40, 1 << 40}, nil
	}
	clock := time.Now()
	e.space.clock = func() time.Time { // So that it looks each time.
		clock = clock.Add(lookEvery)
		return clock
	}
}

// Protects: a batch that was run on top of another one, before that was durable, goes down with it: what a transaction has read
// is there once it is acknowledged. Here most batches are refused, so that those behind them have read what is not kept.
func TestRefusedTogether(t *testing.T) {
	dir := t.TempDir()
	e := opened(t, dir)
	refusing(e, 3)
	const writers, rounds = 8, 60
	var kept atomic.Int64
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for range rounds {
				var n int
				err := e.Update(t.Context(), func(kv store.KV) error {
					value, err := kv.Get([]byte("count"))
					if err != nil {
						return err
					}
					n, _ = strconv.Atoi(string(value)) // 0 of none.
					n++
					return errors.Join(kv.Set([]byte("count"), []byte(strconv.Itoa(n))), kv.Set(fmt.Appendf(nil, "log/%06d", n), []byte{byte(w)}))
				})
				switch {
				case err == nil:
					kept.Add(1)
				case !errors.Is(err, store.ErrNoSpace):
					t.Errorf("a refused one: %v", err)
				}
			}
		})
	}
	all.Wait()
	if kept.Load() == 0 || kept.Load() == writers*rounds {
		t.Fatalf("%d of %d were kept: nothing is shown", kept.Load(), writers*rounds)
	}
	check := func(e *Engine) {
		t.Helper()
		if value, err := get(e, "count"); string(value) != strconv.FormatInt(kept.Load(), 10) || err != nil {
			t.Errorf("%d were acknowledged, the count is %s, %v", kept.Load(), value, err)
		}
		n := 0
		if err := e.View(t.Context(), func(kv store.KV) error {
			for pair, err := range kv.Range([]byte("log/"), []byte("log0")) {
				if n++; err != nil || string(pair.Key) != fmt.Sprintf("log/%06d", n) {
					return fmt.Errorf("number %d lies under %s, %w", n, pair.Key, err)
				}
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
		if int64(n) != kept.Load() {
			t.Errorf("%d were acknowledged, the log has %d", kept.Load(), n)
		}
	}
	check(e)
	shut(t, e)
	check(opened(t, dir))
}

// Protects: whoever reads sees one moment, though what it reads is remembered while others write: two keys that are always
// written together are always equal, in a snapshot that is read slowly as in one that has just begun.
func TestSnapshotsOverTheCache(t *testing.T) {
	e := opened(t, t.TempDir())
	write := func(n int) error {
		value := []byte(strconv.Itoa(n))
		return e.Update(t.Context(), func(kv store.KV) error {
			return errors.Join(kv.Set([]byte("left"), value), kv.Set([]byte("right"), value))
		})
	}
	if err := write(0); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for slow := range 4 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := e.View(t.Context(), func(kv store.KV) error {
					left, err := kv.Get([]byte("left"))
					if err != nil {
						return err
					}
					for range slow { // Others' reads at newer versions meanwhile.
						if _, err := get(e, "right"); err != nil {
							return err
						}
					}
					right, err := kv.Get([]byte("right"))
					if err == nil && string(left) != string(right) {
						err = fmt.Errorf("left is %s, right %s", left, right)
					}
					return err
				}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for n := range 300 {
		if err := write(n); err != nil {
			t.Error(err)
		}
		if value, err := get(e, "left"); string(value) != strconv.Itoa(n) || err != nil {
			t.Errorf("after %d was acknowledged: %s, %v", n, value, err)
		}
	}
	close(stop)
	readers.Wait()
}

// Protects: the cache forgets, and what it has forgotten is found all the same.
func TestCacheForgets(t *testing.T) {
	var c cache
	large := make([]byte, cacheBytes/16)
	for i := range 40 {
		c.read(fmt.Appendf(nil, "k%02d", i), large, 0)
	}
	if _, found := c.get([]byte("k00"), 0); found {
		t.Error("more than twice the bound is remembered")
	}
	if value, found := c.get([]byte("k39"), 0); !found || len(value) != len(large) {
		t.Error("the last one is not remembered")
	}
	if len(c.young)+len(c.aged) > 16 {
		t.Errorf("%d sixteenths of the bound are remembered", len(c.young)+len(c.aged))
	}
}
