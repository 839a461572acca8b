package push

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/push/fcmtest"
	"github.com/cong1022/fieldsync/store"
	"github.com/cong1022/fieldsync/store/embedded"
)

// clock stands still until it is told to go on.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// sendFunc is a Sender for what the fake of FCM cannot play: what happens while a send is under way.
type sendFunc func(context.Context, Message) error

func (f sendFunc) Send(ctx context.Context, m Message) error { return f(ctx, m) }

func openStore(t *testing.T, dir string, c *clock) *store.Store {
	t.Helper()
	engine, err := embedded.Open(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(t.Context(), engine, store.Options{Clock: c.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() }) // Closed before by some tests, and then it says so.
	return s
}

func newFCM(t *testing.T, fake *fcmtest.Server) *FCM {
	t.Helper()
	fcm, err := NewFCM(t.Context(), FCMOptions{CredentialsJSON: fake.CredentialsJSON(), Endpoint: fake.Endpoint()})
	if err != nil {
		t.Fatal(err)
	}
	return fcm
}

// world is a store with devices and an FCM.
type world struct {
	t     *testing.T
	clock *clock
	store *store.Store
	fake  *fcmtest.Server
	fcm   *FCM
}

func newWorld(t *testing.T) *world {
	t.Helper()
	c, fake := newClock(), fcmtest.Start(t)
	return &world{t: t, clock: c, store: openStore(t, t.TempDir(), c), fake: fake, fcm: newFCM(t, fake)}
}

func (w *world) worker(sender Sender) *Worker {
	return NewWorker(Options{Store: w.store, Sender: sender, Log: slog.New(slog.DiscardHandler)})
}

func (w *world) update(fn func(*store.Tx) error) {
	w.t.Helper()
	if err := w.store.Update(w.t.Context(), fn); err != nil {
		w.t.Fatal(err)
	}
}

// device stores a device whose address is "token of " and its id, with a name that must go nowhere.
func (w *world) device(id string, change ...func(*storagev1.Device)) {
	w.t.Helper()
	w.update(func(tx *store.Tx) error {
		d := &storagev1.Device{Id: id, Name: "Máy của chị Lan 0903 123 456", Push: &storagev1.PushAddress{
			Kind: fieldsyncv1.PushKind_PUSH_KIND_FCM_TOKEN, Value: "token of " + id,
		}}
		for _, c := range change {
			c(d)
		}
		return store.Put(tx, store.DeviceKey(id), d)
	})
}

func (w *world) enqueue(device string, visible bool) {
	w.t.Helper()
	w.update(func(tx *store.Tx) error { return enqueue(tx, device, visible) })
}

func enqueue(tx *store.Tx, device string, visible bool) error {
	return store.Enqueue(tx, &storagev1.OutboxRow{Work: &storagev1.OutboxRow_Push{
		Push: &storagev1.PushHint{DeviceId: device, Visible: visible},
	}})
}

// order enters an order on a task as dispatch does: a delivery to follow, and a hint.
func order(tx *store.Tx, device, task string, epoch uint64) error {
	err := store.BeginDelivery(tx, &storagev1.Delivery{DeviceId: device, TaskId: task, AssignmentEpoch: epoch, CrewId: "crew"})
	if err != nil {
		return err
	}
	return store.Enqueue(tx, &storagev1.OutboxRow{Work: &storagev1.OutboxRow_Push{
		Push: &storagev1.PushHint{DeviceId: device, Visible: true, TaskId: task, AssignmentEpoch: epoch},
	}})
}

// delivery is what dispatchers are shown of an order.
func (w *world) delivery(device, task string, epoch uint64) (d *storagev1.Delivery) {
	w.t.Helper()
	err := w.store.View(w.t.Context(), func(tx *store.Tx) (err error) {
		d, err = store.Get(tx, store.DeliveryKey(task, epoch, device))
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return d
}

func (w *world) round(worker *Worker) (claimed int) {
	w.t.Helper()
	claimed, _, err := worker.round(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return claimed
}

func (w *world) waiting() (rows []*storagev1.OutboxRow) {
	w.t.Helper()
	err := w.store.View(w.t.Context(), func(tx *store.Tx) error {
		for row, err := range store.Scan(tx, store.Outbox(), nil) {
			if err != nil {
				return err
			}
			rows = append(rows, row)
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return rows
}

func (w *world) buried() (dead []*storagev1.OutboxDead) {
	w.t.Helper()
	err := w.store.View(w.t.Context(), func(tx *store.Tx) error {
		for row, err := range store.Scan(tx, store.OutboxDeadAll(), nil) {
			if err != nil {
				return err
			}
			dead = append(dead, row)
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return dead
}

func (w *world) address(device string) *storagev1.PushAddress { //nolint:unparam // It reads better with the device.
	w.t.Helper()
	var address *storagev1.PushAddress
	err := w.store.View(w.t.Context(), func(tx *store.Tx) error {
		d, err := store.Get(tx, store.DeviceKey(device))
		address = d.GetPush()
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return address
}

// want checks what is left in the outbox and what was given up.
func (w *world) want(waiting, buried int) {
	w.t.Helper()
	if got := len(w.waiting()); got != waiting {
		w.t.Errorf("%d rows wait, want %d", got, waiting)
	}
	if got := len(w.buried()); got != buried {
		w.t.Errorf("%d rows were given up, want %d", got, buried)
	}
}
