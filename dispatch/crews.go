package dispatch

import (
	"context"
	"time"

	"github.com/cong1022/fieldsync/auth"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/store"
)

// maxHeld bounds the tasks that PutCrew names.
const maxHeld = 500

// PutCrew creates a crew or changes it: its name, and when it takes tasks. Errors: Invalid "crew_validity", NotFound "unit_unknown", "crew_unknown" (the id is taken by a crew that the
// caller may not see), Precondition "crew_unit_fixed".
func (s *Service) PutCrew(ctx context.Context, request *fieldsyncv1.PutCrewRequest) (*fieldsyncv1.PutCrewResponse, error) {
	p, err := dispatcher(ctx)
	if err != nil {
		return nil, err
	}
	crew := request.GetCrew()
	if !validTimes(crew.GetValidFrom(), crew.GetValidUntil()) {
		return nil, fault.New(fault.Invalid, "crew_validity",
			"Thời hạn của tổ không hợp lệ: ngày bắt đầu phải trước ngày kết thúc.",
			"The crew's dates are wrong: valid_from must come before valid_until.")
	}
	response := &fieldsyncv1.PutCrewResponse{Crew: crew}
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		if err := seenUnit(tx, p, crew.GetUnitId()); err != nil {
			return err
		}
		before, err := store.Get(tx, store.CrewKey(crew.GetId()))
		switch {
		case err != nil:
			return err
		case before != nil && !p.Dispatches(before.GetUnitId()):
			return crewUnknown()
		case before != nil && before.GetUnitId() != crew.GetUnitId():
			return fault.New(fault.Precondition, "crew_unit_fixed",
				"Tổ không đổi được đơn vị: hãy lập tổ mới ở đơn vị kia.",
				"A crew's unit is fixed: create a new crew in the other unit.")
		}
		if response.HeldTaskIds = nil; crew.GetValidUntil() != nil {
			if response.HeldTaskIds, err = heldBy(tx, crew.GetId()); err != nil {
				return err
			}
		}
		return store.Put(tx, store.CrewKey(crew.GetId()), crew)
	})
	if err != nil {
		return nil, err
	}
	s.log.InfoContext(ctx, "crew put", "crew", crew.GetId(), "unit", crew.GetUnitId(), "held_tasks", len(response.GetHeldTaskIds()), "by", p.MemberID)
	return response, nil
}

// ListCrews lists the crews of the caller's unit by id. Errors: Invalid "page_token_invalid".
func (s *Service) ListCrews(ctx context.Context, request *fieldsyncv1.ListCrewsRequest) (*fieldsyncv1.ListCrewsResponse, error) {
	p, err := dispatcher(ctx)
	if err != nil {
		return nil, err
	}
	c, err := newCut(request.GetPage())
	if err != nil {
		return nil, err
	}
	response := &fieldsyncv1.ListCrewsResponse{}
	return response, s.store.View(ctx, func(tx *store.Tx) error {
		crews := store.Scan(tx, store.Crews(), behind(c, store.CrewKey))
		response.Crews, response.NextToken, err = list(c, crews, (*fieldsyncv1.Crew).GetId,
			func(crew *fieldsyncv1.Crew) (*fieldsyncv1.Crew, bool, error) {
				return crew, p.SeesUnit(crew.GetUnitId()), nil
			})
		return err
	})
}

// seenCrew checks that there is such a crew and that it belongs to a unit for which the caller dispatches. NotFound
// "crew_unknown" otherwise.
func seenCrew(tx *store.Tx, p auth.Principal, id string) error {
	crew, err := store.Get(tx, store.CrewKey(id))
	if err != nil {
		return err
	}
	if crew == nil || !p.Dispatches(crew.GetUnitId()) {
		return crewUnknown()
	}
	return nil
}

// heldBy are the tasks that a crew has and that are not at their end.
func heldBy(tx *store.Tx, crew string) (ids []string, err error) {
	for entry, err := range store.ScanLog(tx, store.CrewScope(crew), 0) {
		if err != nil {
			return nil, err
		}
		if entry.GetRemoved() {
			continue
		}
		record, err := store.Get(tx, store.TaskKey(entry.GetTaskId()))
		if err != nil {
			return nil, err
		}
		if record.GetTask().GetStatus().GetState() >= fieldsyncv1.TaskState_TASK_STATE_DONE {
			continue
		}
		if ids = append(ids, entry.GetTaskId()); len(ids) == maxHeld {
			break
		}
	}
	return ids, nil
}

// takes tells whether a crew takes tasks and members at a moment.
func takes(crew *fieldsyncv1.Crew, now time.Time) bool {
	from, until := crew.GetValidFrom(), crew.GetValidUntil()
	return (from == nil || !now.Before(from.AsTime())) && (until == nil || now.Before(until.AsTime()))
}

// openCrew checks that a crew, which is one that the caller may see, takes tasks and members now. Precondition "crew_closed" otherwise.
func openCrew(tx *store.Tx, id string) error {
	crew, err := store.Get(tx, store.CrewKey(id))
	if err != nil || takes(crew, tx.Now()) {
		return err
	}
	return fault.New(fault.Precondition, "crew_closed",
		"Tổ "+id+" đã đóng hoặc chưa hoạt động: hãy chọn tổ khác, hoặc đổi thời hạn của tổ.",
		"The crew "+id+" is closed, or not open yet: choose another one, or change the crew's dates.")
}

func crewUnknown() error {
	return fault.New(fault.NotFound, "crew_unknown", "Không có tổ này.", "There is no such crew.")
}
