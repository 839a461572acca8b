//nolint:thelper // As in storetest.go.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/cong1022/fieldsync/store"
)

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
