package dispatch

import (
	"testing"
	"time"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/store"
)

// Protects what is withdrawn from being late and from climbing: its escalation ends, its clock ends in time, and no timer that was set
// before says a word about it.
func TestWithdrawEndsClockAndEscalation(t *testing.T) {
	h := seeded(t, "2025-06-09 09:00")
	h.device("phone", "minh", "cay-xanh", nil)
	task := h.taskOf("fallen-tree", fieldsyncv1.Urgency_URGENCY_HIGH)
	h.assign(task, "cay-xanh")
	if h.record(task).GetEscalation() == nil {
		t.Fatal("nothing escalates: the test shows nothing")
	}
	h.now = h.now.Add(30 * time.Second)
	h.update(func(tx *store.Tx) error {
		record, err := store.Get(tx, store.TaskKey(task))
		if err != nil {
			return err
		}
		return h.Withdraw(tx, record, "tong-dai", "người dân báo nhầm")
	})
	h.wantState(task, cancelled, "", 2)
	if ended := h.record(task).GetEscalation().GetEndedAt(); ended == nil || !ended.AsTime().Equal(h.now) {
		t.Errorf("the escalation ended at %v", ended)
	}
	h.clearOutbox()
	h.now = h.now.AddDate(0, 2, 0)
	h.fire()
	record := h.record(task)
	if taken, outside := h.steps(task); taken != 0 || outside != 0 || record.GetClock().GetWarnedPercent() != 0 || record.GetClock().GetLate() {
		t.Errorf("afterwards: %d steps, %d calls outside, clock %v", taken, outside, record.GetClock())
	}
	if hints := h.hints(); len(hints) != 0 {
		t.Errorf("pushes: %v", hints)
	}
}
