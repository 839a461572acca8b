package backup_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cong1022/fieldsync/backup"
	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/store"
	"github.com/cong1022/fieldsync/store/embedded"
)

// Protects: backup, check, restore and rebuild of many tasks come to the same store, by digest, and tell how far they are. What each
// takes, and the memory that it holds at the most, is logged (-v), not judged: FIELDSYNC_TASKS=1000000 for a city of many years.
func TestManyTasks(t *testing.T) {
	size := 20_000
	if testing.Short() {
		size = 2_000
		t.Log("-short: 2,000 tasks, not 20,000")
	}
	if asked := os.Getenv("FIELDSYNC_TASKS"); asked != "" {
		var err error
		if size, err = strconv.Atoi(asked); err != nil {
			t.Fatal(err)
		}
	}
	work := t.TempDir()
	dir, target := filepath.Join(work, "city"), backup.Folder(filepath.Join(work, "repository"))
	var heard atomic.Pointer[func(done, total int64)] // Of the engine that is open, while it is verified.
	options := embedded.Options{Margins: embedded.Margins{Descriptors: 1}, Log: slog.New(slog.DiscardHandler), Progress: func(done, total int64) {
		if told := heard.Load(); told != nil {
			(*told)(done, total)
		}
	}}
	engine, err := embedded.OpenWith(dir, options)
	if err != nil {
		t.Fatal(err)
	}
	st, err := store.Open(t.Context(), engine, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	phase := func(name string, do func(progress backup.Progress) error) {
		t.Helper()
		debug.FreeOSMemory()
		before, told := peak(t, true), 0
		begun := time.Now()
		if err := do(func(backup.Step, int64, int64) { told++ }); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if name != "writing" && told == 0 {
			t.Errorf("%s: nobody was told how far it is", name)
		}
		t.Logf("%-10s %8.1f s, at most %d MiB resident (%d before), progress told %d times", name, time.Since(begun).Seconds(), peak(t, false), before, told)
	}
	phase("writing", func(backup.Progress) error { return fill(t.Context(), st, size) })
	want, err := engine.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if err := engine.Snapshot(); err != nil {
		t.Fatal(err)
	}
	phase("backup", func(progress backup.Progress) error {
		return backup.New(backup.Options{Engine: engine, Target: target, Progress: progress}).Ship(t.Context())
	})
	phase("check", func(progress backup.Progress) error {
		heard.Store(new(func(done, total int64) { progress(backup.StepIndex, done, total) }))
		defer heard.Store(nil)
		found, err := engine.Verify(t.Context())
		if err != nil || len(found) > 0 {
			return fmt.Errorf("%w %v", err, found)
		}
		findings, err := store.Check(t.Context(), st, store.CheckOptions{Progress: func(records int64) { progress(backup.StepJournal, records, -1) }})
		if err == nil && len(findings) > 0 {
			err = fmt.Errorf("%v", findings)
		}
		return err
	})
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	phase("rebuild", func(progress backup.Progress) error {
		o := options
		o.Progress = func(done, total int64) { progress(backup.StepIndex, done, total) }
		return embedded.Rebuild(dir, o)
	})
	again, err := embedded.OpenWith(dir, options)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := again.Digest(); err != nil || got != want {
		t.Errorf("rebuilt: %v, %v; it was %v", got, err, want)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	var restored backup.Restored
	phase("restore", func(progress backup.Progress) (err error) {
		restored, err = backup.Restore(t.Context(), filepath.Join(work, "restored"), backup.RestoreOptions{Target: target, Progress: progress})
		return err
	})
	other, err := embedded.OpenWith(filepath.Join(work, "restored"), options)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if got, err := other.Digest(); err != nil || got.Keys != want.Keys || restored.Sequence == 0 { // The epoch is another.
		t.Errorf("restored: %v, %v; it was %v", got, err, want)
	}
}

// fill makes tasks of about 1 KB in the scopes of sixteen crews and a city, with many writers.
func fill(ctx context.Context, st *store.Store, size int) error {
	const writers, batch = 16, 25
	text := strings.Repeat("Cây me tây bật gốc, chắn nửa lòng đường. ", 16)
	var group sync.WaitGroup
	failed := make(chan error, writers)
	for w := range writers {
		group.Go(func() {
			for from := w * batch; from < size; from += writers * batch {
				if err := st.Update(ctx, func(tx *store.Tx) error {
					for n := from; n < min(from+batch, size); n++ {
						record := &storagev1.TaskRecord{
							Task: &fieldsyncv1.Task{
								Id:     fmt.Sprintf("t%08d", n),
								Ticket: &fieldsyncv1.TicketFacet{Title: "Cây đổ", Description: text, Address: "120 Nơ Trang Long"},
							},
							Scopes: []string{fmt.Sprintf("c:to-%d", n%16), "u:city"},
						}
						store.NextRevision(record)
						if err := store.SaveTask(tx, record, 0); err != nil {
							return err
						}
					}
					return nil
				}); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	group.Wait()
	close(failed)
	return <-failed
}

// peak is the most memory that the process has held resident, in MiB, since it was reset; 0 where nobody tells.
func peak(t *testing.T, reset bool) int {
	t.Helper()
	if reset {
		_ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) // Linux; elsewhere nothing is told.
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	var kib int
	_, _ = fmt.Sscan(rest, &kib)
	return kib >> 10
}
