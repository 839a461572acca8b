package sync

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/store"
)

const (
	// DefaultOfflineTime is how long a phone may be offline without a loss of comfort where Options do not say. Scopes remember
	// what has left them for as long, and devices' verdicts are stored for as long. A phone that was away for longer gets a
	// snapshot; what it repeats is not applied again, but waits for a dispatcher.
	DefaultOfflineTime = 90 * 24 * time.Hour
	// retentionEvery is how often what is old is looked for.
	retentionEvery = 24 * time.Hour
	// forgottenAtOnce bounds one transaction of it.
	forgottenAtOnce = 500
)

// RunRetention forgets what is too old, at the start and once a day, until ctx ends; then it returns nil.
func (e *Engine) RunRetention(ctx context.Context) error {
	every := time.NewTicker(retentionEvery)
	defer every.Stop()
	for {
		if err := e.Forget(ctx); err != nil {
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

// Forget forgets the removals of all scopes and the verdicts of all devices that are older than the longest offline time. It
// can be stopped and repeated at any point.
func (e *Engine) Forget(ctx context.Context) error {
	if err := e.forgetRemovals(ctx); err != nil {
		return err
	}
	return e.forgetVerdicts(ctx)
}

func (e *Engine) forgetRemovals(ctx context.Context) error {
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
		err := e.forgetAll(ctx, func(tx *store.Tx, before time.Time) (int, error) {
			return store.ForgetRemovals(tx, scope, before, forgottenAtOnce)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// forgetVerdicts walks along the numberings of all devices. Verdicts on a numbering were stored in the order of its numbers,
// so the oldest of them tells whether there is anything to do: a day without work costs two reads an install epoch.
func (e *Engine) forgetVerdicts(ctx context.Context) error {
	var devices []*storagev1.Device
	err := e.store.View(ctx, func(tx *store.Tx) error {
		for device, err := range store.Scan(tx, store.Devices(), nil) {
			if err != nil {
				return err
			}
			devices = append(devices, &storagev1.Device{Id: device.GetId(), InstallEpoch: device.GetInstallEpoch()})
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, device := range devices {
		for epoch := uint32(1); epoch <= device.GetInstallEpoch(); epoch++ {
			old := false
			err := e.store.View(ctx, func(tx *store.Tx) error {
				head, err := store.Get(tx, store.MutationHeadKey(device.GetId(), epoch))
				if err != nil || head.GetForgotten() >= head.GetNumber() {
					return err
				}
				_, old, err = oldVerdict(tx, device.GetId(), epoch, head.GetForgotten()+1, tx.Now().Add(-e.offline))
				return err
			})
			if err == nil && old {
				err = e.forgetAll(ctx, func(tx *store.Tx, before time.Time) (int, error) {
					return forgetNumbers(tx, device.GetId(), epoch, before)
				})
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// forgetAll repeats a transaction that forgets up to forgottenAtOnce records from before a time, until it finds fewer.
func (e *Engine) forgetAll(ctx context.Context, some func(tx *store.Tx, before time.Time) (int, error)) error {
	for n := forgottenAtOnce; n == forgottenAtOnce; {
		err := e.store.Update(ctx, func(tx *store.Tx) (err error) {
			n, err = some(tx, tx.Now().Add(-e.offline))
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// forgetNumbers takes the oldest verdicts of a numbering out of the store, and with each what finds it by its content.
func forgetNumbers(tx *store.Tx, device string, epoch uint32, before time.Time) (int, error) {
	head, err := store.Get(tx, store.MutationHeadKey(device, epoch))
	if err != nil || head == nil {
		return 0, err
	}
	n := 0
	for ; n < forgottenAtOnce && head.GetForgotten() < head.GetNumber(); n++ {
		number := head.GetForgotten() + 1
		stored, old, err := oldVerdict(tx, device, epoch, number, before)
		if err != nil {
			return 0, err
		}
		if !old {
			break
		}
		if sum := stored.GetContentSha256(); len(sum) == 32 {
			if err := store.Delete(tx, store.RenumberedKey(device, [32]byte(sum))); err != nil {
				return 0, err
			}
		}
		if err := store.Delete(tx, store.VerdictKey(device, epoch, number)); err != nil {
			return 0, err
		}
		head.Forgotten = number
	}
	if n == 0 {
		return 0, nil
	}
	return n, store.Put(tx, store.MutationHeadKey(device, epoch), head)
}

// oldVerdict tells whether the verdict on a number is from before a time. One that is not there at all is.
func oldVerdict(tx *store.Tx, device string, epoch uint32, number uint64, before time.Time) (*storagev1.VerdictRecord, bool, error) {
	stored, err := store.Get(tx, store.VerdictKey(device, epoch, number))
	if err != nil || stored == nil {
		return nil, true, err
	}
	verdict := &fieldsyncv1.Verdict{}
	if err := proto.Unmarshal(stored.GetVerdict(), verdict); err != nil {
		return nil, false, damagedVerdict(device, number, err)
	}
	return stored, verdict.GetJudgedAt().AsTime().Before(before), nil
}
