package phone

import (
	bolt "go.etcd.io/bbolt"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
)

// Seen says that somebody has opened the task: call it whenever the app shows one. It is recorded once an assignment, as an
// intent like the others: where the crew has said so already, or has answered, there is nothing to record.
func (p *Phone) Seen(task string) error {
	worth := false
	err := p.view(func(tx *bolt.Tx, st *state) error {
		if st.DeviceID == "" {
			return errNotEnrolled()
		}
		held, err := getTask(tx, task)
		switch {
		case err != nil:
			return err
		case held == nil:
			return errTaskNotHeld(task)
		case held.GetAssignment().GetSeenAt() != nil || held.GetStatus().GetState() != fieldsyncv1.TaskState_TASK_STATE_ASSIGNED:
			return nil
		}
		for q, err := range outbox(tx) {
			if err != nil {
				return err
			}
			if q.mutation.GetTaskId() == task && q.mutation.GetAssignmentEpoch() == held.GetAssignment().GetAssignmentEpoch() {
				return nil // It tells as much itself.
			}
		}
		worth = true
		return nil
	})
	if err != nil || !worth {
		return err
	}
	return p.record(&fieldsyncv1.Mutation{TaskId: task, Intent: &fieldsyncv1.Mutation_See{See: &fieldsyncv1.See{}}})
}

// Woken says that a push has reached the app. The next sync tells the server, so that dispatchers see it delivered, and Run
// syncs soon.
func (p *Phone) Woken() {
	p.woken.Store(true)
	p.hurry()
}

// bringsOrder tells whether a pushed delta gives the crew a task. The phone then makes one call though it knows all: that is how
// the server learns that the order has arrived.
func bringsOrder(delta *fieldsyncv1.SyncResponse) bool {
	for _, task := range delta.GetTasks() {
		if task.GetTask().GetAssignment() != nil && task.GetTask().GetStatus().GetState() == fieldsyncv1.TaskState_TASK_STATE_ASSIGNED {
			return true
		}
	}
	return false
}
