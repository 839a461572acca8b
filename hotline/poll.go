package hotline

import (
	"context"
	"time"

	"github.com/cong1022/fieldsync/internal/fault"
)

// keepAlive is how often an idle stream says that it lives: below the minute after which middle boxes forget it.
const keepAlive = 30 * time.Second

// follow calls send, which sends the next page of a list, at once while there is more, then after each commit that signals topic,
// and every 30 seconds. It returns send's error, the context's, or Unavailable "shutting_down".
func (s *Service) follow(ctx context.Context, topic string, send func() (more bool, err error)) error {
	wake, stop := s.store.Subscribe(topic)
	defer stop()
	alive := time.NewTicker(keepAlive)
	defer alive.Stop()
	for {
		more, err := send()
		if err != nil {
			return err
		}
		if more {
			continue
		}
		select {
		case <-wake:
		case <-alive.C:
		case <-ctx.Done():
			return ctx.Err()
		case <-s.draining:
			return fault.New(fault.Unavailable, "shutting_down",
				"Máy chủ đang khởi động lại; hãy kết nối lại.", "The server is restarting; connect again.")
		}
	}
}

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
