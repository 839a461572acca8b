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
		response = &fieldsyncv1.GetTicketStatusResponse{
			TicketId: ticket.GetId(),
			TaskId:   ticket.GetTaskId(),
			ClosedAt: ticket.GetClosedAt(),
		}
		if ticket.GetTaskId() == "" {
			return nil
		}
		record, err := store.Get(tx, store.TaskKey(ticket.GetTaskId()))
		response.State = record.GetTask().GetStatus().GetState()
		response.Completion = record.GetTask().GetCompletion()
		return err
	})
	if err != nil {
		return nil, err
	}
	return response, nil
}
