package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/dgraph-io/badger/v4/options"

	"github.com/cong1022/fieldsync/store"
	"github.com/cong1022/fieldsync/store/storetest"
)

// The engine keeps the promises of the seam.
func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) func() store.Engine {
		t.Helper()
		dir := t.TempDir()
		return func() store.Engine {
			e, err := Open(dir, quiet())
			if err != nil {
				t.Fatal(err)
			}
			return e
		}
	})
}

// held makes the writer wait within a transaction until release is called, so that what is started meanwhile lands in one
// commit. The transaction's error comes from the channel.
func held(t *testing.T, e *Engine, fn func(store.KV) error) (release func(), result <-chan error) {
	t.Helper()
	running, free, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		done <- e.Update(t.Context(), func(kv store.KV) error {
			close(running)
			<-free
			return fn(kv)
		})
	}()
	<-running
	return func() { close(free) }, done
}

// queued waits until n transactions stand in line.
func queued(e *Engine, n int) {
	for len(e.queue) < n {
		runtime.Gosched()
	}
}

// The most entries that one commit can gather, each as small as may be, still fit into one transaction of Badger.
func TestManySmallEntries(t *testing.T) {
	e := opened(t, t.TempDir())
	fill := func(family string) func(store.KV) error {
		return func(kv store.KV) error {
			for i := 0; ; i++ {
				k := fmt.Appendf(nil, "%s%x", family, i)
				if batch, ok := kv.(*batch); ok && batch.written+len(k)+overhead > store.MaxTransactionBytes {
					return nil
				}
				if err := kv.Delete(k); err != nil {
					return err
				}
			}
		}
	}
	// The one that is held is small: the next two are what a commit may hold beside it.
	release, first := held(t, e, func(store.KV) error { return nil })
	results := make(chan error, 2)
	for _, family := range []string{"a", "b"} {
		go func() { results <- e.Update(t.Context(), fill(family)) }()
	}
	queued(e, 2)
	release()
	for range 2 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	if err := <-first; err != nil {
		t.Error(err)
	}
}

// A transaction that fails gives the keys that it wrote back to its neighbours in the batch, as they had left them.
func TestUndoWithinBatch(t *testing.T) {
	e := opened(t, t.TempDir())
	release, first := held(t, e, func(kv store.KV) error {
		return errors.Join(kv.Set([]byte("set"), []byte("1")), kv.Delete([]byte("deleted")))
	})
	failing := make(chan error, 1)
	go func() {
		failing <- e.Update(t.Context(), func(kv store.KV) error {
			return errors.Join(kv.Delete([]byte("set")), kv.Set([]byte("set"), []byte("2")), kv.Set([]byte("deleted"), []byte("2")),
				kv.Set([]byte("new"), []byte("2")), errors.New("a failure of its own"))
		})
	}()
	queued(e, 1)
	release()
	if err := <-first; err != nil {
		t.Error(err)
	}
	if err := <-failing; err == nil {
		t.Error("the failing one did not fail")
	}
	for key, want := range map[string]string{"set": "1", "deleted": "", "new": ""} {
		if value, err := get(e, key); string(value) != want || err != nil {
			t.Errorf("%s is %q, %v", key, value, err)
		}
	}
}

// A batch that Badger refuses before anything is written is an error for those in it, and not the end of the engine.
func TestRefusedBatch(t *testing.T) {
	e := opened(t, t.TempDir())
	err := e.Update(t.Context(), func(kv store.KV) error {
		kv.(*batch).pending.Set("!badger!", []byte("v")) //nolint:forcetypeassert,errcheck // It is one.
		return nil
	})
	if err == nil || errors.Is(err, store.ErrOutcomeUnknown) {
		t.Errorf("the refused batch: %v", err)
	}
	if err := set(e, "a", "1"); err != nil {
		t.Errorf("after a refused batch: %v", err)
	}
}

// The log says where a transaction panicked, and nothing of what it panicked with, which may be anything.
func TestPanicIsLogged(t *testing.T) {
	var lines bytes.Buffer
	e, err := Open(t.TempDir(), slog.New(slog.NewTextHandler(&lines, &slog.HandlerOptions{Level: slog.LevelError})))
	if err != nil {
		t.Fatal(err)
	}
	func() {
		defer func() { _ = recover() }()
		_ = e.Update(t.Context(), culprit)
	}()
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if got := lines.String(); !strings.Contains(got, "culprit") || strings.Contains(got, "0901234567") {
		t.Errorf("the log holds: %s", got)
	}
}

func culprit(store.KV) error { panic("0901234567") }

// When a commit fails nobody can know what is on the disk: all in it hear so, whatever they returned, everything later is
// refused and says that it was not kept, and the engine says that it has failed before anybody else hears of it.
func TestFailedCommit(t *testing.T) {
	dir := t.TempDir()
	e := opened(t, dir)
	if err := set(e, "before", "1"); err != nil {
		t.Fatal(err)
	}
	release, first := held(t, e, func(kv store.KV) error { return kv.Set([]byte("first"), []byte("1")) })
	results := make(chan error, 8)
	var waiting sync.WaitGroup
	for i := range 8 {
		waiting.Go(func() {
			results <- e.Update(t.Context(), func(kv store.KV) error {
				if i%2 == 0 {
					return errors.New("a failure of its own")
				}
				return kv.Set(fmt.Appendf(nil, "k/%d", i), []byte("1"))
			})
		})
	}
	queued(e, 8)
	if err := e.db.Close(); err != nil { // The ground goes away under the batch.
		t.Fatal(err)
	}
	release()
	waiting.Wait()
	for _, err := range append(drain(results, 8), <-first) {
		if !errors.Is(err, store.ErrOutcomeUnknown) {
			t.Errorf("a transaction of the batch: %v", err)
		}
	}
	select {
	case <-e.Failed():
	default:
		t.Error("Failed is not closed")
	}
	if err := set(e, "later", "1"); !errors.Is(err, store.ErrClosed) || errors.Is(err, store.ErrOutcomeUnknown) {
		t.Errorf("a later update: %v", err)
	}
	if _, err := get(e, "before"); !errors.Is(err, store.ErrClosed) {
		t.Errorf("a later view: %v", err)
	}
	// The journal had it before Badger failed: the unknown outcome is known after the next start.
	_ = e.Close() // Its Badger is closed already.
	if value, err := get(opened(t, dir), "first"); string(value) != "1" || err != nil {
		t.Errorf("after the next start: %q, %v", value, err)
	}
}

// What stood in line behind a batch that failed has not run, and hears that it was not kept.
func TestQueuedBehindFailure(t *testing.T) {
	e := opened(t, t.TempDir())
	// A batch takes batchTransactions, so the last of these is in the next one.
	release, first := held(t, e, func(kv store.KV) error { return kv.Set([]byte("first"), []byte("1")) })
	results := make(chan error, batchTransactions)
	for range batchTransactions {
		go func() { results <- e.Update(t.Context(), func(store.KV) error { return nil }) }()
	}
	queued(e, batchTransactions)
	if err := e.db.Close(); err != nil {
		t.Fatal(err)
	}
	release()
	unknown, refused := 0, 0
	for _, err := range append(drain(results, batchTransactions), <-first) {
		switch {
		case errors.Is(err, store.ErrOutcomeUnknown):
			unknown++
		case errors.Is(err, store.ErrClosed):
			refused++
		default:
			t.Errorf("neither unknown nor refused: %v", err)
		}
	}
	if unknown != batchTransactions || refused != 1 {
		t.Errorf("%d unknown and %d refused, not %d and 1", unknown, refused, batchTransactions)
	}
}

func drain(results <-chan error, n int) []error {
	errs := make([]error, n)
	for i := range errs {
		errs[i] = <-results
	}
	return errs
}

// A context that ends while its transaction stands in line keeps it from running.
func TestContextEndsInLine(t *testing.T) {
	e := opened(t, t.TempDir())
	release, first := held(t, e, func(store.KV) error { return nil })
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() {
		result <- e.Update(ctx, func(kv store.KV) error { return kv.Set([]byte("late"), []byte("1")) })
	}()
	queued(e, 1)
	cancel()
	release()
	if err := errors.Join(<-first); err != nil {
		t.Error(err)
	}
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Errorf("the one in line: %v", err)
	}
	if value, err := get(e, "late"); value != nil || err != nil {
		t.Errorf("it left %q, %v", value, err)
	}
}

// What kill -9 cannot show, since the page cache outlives the process: each block that is read is checked.
func TestOptionsThatHoldThePromise(t *testing.T) {
	if o := opened(t, t.TempDir()).db.Opts(); o.ChecksumVerificationMode != options.OnBlockRead {
		t.Errorf("the checksum mode is %d", o.ChecksumVerificationMode)
	}
}
