package hotline

import (
	"context"
	"encoding/binary"
	"time"

	"github.com/cong1022/fieldsync/auth"
	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/store"
)

// ListTicketStates lists where all tickets stand, by the time of the report. A ticket whose report is given another time meanwhile
// may come twice, or not at all. Errors: Invalid "page_token_invalid".
func (s *Service) ListTicketStates(ctx context.Context, request *fieldsyncv1.ListTicketStatesRequest) (*fieldsyncv1.ListTicketStatesResponse, error) {
	if _, err := auth.PrincipalFrom(ctx); err != nil {
		return nil, err
	}
	after := store.TicketReportedKey(time.Unix(0, 0), "")
	if from := request.GetReportedFrom(); from != nil {
		after = store.TicketReportedKey(from.AsTime().Add(-time.Nanosecond), "\xff")
	}
	if token := request.GetPageToken(); len(token) > 0 {
		if len(token) < 1+8+1 || token[0] != 1 {
			return nil, fault.New(fault.Invalid, "page_token_invalid",
				"Mã trang không hợp lệ; hãy bắt đầu lại từ trang đầu.", "Not a page token of this server: begin again from the first page.")
		}
		at := time.Unix(0, int64(binary.BigEndian.Uint64(token[1:9]))) //nolint:gosec // Any number is a time.
		after = store.TicketReportedKey(at, string(token[9:]))
	}
	response := &fieldsyncv1.ListTicketStatesResponse{}
	return response, s.store.View(ctx, func(tx *store.Tx) error {
		var last *storagev1.Ticket
		for stub, err := range store.Scan(tx, store.TicketsReported(), after) {
			if err != nil {
				return err
			}
			reported := stub.GetFacts().GetReportedAt().AsTime()
			if before := request.GetReportedBefore(); before != nil && !reported.Before(before.AsTime()) {
				return nil
			}
			if len(response.GetTickets()) == pageSize(request.GetLimit()) {
				at := last.GetFacts().GetReportedAt().AsTime()
				token := binary.BigEndian.AppendUint64([]byte{1}, uint64(at.UnixNano()))
				token = append(token, last.GetId()...)
				response.NextToken = token
				return nil
			}
			standing, err := standingOf(tx, stub.GetId())
			if err != nil {
				return err
			}
			response.Tickets, last = append(response.Tickets, standing), stub
		}
		return nil
	})
}

func standingOf(tx *store.Tx, id string) (*fieldsyncv1.TicketStanding, error) {
	ticket, err := store.Get(tx, store.TicketKey(id))
	if err != nil {
		return nil, err
	}
	parent, err := parentOf(tx, ticket)
	if err != nil {
		return nil, err
	}
	facts := ticket.GetFacts()
	standing := &fieldsyncv1.TicketStanding{
		HotlineId: facts.GetHotlineId(), ReportedAt: facts.GetReportedAt(), UnitId: facts.GetUnitId(),
		ClosedAt: closedAt(ticket, parent), WithdrawnAt: ticket.GetWithdrawnAt(), ParentHotlineId: parent.GetFacts().GetHotlineId(),
	}
	if ticket.GetTaskId() == "" {
		return standing, nil
	}
	record, err := store.Get(tx, store.TaskKey(ticket.GetTaskId()))
	task := record.GetTask()
	standing.State, standing.Since, standing.Reason = task.GetStatus().GetState(), task.GetStatus().GetSince(), task.GetStatus().GetReason()
	standing.CrewId = task.GetAssignment().GetCrewId()
	completion := task.GetCompletion()
	standing.CompletionId, standing.Outcome = completion.GetCompletionId(), completion.GetOutcome()
	standing.ProofState, standing.Waiting = completion.GetProofState(), completion.GetWaiting()
	return standing, err
}
