package audit

import (
	"context"
	"time"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/store"
)

// forgetAtOnce keeps a transaction small.
const forgetAtOnce = 50

// Run forgets what is older than is to be kept, now and once a day, and each minute writes down how often the attempts of the last one
// have come, until ctx ends.
func (l *Log) Run(ctx context.Context) error {
	day, minute := time.NewTicker(24*time.Hour), time.NewTicker(time.Minute)
	defer day.Stop()
	defer minute.Stop()
	l.forget(ctx)
	for {
		select {
		case <-ctx.Done():
			l.settle(context.WithoutCancel(ctx), l.attempts.all())
			return nil
		case <-minute.C:
			l.settle(ctx, l.attempts.over(l.store.Now()))
		case <-day.C:
			l.forget(ctx)
		}
	}
}

func (l *Log) forget(ctx context.Context) {
	if err := l.Forget(ctx); err != nil && ctx.Err() == nil {
		l.log.ErrorContext(ctx, "old entries of the audit log cannot be forgotten now", "error", err)
	}
}

// Forget forgets the entries that are older than is to be kept.
func (l *Log) Forget(ctx context.Context) error {
	if l.keep == 0 {
		return nil
	}
	for {
		gone := 0
		err := l.store.Update(ctx, func(tx *store.Tx) error {
			var old []*fieldsyncv1.AuditEntry
			for record, err := range store.Scan(tx, store.Audit(), store.AuditKey(tx.Now().Add(-l.keep), "")) {
				if err != nil {
					return err
				}
				if old = append(old, record.GetEntry()); len(old) == forgetAtOnce {
					break
				}
			}
			for _, entry := range old {
				if err := remove(tx, entry); err != nil {
					return err
				}
			}
			gone = len(old)
			return nil
		})
		if err != nil || gone < forgetAtOnce {
			return err
		}
	}
}

func remove(tx *store.Tx, entry *fieldsyncv1.AuditEntry) error {
	at, id := entry.GetAt().AsTime(), entry.GetId()
	for _, place := range places(entry) {
		if err := store.Delete(tx, store.AuditSubjectKey(place.GetKind(), place.GetId(), at, id)); err != nil {
			return err
		}
	}
	return store.Delete(tx, store.AuditKey(at, id))
}
