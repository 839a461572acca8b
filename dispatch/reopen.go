package dispatch

import (
	"context"
	"time"

	"github.com/cong1022/fieldsync/auth"
	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/store"
)

// ReopenTask opens a task again that a crew has completed, without a crew. The completion is taken back in the proof log and the
// hotline's ticket opened in the same transaction. The same order again changes nothing. Errors: NotFound "task_unknown",
// Precondition "completion_moved".
func (s *Service) ReopenTask(ctx context.Context, request *fieldsyncv1.ReopenTaskRequest) (*fieldsyncv1.ReopenTaskResponse, error) {
	task, err := s.carryOut(ctx, request.GetTaskId(), fieldsyncv1.RemovalReason_REMOVAL_REASON_REASSIGNED,
		func(tx *store.Tx, p auth.Principal, record *storagev1.TaskRecord) (bool, error) {
			changed, err := order{member: p.MemberID, reason: request.GetReason()}.reopen(record, request.GetCompletionId(), tx.Now())
			if err != nil || !changed || s.reopened == nil {
				return changed, err
			}
			return true, s.reopened(tx, record, p.MemberID, request.GetReason())
		})
	if err != nil {
		return nil, err
	}
	return &fieldsyncv1.ReopenTaskResponse{Task: task}, nil
}

// reopen opens a task that rests on the completion. The completion stays with the task until another one takes its place: photos of it
// that are still on the phone are taken, and sealed with it.
func (o order) reopen(record *storagev1.TaskRecord, completion string, now time.Time) (changed bool, err error) {
	task := record.GetTask()
	if task.GetCompletion().GetCompletionId() != completion {
		return false, fault.New(fault.Precondition, "completion_moved",
			"Công việc không dựa trên kết quả này (chưa hoàn thành, hoặc đã có kết quả khác): hãy xem lại rồi mở lại.",
			"The task does not rest on this completion (it has none, or another one by now): look at it again.")
	}
	switch task.GetStatus().GetState() {
	case fieldsyncv1.TaskState_TASK_STATE_DONE, fieldsyncv1.TaskState_TASK_STATE_CLOSED:
		o.leave(record, fieldsyncv1.TaskState_TASK_STATE_OPEN, now)
		return true, nil
	default:
		return false, nil // It was reopened before, and has gone on since.
	}
}
