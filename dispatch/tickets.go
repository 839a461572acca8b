package dispatch

import (
	"context"

	"github.com/cong1022/fieldsync/auth"
	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/store"
)

// ListTickets lists the tickets of the caller's unit by id, or the one that the request names. Errors: Invalid "page_token_invalid".
func (s *Service) ListTickets(ctx context.Context, request *fieldsyncv1.ListTicketsRequest) (*fieldsyncv1.ListTicketsResponse, error) {
	p, err := dispatcher(ctx)
	if err != nil {
		return nil, err
	}
	c, err := newCut(request.GetPage())
	if err != nil {
		return nil, err
	}
	response := &fieldsyncv1.ListTicketsResponse{}
	return response, s.store.View(ctx, func(tx *store.Tx) error {
		tickets := store.Scan(tx, store.Tickets(), behind(c, store.TicketKey))
		unit, queue := p.UnitID, request.GetUnroutedOnly()
		if queue {
			if !p.SeesUnit(auth.CityUnit) {
				return nil
			}
			unit = auth.CityUnit
		}
		stubs := queue || !p.SeesAll() // The index holds only the id.
		if stubs {
			tickets = store.Scan(tx, store.UnitTickets(unit), behind(c, func(id string) store.Key[storagev1.Ticket] {
				return store.UnitTicketKey(unit, id)
			}))
		}
		if request.GetHotlineId() != "" || request.GetTicketId() != "" {
			ticket, err := namedTicket(tx, p, request)
			if err != nil || ticket == nil || queue && ticket.GetFacts().GetUnitId() != unit {
				return err
			}
			tickets, stubs = func(yield func(*storagev1.Ticket, error) bool) { yield(ticket, nil) }, false
		}
		response.Tickets, response.NextToken, err = list(c, tickets, (*storagev1.Ticket).GetId,
			func(ticket *storagev1.Ticket) (_ *fieldsyncv1.Ticket, keep bool, err error) {
				if stubs {
					ticket, err = store.Get(tx, store.TicketKey(ticket.GetId()))
				}
				untasked := ticket.GetTaskId() == ""
				waits := untasked && ticket.GetClosedAt() == nil && ticket.GetWithdrawnAt() == nil && ticket.GetParentId() == ""
				return showTicket(ticket), (!request.GetUntaskedOnly() || untasked) && (!queue || waits), err
			})
		return err
	})
}

// namedTicket is the ticket that the request names; nil, one and the same, where there is none and where it is another unit's.
func namedTicket(tx *store.Tx, p auth.Principal, request *fieldsyncv1.ListTicketsRequest) (*storagev1.Ticket, error) {
	id := request.GetTicketId()
	if hotlineID := request.GetHotlineId(); hotlineID != "" {
		stub, err := store.Get(tx, store.TicketByHotlineKey(hotlineID))
		if err != nil || stub == nil || id != "" && id != stub.GetId() {
			return nil, err
		}
		id = stub.GetId()
	}
	ticket, err := store.Get(tx, store.TicketKey(id))
	if err != nil || ticket == nil || !p.SeesUnit(ticket.GetFacts().GetUnitId()) {
		return nil, err
	}
	return ticket, nil
}

func showTicket(ticket *storagev1.Ticket) *fieldsyncv1.Ticket {
	return &fieldsyncv1.Ticket{
		Id:         ticket.GetId(),
		HotlineId:  ticket.GetFacts().GetHotlineId(),
		Facts:      ticket.GetFacts(),
		TaskId:     ticket.GetTaskId(),
		ReceivedAt: ticket.GetReceivedAt(),
		ClosedAt:   ticket.GetClosedAt(),
	}
}

// loadTicket returns the ticket if the caller dispatches for its unit. NotFound "ticket_unknown", one and the same, where
// there is none and where it is another unit's.
func loadTicket(tx *store.Tx, p auth.Principal, id string) (*storagev1.Ticket, error) {
	ticket, err := store.Get(tx, store.TicketKey(id))
	if err != nil {
		return nil, err
	}
	if ticket == nil || !p.SeesUnit(ticket.GetFacts().GetUnitId()) {
		return nil, fault.New(fault.NotFound, "ticket_unknown", "Không có phiếu này.", "There is no such ticket.")
	}
	return ticket, nil
}
