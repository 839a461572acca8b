package hotline

import (
	"context"

	"github.com/cong1022/fieldsync/auth"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/store"
)

// GetTicketStatus tells where a ticket stands. Errors: NotFound "ticket_unknown".
func (s *Service) GetTicketStatus(ctx context.Context, request *fieldsyncv1.GetTicketStatusRequest) (*fieldsyncv1.GetTicketStatusResponse, error) {
	if _, err := auth.PrincipalFrom(ctx); err != nil {
		return nil, err
	}
	var response *fieldsyncv1.GetTicketStatusResponse
	err := s.store.View(ctx, func(tx *store.Tx) error {
		ticket, err := TicketByHotlineID(tx, request.GetHotlineId())
		if err != nil {
			return err
		}
		if ticket == nil {
			return fault.New(fault.NotFound, "ticket_unknown",
				"Không có phiếu mang mã tổng đài này.", "There is no ticket with this hotline id.")
		}
		parent, err := parentOf(tx, ticket)
		if err != nil {
			return err
		}
		response = &fieldsyncv1.GetTicketStatusResponse{
			TicketId:        ticket.GetId(),
			TaskId:          ticket.GetTaskId(),
			ClosedAt:        closedAt(ticket, parent),
			WithdrawnAt:     ticket.GetWithdrawnAt(),
			ParentHotlineId: parent.GetFacts().GetHotlineId(),
		}
		if response.DuplicateHotlineIds, err = duplicateNames(tx, ticket.GetId()); err != nil {
			return err
		}
		if ticket.GetTaskId() == "" {
			return nil
		}
		record, err := store.Get(tx, store.TaskKey(ticket.GetTaskId()))
		if err != nil {
			return err
		}
		response.State = record.GetTask().GetStatus().GetState()
		response.Completion = record.GetTask().GetCompletion()
		response.MayClose, err = store.MayClose(tx, record.GetTask())
		return err
	})
	if err != nil {
		return nil, err
	}
	return response, nil
}

// duplicateNames are the hotline's ids of a ticket's duplicates.
func duplicateNames(tx *store.Tx, ticket string) (names []string, err error) {
	ids, err := duplicatesOf(tx, ticket)
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		duplicate, err := store.Get(tx, store.TicketKey(id))
		if err != nil {
			return nil, err
		}
		names = append(names, duplicate.GetFacts().GetHotlineId())
	}
	return names, nil
}
