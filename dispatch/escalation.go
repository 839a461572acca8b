package dispatch

import (
	"cmp"
	"context"
	"slices"

	"google.golang.org/protobuf/types/known/timestamppb"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/store"
)

// GetEscalation tells how far a task's assignment has climbed. Errors: NotFound "task_unknown".
func (s *Service) GetEscalation(ctx context.Context, request *fieldsyncv1.GetEscalationRequest) (*fieldsyncv1.GetEscalationResponse, error) {
	p, err := dispatcher(ctx)
	if err != nil {
		return nil, err
	}
	response := &fieldsyncv1.GetEscalationResponse{}
	return response, s.store.View(ctx, func(tx *store.Tx) error {
		record, err := p.LoadTask(tx, request.GetTaskId())
		response.Escalation = record.GetEscalation()
		return err
	})
}

// escalate begins the escalation of a new assignment, or ends the one that was answered. The caller saves the record.
func (s *Service) escalate(tx *store.Tx, record *storagev1.TaskRecord) error {
	task, running := record.GetTask(), record.GetEscalation()
	epoch := task.GetAssignment().GetAssignmentEpoch()
	waits := task.GetStatus().GetState() == fieldsyncv1.TaskState_TASK_STATE_ASSIGNED
	if running != nil && running.GetEndedAt() == nil && (!waits || running.GetAssignmentEpoch() != epoch) {
		running.EndedAt = tx.Timestamp()
	}
	if !waits || running.GetAssignmentEpoch() == epoch && running != nil {
		return nil
	}
	category, err := Category(tx, task.GetTicket().GetCategory())
	if err != nil {
		return err
	}
	steps := stepsFor(category, task.GetTicket().GetUrgency())
	if len(steps) == 0 {
		return nil
	}
	record.Escalation = &fieldsyncv1.Escalation{AssignmentEpoch: epoch}
	for i, step := range steps {
		due := tx.Now().Add(step.GetAfter().AsDuration())
		record.Escalation.Steps = append(record.Escalation.Steps, &fieldsyncv1.EscalationProgress{Action: step.GetAction(), DueAt: timestamppb.New(due)})
		timer := &storagev1.Timer{TaskId: task.GetId(), Work: &storagev1.Timer_Escalation{
			Escalation: &storagev1.EscalationCheck{AssignmentEpoch: epoch, Step: uint32(i) + 1},
		}}
		if err := store.SetTimer(tx, timer, due); err != nil {
			return err
		}
	}
	return nil
}

// stepsFor are a category's steps for an urgency, in the order of time. A ticket that says nothing is as urgent as its category,
// and that is normal where it says nothing either.
func stepsFor(category *fieldsyncv1.Category, urgency fieldsyncv1.Urgency) (steps []*fieldsyncv1.EscalationStep) {
	urgency = cmp.Or(urgency, category.GetUrgency(), fieldsyncv1.Urgency_URGENCY_NORMAL)
	for _, step := range category.GetEscalation() {
		if step.GetUrgency() == urgency {
			steps = append(steps, step)
		}
	}
	slices.SortStableFunc(steps, func(a, b *fieldsyncv1.EscalationStep) int {
		return cmp.Compare(a.GetAfter().AsDuration(), b.GetAfter().AsDuration())
	})
	return steps
}

// climb takes a step of an escalation, unless the assignment was answered or is over. It is the transaction that takes the timer
// away, so a step is taken once, whatever crashes.
func (s *Service) climb(tx *store.Tx, check *storagev1.EscalationCheck, record *storagev1.TaskRecord) error {
	task, running := record.GetTask(), record.GetEscalation()
	at := int(check.GetStep()) - 1
	if running == nil || running.GetEndedAt() != nil || running.GetAssignmentEpoch() != check.GetAssignmentEpoch() || at < 0 || at >= len(running.GetSteps()) {
		return nil
	}
	if task.GetStatus().GetState() != fieldsyncv1.TaskState_TASK_STATE_ASSIGNED || task.GetAssignment().GetAssignmentEpoch() != check.GetAssignmentEpoch() {
		return nil // Moved by somebody who was not given Moved: the state itself says that it is over.
	}
	step, unit := running.GetSteps()[at], task.GetTicket().GetUnitId()
	if step.GetDoneAt() != nil {
		return nil
	}
	var err error
	switch step.GetAction() {
	case fieldsyncv1.EscalationAction_ESCALATION_ACTION_AGAIN:
		step.Pushes, err = wakeCrew(tx, task, nil)
	case fieldsyncv1.EscalationAction_ESCALATION_ACTION_CREW_LEAD:
		step.Pushes, err = wakeCrew(tx, task, func(m *fieldsyncv1.Member) bool { return m.GetRole() == fieldsyncv1.Role_ROLE_CREW_LEAD })
	case fieldsyncv1.EscalationAction_ESCALATION_ACTION_DISPATCHER:
		step.Pushes, err = wakeMembers(tx, func(m *fieldsyncv1.Member) bool { return dispatchesFor(m, unit) })
	case fieldsyncv1.EscalationAction_ESCALATION_ACTION_UNIT_HEAD:
		step.Pushes, err = wakeMembers(tx, func(m *fieldsyncv1.Member) bool { return headOf(m, unit) })
	case fieldsyncv1.EscalationAction_ESCALATION_ACTION_WEBHOOK:
		err = store.LogTicket(tx, &fieldsyncv1.TicketChange{
			TicketId: task.GetTicket().GetTicketId(), HotlineId: task.GetTicket().GetHotlineId(), TaskId: task.GetId(),
			Kind: fieldsyncv1.TicketChangeKind_TICKET_CHANGE_KIND_ESCALATED,
			Escalation: &fieldsyncv1.EscalationStepped{
				Step: check.GetStep(), Action: step.GetAction(), UnitId: unit, CrewId: task.GetAssignment().GetCrewId(),
				AssignmentEpoch: check.GetAssignmentEpoch(), AssignedAt: task.GetAssignment().GetAssignedAt(),
			},
		})
	default:
	}
	if err != nil {
		return err
	}
	step.DoneAt = tx.Timestamp()
	return store.Put(tx, store.TaskKey(task.GetId()), record)
}
