package main

import (
	"time"

	"google.golang.org/protobuf/proto"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/store"
)

const (
	// ladder is longer than the whole escalation of the city's only kind of ticket, which is urgent.
	ladder = 31 * time.Minute
	// climbRounds is how often timers may be taken in a step before somebody calls it endless.
	climbRounds = 100
)

// rung is a step of an escalation.
type rung struct {
	task  string
	epoch uint64
	step  int
}

// assigned is who has a task.
type assigned struct {
	epoch uint64
	crew  string
}

// climb lets the server take the timers that are due, as its worker does, and holds each step of an escalation that is taken against
// what its moment allowed. The present step's faults meet these commits as any.
func (w *world) climb() {
	for round := 0; w.bad == nil && !w.house.engine.dead; round++ {
		due := w.dueTimers()
		if len(due) == 0 {
			return
		}
		if round == climbRounds {
			w.failf("climb", "%d timers are due, and taking them does not end", len(due))
			return
		}
		before := w.recordsOf(due)
		_, err := w.house.rooms.FireTimers(w.ctx)
		w.checkSteps(before, w.recordsOf(due))
		if err != nil && !w.harmed {
			w.failf("internal error", "taking timers: %v", err)
		}
	}
}

func (w *world) dueTimers() (due []*storagev1.Timer) {
	err := w.house.truth.View(w.ctx, func(tx *store.Tx) error {
		for timer, err := range store.Scan(tx, store.Timers(), nil) {
			if err != nil || timer.GetDueAt().AsTime().After(tx.Now()) {
				return err
			}
			due = append(due, timer)
		}
		return nil
	})
	w.must("reading timers", err)
	return due
}

// recordsOf are the tasks of timers as they stand.
func (w *world) recordsOf(timers []*storagev1.Timer) map[string]*storagev1.TaskRecord {
	records := make(map[string]*storagev1.TaskRecord)
	err := w.house.truth.View(w.ctx, func(tx *store.Tx) (err error) {
		for _, timer := range timers {
			if id := timer.GetTaskId(); records[id] == nil && err == nil {
				records[id], err = store.Get(tx, store.TaskKey(id))
			}
		}
		return err
	})
	w.must("reading the tasks of timers", err)
	return records
}

// checkSteps: a step is taken only when it is due, while its assignment waits for an answer, and changes nothing of who has the task.
func (w *world) checkSteps(before, after map[string]*storagev1.TaskRecord) {
	for id, record := range before {
		was, is := record.GetEscalation(), after[id].GetEscalation()
		if !proto.Equal(record.GetTask(), after[id].GetTask()) {
			w.failf("climb", "a timer has changed %s from\n%v\nto\n%v", id, record.GetTask(), after[id].GetTask())
		}
		for i, step := range is.GetSteps() {
			if step.GetDoneAt() == nil || was.GetSteps()[i].GetDoneAt() != nil {
				continue
			}
			if !waits(record) || step.GetDueAt().AsTime().After(w.house.clock()) {
				w.failf("climb", "step %d of %s, due %v, was taken at %v of an assignment that is %v; its escalation: %v",
					i+1, id, step.GetDueAt().AsTime(), w.house.clock(), record.GetTask().GetStatus().GetState(), was)
			}
		}
	}
}

// waits tells whether the task's newest assignment climbs on.
func waits(record *storagev1.TaskRecord) bool {
	e, task := record.GetEscalation(), record.GetTask()
	return task.GetStatus().GetState() == fieldsyncv1.TaskState_TASK_STATE_ASSIGNED && e != nil && e.GetEndedAt() == nil &&
		e.GetAssignmentEpoch() == task.GetAssignment().GetAssignmentEpoch()
}

// checkClimbs: who has a task changes only with its assignment epoch, which never falls; an assignment that waits for an answer climbs,
// no other does, and what was taken stays taken.
func (w *world) checkClimbs(t *truth) {
	for _, record := range t.tasks {
		task, e := record.GetTask(), record.GetEscalation()
		now := assigned{task.GetAssignment().GetAssignmentEpoch(), task.GetAssignment().GetCrewId()}
		before := w.model.assigned[task.GetId()]
		if now.epoch < before.epoch || now.epoch == before.epoch && now.crew != before.crew {
			w.failf("fence", "%s was %s's in assignment epoch %d, and is %s's in %d", task.GetId(), before.crew, before.epoch, now.crew, now.epoch)
		}
		w.model.assigned[task.GetId()] = now
		if task.GetStatus().GetState() == fieldsyncv1.TaskState_TASK_STATE_ASSIGNED && !waits(record) {
			w.failf("climb", "%s waits for an answer, and nothing climbs: %v", task.GetId(), e)
		}
		if e != nil && e.GetEndedAt() == nil && !waits(record) {
			w.failf("climb", "%s is %v and climbs on: %v", task.GetId(), task.GetStatus().GetState(), e)
		}
		for i, step := range e.GetSteps() {
			at := rung{task.GetId(), e.GetAssignmentEpoch(), i}
			taken, known := w.model.climbed[at]
			switch {
			case known && (step.GetDoneAt() == nil || !step.GetDoneAt().AsTime().Equal(taken)):
				w.failf("climb", "step %d of %s was taken at %v, and now at %v", i+1, task.GetId(), taken, step.GetDoneAt())
			case step.GetDoneAt() != nil:
				w.model.climbed[at] = step.GetDoneAt().AsTime()
			}
		}
	}
}

// checkCalls: nobody outside is called twice for a step.
func (w *world) checkCalls(tx *store.Tx) error {
	for change, err := range store.Scan(tx, store.TicketChanges(), store.TicketChangeKey(w.model.calledTo)) {
		if err != nil {
			return err
		}
		w.model.calledTo = change.GetSequence()
		if e := change.GetEscalation(); e != nil {
			at := rung{change.GetTaskId(), e.GetAssignmentEpoch(), int(e.GetStep()) - 1}
			if w.model.called[at] {
				w.failf("climb", "somebody outside was called twice for %v", at)
			}
			w.model.called[at] = true
		}
	}
	return nil
}

// checkClimbed: what has waited for an answer through the whole ladder has climbed it, and whoever was to be called was.
func (w *world) checkClimbed(record *storagev1.TaskRecord) {
	for i, step := range record.GetEscalation().GetSteps() {
		at := rung{record.GetTask().GetId(), record.GetEscalation().GetAssignmentEpoch(), i}
		if waits(record) && step.GetDoneAt() == nil && !step.GetDueAt().AsTime().After(w.house.clock()) {
			w.failf("climb", "step %d of %s was due %v, and is never taken", i+1, at.task, step.GetDueAt().AsTime())
		}
		if step.GetAction() == fieldsyncv1.EscalationAction_ESCALATION_ACTION_WEBHOOK && (step.GetDoneAt() != nil) != w.model.called[at] {
			w.failf("climb", "step %d of %s was taken: %t, somebody outside was called: %t", i+1, at.task, step.GetDoneAt() != nil, w.model.called[at])
		}
	}
}
