package dispatch

import (
	"context"
	"errors"
	"fmt"
	"time"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	"github.com/cong1022/fieldsync/store"
)

const (
	// timersAtOnce bounds the timers of a transaction: each may push to many phones.
	timersAtOnce = 20
	// timersPoll is how often is looked though nothing has said that there is something.
	timersPoll = 30 * time.Second
	// timerPutOff is for how long a timer waits whose task cannot be read, so that it does not hold up the others.
	timerPutOff = time.Hour
)

// RunTimers takes what is due, escalations and warnings of deadlines, until ctx ends. What fell due while nobody ran is taken at
// the start. It returns an error only where the store was closed or has failed.
func (s *Service) RunTimers(ctx context.Context) error {
	wake, stop := s.store.Subscribe(store.TimersTopic)
	defer stop()
	timer := time.NewTimer(timersPoll)
	defer timer.Stop()
	for ctx.Err() == nil {
		taken, next, err := s.FireTimers(ctx, timersAtOnce)
		wait := timersPoll
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, store.ErrClosed):
			return err
		case err != nil:
			s.log.ErrorContext(ctx, "timers", "error", err)
		case taken > 0:
			continue
		case !next.IsZero():
			wait = max(0, min(wait, next.Sub(s.store.Now())))
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
		case <-wake:
		case <-timer.C:
		case <-s.store.Failed():
			return errors.New("dispatch: the store has failed")
		}
	}
	return nil
}

// FireTimers takes up to limit timers that are due. next is when the first that was not taken falls due, zero where there is none.
// It is one transaction: everything that a timer does is kept with its going away.
func (s *Service) FireTimers(ctx context.Context, limit int) (taken int, next time.Time, err error) {
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		timers, after, err := store.TakeTimers(tx, limit)
		if err != nil {
			return err
		}
		for _, timer := range timers {
			if err := s.fire(tx, timer); err != nil {
				return err
			}
		}
		taken, next = len(timers), after
		return nil
	})
	if err == nil || ctx.Err() != nil || errors.Is(err, store.ErrClosed) || errors.Is(err, store.ErrOutcomeUnknown) || errors.Is(err, store.ErrNoSpace) {
		return taken, next, err
	}
	if limit > 1 {
		return s.FireTimers(ctx, 1) // One of them cannot be fired, or all of them are too much for one transaction.
	}
	reason := err
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		timers, _, err := store.TakeTimers(tx, 1)
		if err != nil || len(timers) == 0 {
			return err
		}
		return store.SetTimer(tx, timers[0], tx.Now().Add(timerPutOff))
	})
	return 1, time.Time{}, errors.Join(err, fmt.Errorf("a timer was put off by an hour: %w", reason))
}

func (s *Service) fire(tx *store.Tx, timer *storagev1.Timer) error {
	record, err := store.Get(tx, store.TaskKey(timer.GetTaskId()))
	if err != nil || record == nil {
		return err
	}
	switch work := timer.GetWork().(type) {
	case *storagev1.Timer_Deadline:
		return s.warn(tx, timer, record)
	case *storagev1.Timer_Escalation:
		return s.climb(tx, work.Escalation, record)
	default: // A later version's, before somebody went back to this one.
		return nil
	}
}
