package hotline

import (
	"context"
	"fmt"

	"github.com/cong1022/fieldsync/auth"
	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/store"
)

// WithdrawTickets takes tickets back: all of the call or none. A task that no crew has completed is called off. Errors: NotFound
// "ticket_unknown" (names the first).
func (s *Service) WithdrawTickets(ctx context.Context, request *fieldsyncv1.WithdrawTicketsRequest) (*fieldsyncv1.WithdrawTicketsResponse, error) {
	p, err := auth.PrincipalFrom(ctx)
	if err != nil {
		return nil, err
	}
	var response *fieldsyncv1.WithdrawTicketsResponse
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		response = &fieldsyncv1.WithdrawTicketsResponse{}
		for _, w := range request.GetTickets() {
			ticket, err := TicketByHotlineID(tx, w.GetHotlineId())
			if err != nil {
				return err
			}
			if ticket == nil {
				return fault.New(fault.NotFound, "ticket_unknown",
					fmt.Sprintf("Không có phiếu mang mã tổng đài %q; chưa phiếu nào được rút.", w.GetHotlineId()),
					fmt.Sprintf("There is no ticket with the hotline id %q; none was withdrawn.", w.GetHotlineId()))
			}
			result, err := s.withdraw(tx, ticket, p.MemberID, w.GetReason())
			if err != nil {
				return err
			}
			response.Results = append(response.Results, result)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	s.log.InfoContext(ctx, "tickets withdrawn", "by", p.MemberID, "tickets", len(response.GetResults()))
	return response, nil
}

func (s *Service) withdraw(tx *store.Tx, ticket *storagev1.Ticket, member, reason string) (fieldsyncv1.WithdrawResult, error) {
	if ticket.GetWithdrawnAt() != nil {
		return fieldsyncv1.WithdrawResult_WITHDRAW_RESULT_UNCHANGED, nil
	}
	if task := ticket.GetTaskId(); task != "" {
		record, err := store.Get(tx, store.TaskKey(task))
		if err != nil {
			return 0, err
		}
		// What has ended stays as it is: done by a crew, closed, or called off by a dispatcher.
		if record.GetTask().GetStatus().GetState() >= fieldsyncv1.TaskState_TASK_STATE_DONE {
			return fieldsyncv1.WithdrawResult_WITHDRAW_RESULT_TOO_LATE, nil
		}
		if err := s.cancel(tx, record, member, reason); err != nil {
			return 0, err
		}
	}
	ticket.WithdrawnAt = tx.Timestamp()
	if err := store.LogTicket(tx, &fieldsyncv1.TicketChange{
		TicketId: ticket.GetId(), HotlineId: ticket.GetFacts().GetHotlineId(), TaskId: ticket.GetTaskId(),
		Kind: fieldsyncv1.TicketChangeKind_TICKET_CHANGE_KIND_WITHDRAWN,
	}); err != nil {
		return 0, err
	}
	return fieldsyncv1.WithdrawResult_WITHDRAW_RESULT_WITHDRAWN, store.Put(tx, store.TicketKey(ticket.GetId()), ticket)
}
