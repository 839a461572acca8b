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

// AssignTask gives a task to a crew, taking it from whichever had it. Assigning again to the crew that has it, with the same
// instruction and due time, changes nothing. Errors: NotFound "task_unknown", "crew_unknown", Precondition
// "assignment_moved", "task_ended", "crew_closed", Invalid "due_at_invalid".
func (s *Service) AssignTask(ctx context.Context, request *fieldsyncv1.AssignTaskRequest) (*fieldsyncv1.AssignTaskResponse, error) {
	if due := request.GetDueAt(); due != nil && !due.IsValid() {
		return nil, fault.New(fault.Invalid, "due_at_invalid", "Hạn xử lý không hợp lệ.", "due_at is not a valid time.")
	}
	task, err := s.carryOut(ctx, request.GetTaskId(), fieldsyncv1.RemovalReason_REMOVAL_REASON_REASSIGNED,
		func(tx *store.Tx, p auth.Principal, record *storagev1.TaskRecord) (bool, error) {
			if err := seenCrew(tx, p, request.GetCrewId()); err != nil {
				return false, err
			}
			if err := s.startClock(tx, record); err != nil {
				return false, err
			}
			changed, err := assign(record, assignment{
				order:       order{member: p.MemberID, expected: request.ExpectedAssignmentEpoch},
				crew:        request.GetCrewId(),
				instruction: request.GetInstruction(),
				due:         request.GetDueAt(),
			}, tx.Now())
			if err != nil || !changed {
				return false, err
			}
			return true, openCrew(tx, request.GetCrewId()) // Not before: the repeat of an order that was carried out is none to a closed crew.
		})
	if err != nil {
		return nil, err
	}
	return &fieldsyncv1.AssignTaskResponse{Task: task}, nil
}

// RecallTask takes a task back from its crew. Recalling what no crew has changes nothing. Errors as AssignTask.
func (s *Service) RecallTask(ctx context.Context, request *fieldsyncv1.RecallTaskRequest) (*fieldsyncv1.RecallTaskResponse, error) {
	task, err := s.release(ctx, request.GetTaskId(), fieldsyncv1.RemovalReason_REMOVAL_REASON_REASSIGNED,
		order{expected: request.ExpectedAssignmentEpoch, reason: request.GetReason()}, order.recall)
	if err != nil {
		return nil, err
	}
	return &fieldsyncv1.RecallTaskResponse{Task: task}, nil
}

// CancelTask calls a task off. The same order again changes nothing. Errors as AssignTask.
func (s *Service) CancelTask(ctx context.Context, request *fieldsyncv1.CancelTaskRequest) (*fieldsyncv1.CancelTaskResponse, error) {
	task, err := s.release(ctx, request.GetTaskId(), fieldsyncv1.RemovalReason_REMOVAL_REASON_CANCELLED,
		order{expected: request.ExpectedAssignmentEpoch, reason: request.GetReason()}, order.cancel)
	if err != nil {
		return nil, err
	}
	return &fieldsyncv1.CancelTaskResponse{Task: task}, nil
}

func (s *Service) release(ctx context.Context, task string, reason fieldsyncv1.RemovalReason, o order,
	carry func(order, *storagev1.TaskRecord, time.Time) (bool, error),
) (*fieldsyncv1.Task, error) {
	return s.carryOut(ctx, task, reason, func(tx *store.Tx, p auth.Principal, record *storagev1.TaskRecord) (bool, error) {
		o.member = p.MemberID
		return carry(o, record, tx.Now())
	})
}

// carryOut lets change work on a task that the caller may see, and stores the task with the pushes to the crew that has it
// and the crew that lost it: all of it or none.
func (s *Service) carryOut(ctx context.Context, id string, leaving fieldsyncv1.RemovalReason,
	change func(*store.Tx, auth.Principal, *storagev1.TaskRecord) (bool, error),
) (*fieldsyncv1.Task, error) {
	p, err := dispatcher(ctx)
	if err != nil {
		return nil, err
	}
	var task *fieldsyncv1.Task
	var changed bool
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		changed = false
		record, err := p.LoadTask(tx, id)
		if err != nil {
			return err
		}
		task = record.GetTask()
		lost := task.GetAssignment().GetCrewId()
		if changed, err = change(tx, p, record); err != nil || !changed {
			return err
		}
		if err := s.Moved(tx, record); err != nil {
			return err
		}
		if err := store.SaveTask(tx, record, leaving); err != nil {
			return err
		}
		has := task.GetAssignment().GetCrewId()
		if err := announce(tx, task, has, false); err != nil || lost == has {
			return err
		}
		return announce(tx, task, lost, true)
	})
	if err != nil {
		return nil, err
	}
	if changed {
		s.log.InfoContext(ctx, "task ordered", "task", id, "state", task.GetStatus().GetState().String(),
			"crew", task.GetAssignment().GetCrewId(), "assignment_epoch", task.GetAssignment().GetAssignmentEpoch(), "by", p.MemberID)
	}
	return task, nil
}

// announce sees to it that each phone of the crew hears of the order that SaveTask has just stored, if there is a crew: it
// begins the delivery that dispatchers follow, and enters a push into the outbox, visible to the person, or for a recall a mere
// hint that there is something to sync.
func announce(tx *store.Tx, task *fieldsyncv1.Task, crew string, recall bool) error {
	if crew == "" {
		return nil
	}
	for device, err := range crewDevices(tx, crew) {
		if err != nil {
			return err
		}
		if err := announceTo(tx, task, device, crew, recall); err != nil {
			return err
		}
	}
	return nil
}

func announceTo(tx *store.Tx, task *fieldsyncv1.Task, device *storagev1.Device, crew string, recall bool) error {
	epoch := task.GetAssignment().GetAssignmentEpoch()
	delivery := &storagev1.Delivery{
		DeviceId: device.GetId(), MemberId: device.GetMemberId(), TaskId: task.GetId(), AssignmentEpoch: epoch, CrewId: crew, Recall: recall,
	}
	if device.GetPush() == nil {
		delivery.Failure = "no_address"
		return store.BeginDelivery(tx, delivery)
	}
	if err := store.BeginDelivery(tx, delivery); err != nil {
		return err
	}
	return store.Enqueue(tx, &storagev1.OutboxRow{Work: &storagev1.OutboxRow_Push{
		Push: &storagev1.PushHint{DeviceId: device.GetId(), Visible: !recall, TaskId: task.GetId(), AssignmentEpoch: epoch},
	}})
}
