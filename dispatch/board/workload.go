package board

import (
	"cmp"
	"context"
	"slices"
	"time"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
)

// GetWorkload implements the RPC of that name.
func (s *Service) GetWorkload(ctx context.Context, req *fieldsyncv1.GetWorkloadRequest) (*fieldsyncv1.GetWorkloadResponse, error) {
	p, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	now := s.store.Now()
	keep, err := newFilter(req.GetFilter(), now)
	if err != nil {
		return nil, err
	}
	if err := s.refresh(ctx, p); err != nil {
		return nil, err
	}
	resp := &fieldsyncv1.GetWorkloadResponse{Total: &fieldsyncv1.Workload{}}
	byCrew := make(map[string]*fieldsyncv1.Workload)
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, r := range s.view(p).rows {
		if !keep(r) {
			continue
		}
		count(resp.GetTotal(), r, now)
		load := byCrew[r.GetCrewId()]
		if load == nil {
			load = &fieldsyncv1.Workload{CrewId: r.GetCrewId()}
			byCrew[r.GetCrewId()] = load
			resp.Crews = append(resp.Crews, load)
		}
		count(load, r, now)
	}
	slices.SortFunc(resp.GetCrews(), func(a, b *fieldsyncv1.Workload) int {
		return cmp.Or(cmp.Compare(b.GetOverdue(), a.GetOverdue()), cmp.Compare(a.GetCrewId(), b.GetCrewId()))
	})
	return resp, nil
}

func count(load *fieldsyncv1.Workload, r *row, now time.Time) {
	switch r.GetState() {
	case fieldsyncv1.TaskState_TASK_STATE_OPEN:
		load.Open++
	case fieldsyncv1.TaskState_TASK_STATE_ASSIGNED:
		load.Assigned++
	case fieldsyncv1.TaskState_TASK_STATE_ACCEPTED:
		load.Accepted++
	case fieldsyncv1.TaskState_TASK_STATE_STARTED:
		load.Started++
	case fieldsyncv1.TaskState_TASK_STATE_PAUSED:
		load.Paused++
	case fieldsyncv1.TaskState_TASK_STATE_DONE:
		load.Done++
	default:
	}
	for _, flag := range []struct {
		is  bool
		sum *uint32
	}{{r.overdue(now), &load.Overdue}, {r.GetUnseen(), &load.Unseen}, {r.GetReview(), &load.Review}} {
		if flag.is {
			*flag.sum++
		}
	}
}
