package store_test

import (
	"fmt"
	"log/slog"
	"strconv"
	"sync/atomic"
	"testing"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/store"
	"github.com/cong1022/fieldsync/store/embedded"
)

const benchTasks = 1000

// BenchmarkSaveTask is a change of one task of a crew and a unit, from 1 and from 16 goroutines.
func BenchmarkSaveTask(b *testing.B) {
	for _, writers := range []int{1, 16} {
		b.Run("writers="+strconv.Itoa(writers), func(b *testing.B) {
			s := benchStore(b)
			var n atomic.Uint64
			b.ReportAllocs()
			b.SetParallelism(writers) // Times GOMAXPROCS, which is what the runner has.
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					id := benchTask(int(n.Add(1) % benchTasks))
					if err := s.Update(b.Context(), func(tx *store.Tx) error { return raise(tx, id) }); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

// BenchmarkScanLog reads a scope's log of 1,000 entries from its beginning.
func BenchmarkScanLog(b *testing.B) {
	s := benchStore(b)
	b.ReportAllocs()
	for b.Loop() {
		entries := 0
		err := s.View(b.Context(), func(tx *store.Tx) error {
			for _, err := range store.ScanLog(tx, store.CrewScope("c1"), 0) {
				if err != nil {
					return err
				}
				entries++
			}
			return nil
		})
		if err != nil || entries != benchTasks {
			b.Fatalf("%d entries, error %v", entries, err)
		}
	}
}

func benchTask(i int) string { return fmt.Sprintf("task%08d", i) }

func benchStore(b *testing.B) *store.Store {
	b.Helper()
	engine, err := embedded.Open(b.TempDir(), slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	s, err := store.Open(b.Context(), engine, store.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	})
	for first := 0; first < benchTasks; first += 100 {
		err := s.Update(b.Context(), func(tx *store.Tx) error {
			for i := first; i < first+100; i++ {
				record := &storagev1.TaskRecord{
					Task: &fieldsyncv1.Task{Id: benchTask(i), Ticket: &fieldsyncv1.TicketFacet{
						Title:       "Cây ngã chắn ngang đường",
						Description: "Cây dầu lớn ngã sau cơn mưa chiều, chắn một nửa lòng đường, xe máy phải đi lên vỉa hè.",
						Address:     "Đường Lý Thái Tổ, gần vòng xoay Ngã Bảy",
					}},
					Scopes: []string{string(store.CrewScope("c1")), string(store.UnitScope("u1"))},
				}
				store.NextRevision(record)
				if err := store.SaveTask(tx, record, 0); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	return s
}

func raise(tx *store.Tx, id string) error {
	record, err := store.Get(tx, store.TaskKey(id))
	if err != nil {
		return err
	}
	store.NextRevision(record)
	return store.SaveTask(tx, record, 0)
}
