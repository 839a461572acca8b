package push

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	"github.com/cong1022/fieldsync/store"
)

const (
	defaultBatch       = 32
	defaultLease       = time.Minute
	defaultSendTimeout = 10 * time.Second
	defaultMaxAttempts = 16
	defaultPoll        = 30 * time.Second

	firstBackoff = 2 * time.Second
	maxBackoff   = time.Hour
	// staleAfter is after how long an address that its device has not told again is taken for dead: FCM forgets tokens after 270
	// days (https://firebase.google.com/docs/cloud-messaging/manage-tokens). Apps tell theirs once a month.
	staleAfter = 270 * 24 * time.Hour

	// maxRetryAfter bounds what a service may ask for: a wrong date in a header must not put a hint off for years.
	maxRetryAfter = 24 * time.Hour
)

// Options of a Worker. Store, Sender and Log are required.
type Options struct {
	Store  *store.Store
	Sender Sender
	Log    *slog.Logger

	// Batch is how many rows are claimed at once; they are sent at the same time. 32 by default.
	Batch int
	// Lease is how long a claimed row is out of others' reach. After a crash it is tried again when the lease has ended.
	// Longer than a few times SendTimeout; 1 minute by default.
	Lease time.Duration
	// SendTimeout bounds one send. 10 seconds by default.
	SendTimeout time.Duration
	// MaxAttempts is after how many attempts a row is given up, crashes included. 16 by default: with the delays between
	// them, two and a half to five hours.
	MaxAttempts uint32
	// Poll is how often the outbox is looked at though nothing has said that there is something. 30 seconds by default.
	Poll time.Duration
}

// Worker delivers the outbox's push hints, each at least once. A hint that fails comes back after 2 s, 4 s and so on up to an
// hour, less up to half of it at random, and not before the service wants it back. Several workers may share a store.
type Worker struct {
	o Options
}

// NewWorker makes a Worker, which does nothing before Run.
func NewWorker(o Options) *Worker {
	if o.Batch <= 0 {
		o.Batch = defaultBatch
	}
	if o.Lease <= 0 {
		o.Lease = defaultLease
	}
	if o.SendTimeout <= 0 {
		o.SendTimeout = defaultSendTimeout
	}
	if o.MaxAttempts == 0 {
		o.MaxAttempts = defaultMaxAttempts
	}
	if o.Poll <= 0 {
		o.Poll = defaultPoll
	}
	return &Worker{o: o}
}

// Run delivers until ctx ends, finishes the sends under way and returns nil. It returns an error only where the store was
// closed or has failed: everything that was not settled by then is tried again by the next Run.
func (w *Worker) Run(ctx context.Context) error {
	wake, stop := w.o.Store.Subscribe(store.OutboxTopic)
	defer stop()
	timer := time.NewTimer(w.o.Poll)
	defer timer.Stop()
	for ctx.Err() == nil {
		wait := w.o.Poll
		claimed, next, err := w.round(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, store.ErrClosed):
			return err
		case err != nil:
			w.o.Log.WarnContext(ctx, "the outbox cannot be read now", "error", err)
		case claimed > 0:
			// What the round has put off may be due before anything that it saw.
			continue
		case !next.IsZero():
			wait = max(0, min(wait, next.Sub(w.o.Store.Now())))
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
		case <-wake:
		case <-timer.C:
		case <-w.o.Store.Failed():
			return errors.New("push: the store has failed")
		}
	}
	return nil
}

// delivery is what one device has in a batch: one send settles all of it.
type delivery struct {
	deviceID string
	address  *storagev1.PushAddress
	visible  bool
	newTask  bool // One of those that are visible tells of a new task.
	rows     []*storagev1.OutboxRow
}

// round claims a batch and delivers it. next is as of store.Claim.
func (w *Worker) round(ctx context.Context) (claimed int, next time.Time, err error) {
	var deliveries []*delivery
	var unknown int
	err = w.o.Store.Update(ctx, func(tx *store.Tx) error {
		rows, first, err := store.Claim(tx, w.o.Batch, w.o.Lease)
		if err != nil {
			return err
		}
		claimed, next = len(rows), first
		deliveries, unknown, err = w.plan(tx, rows)
		return err
	})
	if err != nil {
		return 0, time.Time{}, err
	}
	if unknown > 0 {
		w.o.Log.WarnContext(ctx, "the outbox holds work that this version does not know", "rows", unknown)
	}
	// The batch is claimed. Once it is out of the others' reach, a stop must not turn a send under way into a failure.
	finish := context.WithoutCancel(ctx)
	var sends sync.WaitGroup
	for _, d := range deliveries {
		sends.Go(func() { w.deliver(finish, d) })
	}
	sends.Wait()
	return claimed, next, nil
}

// plan groups the claimed rows by device, and ends those at once that nobody is to be woken for.
func (w *Worker) plan(tx *store.Tx, rows []*storagev1.OutboxRow) (deliveries []*delivery, unknown int, err error) {
	byDevice := make(map[string]*delivery)
	for _, row := range rows {
		if row.GetPush() == nil {
			// Written by a later version, before somebody went back to this one. It waits.
			unknown++
			if err := store.Postpone(tx, row, tx.Now().Add(maxBackoff)); err != nil {
				return nil, 0, err
			}
			continue
		}
		if row.GetAttempts() > w.o.MaxAttempts {
			if err := failed("expired")(tx, row); err != nil {
				return nil, 0, err
			}
			if err := store.Bury(tx, row, "claimed too often without an outcome"); err != nil {
				return nil, 0, err
			}
			continue
		}
		id := row.GetPush().GetDeviceId()
		if farewell := row.GetPush().GetFarewell(); farewell != nil {
			deliveries = append(deliveries, &delivery{deviceID: id, address: farewell, rows: []*storagev1.OutboxRow{row}})
			continue
		}
		d := byDevice[id]
		if d == nil {
			address, err := addressOf(tx, row)
			if err != nil {
				return nil, 0, err
			}
			if address == nil {
				continue
			}
			d = &delivery{deviceID: id, address: address}
			byDevice[id] = d
			deliveries = append(deliveries, d)
		}
		d.visible = d.visible || row.GetPush().GetVisible()
		d.newTask = d.newTask || row.GetPush().GetVisible() && !row.GetPush().GetReminder()
		d.rows = append(d.rows, row)
	}
	return deliveries, unknown, nil
}

// addressOf is where to send a row's hint. Where nobody is to be woken, it is nil, and the row is settled.
func addressOf(tx *store.Tx, row *storagev1.OutboxRow) (*storagev1.PushAddress, error) {
	id := row.GetPush().GetDeviceId()
	device, err := store.Get(tx, store.DeviceKey(id))
	if err != nil {
		return nil, err
	}
	if stale(device, tx.Now()) {
		device.Push = nil
		if err := store.Put(tx, store.DeviceKey(id), device); err != nil {
			return nil, err
		}
	}
	if device.GetPush() != nil && device.GetRevokedAt() == nil {
		return device.GetPush(), nil
	}
	if err := failed("no_address")(tx, row); err != nil {
		return nil, err
	}
	return nil, store.Settle(tx, row)
}

func stale(device *storagev1.Device, now time.Time) bool {
	told := device.GetPush().GetSeenAt()
	return told != nil && now.Sub(told.AsTime()) > staleAfter
}

// deliver sends and keeps the outcome. A crash before it is kept means that the device is woken once more.
func (w *Worker) deliver(ctx context.Context, d *delivery) {
	sendCtx, cancel := context.WithTimeout(ctx, w.o.SendTimeout)
	outcome := w.o.Sender.Send(sendCtx, Message{DeviceID: d.deviceID, Address: d.address, Visible: d.visible, Reminder: d.visible && !d.newTask})
	cancel()

	log := w.o.Log.With("device_id", d.deviceID, "rows", len(d.rows), "visible", d.visible)
	var keep func(*store.Tx) error
	switch {
	case outcome == nil:
		log.DebugContext(ctx, "a device was pushed to")
		keep = func(tx *store.Tx) error { return d.each(tx, store.Settle, sent) }
	case errors.Is(outcome, ErrUnregistered):
		log.InfoContext(ctx, "the push address of a device is dead", "error", outcome)
		keep = func(tx *store.Tx) error {
			if err := dropAddress(tx, d.deviceID, d.address); err != nil {
				return err
			}
			// Whoever has told another address since was online and syncs by itself.
			return d.each(tx, store.Settle, failed("unregistered"))
		}
	case errors.Is(outcome, ErrRejected):
		log.ErrorContext(ctx, "a push was rejected for good", "error", outcome)
		keep = func(tx *store.Tx) error {
			return d.each(tx, func(tx *store.Tx, row *storagev1.OutboxRow) error {
				return store.Bury(tx, row, outcome.Error())
			}, failed("rejected"))
		}
	default:
		delay := d.delay(outcome)
		log.WarnContext(ctx, "a push failed", "error", outcome, "delay", delay)
		keep = func(tx *store.Tx) error {
			return d.each(tx, func(tx *store.Tx, row *storagev1.OutboxRow) error {
				if errors.Is(outcome, errHeldBack) {
					row = proto.CloneOf(row)
					row.Attempts-- // It was not tried, and must not be given up for others' failures.
				} else if row.GetAttempts() >= w.o.MaxAttempts {
					if err := store.Bury(tx, row, fmt.Sprintf("given up after %d attempts: %v", row.GetAttempts(), outcome)); err != nil {
						return err
					}
					return failed("expired")(tx, row)
				}
				return store.Postpone(tx, row, tx.Now().Add(delay))
			})
		}
	}
	if err := w.o.Store.Update(ctx, keep); err != nil {
		log.WarnContext(ctx, "the outcome of a push could not be kept; it is tried again when its lease has ended", "error", err)
	}
}

// each applies steps to every row, the first of which is one of the store's ends. A row whose lease is lost is somebody else's
// by now, and so is what is said of it.
func (d *delivery) each(tx *store.Tx, steps ...func(*store.Tx, *storagev1.OutboxRow) error) error {
	for _, row := range d.rows {
		for _, step := range steps {
			err := step(tx, row)
			if errors.Is(err, store.ErrLeaseLost) {
				break
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// sent tells the delivery of the order that a row speaks of, if it speaks of one, that its hint has gone out.
func sent(tx *store.Tx, row *storagev1.OutboxRow) error {
	return store.ChangeDelivery(tx, row.GetPush().GetTaskId(), row.GetPush().GetAssignmentEpoch(), row.GetPush().GetDeviceId(),
		func(d *storagev1.Delivery) {
			store.FirstTime(tx, &d.SentAt)
			d.FailedAt, d.Failure = nil, ""
		})
}

// failed tells it that no hint will.
func failed(why string) func(*store.Tx, *storagev1.OutboxRow) error {
	return func(tx *store.Tx, row *storagev1.OutboxRow) error {
		return store.ChangeDelivery(tx, row.GetPush().GetTaskId(), row.GetPush().GetAssignmentEpoch(), row.GetPush().GetDeviceId(),
			func(d *storagev1.Delivery) { d.FailedAt, d.Failure = tx.Timestamp(), why })
	}
}

// delay is how long a failed delivery waits: what the service asks for, and on top the backoff of its most tried row, so that
// what failed together does not come back together.
func (d *delivery) delay(outcome error) time.Duration {
	var attempts uint32
	for _, row := range d.rows {
		attempts = max(attempts, row.GetAttempts())
	}
	backoff := maxBackoff
	if doublings := max(attempts, 1) - 1; doublings < 11 { // 2 s doubled 11 times is more than an hour.
		backoff = firstBackoff << doublings
	}
	backoff -= rand.N(backoff / 2) //nolint:gosec // It spreads load and guards nothing.
	if retry, ok := errors.AsType[*RetryError](outcome); ok {
		backoff += min(max(0, retry.After), maxRetryAfter)
	}
	return backoff
}

// dropAddress forgets the device's push address, unless the device has told another one since.
func dropAddress(tx *store.Tx, deviceID string, dead *storagev1.PushAddress) error {
	device, err := store.Get(tx, store.DeviceKey(deviceID))
	if err != nil || device == nil {
		return err
	}
	now := device.GetPush()
	if now.GetKind() != dead.GetKind() || now.GetValue() != dead.GetValue() || !proto.Equal(now.GetWebPush(), dead.GetWebPush()) {
		return nil
	}
	device.Push = nil
	return store.Put(tx, store.DeviceKey(deviceID), device)
}
