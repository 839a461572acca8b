package media

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cong1022/fieldsync/auth"
	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/store"
)

// A hold is true once its records are: held-original/ keeps what it names from the collection of orphans. The object store's own
// mark follows, by the worker, from hold-work/: the store may be away when a judge's letter comes.

const holdsPage, maxHoldsPage = 100, 500

// PutLegalHold implements the HoldService.
func (s *Service) PutLegalHold(ctx context.Context, req *fieldsyncv1.PutLegalHoldRequest) (*fieldsyncv1.PutLegalHoldResponse, error) {
	hold, err := s.changeHold(ctx, req.GetTicketId(), func(tx *store.Tx, p auth.Principal, ticket *storagev1.Ticket, hold *fieldsyncv1.LegalHold) (*fieldsyncv1.LegalHold, error) {
		if hold != nil && hold.GetLiftedAt() == nil {
			return hold, nil
		}
		hold = &fieldsyncv1.LegalHold{
			TicketId: ticket.GetId(), HotlineId: ticket.GetFacts().GetHotlineId(), UnitId: ticket.GetFacts().GetUnitId(),
			Reason: req.GetReason(), MemberId: p.MemberID, PutAt: tx.Timestamp(),
		}
		if err := store.Put(tx, store.LegalHoldKey(ticket.GetId()), hold); err != nil {
			return nil, err
		}
		return hold, eachOriginal(tx, ticket, func(sha []byte) error { return holdOriginal(tx, ticket.GetId(), sha) })
	})
	if err != nil {
		return nil, err
	}
	s.log.InfoContext(ctx, "legal hold put", "ticket", hold.GetTicketId(), "by", hold.GetMemberId())
	return &fieldsyncv1.PutLegalHoldResponse{Hold: hold}, nil
}

// LiftLegalHold implements the HoldService.
func (s *Service) LiftLegalHold(ctx context.Context, req *fieldsyncv1.LiftLegalHoldRequest) (*fieldsyncv1.LiftLegalHoldResponse, error) {
	hold, err := s.changeHold(ctx, req.GetTicketId(), func(tx *store.Tx, p auth.Principal, ticket *storagev1.Ticket, hold *fieldsyncv1.LegalHold) (*fieldsyncv1.LegalHold, error) {
		if hold == nil {
			return nil, fault.New(fault.NotFound, "hold_unknown",
				"Phiếu này chưa từng bị phong tỏa chứng cứ.", "This ticket was never under legal hold.")
		}
		if hold.GetLiftedAt() != nil {
			return hold, nil
		}
		hold.LiftedAt, hold.LiftedByMemberId, hold.LiftReason = timestamppb.New(tx.Now()), p.MemberID, req.GetReason()
		if err := store.Put(tx, store.LegalHoldKey(ticket.GetId()), hold); err != nil {
			return nil, err
		}
		return hold, eachOriginal(tx, ticket, func(sha []byte) error {
			if err := store.Delete(tx, store.HeldOriginalKey(sha, ticket.GetId())); err != nil {
				return err
			}
			return store.Put(tx, store.HoldWorkKey(sha), &storagev1.HoldWork{Sha256: sha})
		})
	})
	if err != nil {
		return nil, err
	}
	s.log.InfoContext(ctx, "legal hold lifted", "ticket", hold.GetTicketId(), "by", hold.GetLiftedByMemberId())
	return &fieldsyncv1.LiftLegalHoldResponse{Hold: hold}, nil
}

// changeHold runs change on the ticket's hold (nil where there was none), wakes the worker, and counts.
func (s *Service) changeHold(ctx context.Context, ticketID string,
	change func(*store.Tx, auth.Principal, *storagev1.Ticket, *fieldsyncv1.LegalHold) (*fieldsyncv1.LegalHold, error),
) (hold *fieldsyncv1.LegalHold, err error) {
	principal, err := auth.PrincipalFrom(ctx)
	if err != nil {
		return nil, err
	}
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		ticket, err := dispatchedTicket(tx, principal, ticketID)
		if err != nil {
			return err
		}
		if hold, err = store.Get(tx, store.LegalHoldKey(ticket.GetId())); err != nil {
			return err
		}
		if hold, err = change(tx, principal, ticket, hold); err != nil {
			return err
		}
		return countHold(tx, hold)
	})
	if err != nil {
		return nil, err
	}
	s.keepSoon()
	return hold, nil
}

// ListLegalHolds implements the HoldService.
func (s *Service) ListLegalHolds(ctx context.Context, req *fieldsyncv1.ListLegalHoldsRequest) (*fieldsyncv1.ListLegalHoldsResponse, error) {
	principal, err := auth.PrincipalFrom(ctx)
	if err != nil {
		return nil, err
	}
	limit := int(req.GetLimit())
	if limit == 0 {
		limit = holdsPage
	}
	limit = min(limit, maxHoldsPage)
	answer := &fieldsyncv1.ListLegalHoldsResponse{}
	var after store.Key[fieldsyncv1.LegalHold]
	if token := req.GetPageToken(); token != "" {
		after = store.LegalHoldKey(token)
	}
	err = s.store.View(ctx, func(tx *store.Tx) error {
		for hold, err := range store.Scan(tx, store.LegalHolds(), after) {
			if err != nil {
				return err
			}
			if !principal.SeesUnit(hold.GetUnitId()) || hold.GetLiftedAt() != nil && !req.GetLifted() {
				continue
			}
			if len(answer.GetHolds()) == limit {
				answer.NextToken = answer.GetHolds()[limit-1].GetTicketId()
				return nil
			}
			if err := countHold(tx, hold); err != nil {
				return err
			}
			answer.Holds = append(answer.Holds, hold)
		}
		return nil
	})
	return answer, err
}

// dispatchedTicket finds a ticket by its own id or the hotline's. NotFound "ticket_unknown", one and the same, where there is
// none and where it is another unit's.
func dispatchedTicket(tx *store.Tx, p auth.Principal, id string) (*storagev1.Ticket, error) {
	ticket, err := store.Get(tx, store.TicketKey(id))
	if err == nil && ticket == nil {
		var known *storagev1.Ticket
		if known, err = store.Get(tx, store.TicketByHotlineKey(id)); known != nil {
			ticket, err = store.Get(tx, store.TicketKey(known.GetId()))
		}
	}
	if err != nil {
		return nil, err
	}
	if ticket == nil || !p.Dispatches(ticket.GetFacts().GetUnitId()) {
		return nil, fault.New(fault.NotFound, "ticket_unknown", "Không có phiếu này.", "There is no such ticket.")
	}
	return ticket, nil
}

// eachOriginal calls f for each original of the ticket's task that has arrived.
func eachOriginal(tx *store.Tx, ticket *storagev1.Ticket, f func(sha []byte) error) error {
	record, err := store.Get(tx, store.TaskKey(ticket.GetTaskId()))
	if err != nil {
		return err
	}
	for _, photo := range record.GetTask().GetPhotos() {
		if photo.GetState() == fieldsyncv1.PhotoState_PHOTO_STATE_ON_PHONE {
			continue
		}
		if err := f(photo.GetSha256()); err != nil {
			return err
		}
	}
	return nil
}

func holdOriginal(tx *store.Tx, ticket string, sha []byte) error {
	if err := store.Put(tx, store.HeldOriginalKey(sha, ticket), &storagev1.HeldOriginal{Sha256: sha, TicketId: ticket}); err != nil {
		return err
	}
	return store.Put(tx, store.HoldWorkKey(sha), &storagev1.HoldWork{Sha256: sha})
}

// holdArrived brings an original that has arrived under the hold of its ticket, if there is one.
func holdArrived(tx *store.Tx, ticket string, sha []byte) error {
	if ticket == "" {
		return nil
	}
	hold, err := store.Get(tx, store.LegalHoldKey(ticket))
	if err != nil || hold == nil || hold.GetLiftedAt() != nil {
		return err
	}
	held, err := store.Get(tx, store.HeldOriginalKey(sha, ticket))
	if err != nil || held != nil {
		return err
	}
	return holdOriginal(tx, ticket, sha)
}

// countHold sets what is counted instead of stored.
func countHold(tx *store.Tx, hold *fieldsyncv1.LegalHold) error {
	hold.Originals, hold.Pending = 0, 0
	ticket, err := store.Get(tx, store.TicketKey(hold.GetTicketId()))
	if err != nil {
		return err
	}
	counted := map[[sha256.Size]byte]bool{}
	return eachOriginal(tx, ticket, func(sha []byte) error {
		sum := [sha256.Size]byte(sha)
		if counted[sum] {
			return nil
		}
		counted[sum] = true
		held, err := store.Get(tx, store.HeldOriginalKey(sha, hold.GetTicketId()))
		if err != nil {
			return err
		}
		work, err := store.Get(tx, store.HoldWorkKey(sha))
		if held != nil {
			hold.Originals++
		}
		if work != nil {
			hold.Pending++
		}
		return err
	})
}

// renewHolds brings under their holds what has arrived without being noticed: a photo that was attached when its bytes were here
// already, and never declared.
func (s *Service) renewHolds(ctx context.Context) error {
	var holds []*fieldsyncv1.LegalHold
	err := s.store.View(ctx, func(tx *store.Tx) error {
		for hold, err := range store.Scan(tx, store.LegalHolds(), nil) {
			if err != nil {
				return err
			}
			if hold.GetLiftedAt() == nil {
				holds = append(holds, hold)
			}
		}
		return nil
	})
	for _, hold := range holds {
		err = errors.Join(err, s.store.Update(ctx, func(tx *store.Tx) error {
			ticket, err := store.Get(tx, store.TicketKey(hold.GetTicketId()))
			if err != nil {
				return err
			}
			return eachOriginal(tx, ticket, func(sha []byte) error { return holdArrived(tx, hold.GetTicketId(), sha) })
		}))
	}
	return err
}

// markHolds tells the object store of all holds of which it has yet to hear. One original's trouble does not hold the others up.
func (s *Service) markHolds(ctx context.Context) error {
	var shas [][]byte
	err := s.store.View(ctx, func(tx *store.Tx) error {
		for work, err := range store.Scan(tx, store.AllHoldWork(), nil) {
			if err != nil {
				return err
			}
			shas = append(shas, work.GetSha256())
		}
		return nil
	})
	for _, sha := range shas {
		err = errors.Join(err, s.markHold(ctx, sha))
	}
	return err
}

func (s *Service) markHold(ctx context.Context, sha []byte) error {
	held, err := s.held(ctx, sha)
	if err != nil {
		return err
	}
	if err := s.blobs.Hold(ctx, [sha256.Size]byte(sha), held); err != nil {
		return fmt.Errorf("the hold on %x: %w", sha, err)
	}
	return s.store.Update(ctx, func(tx *store.Tx) error {
		now, err := heldIn(tx, sha)
		if err != nil || now != held {
			return err // It has changed meanwhile, and whoever changed it has woken the worker.
		}
		return store.Delete(tx, store.HoldWorkKey(sha))
	})
}

// held tells whether any hold keeps an original.
func (s *Service) held(ctx context.Context, sha []byte) (held bool, err error) {
	err = s.store.View(ctx, func(tx *store.Tx) error {
		held, err = heldIn(tx, sha)
		return err
	})
	return held, err
}

func heldIn(tx *store.Tx, sha []byte) (bool, error) {
	for _, err := range store.Scan(tx, store.HeldOriginals(sha), nil) {
		return err == nil, err
	}
	return false, nil
}
