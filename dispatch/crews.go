package dispatch

import (
	"context"

	"github.com/cong1022/fieldsync/auth"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/store"
)

// PutCrew creates a crew or renames it. Errors: NotFound "unit_unknown", "crew_unknown" (the id is taken by a crew that the
// caller may not see), Precondition "crew_unit_fixed".
func (s *Service) PutCrew(ctx context.Context, request *fieldsyncv1.PutCrewRequest) (*fieldsyncv1.PutCrewResponse, error) {
	p, err := dispatcher(ctx)
	if err != nil {
		return nil, err
	}
	crew := request.GetCrew()
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
				"Đội không đổi được đơn vị: hãy lập đội mới ở đơn vị kia.",
				"A crew's unit is fixed: create a new crew in the other unit.")
		}
		return store.Put(tx, store.CrewKey(crew.GetId()), crew)
	})
	if err != nil {
		return nil, err
	}
	s.log.InfoContext(ctx, "crew put", "crew", crew.GetId(), "unit", crew.GetUnitId(), "by", p.MemberID)
	return &fieldsyncv1.PutCrewResponse{Crew: crew}, nil
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

func crewUnknown() error {
	return fault.New(fault.NotFound, "crew_unknown", "Không có đội này.", "There is no such crew.")
}
