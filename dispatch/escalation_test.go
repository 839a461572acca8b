package dispatch

import (
	"testing"
	"time"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/store"
)

// steps counts the steps that were taken, and the changes of tickets that call for somebody outside.
func (h *house) steps(task string) (taken, outside int) {
	h.t.Helper()
	for _, step := range h.record(task).GetEscalation().GetSteps() {
		if step.GetDoneAt() != nil {
			taken++
		}
	}
	h.view(func(tx *store.Tx) error {
		for change, err := range store.Scan(tx, store.TicketChanges(), nil) {
			if err != nil {
				return err
			}
			if change.GetKind() == fieldsyncv1.TicketChangeKind_TICKET_CHANGE_KIND_ESCALATED && change.GetTaskId() == task {
				outside++
			}
		}
		return nil
	})
	return taken, outside
}

// Protects the climb of an urgent assignment: each step of its category happens once, in its time, to the right people, also when
// the server was down over several of them; it stops with the crew's answer, with a recall and with another assignment.
func TestEscalation(t *testing.T) {
	const high = fieldsyncv1.Urgency_URGENCY_HIGH
	for name, stop := range map[string]func(h *house, task string){
		"accepted":   func(h *house, task string) { h.moves(task, fieldsyncv1.TaskState_TASK_STATE_ACCEPTED, time.Time{}) },
		"started":    func(h *house, task string) { h.moves(task, fieldsyncv1.TaskState_TASK_STATE_STARTED, time.Time{}) },
		"declined":   func(h *house, task string) { h.moves(task, fieldsyncv1.TaskState_TASK_STATE_OPEN, time.Time{}) },
		"reassigned": func(h *house, task string) { h.assign(task, "chieu-sang") },
		"recalled": func(h *house, task string) {
			must(h.t)(h.RecallTask(h.as(saigonDesk), &fieldsyncv1.RecallTaskRequest{TaskId: task}))
		},
		"cancelled": func(h *house, task string) {
			must(h.t)(h.CancelTask(h.as(saigonDesk), &fieldsyncv1.CancelTaskRequest{TaskId: task, Reason: "trùng"}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := seeded(t, "2025-06-09 09:00")
			h.device("crew-phone", "minh", "cay-xanh", nil)
			task := h.taskOf("fallen-tree", high)
			h.assign(task, "cay-xanh")
			h.clearOutbox()
			h.now = h.now.Add(179 * time.Second)
			h.fire()
			if taken, _ := h.steps(task); taken != 0 || len(h.hints()) != 0 {
				t.Fatalf("before its time: %d steps, %v", taken, h.hints())
			}
			h.now = h.now.Add(time.Second)
			h.fire()
			if taken, _ := h.steps(task); taken != 1 || !h.hints()["crew-phone"] || h.reminders()["crew-phone"] {
				t.Fatalf("the first step: %d steps, %v, reminders %v", taken, h.hints(), h.reminders())
			}
			h.now = h.now.Add(10 * time.Minute) // Two steps were missed.
			h.fire()
			if taken, outside := h.steps(task); taken != 3 || outside != 0 {
				t.Fatalf("after two missed steps: %d, %d outside", taken, outside)
			}
			stop(h, task)
			before, _ := h.steps(task)
			h.now = h.now.Add(time.Minute) // Before anything of another assignment.
			h.fire()
			if after, _ := h.steps(task); after != before {
				t.Fatalf("a step was taken after the end: %d, %d", before, after)
			}
			h.now = h.now.Add(2 * time.Hour)
			h.fire()
			_, outside := h.steps(task)
			if want := map[bool]int{true: 1}[name == "reassigned"]; outside != want {
				t.Fatalf("somebody outside was called %d times, want %d", outside, want)
			}
			if h.fire() != 0 {
				t.Fatal("timers are left that are due")
			}
		})
	}
	h := seeded(t, "2025-06-09 09:00")
	task := h.taskOf("fallen-tree", 0) // As urgent as its category, which is high.
	h.assign(task, "cay-xanh")
	h.now = h.now.Add(time.Hour)
	h.fire()
	if taken, outside := h.steps(task); taken != 5 || outside != 1 {
		t.Errorf("nobody answered: %d steps, %d outside", taken, outside)
	}
	response, err := h.GetEscalation(h.as(saigonDesk), &fieldsyncv1.GetEscalationRequest{TaskId: task})
	if wantCode(t, err, ""); len(response.GetEscalation().GetSteps()) != 5 || response.GetEscalation().GetEndedAt() != nil {
		t.Errorf("what is told of it: %v", response)
	}
	_, err = h.GetEscalation(h.as(choLonDesk), &fieldsyncv1.GetEscalationRequest{TaskId: task})
	wantCode(t, err, "task_unknown")
	if low := h.taskOf("fallen-tree", fieldsyncv1.Urgency_URGENCY_LOW); true {
		h.assign(low, "cay-xanh")
		if h.record(low).GetEscalation() != nil {
			t.Error("a category without steps for an urgency escalates it")
		}
	}
}

// Protects the other timers from one whose task cannot be read: it is put off, and they are fired.
func TestDamagedTimer(t *testing.T) {
	h := seeded(t, "2025-06-09 09:00")
	task := h.taskOf("fallen-tree", 0)
	h.assign(task, "cay-xanh")
	h.update(func(tx *store.Tx) error {
		bad := &storagev1.TaskRecord{Task: &fieldsyncv1.Task{Id: "hong"}, Clock: &storagev1.TaskClock{CalendarVersion: 99, WorkingDays: 5, TimerId: "x"}}
		timer := &storagev1.Timer{TaskId: "hong", Work: &storagev1.Timer_Deadline{Deadline: &storagev1.DeadlineCheck{}}}
		if err := store.SetTimer(tx, timer, tx.Now()); err != nil {
			return err
		}
		bad.Clock.TimerId = timer.GetId()
		return store.Put(tx, store.TaskKey("hong"), bad)
	})
	h.now = h.now.Add(time.Hour)
	for range 20 {
		_, _, _ = h.FireTimers(t.Context(), 20)
	}
	if taken, outside := h.steps(task); taken != 5 || outside != 1 {
		t.Errorf("%d steps, %d outside: one bad timer holds up the others", taken, outside)
	}
}
