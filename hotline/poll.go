package hotline

import (
	"context"
	"time"
)

// poll calls list, and again after each commit that signals topic, until it finds something or has waited so many seconds.
// Who has begun to listen before the first look misses nothing.
func (s *Service) poll(ctx context.Context, topic string, seconds uint32, list func() (found bool, err error)) error {
	wake, stop := s.store.Subscribe(topic)
	defer stop()
	over := time.NewTimer(time.Duration(seconds) * time.Second)
	defer over.Stop()
	for waiting := seconds > 0; ; {
		if found, err := list(); found || err != nil || !waiting {
			return err
		}
		select {
		case <-wake:
		case <-over.C:
			waiting = false
		case <-s.draining:
			waiting = false
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func pageSize(limit uint32) int {
	if limit == 0 {
		return defaultLimit
	}
	return int(limit)
}
