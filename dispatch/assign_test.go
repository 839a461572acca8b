package dispatch

import (
	"maps"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/store"
)

const (
	open      = fieldsyncv1.TaskState_TASK_STATE_OPEN
	assigned  = fieldsyncv1.TaskState_TASK_STATE_ASSIGNED
	cancelled = fieldsyncv1.TaskState_TASK_STATE_CANCELLED
)

// Protects the life of an assignment: who has the task, which logs hear of it with which reason, whose time ends when, and
// whose phones are woken how.
func TestAssignReassignRecallCancel(t *testing.T) {
	h := newHouse(t)
	h.device("phone-a", "minh", "cay-xanh", nil)
	h.device("phone-b", "tu", "chieu-sang", nil)
	id := h.task("p-sai-gon").GetId()
	unit, trees, lights := store.UnitScope("p-sai-gon"), store.CrewScope("cay-xanh"), store.CrewScope("chieu-sang")
	wantHints := func(want map[string]bool) {
		t.Helper()
		if got := h.hints(); !maps.Equal(got, want) {
			t.Fatalf("pushes (true: visible): %v, want %v", got, want)
		}
		h.clearOutbox()
	}
	wantRemoved := func(scope store.Scope, reason fieldsyncv1.RemovalReason) {
		t.Helper()
		if e := h.entry(scope, id); !e.GetRemoved() || e.GetReason() != reason {
			t.Fatalf("%s has the entry %v, want a removal with %v", scope, e, reason)
		}
	}
	wantIn := func(scopes ...store.Scope) {
		t.Helper()
		record := h.record(id)
		for _, scope := range scopes {
			if e := h.entry(scope, id); e == nil || e.GetRemoved() || e.GetRevision() != record.GetTask().GetRevision() {
				t.Fatalf("%s has the entry %v, want the task at its revision", scope, e)
			}
		}
		if len(record.GetScopes()) != len(scopes) {
			t.Fatalf("the task is in %v, want %v", record.GetScopes(), scopes)
		}
	}

	first, err := h.AssignTask(h.as(saigonDesk), &fieldsyncv1.AssignTaskRequest{TaskId: id, CrewId: "cay-xanh", Instruction: "Mang cưa máy"})
	wantCode(t, err, "")
	h.wantState(id, assigned, "cay-xanh", 1)
	if due := first.GetTask().GetAssignment().GetDueAt().AsTime(); !due.Equal(time.Date(2025, 11, 27, 17, 0, 0, 0, time.UTC)) {
		t.Fatalf("due at %v, want at 24:00 of the fifth working day after the report", due)
	}
	wantIn(unit, trees)
	wantHints(map[string]bool{"phone-a": true})

	h.now = h.now.Add(time.Hour)
	must(t)(h.AssignTask(h.as(saigonDesk), &fieldsyncv1.AssignTaskRequest{TaskId: id, CrewId: "chieu-sang"}))
	h.wantState(id, assigned, "chieu-sang", 2)
	wantIn(unit, lights)
	wantRemoved(trees, fieldsyncv1.RemovalReason_REMOVAL_REASON_REASSIGNED)
	wantHints(map[string]bool{"phone-a": false, "phone-b": true})

	h.now = h.now.Add(time.Hour)
	must(t)(h.RecallTask(h.as(saigonDesk), &fieldsyncv1.RecallTaskRequest{TaskId: id, Reason: "nhầm đội"}))
	h.wantState(id, open, "", 3)
	wantIn(unit)
	wantRemoved(lights, fieldsyncv1.RemovalReason_REMOVAL_REASON_REASSIGNED)
	wantHints(map[string]bool{"phone-b": false})

	h.now = h.now.Add(time.Hour)
	must(t)(h.AssignTask(h.as(saigonDesk), &fieldsyncv1.AssignTaskRequest{TaskId: id, CrewId: "cay-xanh"}))
	wantIn(unit, trees)
	wantHints(map[string]bool{"phone-a": true})
	h.now = h.now.Add(time.Hour)
	must(t)(h.CancelTask(h.as(saigonDesk), &fieldsyncv1.CancelTaskRequest{TaskId: id, Reason: "phiếu trùng"}))
	h.wantState(id, cancelled, "", 5)
	wantIn(unit)
	wantRemoved(trees, fieldsyncv1.RemovalReason_REMOVAL_REASON_CANCELLED)
	wantHints(map[string]bool{"phone-a": false})

	hour := func(n int) *timestamppb.Timestamp { return timestamppb.New(start.Add(time.Duration(n) * time.Hour)) }
	want := []*storagev1.Tenure{
		{CrewId: "cay-xanh", AssignmentEpoch: 1, From: hour(0), Until: hour(1)},
		{CrewId: "chieu-sang", AssignmentEpoch: 2, From: hour(1), Until: hour(2)},
		{CrewId: "cay-xanh", AssignmentEpoch: 4, From: hour(3), Until: hour(4)},
	}
	got := h.record(id).GetTenures()
	if len(got) != len(want) {
		t.Fatalf("tenures: %v", got)
	}
	for i := range want {
		wantEqual(t, "tenure", got[i], want[i])
	}
}

// Protects against orders given in ignorance of another one, and against a repeat that does something twice.
func TestFencesAndRepeats(t *testing.T) {
	h := newHouse(t)
	h.device("phone-a", "minh", "cay-xanh", nil)
	id := h.task("p-sai-gon").GetId()
	order := func(crew string, expected *uint64) error {
		_, err := h.AssignTask(h.as(saigonDesk), &fieldsyncv1.AssignTaskRequest{TaskId: id, CrewId: crew, ExpectedAssignmentEpoch: expected})
		return err
	}
	unchanged := func(what string, call func() error) {
		t.Helper()
		before := h.record(id)
		h.clearOutbox()
		h.now = h.now.Add(time.Minute)
		wantCode(t, call(), "")
		wantEqual(t, what, h.record(id), before)
		if hints := h.hints(); len(hints) != 0 {
			t.Fatalf("%s: pushes %v", what, hints)
		}
	}

	wantCode(t, order("cay-xanh", proto.Uint64(7)), "assignment_moved")
	if len(h.hints()) != 0 || h.record(id).GetTask().GetRevision() != 1 {
		t.Fatal("a refused order left something behind")
	}
	unchanged("recalling what nobody has", func() error {
		_, err := h.RecallTask(h.as(saigonDesk), &fieldsyncv1.RecallTaskRequest{TaskId: id})
		return err
	})
	wantCode(t, order("cay-xanh", proto.Uint64(0)), "")
	unchanged("the same order after a lost answer", func() error { return order("cay-xanh", proto.Uint64(0)) })
	unchanged("the same order knowing its own epoch", func() error { return order("cay-xanh", proto.Uint64(1)) })
	unchanged("the same order unfenced", func() error { return order("cay-xanh", nil) })
	wantCode(t, order("chieu-sang", proto.Uint64(0)), "assignment_moved")
	wantCode(t, order("chieu-sang", proto.Uint64(1)), "")
	wantCode(t, order("cay-xanh", proto.Uint64(0)), "assignment_moved")

	recall := func(expected *uint64) error {
		_, err := h.RecallTask(h.as(saigonDesk), &fieldsyncv1.RecallTaskRequest{TaskId: id, ExpectedAssignmentEpoch: expected})
		return err
	}
	wantCode(t, recall(proto.Uint64(1)), "assignment_moved")
	wantCode(t, recall(proto.Uint64(2)), "")
	unchanged("the same recall", func() error { return recall(proto.Uint64(2)) })

	cancel := func(reason string, expected *uint64) error {
		_, err := h.CancelTask(h.as(saigonDesk), &fieldsyncv1.CancelTaskRequest{TaskId: id, Reason: reason, ExpectedAssignmentEpoch: expected})
		return err
	}
	wantCode(t, cancel("trùng", proto.Uint64(2)), "assignment_moved")
	wantCode(t, cancel("trùng", proto.Uint64(3)), "")
	unchanged("the same cancellation", func() error { return cancel("trùng", proto.Uint64(3)) })
	wantCode(t, cancel("khác", nil), "task_ended")
	wantCode(t, recall(nil), "task_ended")
	wantCode(t, order("cay-xanh", nil), "task_ended")
}

// Protects what has ended: no order moves a task that is done or closed.
func TestEndedTasksStay(t *testing.T) {
	h := newHouse(t)
	for _, state := range []fieldsyncv1.TaskState{fieldsyncv1.TaskState_TASK_STATE_DONE, fieldsyncv1.TaskState_TASK_STATE_CLOSED} {
		id := h.assigned("p-sai-gon", "cay-xanh").GetId()
		h.update(func(tx *store.Tx) error {
			record, err := store.Get(tx, store.TaskKey(id))
			if err != nil {
				return err
			}
			record.Task.Status.State, record.Task.Status.Revision = state, store.NextRevision(record)
			return store.SaveTask(tx, record, 0)
		})
		_, err := h.AssignTask(h.as(admin), &fieldsyncv1.AssignTaskRequest{TaskId: id, CrewId: "chieu-sang"})
		wantCode(t, err, "task_ended")
		_, err = h.RecallTask(h.as(admin), &fieldsyncv1.RecallTaskRequest{TaskId: id})
		wantCode(t, err, "task_ended")
		_, err = h.CancelTask(h.as(admin), &fieldsyncv1.CancelTaskRequest{TaskId: id, Reason: "thôi"})
		wantCode(t, err, "task_ended")
		h.wantState(id, state, "cay-xanh", 1)
	}
}

// Protects the outbox: one visible push for each phone of the crew that can be reached, none for revoked ones, for those
// without an address, and for those of others; and none at all where the order fails.
func TestAssignmentWakesTheCrewsPhones(t *testing.T) {
	h := newHouse(t)
	h.device("one", "minh", "cay-xanh", nil)
	h.device("two", "minh", "cay-xanh", nil)
	h.device("three", "tam", "cay-xanh", nil)
	h.device("revoked", "tam", "cay-xanh", func(d *storagev1.Device) { d.RevokedAt = timestamppb.New(start) })
	h.device("mute", "tam", "cay-xanh", func(d *storagev1.Device) { d.Push = nil })
	h.device("foreign", "phuc", "thoat-nuoc", nil)
	id := h.task("p-sai-gon").GetId()

	_, err := h.AssignTask(h.as(saigonDesk), &fieldsyncv1.AssignTaskRequest{TaskId: id, CrewId: "thoat-nuoc"})
	wantCode(t, err, "crew_unknown")
	_, err = h.AssignTask(h.as(saigonDesk), &fieldsyncv1.AssignTaskRequest{TaskId: id, CrewId: "cay-xanh", DueAt: &timestamppb.Timestamp{Nanos: -1}})
	wantCode(t, err, "due_at_invalid")
	if hints := h.hints(); len(hints) != 0 {
		t.Fatalf("refused orders pushed to %v", hints)
	}

	wake, stop := h.store.Subscribe(store.OutboxTopic)
	defer stop()
	must(t)(h.AssignTask(h.as(saigonDesk), &fieldsyncv1.AssignTaskRequest{TaskId: id, CrewId: "cay-xanh"}))
	if got, want := h.hints(), map[string]bool{"one": true, "two": true, "three": true}; !maps.Equal(got, want) {
		t.Fatalf("pushes (true: visible): %v, want %v", got, want)
	}
	select {
	case <-wake:
	default:
		t.Fatal("the outbox's worker was not woken")
	}
}

// Protects an order to the crew that has the task already: another instruction is another assignment, which the crew sees.
func TestNewInstructionIsANewAssignment(t *testing.T) {
	h := newHouse(t)
	h.device("phone-a", "minh", "cay-xanh", nil)
	id := h.assigned("p-sai-gon", "cay-xanh").GetId()
	h.clearOutbox()
	must(t)(h.AssignTask(h.as(saigonDesk), &fieldsyncv1.AssignTaskRequest{TaskId: id, CrewId: "cay-xanh", Instruction: "Gấp"}))
	h.wantState(id, assigned, "cay-xanh", 2)
	if got := h.hints(); !maps.Equal(got, map[string]bool{"phone-a": true}) {
		t.Fatalf("pushes: %v", got)
	}
	if e := h.entry(store.CrewScope("cay-xanh"), id); e.GetRemoved() {
		t.Fatal("the task left the crew that has it")
	}
}

// Protects a flagged review from being swept away by an order of somebody who has not looked.
func TestOrdersKeepAReview(t *testing.T) {
	record := newTask("t", &fieldsyncv1.TicketFacet{UnitId: "p-sai-gon"}, nil, "lan", start)
	record.Task.Status.Review = true
	if _, err := assign(record, assignment{crew: "cay-xanh"}, start); err != nil {
		t.Fatal(err)
	}
	if _, err := (order{}).recall(record, start); err != nil {
		t.Fatal(err)
	}
	if !record.GetTask().GetStatus().GetReview() {
		t.Fatal("the review is gone")
	}
}
