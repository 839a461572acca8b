package sync

import (
	"context"
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/store"
)

const benchTasks = 1000

// benchRecord is a task of about 1 KB in the hands of a crew.
func benchRecord(id string) *storagev1.TaskRecord {
	at := timestamppb.New(time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC))
	record := &storagev1.TaskRecord{
		Task: &fieldsyncv1.Task{
			Id: id, Revision: 1,
			Ticket: &fieldsyncv1.TicketFacet{
				Revision: 1, TicketId: "ticket-" + id, HotlineId: "1022-2026-000042", Category: "fallen-tree", Title: "Cây ngã đổ chắn đường",
				Description: "Cây me tây lớn bật gốc sau cơn mưa chiều, thân cây nằm ngang chắn hết một nửa lòng đường. Xe buýt phải lấn làn " +
					"ngược chiều mới qua được. Tình trạng có từ khoảng sáu giờ sáng nay. Mong tổng đài cho người xuống sớm.",
				Address:  "120/7 Nơ Trang Long, phường Bình Thạnh",
				Position: &fieldsyncv1.Position{Latitude: 10.811301, Longitude: 106.695702}, ReportedAt: at, UnitId: "unit",
				Reporter: &fieldsyncv1.Reporter{Name: "Nguyễn Thị Lan", Phone: "0900000000"},
			},
			Status: &fieldsyncv1.StatusFacet{Revision: 1, State: fieldsyncv1.TaskState_TASK_STATE_ASSIGNED, Since: at, ByMemberId: "dieu-phoi"},
			Assignment: &fieldsyncv1.AssignmentFacet{
				Revision: 1, CrewId: "c1", AssignmentEpoch: 1, AssignedAt: at, DueAt: at, Instruction: "Ưu tiên thông đường trước, dọn sau.",
			},
		},
		Scopes:  []string{string(store.CrewScope("c1")), string(store.UnitScope("unit"))},
		Tenures: []*storagev1.Tenure{{CrewId: "c1", AssignmentEpoch: 1, From: at}},
	}
	for _, item := range []string{"fence", "cut", "wires", "clear"} {
		record.Task.Checklist = append(record.Task.Checklist, &fieldsyncv1.ChecklistItem{
			Revision: 1, Id: item, Label: &fieldsyncv1.Sentence{Vi: "Đặt rào và biển cảnh báo hai đầu", En: "Fence off both ends and put up signs"},
		})
	}
	return record
}

// benchHouse has benchTasks tasks with the crew c1, and a phone of it that has read them and then missed changes of the last
// changed ones, each of one facet. It returns that phone's cursor.
func benchHouse(b *testing.B, changed int) (h *house, phone context.Context, cursor []byte) {
	b.Helper()
	h = newHouse(b)
	phone = h.device(b, "d1", "c1")
	change := func(first int, prepare func(*storagev1.TaskRecord)) {
		for ; first < benchTasks; first += 100 {
			h.update(b, func(tx *store.Tx) error {
				for i := first; i < min(first+100, benchTasks); i++ {
					record := benchRecord(fmt.Sprintf("t%04d", i))
					prepare(record)
					if err := store.SaveTask(tx, record, 0); err != nil {
						return err
					}
				}
				return nil
			})
		}
	}
	change(0, func(*storagev1.TaskRecord) {})
	answer, err := h.engine.Sync(phone, &fieldsyncv1.SyncRequest{BudgetBytes: 4 << 20})
	if err != nil {
		b.Fatal(err)
	}
	change(benchTasks-changed, func(record *storagev1.TaskRecord) {
		record.Task.Status.Revision = store.NextRevision(record)
		record.Task.Status.State = fieldsyncv1.TaskState_TASK_STATE_STARTED
	})
	return h, phone, answer.GetCursor()
}

// BenchmarkMerge is one intent on a task of 1 KB.
func BenchmarkMerge(b *testing.B) {
	by := author{memberID: "m1", deviceID: "d1", crewID: "c1", at: time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC), item: "d1-1-1"}
	for name, m := range map[string]*fieldsyncv1.Mutation{
		"start": start(1, "t1"), "note": note(1, "t1", "Đã đến hiện trường."), "complete": complete(1, "t1"),
	} {
		b.Run(name, func(b *testing.B) {
			record := benchRecord("t1")
			task := record.GetTask()
			status, revision := task.GetStatus(), task.GetRevision()
			b.ReportAllocs()
			for b.Loop() {
				merge(record, m, by)
				// What these intents replace is put back.
				task.Status, task.Revision, task.Notes, task.Completion = status, revision, nil, nil
			}
		})
	}
}

// BenchmarkPull is the answer to a phone that asks for nothing new, for the changes of 20 tasks of 1,000, and for all of them.
// Cold: as by the first phone of a crew that asks.
func BenchmarkPull(b *testing.B) {
	for _, bench := range []struct {
		name        string
		changed     int
		fromNothing bool
		cold        bool
	}{
		{"nothing", 0, false, false},
		{"delta-20", 20, false, false},
		{"delta-20-cold", 20, false, true},
		{"all-1000", 0, true, false},
		{"all-1000-cold", 0, true, true},
	} {
		b.Run(bench.name, func(b *testing.B) {
			h, phone, cursor := benchHouse(b, bench.changed)
			want := bench.changed
			if bench.fromNothing {
				cursor, want = nil, benchTasks
			}
			b.ReportAllocs()
			for b.Loop() {
				if bench.cold {
					h.engine.tasks.young, h.engine.tasks.aged = nil, nil
				}
				answer, err := h.engine.Sync(phone, &fieldsyncv1.SyncRequest{Cursor: cursor, BudgetBytes: 4 << 20})
				if err != nil || len(answer.GetTasks()) != want {
					b.Fatalf("%d tasks, error %v", len(answer.GetTasks()), err)
				}
			}
		})
	}
}

// BenchmarkPush is a batch of ten ticks of ten tasks with the delta that it makes, fsync included.
func BenchmarkPush(b *testing.B) {
	h, phone, cursor := benchHouse(b, 0)
	var number uint64
	b.ReportAllocs()
	for b.Loop() {
		req := &fieldsyncv1.SyncRequest{Cursor: cursor, InstallEpoch: 1}
		for range 10 {
			task := number % benchTasks
			number++
			req.Mutations = append(req.Mutations, &fieldsyncv1.Mutation{
				Number: number, TaskId: fmt.Sprintf("t%04d", task), AssignmentEpoch: 1,
				Intent: &fieldsyncv1.Mutation_Tick{Tick: &fieldsyncv1.Tick{ItemId: "fence", Checked: number/benchTasks%2 == 0}},
			})
		}
		answer, err := h.engine.Sync(phone, req)
		if err != nil || answer.GetVerdicts()[9].GetKind() == fieldsyncv1.VerdictKind_VERDICT_KIND_REJECTED {
			b.Fatal(answer.GetVerdicts(), err)
		}
		cursor = answer.GetCursor()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*10), "ns/update")
}

// BenchmarkDigest is a task's share in the digest of its scope, and the sum over a scope's log, as Repair makes it.
func BenchmarkDigest(b *testing.B) {
	b.Run("task", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			store.TaskDigest("06h0jd5zkqprz59vgx30", 42)
		}
	})
	b.Run("scope-1000", func(b *testing.B) {
		h, phone, cursor := benchHouse(b, 0)
		req := &fieldsyncv1.RepairRequest{Cursor: cursor, Buckets: make([]uint64, repairBuckets)}
		err := h.store.View(b.Context(), func(tx *store.Tx) error {
			for entry, err := range store.ScanLog(tx, store.CrewScope("c1"), 0) {
				if err != nil {
					return err
				}
				req.Buckets[bucketOf(entry.GetTaskId())] += store.TaskDigest(entry.GetTaskId(), entry.GetRevision())
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			answer, err := h.engine.Repair(phone, req)
			if err != nil || answer.GetMoved() || len(answer.GetBuckets()) != 0 {
				b.Fatal(answer, err)
			}
		}
	})
}

// BenchmarkCodec encodes and decodes what goes over the wire and onto the disk.
func BenchmarkCodec(b *testing.B) {
	whole := &fieldsyncv1.SyncResponse{}
	for i := range 20 {
		whole.Tasks = append(whole.Tasks, delta(benchRecord(fmt.Sprintf("t%04d", i)).GetTask(), 0))
	}
	cursor := cursor{serverEpoch: 1, scope: 2, scopeEpoch: 3, sequence: 123456}
	for name, message := range map[string]proto.Message{"task": benchRecord("t1"), "answer-20": whole, "mutation": note(1, "t1", "Đã đến hiện trường.")} {
		encoded, err := proto.Marshal(message)
		if err != nil {
			b.Fatal(err)
		}
		b.Run("encode/"+name, func(b *testing.B) {
			b.SetBytes(int64(len(encoded)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := proto.Marshal(message); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("decode/"+name, func(b *testing.B) {
			b.SetBytes(int64(len(encoded)))
			b.ReportAllocs()
			for b.Loop() {
				if err := proto.Unmarshal(encoded, message.ProtoReflect().New().Interface()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("cursor", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := decodeCursor(cursor.encode()); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("delta", func(b *testing.B) {
		task := benchRecord("t1").GetTask()
		b.ReportAllocs()
		for b.Loop() {
			delta(task, 1)
		}
	})
}
