package dispatch

import (
	"testing"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/store"
)

// Protects the way from a ticket to its task: made once, whole, stamped with one revision, and heard of by the unit alone.
func TestCreateTask(t *testing.T) {
	h := newHouse(t)
	ticket := h.ticket("p-sai-gon")
	request := &fieldsyncv1.CreateTaskRequest{TicketId: ticket, Checklist: []*fieldsyncv1.ChecklistTemplate{
		{Id: "rao-chan", Label: &fieldsyncv1.Sentence{Vi: "Rào chắn", En: "Cordon off"}},
		{Id: "don-dep", Label: &fieldsyncv1.Sentence{Vi: "Dọn dẹp", En: "Clear up"}},
	}}
	first, err := h.CreateTask(h.as(saigonDesk), request)
	wantCode(t, err, "")
	task := first.GetTask()
	if task.GetRevision() != 1 || task.GetTicket().GetRevision() != 1 || task.GetStatus().GetRevision() != 1 ||
		task.GetAssignment().GetRevision() != 1 || len(task.GetChecklist()) != 2 || task.GetChecklist()[1].GetRevision() != 1 {
		t.Fatalf("not every part has the revision 1: %v", task)
	}
	if task.GetTicket().GetTitle() != "Cây đổ chắn đường" || task.GetStatus().GetByMemberId() != "lan" {
		t.Fatalf("the task does not say what was reported and who made it: %v", task)
	}
	h.wantState(task.GetId(), fieldsyncv1.TaskState_TASK_STATE_OPEN, "", 0)
	if e := h.entry(store.UnitScope("p-sai-gon"), task.GetId()); e == nil || e.GetRemoved() || e.GetRevision() != 1 {
		t.Fatalf("the unit's log has %v", e)
	}

	again, err := h.CreateTask(h.as(saigonDesk), &fieldsyncv1.CreateTaskRequest{TicketId: ticket})
	wantCode(t, err, "")
	wantEqual(t, "the repeat", again.GetTask(), task)
	list, err := h.ListTickets(h.as(saigonDesk), &fieldsyncv1.ListTicketsRequest{})
	wantCode(t, err, "")
	if got := list.GetTickets()[0]; got.GetTaskId() != task.GetId() || got.GetHotlineId() != "1022-"+ticket {
		t.Fatalf("the ticket is %v", got)
	}

	request.TicketId, request.Checklist[1].Id = h.ticket("p-sai-gon"), "rao-chan"
	_, err = h.CreateTask(h.as(saigonDesk), request)
	wantCode(t, err, "checklist_duplicate")
}

// Protects crews from being sent for what the hotline has taken back before it was a task. A task that was made before is still
// answered: it was called off with the ticket.
func TestCreateTaskOfWithdrawn(t *testing.T) {
	h := newHouse(t)
	before, after := h.ticket("p-sai-gon"), h.ticket("p-sai-gon")
	_, err := h.CreateTask(h.as(saigonDesk), &fieldsyncv1.CreateTaskRequest{TicketId: before})
	wantCode(t, err, "")
	h.update(func(tx *store.Tx) error {
		for _, id := range []string{before, after} {
			ticket, err := store.Get(tx, store.TicketKey(id))
			if err != nil {
				return err
			}
			ticket.WithdrawnAt = tx.Timestamp()
			if err := store.Put(tx, store.TicketKey(id), ticket); err != nil {
				return err
			}
		}
		return nil
	})
	_, err = h.CreateTask(h.as(saigonDesk), &fieldsyncv1.CreateTaskRequest{TicketId: before})
	wantCode(t, err, "")
	_, err = h.CreateTask(h.as(saigonDesk), &fieldsyncv1.CreateTaskRequest{TicketId: after})
	wantCode(t, err, "ticket_withdrawn")
}

// Protects the filter of states.
func TestListTasksByState(t *testing.T) {
	h := newHouse(t)
	h.task("p-sai-gon")
	assigned := h.assigned("p-sai-gon", "cay-xanh")
	for _, who := range []struct {
		name string
		list func(...fieldsyncv1.TaskState) (*fieldsyncv1.ListTasksResponse, error)
	}{
		{"unit", func(s ...fieldsyncv1.TaskState) (*fieldsyncv1.ListTasksResponse, error) {
			return h.ListTasks(h.as(saigonDesk), &fieldsyncv1.ListTasksRequest{States: s})
		}},
		{"admin", func(s ...fieldsyncv1.TaskState) (*fieldsyncv1.ListTasksResponse, error) {
			return h.ListTasks(h.as(admin), &fieldsyncv1.ListTasksRequest{States: s})
		}},
	} {
		response, err := who.list(fieldsyncv1.TaskState_TASK_STATE_ASSIGNED, fieldsyncv1.TaskState_TASK_STATE_DONE)
		wantCode(t, err, "")
		if len(response.GetTasks()) != 1 {
			t.Fatalf("%s: got %d tasks, want the assigned one", who.name, len(response.GetTasks()))
		}
		wantEqual(t, who.name, response.GetTasks()[0], assigned)
	}
}
