// Package board is what dispatchers look at: the tasks under way, filtered, searched, counted and followed live. It is a
// replica of the units' logs, held in memory and read up to their heads at each call, so it shows every commit that had
// returned before, on every node that shares the store, and nothing is written for it.
package board

import (
	"context"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cong1022/fieldsync/auth"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/store"
)

const (
	defaultPageSize = 100
	// kept is how long what has ended stays on the board.
	kept = 35 * 24 * time.Hour
)

// Options are what a Service needs. Store is required.
type Options struct {
	Store *store.Store
	// MonthDay and MonthHour say when a reporting month ends, in Vietnam's time: its day, 1 to 28, and the hour of it. Without a
	// day: the 25th at noon.
	MonthDay, MonthHour int
}

// Service implements fieldsync.v1.BoardService. It expects requests that protovalidate has passed and contexts that carry an
// auth.Principal. All methods are safe for concurrent use.
type Service struct {
	store    *store.Store
	cutoff   cutoff
	draining chan struct{}

	mu    sync.RWMutex
	units map[string]*unit
	city  view
	// version counts the changes of the replica; each row has that of its newest, and gone those of what has left.
	version uint64
	gone    []goneRow
	pruned  time.Time
}

var _ fieldsyncv1connect.BoardServiceHandler = (*Service)(nil)

// New makes a Service. It reads nothing before the first call; that one takes some seconds where there are 100,000 tasks.
func New(o Options) *Service {
	s := &Service{
		store: o.Store, draining: make(chan struct{}), units: make(map[string]*unit), city: newView(),
		cutoff: cutoff{day: o.MonthDay, hour: o.MonthHour},
	}
	if s.cutoff.day == 0 {
		s.cutoff = cutoff{day: 25, hour: 12}
	}
	return s
}

// Drain ends all streams, so that a server can stop. Call it once.
func (s *Service) Drain() { close(s.draining) }

// caller returns whoever calls, who must dispatch for something.
func caller(ctx context.Context) (auth.Principal, error) {
	p, err := auth.PrincipalFrom(ctx)
	if err != nil {
		return p, err
	}
	if !p.SeesAll() && !p.SeesUnit(p.UnitID) {
		return p, fault.New(fault.Denied, "role_denied",
			"Vai trò của bạn không được làm việc này: hãy nhờ quản trị viên.", "Your role may not do this: ask an admin.")
	}
	return p, nil
}

// ListBoard implements the RPC of that name.
func (s *Service) ListBoard(ctx context.Context, req *fieldsyncv1.ListBoardRequest) (*fieldsyncv1.ListBoardResponse, error) {
	p, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	now := s.store.Now()
	keep, err := newFilter(req.GetFilter(), now)
	if err != nil {
		return nil, err
	}
	by := orders[req.GetOrder()]
	after, err := parseToken(req.GetPageToken(), req.GetOrder())
	if err != nil {
		return nil, err
	}
	size := int(req.GetPageSize())
	if size == 0 {
		size = defaultPageSize
	}
	if err := s.refresh(ctx, p); err != nil {
		return nil, err
	}
	resp := &fieldsyncv1.ListBoardResponse{ServerTime: timestamppb.New(now)}
	s.mu.RLock()
	defer s.mu.RUnlock()
	for r := range s.view(p).in(by, after) {
		if !keep(r) {
			continue
		}
		if len(resp.GetRows()) == size {
			last := resp.GetRows()[size-1]
			resp.NextToken = newToken(req.GetOrder(), s.city.rows[last.GetTaskId()])
			break
		}
		resp.Rows = append(resp.Rows, r.shown(now))
	}
	return resp, nil
}

// view is what the caller sees of the replica. With mu held.
func (s *Service) view(p auth.Principal) view {
	if p.SeesAll() {
		return s.city
	}
	if u := s.units[p.UnitID]; u != nil {
		return u.view
	}
	return newView()
}

// shown is a row as it goes out: what depends on the time is as of now.
func (r *row) shown(now time.Time) *fieldsyncv1.BoardRow {
	shown := proto.CloneOf(r.BoardRow)
	shown.Overdue = r.overdue(now)
	return shown
}

// underWay tells whether a task still has to be done.
func underWay(state fieldsyncv1.TaskState) bool {
	return !slices.Contains(ended, state)
}

var ended = []fieldsyncv1.TaskState{
	fieldsyncv1.TaskState_TASK_STATE_DONE, fieldsyncv1.TaskState_TASK_STATE_CLOSED, fieldsyncv1.TaskState_TASK_STATE_CANCELLED,
}
