package store_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/store"
)

// Protects an index that comes to a store with records in it: each record is entered, also where the server stops in the middle, what
// was done before the stop is not done again, and what has come to its end is never begun anew.
func TestBackfill(t *testing.T) {
	s := opened(t, engine(t), newClock())
	const records = 250
	put := func(id string) {
		update(t, s, func(tx *store.Tx) error {
			return store.Put(tx, store.TaskKey(id), &storagev1.TaskRecord{Task: &fieldsyncv1.Task{Id: id}})
		})
	}
	for i := range records {
		put(fmt.Sprintf("t%03d", i))
	}
	entered := map[string]int{}
	fill := func(ctx context.Context, name string, at func()) {
		t.Helper()
		err := store.Backfill(ctx, s, slog.New(slog.DiscardHandler), name, store.Tasks(), func(tx *store.Tx, record *storagev1.TaskRecord) error {
			id := record.GetTask().GetId()
			entered[id]++
			at()
			return store.Put(tx, store.ReviewKey(id), &storagev1.TaskRecord{Task: &fieldsyncv1.Task{Id: id}})
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	indexed := func() (n int) {
		view(t, s, func(tx *store.Tx) error {
			for _, err := range store.Scan(tx, store.Reviews(), nil) {
				if err != nil {
					return err
				}
				n++
			}
			return nil
		})
		return n
	}

	ctx, stop := context.WithCancel(t.Context())
	fill(ctx, "a", func() {
		if len(entered) == 150 {
			stop()
		}
	})
	first := indexed()
	if first < 100 || first >= records {
		t.Fatalf("after the stop %d are entered", first)
	}
	clear(entered)
	fill(t.Context(), "a", func() {})
	if indexed() != records || len(entered) != records-first {
		t.Errorf("%d are entered, %d of them after the stop; %d were before", indexed(), len(entered), first)
	}
	clear(entered)
	put("t999")
	fill(t.Context(), "a", func() {})
	if len(entered) != 0 {
		t.Errorf("done, and begun anew: %v", entered)
	}
	fill(t.Context(), "b", func() {})
	if len(entered) != records+1 {
		t.Errorf("another index got %d records", len(entered))
	}
}
