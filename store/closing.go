package store

import (
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
)

// MayClose tells whether the ticket of a task may be closed, and everybody told how it ended: the task is done, and its completion has
// come as far as the ticket's category asks: to the crew's claim or, which is the default and holds for categories that nobody
// knows, to the seal.
func MayClose(tx *Tx, task *fieldsyncv1.Task) (bool, error) {
	switch task.GetStatus().GetState() {
	case fieldsyncv1.TaskState_TASK_STATE_DONE, fieldsyncv1.TaskState_TASK_STATE_CLOSED:
	default:
		return false, nil
	}
	switch proof := task.GetCompletion().GetProofState(); {
	case proof >= fieldsyncv1.ProofState_PROOF_STATE_SEALED:
		return true, nil
	case proof < fieldsyncv1.ProofState_PROOF_STATE_CLAIMED:
		return false, nil
	}
	category, err := Get(tx, CategoryKey(task.GetTicket().GetCategory()))
	return category.GetClosing() == fieldsyncv1.ClosingRule_CLOSING_RULE_CLAIM, err
}
