package sync

import (
	"context"
	"log/slog"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cong1022/fieldsync/auth"
	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/store"
	"github.com/cong1022/fieldsync/store/embedded"
)

// house is a real store with an engine over it, and what the other rooms would have done.
type house struct {
	store  *store.Store
	engine *Engine
	now    time.Time
}

func newHouse(tb testing.TB) *house {
	tb.Helper()
	h := &house{now: time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC)}
	kv, err := embedded.Open(tb.TempDir(), slog.New(slog.DiscardHandler))
	if err != nil {
		tb.Fatal(err)
	}
	h.store, err = store.Open(tb.Context(), kv, store.Options{Clock: func() time.Time { return h.now }})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := h.store.Close(); err != nil {
			tb.Error(err)
		}
	})
	h.engine, err = New(Options{
		Store: h.store, Log: slog.New(slog.DiscardHandler),
		Claim: func(_ *store.Tx, record *storagev1.TaskRecord, by auth.Principal, _ uint64, _ *fieldsyncv1.Complete) error {
			record.GetTask().GetCompletion().CompletionId = "claimed-by-" + by.MemberID
			return nil
		},
	})
	if err != nil {
		tb.Fatal(err)
	}
	return h
}

// device puts a crew member's device into the store and returns a context in which it calls.
func (h *house) device(tb testing.TB, id, crew string) context.Context {
	tb.Helper()
	h.update(tb, func(tx *store.Tx) error {
		for _, err := range []error{
			store.Put(tx, store.CrewKey(crew), &fieldsyncv1.Crew{Id: crew, UnitId: "unit"}),
			store.Put(tx, store.MemberKey("member-"+id), &fieldsyncv1.Member{Id: "member-" + id, Role: fieldsyncv1.Role_ROLE_CREW, CrewId: crew}),
			store.Put(tx, store.DeviceKey(id), &storagev1.Device{Id: id, MemberId: "member-" + id, InstallEpoch: 2}),
		} {
			if err != nil {
				return err
			}
		}
		return nil
	})
	return auth.WithPrincipal(tb.Context(), auth.Principal{
		DeviceID: id, MemberID: "member-" + id, Role: fieldsyncv1.Role_ROLE_CREW, CrewID: crew, UnitID: "unit",
	})
}

func (h *house) update(tb testing.TB, f func(*store.Tx) error) {
	tb.Helper()
	if err := h.store.Update(tb.Context(), f); err != nil {
		tb.Fatal(err)
	}
}

// task makes a task of the unit.
func (h *house) task(tb testing.TB, id string) {
	tb.Helper()
	h.update(tb, func(tx *store.Tx) error {
		record := &storagev1.TaskRecord{
			Task: &fieldsyncv1.Task{
				Id:        id,
				Ticket:    &fieldsyncv1.TicketFacet{TicketId: "ticket-" + id, Title: "Cây ngã", UnitId: "unit"},
				Status:    &fieldsyncv1.StatusFacet{State: fieldsyncv1.TaskState_TASK_STATE_OPEN},
				Checklist: []*fieldsyncv1.ChecklistItem{{Id: "fence", Label: &fieldsyncv1.Sentence{Vi: "Rào chắn", En: "Fence"}}},
			},
			Scopes: []string{string(store.UnitScope("unit"))},
		}
		revision := store.NextRevision(record)
		record.Task.Ticket.Revision, record.Task.Status.Revision, record.Task.Checklist[0].Revision = revision, revision, revision
		return store.SaveTask(tx, record, 0)
	})
}

// assign does what the dispatch room does for an assignment, or for a recall where crew is empty.
func (h *house) assign(tb testing.TB, id, crew string) {
	tb.Helper()
	h.change(tb, id, func(tx *store.Tx, record *storagev1.TaskRecord, revision uint64) {
		epoch := record.GetTask().GetAssignment().GetAssignmentEpoch() + 1
		record.Task.Assignment = &fieldsyncv1.AssignmentFacet{Revision: revision, CrewId: crew, AssignmentEpoch: epoch}
		state := fieldsyncv1.TaskState_TASK_STATE_OPEN
		record.Scopes = []string{string(store.UnitScope("unit"))}
		if n := len(record.GetTenures()); n > 0 && record.GetTenures()[n-1].GetUntil() == nil {
			record.Tenures[n-1].Until = tx.Timestamp()
		}
		if crew != "" {
			state = fieldsyncv1.TaskState_TASK_STATE_ASSIGNED
			record.Scopes = append(record.Scopes, string(store.CrewScope(crew)))
			slices.Sort(record.GetScopes())
			record.Tenures = append(record.Tenures, &storagev1.Tenure{CrewId: crew, AssignmentEpoch: epoch, From: tx.Timestamp()})
		}
		record.Task.Status = &fieldsyncv1.StatusFacet{Revision: revision, State: state}
	})
}

// cancel does what the dispatch room does when a task is called off.
func (h *house) cancel(tb testing.TB, id string) {
	tb.Helper()
	h.change(tb, id, func(_ *store.Tx, record *storagev1.TaskRecord, revision uint64) {
		record.Scopes = []string{string(store.UnitScope("unit"))}
		record.Task.Status = &fieldsyncv1.StatusFacet{Revision: revision, State: fieldsyncv1.TaskState_TASK_STATE_CANCELLED}
	})
}

func (h *house) change(tb testing.TB, id string, f func(*store.Tx, *storagev1.TaskRecord, uint64)) {
	tb.Helper()
	h.update(tb, func(tx *store.Tx) error {
		record, err := store.Get(tx, store.TaskKey(id))
		if err != nil {
			return err
		}
		f(tx, record, store.NextRevision(record))
		return store.SaveTask(tx, record, fieldsyncv1.RemovalReason_REMOVAL_REASON_REASSIGNED)
	})
}

func (h *house) load(tb testing.TB, id string) *fieldsyncv1.Task {
	tb.Helper()
	var record *storagev1.TaskRecord
	if err := h.store.View(tb.Context(), func(tx *store.Tx) (err error) {
		record, err = store.Get(tx, store.TaskKey(id))
		return err
	}); err != nil {
		tb.Fatal(err)
	}
	return record.GetTask()
}

// push sends a batch under install epoch 1.
func (h *house) push(ctx context.Context, batch ...*fieldsyncv1.Mutation) (*fieldsyncv1.SyncResponse, error) {
	return h.engine.Sync(ctx, &fieldsyncv1.SyncRequest{Mutations: batch, InstallEpoch: 1})
}

func (h *house) mustPush(ctx context.Context, tb testing.TB, batch ...*fieldsyncv1.Mutation) []*fieldsyncv1.Verdict {
	tb.Helper()
	resp, err := h.push(ctx, batch...)
	if err != nil {
		tb.Fatal(err)
	}
	return resp.GetVerdicts()
}

func note(number uint64, task, text string) *fieldsyncv1.Mutation {
	return &fieldsyncv1.Mutation{
		Number: number, TaskId: task,
		Intent: &fieldsyncv1.Mutation_AddNote{AddNote: &fieldsyncv1.AddNote{Text: text}},
	}
}

func start(number uint64, task string) *fieldsyncv1.Mutation {
	return &fieldsyncv1.Mutation{Number: number, TaskId: task, Intent: &fieldsyncv1.Mutation_Start{Start: &fieldsyncv1.Start{}}}
}

func complete(number uint64, task string) *fieldsyncv1.Mutation {
	return &fieldsyncv1.Mutation{
		Number: number, TaskId: task,
		Intent: &fieldsyncv1.Mutation_Complete{Complete: &fieldsyncv1.Complete{Outcome: fieldsyncv1.Outcome_OUTCOME_REPAIRED, Note: "xong"}},
	}
}

func attach(number uint64, task, photo string, sha byte) *fieldsyncv1.Mutation {
	sum := make([]byte, 32)
	sum[0] = sha
	return &fieldsyncv1.Mutation{
		Number: number, TaskId: task,
		Intent: &fieldsyncv1.Mutation_AttachPhoto{AttachPhoto: &fieldsyncv1.AttachPhoto{Photo: &fieldsyncv1.PhotoDeclaration{
			PhotoId: photo, Sha256: sum, SizeBytes: 1000, ContentType: "image/jpeg",
			Captured: &fieldsyncv1.CaptureTime{Wall: timestamppb.New(time.Date(2026, 11, 23, 7, 0, 0, 0, time.UTC))},
		}}},
	}
}
