package dispatch

import (
	"errors"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/cong1022/fieldsync/auth"
	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/store"
)

// Protects the one way back from an end: a completed task, closed or not, is opened without a crew by the word of who may, against
// the very completion that they saw; a repeat changes nothing, a failing log leaves it done, and what never was completed has nothing
// to take back.
func TestReopen(t *testing.T) {
	h := newHouse(t)
	var told []string
	var failure error
	h.reopened = func(_ *store.Tx, record *storagev1.TaskRecord, member, reason string) error {
		told = append(told, record.GetTask().GetCompletion().GetCompletionId()+" "+member+" "+reason)
		return failure
	}
	reopen := func(by auth.Principal, task, completion string) error {
		_, err := h.ReopenTask(h.as(by), &fieldsyncv1.ReopenTaskRequest{TaskId: task, CompletionId: completion, Reason: "còn đó"})
		return err
	}
	for _, state := range []fieldsyncv1.TaskState{fieldsyncv1.TaskState_TASK_STATE_DONE, fieldsyncv1.TaskState_TASK_STATE_CLOSED} {
		told = nil
		id := h.task("p-sai-gon").GetId()
		must(t)(h.AssignTask(h.as(saigonDesk), &fieldsyncv1.AssignTaskRequest{TaskId: id, CrewId: "cay-xanh"}))
		h.update(func(tx *store.Tx) error {
			record, err := store.Get(tx, store.TaskKey(id))
			if err != nil {
				return err
			}
			revision := store.NextRevision(record)
			record.Task.Status.State, record.Task.Status.Revision = state, revision
			record.Task.Completion = &fieldsyncv1.CompletionFacet{CompletionId: "c-" + id, Revision: revision}
			return store.SaveTask(tx, record, 0)
		})
		before := h.record(id)
		wantCode(t, reopen(choLonDesk, id, "c-"+id), "task_unknown")
		wantCode(t, reopen(crewMember, id, "c-"+id), "role_denied")
		wantCode(t, reopen(saigonDesk, id, "another"), "completion_moved")
		failure = errors.New("the log cannot be written")
		if err := reopen(saigonDesk, id, "c-"+id); !errors.Is(err, failure) {
			t.Errorf("%v", err)
		}
		if failure, told = nil, nil; !proto.Equal(h.record(id), before) {
			t.Fatalf("what failed left %v", h.record(id))
		}
		wantCode(t, reopen(saigonDesk, id, "c-"+id), "")
		h.wantState(id, open, "", 2)
		if e := h.entry(store.CrewScope("cay-xanh"), id); !e.GetRemoved() {
			t.Errorf("the crew has the entry %v", e)
		}
		after := h.record(id)
		wantCode(t, reopen(saigonDesk, id, "c-"+id), "")
		wantEqual(t, "a repeat", h.record(id), after)
		if len(told) != 1 || told[0] != "c-"+id+" lan còn đó" {
			t.Errorf("told %q", told)
		}
		must(t)(h.AssignTask(h.as(saigonDesk), &fieldsyncv1.AssignTaskRequest{TaskId: id, CrewId: "chieu-sang"}))
	}
	wantCode(t, reopen(saigonDesk, h.task("p-sai-gon").GetId(), "x"), "completion_moved")
}
