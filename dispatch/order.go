package dispatch

import (
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/store"
)

// order is what the three orders have in common. Carrying one out is a pure function of the record, the order and the time;
// it tells whether anything changed, for an order that is already carried out changes nothing.
type order struct {
	// member gave the order.
	member string
	// expected is the assignment epoch that the order knows of, nil for any.
	expected *uint64
	reason   string
}

// assignment is the order to give a task to a crew.
type assignment struct {
	order

	crew        string
	instruction string
	due         *timestamppb.Timestamp
}

// assign gives the task to a crew, whoever had it.
func assign(record *storagev1.TaskRecord, a assignment, now time.Time) (changed bool, err error) {
	task := record.GetTask()
	due := a.due
	if due == nil {
		due = record.GetClock().GetDueAt()
	}
	current := task.GetAssignment()
	done := current.GetCrewId() == a.crew && current.GetInstruction() == a.instruction && proto.Equal(current.GetDueAt(), due)
	if changed, err := a.admit(task, done); !changed {
		return false, err
	}
	endTenure(record, now)
	revision, epoch := store.NextRevision(record), current.GetAssignmentEpoch()+1
	task.Assignment = &fieldsyncv1.AssignmentFacet{
		Revision:        revision,
		CrewId:          a.crew,
		AssignmentEpoch: epoch,
		AssignedAt:      timestamppb.New(now),
		Instruction:     a.instruction,
		DueAt:           due,
	}
	a.setStatus(task, revision, fieldsyncv1.TaskState_TASK_STATE_ASSIGNED, now)
	record.Tenures = append(record.Tenures, &storagev1.Tenure{CrewId: a.crew, AssignmentEpoch: epoch, From: timestamppb.New(now)})
	setScopes(record)
	return true, nil
}

// recall takes the task from its crew: it is open again.
func (o order) recall(record *storagev1.TaskRecord, now time.Time) (changed bool, err error) {
	return o.release(record, fieldsyncv1.TaskState_TASK_STATE_OPEN, record.GetTask().GetAssignment().GetCrewId() == "", now)
}

// cancel calls the task off. Its unit keeps it, its crew does not.
func (o order) cancel(record *storagev1.TaskRecord, now time.Time) (changed bool, err error) {
	status := record.GetTask().GetStatus()
	if status.GetState() == fieldsyncv1.TaskState_TASK_STATE_CANCELLED && status.GetReason() == o.reason && status.GetByMemberId() == o.member {
		return false, nil // The same order again.
	}
	return o.release(record, fieldsyncv1.TaskState_TASK_STATE_CANCELLED, false, now)
}

// release leaves the task without a crew.
func (o order) release(record *storagev1.TaskRecord, state fieldsyncv1.TaskState, done bool, now time.Time) (changed bool, err error) {
	task := record.GetTask()
	if changed, err := o.admit(task, done); !changed {
		return false, err
	}
	o.leave(record, state, now)
	return true, nil
}

// leave takes the task from the crew that has it, if one has, and moves it to a state.
func (o order) leave(record *storagev1.TaskRecord, state fieldsyncv1.TaskState, now time.Time) {
	task := record.GetTask()
	endTenure(record, now)
	revision := store.NextRevision(record)
	// What was ordered stays readable: the instruction, and when the task is due.
	if current := task.GetAssignment(); current.GetCrewId() != "" {
		current.Revision, current.CrewId, current.AssignedAt = revision, "", nil
		current.SeenAt, current.SeenByMemberId = nil, ""
		current.AssignmentEpoch++
	}
	o.setStatus(task, revision, state, now)
	setScopes(record)
}

// admit tells whether the order is to be carried out: not when the task has ended, when the order was given in ignorance of
// another one, or when it is already done. Done counts also for the epoch before: it is the order's own that raised it, and
// the repeat of an order whose answer was lost must not fail.
func (o order) admit(task *fieldsyncv1.Task, done bool) (bool, error) {
	switch task.GetStatus().GetState() {
	case fieldsyncv1.TaskState_TASK_STATE_DONE, fieldsyncv1.TaskState_TASK_STATE_CLOSED, fieldsyncv1.TaskState_TASK_STATE_CANCELLED:
		return false, fault.New(fault.Precondition, "task_ended",
			"Công việc đã kết thúc (xong, đóng hoặc hủy): không giao, thu hồi hay hủy được nữa.",
			"The task has ended (done, closed or cancelled): it can no longer be assigned, recalled or cancelled.")
	default:
	}
	epoch := task.GetAssignment().GetAssignmentEpoch()
	if o.expected == nil || *o.expected == epoch || (done && *o.expected+1 == epoch) {
		return !done, nil
	}
	return false, fault.New(fault.Precondition, "assignment_moved",
		fmt.Sprintf("Công việc đã được giao hoặc thu hồi trong lúc đó (lần %d, bạn thấy lần %d): hãy xem lại rồi giao.", epoch, *o.expected),
		fmt.Sprintf("The task was assigned or recalled meanwhile (assignment epoch %d, you expected %d): look at it again.", epoch, *o.expected))
}

func (o order) setStatus(task *fieldsyncv1.Task, revision uint64, state fieldsyncv1.TaskState, now time.Time) {
	task.Status = &fieldsyncv1.StatusFacet{
		Revision:   revision,
		State:      state,
		Since:      timestamppb.New(now),
		ByMemberId: o.member,
		Reason:     o.reason,
		// An order does not show that somebody has looked at what the flag points to.
		Review: task.GetStatus().GetReview(),
	}
}

// endTenure ends the time of the crew that has the task, if one has.
func endTenure(record *storagev1.TaskRecord, now time.Time) {
	if n := len(record.GetTenures()); n > 0 && record.GetTenures()[n-1].GetUntil() == nil {
		record.Tenures[n-1].Until = timestamppb.New(now)
	}
}

// setScopes lets the task's unit and the crew that has it hear of it, and nobody else.
func setScopes(record *storagev1.TaskRecord) {
	scopes := []string{string(store.UnitScope(record.GetTask().GetTicket().GetUnitId()))}
	if crew := record.GetTask().GetAssignment().GetCrewId(); crew != "" {
		scopes = append(scopes, string(store.CrewScope(crew)))
	}
	slices.Sort(scopes)
	record.Scopes = scopes
}
