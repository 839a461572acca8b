package hotline

import (
	"context"

	"github.com/cong1022/fieldsync/auth"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/store"
)

// ListTicketChanges lists the changes of tickets in the order of their acceptance, behind a cursor, without gaps. With
// wait_seconds an answer without changes comes only after that time, or when the server stops.
// Errors: Invalid "cursor_invalid", OutOfRange "cursor_ahead".
func (s *Service) ListTicketChanges(ctx context.Context, request *fieldsyncv1.ListTicketChangesRequest) (*fieldsyncv1.ListTicketChangesResponse, error) {
	if _, err := auth.PrincipalFrom(ctx); err != nil {
		return nil, err
	}
	at, err := parseCursor(changeCursor, request.GetCursor(), s.store.ServerEpoch())
	if err != nil {
		return nil, err
	}
	response := &fieldsyncv1.ListTicketChangesResponse{Cursor: request.GetCursor()}
	err = s.poll(ctx, store.TicketChangesTopic, request.GetWaitSeconds(), func() (bool, error) {
		err := s.store.View(ctx, func(tx *store.Tx) error {
			head, err := store.Get(tx, store.TicketChangeHeadKey())
			if err != nil {
				return err
			}
			if err := at.check(s.store.ServerEpoch(), head); err != nil {
				return err
			}
			for change, err := range store.Scan(tx, store.TicketChanges(), store.TicketChangeKey(at.sequence)) {
				if err != nil {
					return err
				}
				if len(response.GetChanges()) == pageSize(request.GetLimit()) {
					response.More = true
					return nil
				}
				at.sequence = change.GetSequence()
				response.Changes, response.Cursor = append(response.Changes, change), at.bytes()
			}
			return nil
		})
		return len(response.GetChanges()) > 0, err
	})
	if err != nil {
		return nil, err
	}
	return response, nil
}
