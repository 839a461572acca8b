package store

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
)

// TimersTopic is signalled when a timer has been set.
const TimersTopic = "timers"

// SetTimer sets a timer in the transaction of what it belongs to and gives it an id. Timers are the outbox's pattern without its
// leases: what a timer does is written in the transaction that takes it away, so it happens once, and only if it is kept.
func SetTimer(tx *Tx, timer *storagev1.Timer, due time.Time) error {
	id, err := tx.NewID()
	if err != nil {
		return err
	}
	timer.Id, timer.DueAt = id, timestamppb.New(due)
	tx.Signal(TimersTopic)
	return Put(tx, TimerKey(due, id), timer)
}

// TakeTimers takes away up to limit timers that are due. next is when the first one that was not taken falls due, zero where there
// is none.
func TakeTimers(tx *Tx, limit int) (timers []*storagev1.Timer, next time.Time, err error) {
	for timer, err := range Scan(tx, Timers(), nil) {
		if err != nil {
			return nil, time.Time{}, err
		}
		if due := timer.GetDueAt().AsTime(); due.After(tx.Now()) || len(timers) == limit {
			next = due
			break
		}
		timers = append(timers, timer)
	}
	for _, timer := range timers {
		if err := Delete(tx, TimerKey(timer.GetDueAt().AsTime(), timer.GetId())); err != nil {
			return nil, time.Time{}, err
		}
	}
	return timers, next, nil
}
