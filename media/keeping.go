package media

import (
	"context"
	"errors"
	"sync"
	"time"
)

// keepEvery is how often what is kept is looked after: uploads expire, left-over bytes go, holds are renewed.
const keepEvery = time.Hour

// Run looks into the photos for which there was no room within their commit, tells the object store of legal holds, lets uploads
// expire and collects orphans, until ctx ends; then it returns nil. One Run a store.
func (s *Service) Run(ctx context.Context) error {
	var both sync.WaitGroup
	both.Go(func() { s.runLooks(ctx) })
	both.Go(func() { s.runKeeping(ctx) })
	both.Wait()
	return nil
}

// keepSoon wakes the worker that tells the object store of holds.
func (s *Service) keepSoon() {
	select {
	case s.holdsChanged <- struct{}{}:
	default: // It is awake.
	}
}

func (s *Service) runKeeping(ctx context.Context) {
	hourly := time.NewTicker(keepEvery)
	defer hourly.Stop()
	again := time.NewTimer(lookAgainAfter)
	again.Stop()
	defer again.Stop()
	// A crash may have left content half removed; nobody can commit the same bytes until that is done.
	unfinished := func() error { return errors.Join(s.markHolds(ctx), s.finishRemovals(ctx)) }
	work := func() error { return errors.Join(s.expire(ctx), unfinished()) }
	for hours := 0; ; {
		if err := work(); err != nil && ctx.Err() == nil {
			s.log.ErrorContext(ctx, "what is kept cannot be looked after now", "error", err)
			again.Reset(lookAgainAfter)
		}
		select {
		case <-ctx.Done():
			return
		case <-s.holdsChanged:
			work = unfinished
		case <-again.C:
			work = unfinished
		case <-hourly.C:
			hours++
			collect := hours%24 == 1
			work = func() error {
				errs := []error{s.expire(ctx), s.sweep(ctx), s.renewHolds(ctx), unfinished()}
				if collect {
					_, err := s.CollectOrphans(ctx)
					errs = append(errs, err)
				}
				return errors.Join(errs...)
			}
		}
	}
}
