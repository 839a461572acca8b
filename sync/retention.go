package sync

import (
	"context"
	"time"

	"github.com/cong1022/fieldsync/store"
)

const (
	// RemovalsKept is how long a scope's log remembers what has left it. A phone that was away for longer gets a snapshot.
	RemovalsKept = 90 * 24 * time.Hour
	// retentionEvery is how often old removals are looked for.
	retentionEvery = 24 * time.Hour
	// forgottenAtOnce bounds one transaction of it.
	forgottenAtOnce = 500
)

// RunRetention forgets old removals, at the start and once a day, until ctx ends; then it returns nil.
func (e *Engine) RunRetention(ctx context.Context) error {
	every := time.NewTicker(retentionEvery)
	defer every.Stop()
	for {
		if err := e.ForgetOldRemovals(ctx); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-every.C:
		}
	}
}

// ForgetOldRemovals forgets, in all scopes, the removals that are older than RemovalsKept.
func (e *Engine) ForgetOldRemovals(ctx context.Context) error {
	var scopes []store.Scope
	err := e.store.View(ctx, func(tx *store.Tx) error {
		for crew, err := range store.Scan(tx, store.Crews(), nil) {
			if err != nil {
				return err
			}
			scopes = append(scopes, store.CrewScope(crew.GetId()))
		}
		for unit, err := range store.Scan(tx, store.Units(), nil) {
			if err != nil {
				return err
			}
			scopes = append(scopes, store.UnitScope(unit.GetId()))
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, scope := range scopes {
		for forgotten := forgottenAtOnce; forgotten == forgottenAtOnce; {
			err := e.store.Update(ctx, func(tx *store.Tx) (err error) {
				forgotten, err = store.ForgetRemovals(tx, scope, tx.Now().Add(-RemovalsKept), forgottenAtOnce)
				return err
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}
