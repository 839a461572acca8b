package sync

import (
	"context"
	"fmt"
	stdsync "sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/store"
)

// BenchmarkCrowd is phones of as many crews that send batches of ten ticks beside each other and take the delta that these make,
// as the workloads push-16 and push-64 of `fieldsync bench` do, without HTTP and login. One operation is one batch. On a
// machine that does other things too, the processor time an update is the figure to compare.
func BenchmarkCrowd(b *testing.B) {
	const tasks = 100
	for _, phones := range []int{16, 64} {
		b.Run(fmt.Sprintf("phones=%d", phones), func(b *testing.B) {
			h := newHouse(b)
			as, cursors := make([]context.Context, phones), make([][]byte, phones)
			for p := range phones {
				crew := fmt.Sprintf("c%02d", p)
				as[p] = h.device(b, fmt.Sprintf("d%02d", p), crew) //nolint:fatcontext // One for each phone, none within another.
				h.update(b, func(tx *store.Tx) error {
					for i := range tasks {
						record := benchRecord(fmt.Sprintf("t%02d-%03d", p, i))
						record.Task.Assignment.CrewId, record.Tenures[0].CrewId = crew, crew
						record.Scopes[0] = string(store.CrewScope(crew))
						if err := store.SaveTask(tx, record, 0); err != nil {
							return err
						}
					}
					return nil
				})
				answer, err := h.engine.Sync(as[p], &fieldsyncv1.SyncRequest{BudgetBytes: 4 << 20})
				if err != nil {
					b.Fatal(err)
				}
				cursors[p] = answer.GetCursor()
			}
			var left atomic.Int64
			left.Store(int64(b.N))
			b.ReportAllocs()
			b.ResetTimer()
			before := processorTime(b)
			var all stdsync.WaitGroup
			for p := range phones {
				all.Go(func() {
					for number := uint64(0); left.Add(-1) >= 0; {
						clock := &fieldsyncv1.CaptureTime{Wall: timestamppb.Now(), BootId: "boot", SinceBootMs: 1000 + number}
						req := &fieldsyncv1.SyncRequest{Cursor: cursors[p], InstallEpoch: 1, Clock: clock}
						for range 10 {
							task, checked := number%tasks, number/tasks%2 == 0
							number++
							req.Mutations = append(req.Mutations, &fieldsyncv1.Mutation{
								Number: number, TaskId: fmt.Sprintf("t%02d-%03d", p, task), AssignmentEpoch: 1, Recorded: clock,
								Intent: &fieldsyncv1.Mutation_Tick{Tick: &fieldsyncv1.Tick{ItemId: "fence", Checked: checked}},
							})
						}
						answer, err := h.engine.Sync(as[p], req)
						if err != nil || len(answer.GetVerdicts()) != 10 || answer.GetVerdicts()[9].GetKind() != kindApplied || len(answer.GetTasks()) != 10 {
							b.Errorf("%v, error %v", answer.GetVerdicts(), err)
							return
						}
						cursors[p] = answer.GetCursor()
					}
				})
			}
			all.Wait()
			b.ReportMetric(float64((processorTime(b)-before).Microseconds())/float64(b.N*10), "cpu-µs/update")
			b.ReportMetric(float64(b.N*10)/b.Elapsed().Seconds(), "updates/s")
		})
	}
}

func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
