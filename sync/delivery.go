package sync

import (
	"context"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/store"
)

// confirm writes down which orders a device has shown to know: those up to held, the sequence that it came back with. An
// answer that went out shows nothing, for it may be lost on its way; a cursor that comes back does. Where the device has
// nothing to confirm, as nearly always, that is one small read.
func (e *Engine) confirm(ctx context.Context, device string, scope store.Scope, held uint64, woken bool) error {
	var open bool
	err := e.store.View(ctx, func(tx *store.Tx) (err error) {
		open, err = store.OpenOrders(tx, device, scope, held, woken)
		return err
	})
	if err != nil || !open {
		return err
	}
	return e.store.Update(ctx, func(tx *store.Tx) error { return store.ConfirmOrders(tx, device, scope, held, woken) })
}

// heldBy is up to where a replica with this cursor holds the scope for sure: 0 where the cursor is of another store or scope.
func (e *Engine) heldBy(c cursor, scope store.Scope) uint64 {
	if c.serverEpoch != e.store.ServerEpoch() || c.scope != fingerprint(scope) {
		return 0
	}
	return c.sequence
}

// follow notes what a mutation tells of the order under which it was recorded: that somebody has opened the task on this
// phone, or has answered. It holds whatever becomes of the mutation, for another phone of the crew may have been faster.
func (c *chunk) follow(m *fieldsyncv1.Mutation) error {
	seen, accepted := m.GetSee() != nil, m.GetAccept() != nil || m.GetStart() != nil
	if !seen && !accepted {
		return nil
	}
	return store.ChangeDelivery(c.tx, m.GetTaskId(), m.GetAssignmentEpoch(), c.by.DeviceID, func(d *storagev1.Delivery) {
		store.FirstTime(c.tx, &d.SeenAt)
		if accepted {
			store.FirstTime(c.tx, &d.AcceptedAt)
		}
	})
}
