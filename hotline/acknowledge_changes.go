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

// AcknowledgeTicketChanges records that changes have arrived at the hotline, one by one or all up to a cursor. Errors: Invalid
// "cursor_invalid", OutOfRange "cursor_ahead", NotFound "change_unknown" (names the first; none was acknowledged).
func (s *Service) AcknowledgeTicketChanges(ctx context.Context, request *fieldsyncv1.AcknowledgeTicketChangesRequest) (*fieldsyncv1.AcknowledgeTicketChangesResponse, error) {
	p, err := auth.PrincipalFrom(ctx)
	if err != nil {
		return nil, err
	}
	upTo, err := parseCursor(changeCursor, request.GetCursor(), s.store.ServerEpoch())
	if err != nil {
		return nil, err
	}
	var fresh uint64
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		head, err := store.Get(tx, store.TicketChangeHeadKey())
		if err != nil {
			return err
		}
		mark, err := store.Get(tx, store.ChangesAcknowledgedKey())
		if err != nil {
			return err
		}
		done := mark.GetSequence()
		if len(request.GetCursor()) > 0 {
			if err := upTo.check(s.store.ServerEpoch(), head); err != nil {
				return err
			}
			fresh, done, err = acknowledgeThrough(tx, done, upTo.sequence)
		} else {
			fresh, err = markChanges(tx, request.GetSequences(), done, head.GetSequence())
		}
		if err != nil {
			return err
		}
		return settleMarks(tx, done)
	})
	if err != nil {
		return nil, err
	}
	s.log.InfoContext(ctx, "changes acknowledged", "by", p.MemberID, "new", fresh)
	return &fieldsyncv1.AcknowledgeTicketChangesResponse{NewlyAcknowledged: fresh}, nil
}

// acknowledgeThrough counts what is new between the mark and where it goes.
func acknowledgeThrough(tx *store.Tx, done, through uint64) (fresh, mark uint64, err error) {
	if through <= done {
		return 0, done, nil
	}
	fresh = through - done
	for one, err := range store.Scan(tx, store.ChangesAcknowledged(), store.ChangeAcknowledgedKey(done)) {
		if err != nil {
			return 0, done, err
		}
		if one.GetSequence() > through {
			break
		}
		fresh--
	}
	return fresh, through, nil
}

func markChanges(tx *store.Tx, sequences []uint64, done, head uint64) (fresh uint64, err error) {
	for _, sequence := range sequences {
		if sequence == 0 || sequence > head {
			return 0, fault.New(fault.NotFound, "change_unknown",
				fmt.Sprintf("Không có thay đổi số %d; chưa thay đổi nào được xác nhận.", sequence),
				fmt.Sprintf("There is no change %d; none was acknowledged.", sequence))
		}
		key := store.ChangeAcknowledgedKey(sequence)
		marked, err := store.Get(tx, key)
		if err != nil {
			return 0, err
		}
		if sequence <= done || marked != nil {
			continue
		}
		fresh++
		if err := store.Put(tx, key, &storagev1.Acknowledged{Sequence: sequence}); err != nil {
			return 0, err
		}
	}
	return fresh, nil
}

// settleMarks stores up to where all is acknowledged, and forgets the single marks that lie below: a bounded number at a time, for
// what is left says nothing else.
func settleMarks(tx *store.Tx, done uint64) error {
	var below []uint64
	for one, err := range store.Scan(tx, store.ChangesAcknowledged(), nil) {
		if err != nil {
			return err
		}
		if one.GetSequence() > done+1 || len(below) == 5*ackChunk {
			break
		}
		done = max(done, one.GetSequence())
		below = append(below, one.GetSequence())
	}
	for _, sequence := range below {
		if err := store.Delete(tx, store.ChangeAcknowledgedKey(sequence)); err != nil {
			return err
		}
	}
	return store.Put(tx, store.ChangesAcknowledgedKey(), &storagev1.Acknowledged{Sequence: done})
}
