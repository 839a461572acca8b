package hotline

import (
	"context"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/cong1022/fieldsync/auth"
	"github.com/cong1022/fieldsync/auth/audit"
	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/store"
)

const (
	// maxOfCitizen bounds the tickets of one answer.
	maxOfCitizen = 1000
	// erasedText stands where a citizen's words were.
	erasedText = "(đã xóa theo yêu cầu của người dân / erased at the citizen's request)"
)

var _ fieldsyncv1connect.PrivacyServiceHandler = (*Service)(nil)

// ExportCitizen implements the RPC of that name.
func (s *Service) ExportCitizen(ctx context.Context, request *fieldsyncv1.ExportCitizenRequest) (*fieldsyncv1.ExportCitizenResponse, error) {
	tickets, err := s.ofCitizen(ctx, request.GetCitizen())
	if err != nil {
		return nil, err
	}
	response := &fieldsyncv1.ExportCitizenResponse{More: len(tickets) == maxOfCitizen}
	for _, ticket := range tickets {
		response.Tickets = append(response.Tickets, &fieldsyncv1.CitizenTicket{
			Facts: ticket.GetFacts(), ReceivedAt: ticket.GetReceivedAt(), TaskId: ticket.GetTaskId(), ErasedAt: ticket.GetErasure().GetAt(),
		})
		audit.About(ctx, "ticket", ticket.GetId())
	}
	return response, nil
}

// EraseCitizen implements the RPC of that name.
func (s *Service) EraseCitizen(ctx context.Context, request *fieldsyncv1.EraseCitizenRequest) (*fieldsyncv1.EraseCitizenResponse, error) {
	p, err := auth.PrincipalFrom(ctx)
	if err != nil {
		return nil, err
	}
	tickets, err := s.ofCitizen(ctx, request.GetCitizen())
	if err != nil {
		return nil, err
	}
	response := &fieldsyncv1.EraseCitizenResponse{More: len(tickets) == maxOfCitizen}
	for _, found := range tickets {
		audit.About(ctx, "ticket", found.GetId())
		erased := false
		err := s.store.Update(ctx, func(tx *store.Tx) (err error) {
			erased, err = erase(tx, found.GetId(), request.GetTexts())
			return err
		})
		if err != nil {
			return nil, err
		}
		if erased {
			response.TicketIds = append(response.TicketIds, found.GetId())
		}
	}
	if len(response.GetTicketIds()) == 0 {
		return nil, fault.New(fault.NotFound, "citizen_unknown",
			"Không lưu gì của người này, hoặc đã xóa hết rồi.", "Nothing is held of this citizen, or all is erased already.")
	}
	s.log.InfoContext(ctx, "a citizen was erased", "by", p.MemberID, "tickets", len(response.GetTicketIds()), "texts", request.GetTexts())
	return response, nil
}

// erase takes the reporter, and with texts the words, from a ticket and its task. false where there is nothing left to take.
func erase(tx *store.Tx, id string, texts bool) (erased bool, err error) {
	ticket, err := store.Get(tx, store.TicketKey(id))
	if err != nil {
		return false, err
	}
	done := ticket.GetErasure()
	if done != nil && ticket.GetFacts().GetReporter() == nil && (done.GetTexts() || !texts) {
		return false, nil
	}
	ticket.Erasure = &storagev1.Erasure{At: tx.Timestamp(), Texts: texts || done.GetTexts()}
	facts := proto.CloneOf(ticket.GetFacts())
	facts.Reporter = nil
	if ticket.GetErasure().GetTexts() {
		facts.Title, facts.Description = erasedText, ""
	}
	return true, update(tx, ticket, facts, fieldsyncv1.TicketChangeKind_TICKET_CHANGE_KIND_UPDATED)
}

// withoutErased is what the hotline says, without what was erased before.
func withoutErased(ticket *storagev1.Ticket, in *fieldsyncv1.TicketIntake) *fieldsyncv1.TicketIntake {
	if ticket.GetErasure() == nil {
		return in
	}
	in = proto.CloneOf(in)
	in.Reporter = nil
	if ticket.GetErasure().GetTexts() {
		in.Title, in.Description = erasedText, ""
	}
	return in
}

// ofCitizen finds the tickets, oldest first. By a telephone number it reads all tickets: the index of reporters may still be filling, and
// who asks for erasure must not be told that nothing is held.
func (s *Service) ofCitizen(ctx context.Context, citizen *fieldsyncv1.Citizen) (tickets []*storagev1.Ticket, err error) {
	return tickets, s.store.View(ctx, func(tx *store.Tx) error {
		if id := citizen.GetTicketId(); id != "" {
			ticket, err := TicketByHotlineID(tx, id)
			if err == nil && ticket == nil {
				ticket, err = store.Get(tx, store.TicketKey(id))
			}
			if ticket != nil {
				tickets = append(tickets, ticket)
			}
			return err
		}
		wanted := subscriber(citizen.GetPhone())
		for ticket, err := range store.Scan(tx, store.Tickets(), nil) {
			switch {
			case err != nil:
				return err
			case ctx.Err() != nil:
				return ctx.Err()
			case wanted != "" && subscriber(ticket.GetFacts().GetReporter().GetPhone()) == wanted:
				tickets = append(tickets, ticket)
			}
			if len(tickets) == maxOfCitizen {
				break
			}
		}
		slices.SortStableFunc(tickets, func(a, b *storagev1.Ticket) int { return strings.Compare(a.GetId(), b.GetId()) }) // Ids tell their age.
		return nil
	})
}
