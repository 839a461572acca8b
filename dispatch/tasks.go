package dispatch

import (
	"context"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/store"
)

// CreateTask turns a ticket into a task, once: a repeat answers the task as it is now, whatever its checklist. Where the request
// has none, the task gets that of its category.
// Errors: NotFound "ticket_unknown", Invalid "checklist_duplicate".
func (s *Service) CreateTask(ctx context.Context, request *fieldsyncv1.CreateTaskRequest) (*fieldsyncv1.CreateTaskResponse, error) {
	p, err := dispatcher(ctx)
	if err != nil {
		return nil, err
	}
	if err := checkChecklist(request.GetChecklist()); err != nil {
		return nil, err
	}
	var task *fieldsyncv1.Task
	var created bool
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		created = false
		ticket, err := loadTicket(tx, p, request.GetTicketId())
		if err != nil {
			return err
		}
		if ticket.GetTaskId() != "" {
			record, err := store.Get(tx, store.TaskKey(ticket.GetTaskId()))
			task = record.GetTask()
			return err
		}
		if ticket.GetWithdrawnAt() != nil {
			return fault.New(fault.Precondition, "ticket_withdrawn",
				"Tổng đài đã rút phiếu này: không lập công việc nữa.", "The hotline has taken this ticket back: no task is made of it.")
		}
		id, err := tx.NewID()
		if err != nil {
			return err
		}
		checklist := request.GetChecklist()
		if len(checklist) == 0 {
			category, err := Category(tx, ticket.GetFacts().GetCategory())
			if err != nil {
				return err
			}
			checklist = category.GetChecklist()
		}
		record := newTask(id, ticket.GetFacts(), checklist, p.MemberID, tx.Now())
		task, created = record.GetTask(), true
		if err := s.startClock(tx, record); err != nil {
			return err
		}
		if err := store.SaveTask(tx, record, 0); err != nil {
			return err
		}
		stub := &storagev1.TaskRecord{Task: &fieldsyncv1.Task{Id: id}}
		if err := store.Put(tx, store.UnitTaskKey(ticket.GetFacts().GetUnitId(), id), stub); err != nil {
			return err
		}
		ticket.TaskId = id
		return store.Put(tx, store.TicketKey(ticket.GetId()), ticket)
	})
	if err != nil {
		return nil, err
	}
	if created {
		s.log.InfoContext(ctx, "task created", "task", task.GetId(), "ticket", request.GetTicketId(), "by", p.MemberID)
	}
	return &fieldsyncv1.CreateTaskResponse{Task: task}, nil
}

// newTask is an open task made of a ticket's facts.
func newTask(id string, facts *fieldsyncv1.TicketFacet, checklist []*fieldsyncv1.ChecklistTemplate, member string, now time.Time) *storagev1.TaskRecord {
	record := &storagev1.TaskRecord{
		Task:   &fieldsyncv1.Task{Id: id, Ticket: proto.CloneOf(facts)},
		Scopes: []string{string(store.UnitScope(facts.GetUnitId()))},
	}
	task, revision := record.GetTask(), store.NextRevision(record)
	task.Ticket.Revision = revision
	task.Status = &fieldsyncv1.StatusFacet{
		Revision:   revision,
		State:      fieldsyncv1.TaskState_TASK_STATE_OPEN,
		Since:      timestamppb.New(now),
		ByMemberId: member,
	}
	task.Assignment = &fieldsyncv1.AssignmentFacet{Revision: revision}
	for _, item := range checklist {
		task.Checklist = append(task.Checklist, &fieldsyncv1.ChecklistItem{Revision: revision, Id: item.GetId(), Label: item.GetLabel()})
	}
	return record
}

func checkChecklist(items []*fieldsyncv1.ChecklistTemplate) error {
	seen := make(map[string]bool, len(items))
	for _, item := range items {
		if seen[item.GetId()] {
			return fault.New(fault.Invalid, "checklist_duplicate",
				"Danh mục kiểm tra có hai mục cùng mã "+item.GetId()+".",
				"The checklist has two items with the id "+item.GetId()+".")
		}
		seen[item.GetId()] = true
	}
	return nil
}

// ListTasks lists the tasks of the caller's unit by id. Errors: Invalid "page_token_invalid".
func (s *Service) ListTasks(ctx context.Context, request *fieldsyncv1.ListTasksRequest) (*fieldsyncv1.ListTasksResponse, error) {
	p, err := dispatcher(ctx)
	if err != nil {
		return nil, err
	}
	c, err := newCut(request.GetPage())
	if err != nil {
		return nil, err
	}
	response := &fieldsyncv1.ListTasksResponse{}
	return response, s.store.View(ctx, func(tx *store.Tx) error {
		records := store.Scan(tx, store.Tasks(), behind(c, store.TaskKey))
		if !p.SeesAll() {
			records = store.Scan(tx, store.UnitTasks(p.UnitID), behind(c, func(id string) store.Key[storagev1.TaskRecord] {
				return store.UnitTaskKey(p.UnitID, id)
			}))
		}
		response.Tasks, response.NextToken, err = list(c, records,
			func(record *storagev1.TaskRecord) string { return record.GetTask().GetId() },
			func(record *storagev1.TaskRecord) (_ *fieldsyncv1.Task, keep bool, err error) {
				if !p.SeesAll() { // The index holds only the id.
					record, err = store.Get(tx, store.TaskKey(record.GetTask().GetId()))
				}
				task, states := record.GetTask(), request.GetStates()
				return task, len(states) == 0 || slices.Contains(states, task.GetStatus().GetState()), err
			})
		return err
	})
}

// GetTask returns one task. Errors: NotFound "task_unknown".
func (s *Service) GetTask(ctx context.Context, request *fieldsyncv1.GetTaskRequest) (*fieldsyncv1.GetTaskResponse, error) {
	p, err := dispatcher(ctx)
	if err != nil {
		return nil, err
	}
	response := &fieldsyncv1.GetTaskResponse{}
	return response, s.store.View(ctx, func(tx *store.Tx) error {
		record, err := p.LoadTask(tx, request.GetTaskId())
		response.Task = record.GetTask()
		return err
	})
}
