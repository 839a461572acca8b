package board

import (
	"context"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cong1022/fieldsync/auth"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/store"
)

const (
	// keepAlive is how often an idle stream says that it lives.
	keepAlive = 30 * time.Second
	// watchedRows bounds a message of the stream; more follow in the next ones.
	watchedRows = 200
)

// WatchBoard implements the RPC of that name.
func (s *Service) WatchBoard(ctx context.Context, req *fieldsyncv1.WatchBoardRequest, stream *connect.ServerStream[fieldsyncv1.WatchBoardResponse]) error {
	p, err := caller(ctx)
	if err != nil {
		return err
	}
	topic := store.TasksTopic
	if !p.SeesAll() {
		topic = store.UnitScope(p.UnitID).Topic()
	}
	wake, stop := s.store.Subscribe(topic)
	defer stop()
	if err := s.refresh(ctx, p); err != nil {
		return err
	}
	s.mu.RLock()
	seen := s.version
	s.mu.RUnlock()
	alive := time.NewTicker(keepAlive)
	defer alive.Stop()
	message := &fieldsyncv1.WatchBoardResponse{ServerTime: timestamppb.New(s.store.Now())}
	for {
		if err := stream.Send(message); err != nil {
			return err
		}
		for message = nil; message == nil; {
			select {
			case <-wake:
			case <-alive.C:
				message = &fieldsyncv1.WatchBoardResponse{ServerTime: timestamppb.New(s.store.Now())}
			case <-ctx.Done():
				return ctx.Err()
			case <-s.draining:
				return fault.New(fault.Unavailable, "shutting_down",
					"Máy chủ đang khởi động lại; hãy kết nối lại.", "The server is restarting; connect again.")
			}
			if p, err = s.stillMay(ctx, p); err != nil {
				return err
			}
			changed, err := s.since(ctx, p, req.GetFilter(), &seen)
			if err != nil {
				return err
			}
			if changed != nil {
				message = changed
			}
		}
	}
}

// stillMay sees to it, before each message, that the caller may still see the same: a device may be revoked, and a dispatcher
// may be given another unit.
func (s *Service) stillMay(ctx context.Context, p auth.Principal) (now auth.Principal, err error) {
	err = s.store.View(ctx, func(tx *store.Tx) error {
		now, err = p.Reload(tx)
		return err
	})
	if err == nil && (now.Role != p.Role || now.UnitID != p.UnitID) {
		err = fault.New(fault.Unavailable, "scope_moved",
			"Phạm vi của bạn vừa thay đổi; hãy kết nối lại.", "Your scope has just changed: connect again.")
	}
	return now, err
}

// since returns what has changed for the caller since the version seen, and moves that on. Nil where nothing has.
func (s *Service) since(ctx context.Context, p auth.Principal, f *fieldsyncv1.BoardFilter, seen *uint64) (*fieldsyncv1.WatchBoardResponse, error) {
	if err := s.refresh(ctx, p); err != nil {
		return nil, err
	}
	now := s.store.Now()
	keep, err := newFilter(f, now)
	if err != nil {
		return nil, err
	}
	resp := &fieldsyncv1.WatchBoardResponse{ServerTime: timestamppb.New(now)}
	s.mu.RLock()
	defer s.mu.RUnlock()
	for r := range s.view(p).in(byVersion, place{first: int64(*seen), task: "\xff"}) { //nolint:gosec // It counts from 1.
		if len(resp.GetRows())+len(resp.GetGone()) == watchedRows {
			resp.Lost = true // A burst: listing the board anew costs less than to follow it.
			break
		}
		if keep(r) {
			resp.Rows = append(resp.Rows, r.shown(now))
		} else {
			resp.Gone = append(resp.Gone, r.GetTaskId())
		}
	}
	if len(s.gone) > 0 && s.gone[0].version > *seen && len(s.gone) >= maxGone {
		resp.Lost = true
	}
	for i := len(s.gone) - 1; i >= 0 && s.gone[i].version > *seen; i-- {
		if g := s.gone[i]; (p.SeesAll() && s.city.rows[g.task] == nil) || g.unit == p.UnitID {
			resp.Gone = append(resp.Gone, g.task)
		}
	}
	*seen = s.version
	if len(resp.GetRows())+len(resp.GetGone()) == 0 && !resp.GetLost() {
		return nil, nil //nolint:nilnil // Nothing to say is no error.
	}
	return resp, nil
}
