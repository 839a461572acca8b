package hotline

import (
	"context"

	"connectrpc.com/connect"

	"github.com/cong1022/fieldsync/auth"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/store"
)

// ListTicketChanges lists the changes of tickets in the order of their acceptance, behind a cursor, without gaps. With
// wait_seconds an answer without changes comes only after that time, or when the server stops. With unacknowledged what was
// acknowledged is left out. Errors: Invalid "cursor_invalid", OutOfRange "cursor_ahead".
func (s *Service) ListTicketChanges(ctx context.Context, request *fieldsyncv1.ListTicketChangesRequest) (*fieldsyncv1.ListTicketChangesResponse, error) {
	if _, err := auth.PrincipalFrom(ctx); err != nil {
		return nil, err
	}
	at, err := parseCursor(changeCursor, request.GetCursor(), s.store.ServerEpoch())
	if err != nil {
		return nil, err
	}
	var response *fieldsyncv1.ListTicketChangesResponse
	err = s.poll(ctx, store.TicketChangesTopic, request.GetWaitSeconds(), func() (found bool, err error) {
		response, err = s.listChanges(ctx, at, pageSize(request.GetLimit()), request.GetUnacknowledged())
		return len(response.GetChanges()) > 0, err
	})
	if err != nil {
		return nil, err
	}
	if len(response.GetChanges()) == 0 {
		response.Cursor = request.GetCursor()
	}
	return response, nil
}

// WatchTicketChanges streams the changes behind a cursor, and a message without any every 30 seconds. Errors: as
// ListTicketChanges; Unavailable "shutting_down".
func (s *Service) WatchTicketChanges(ctx context.Context, request *fieldsyncv1.WatchTicketChangesRequest, stream *connect.ServerStream[fieldsyncv1.WatchTicketChangesResponse]) error {
	if _, err := auth.PrincipalFrom(ctx); err != nil {
		return err
	}
	at, err := parseCursor(changeCursor, request.GetCursor(), s.store.ServerEpoch())
	if err != nil {
		return err
	}
	last := request.GetCursor()
	return s.follow(ctx, store.TicketChangesTopic, func() (bool, error) {
		page, err := s.listChanges(ctx, at, defaultLimit, false)
		if err != nil {
			return false, err
		}
		if len(page.GetChanges()) > 0 {
			last = page.GetCursor()
			if at, err = parseCursor(changeCursor, last, s.store.ServerEpoch()); err != nil {
				return false, err
			}
		}
		return page.GetMore(), stream.Send(&fieldsyncv1.WatchTicketChangesResponse{Changes: page.GetChanges(), Cursor: last})
	})
}

func (s *Service) listChanges(ctx context.Context, at cursor, limit int, unacknowledged bool) (*fieldsyncv1.ListTicketChangesResponse, error) {
	response := &fieldsyncv1.ListTicketChangesResponse{}
	err := s.store.View(ctx, func(tx *store.Tx) error {
		head, err := store.Get(tx, store.TicketChangeHeadKey())
		if err != nil {
			return err
		}
		if err := at.check(s.store.ServerEpoch(), head); err != nil {
			return err
		}
		if unacknowledged {
			done, err := store.Get(tx, store.ChangesAcknowledgedKey())
			if err != nil {
				return err
			}
			at.sequence = max(at.sequence, done.GetSequence())
		}
		for change, err := range store.Scan(tx, store.TicketChanges(), store.TicketChangeKey(at.sequence)) {
			if err != nil {
				return err
			}
			if len(response.GetChanges()) == limit {
				response.More = true
				return nil
			}
			if unacknowledged {
				mark, err := store.Get(tx, store.ChangeAcknowledgedKey(change.GetSequence()))
				if err != nil {
					return err
				}
				if mark != nil {
					continue
				}
			}
			at.sequence = change.GetSequence()
			response.Changes, response.Cursor = append(response.Changes, change), at.bytes()
		}
		return nil
	})
	return response, err
}
