package push

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/push/fcmtest"
	"github.com/cong1022/fieldsync/store"
)

// fleet is a world with many phones, orders for them, and an FCM that fails in every way that is known of it. It knows what must
// have become of each order in the end, whenever the worker was killed.
type fleet struct {
	*world

	dir    string
	orders []*given
	random *rand.Rand // Of the test.

	// mu guards what the sends, which come at the same time, draw and count. One that a killed worker has left behind may still do so.
	mu      sync.Mutex
	chance  *rand.Rand
	phones  map[string]*fleetPhone // By address, old ones too.
	sends   int
	lost    int
	kills   int
	stalled map[string]func() // By device: ends the send under way.
	// fatal is the send at which kill is called, 0 for none.
	fatal int
	kill  func()
}

// fleetPhone is a phone and what the service thinks of it.
type fleetPhone struct {
	id   string
	fate fleetFate
	// renewed: it has told another address.
	renewed bool
}

// given is an order.
type given struct {
	phone *fleetPhone
	task  string
	// before is how many messages had been accepted when it was given.
	before int
}

// fleetFate is what a phone's address meets for good. end is how the deliveries of its orders end, "" for sent.
type fleetFate struct {
	name, end string
	answer    fcmtest.Failure
	device    func(*storagev1.Device, time.Time)
	buried    bool
}

var fleetFates = []fleetFate{
	{name: "uninstalled", end: "unregistered", answer: fcmtest.Unregistered},
	{name: "nonsense", end: "unregistered", answer: fcmtest.InvalidToken},
	{name: "refused", end: "rejected", answer: fcmtest.InvalidArgument, buried: true},
	{name: "another project's", end: "rejected", answer: fcmtest.SenderIDMismatch, buried: true},
	{name: "hopeless", end: "expired", answer: fcmtest.Internal, buried: true},
	{name: "silent", end: "no_address", device: func(d *storagev1.Device, _ time.Time) { d.Push = nil }},
	{name: "revoked", end: "no_address", device: func(d *storagev1.Device, now time.Time) { d.RevokedAt = timestamppb.New(now) }},
	{name: "stale", end: "no_address", device: func(d *storagev1.Device, now time.Time) {
		d.Push.SeenAt = timestamppb.New(now.Add(-staleAfter - time.Hour))
	}},
}

// mishaps are what any send may meet, and the next one not.
var mishaps = []fcmtest.Failure{
	fcmtest.Unavailable, fcmtest.Internal, fcmtest.ThirdPartyAuth, fcmtest.BadGateway, fcmtest.Cut, fcmtest.Lost, fcmtest.Stall,
}

// pauses are those after which the service wants to be left alone.
var pauses = []fcmtest.Failure{
	fcmtest.QuotaExceeded, // Without a Retry-After: a minute.
	asking(fcmtest.QuotaExceeded, 90*time.Second), asking(fcmtest.Unavailable, 20*time.Second),
}

func asking(f fcmtest.Failure, after time.Duration) fcmtest.Failure {
	f.RetryAfter = after
	return f
}

// newFleet makes phones, a third of which address themselves by an installation ID, and one in ten of which cannot be reached.
func newFleet(t *testing.T, seed uint64, phones int) *fleet {
	t.Helper()
	c, fake, dir := newClock(), fcmtest.Start(t), t.TempDir()
	f := &fleet{
		world:  &world{t: t, clock: c, store: openStore(t, dir, c), fake: fake, fcm: newFCM(t, fake)},
		dir:    dir,
		random: rand.New(rand.NewPCG(seed, 1)), chance: rand.New(rand.NewPCG(seed, 2)),
		phones: make(map[string]*fleetPhone), stalled: make(map[string]func()),
	}
	fake.Choose(f.choose)
	for i := range phones {
		phone := &fleetPhone{id: fmt.Sprintf("phone-%04d", i)}
		if i%10 == 3 {
			phone.fate = fleetFates[i/10%len(fleetFates)]
		}
		f.phones["token of "+phone.id] = phone
		f.device(phone.id, func(d *storagev1.Device) {
			if i%3 == 0 {
				d.Push.Kind = fieldsyncv1.PushKind_PUSH_KIND_FCM_FID
			}
			if phone.fate.device != nil {
				phone.fate.device(d, c.Now())
			}
		})
	}
	return f
}

// give orders something of a share of the phones, and of some of them several things.
func (f *fleet) give(share float64) {
	f.t.Helper()
	var batch []*given
	before := len(f.fake.Messages())
	for i := range len(f.phones) {
		phone := f.phones[fmt.Sprintf("token of phone-%04d", i)]
		if phone == nil || f.random.Float64() >= share {
			continue
		}
		for n := range 1 + f.random.IntN(2)*f.random.IntN(3) {
			batch = append(batch, &given{phone: phone, task: fmt.Sprintf("task-%d-%d-%d", len(f.orders), i, n), before: before})
		}
	}
	f.orders = append(f.orders, batch...)
	for len(batch) > 0 {
		some := batch[:min(len(batch), 100)]
		batch = batch[len(some):]
		f.update(func(tx *store.Tx) error {
			for _, o := range some {
				if err := order(tx, o.phone.id, o.task, 1); err != nil {
					return err
				}
			}
			return nil
		})
	}
}

// renew lets a phone that can be reached tell another address, as an app does that was installed again.
func (f *fleet) renew() {
	f.t.Helper()
	i := f.random.IntN(len(f.phones))
	old := fmt.Sprintf("token of phone-%04d", i)
	phone := f.phones[old]
	if phone == nil || phone.fate.name != "" || phone.renewed {
		return
	}
	phone.renewed = true
	f.fake.Kill(old)
	f.mu.Lock()
	f.phones["new "+old] = phone
	f.mu.Unlock()
	f.device(phone.id, func(d *storagev1.Device) { d.Push.Value = "new " + old })
}

// choose is what becomes of a send.
func (f *fleet) choose(address string) fcmtest.Failure {
	f.mu.Lock()
	defer f.mu.Unlock()
	phone := f.phones[address]
	f.sends++
	if f.kill != nil && f.sends == f.fatal {
		f.kills++
		f.kill()
		f.kill = nil
		if f.chance.IntN(2) == 0 {
			return fcmtest.Cut // Dead before the message has gone out.
		}
		return phone.fate.answer
	}
	if phone.fate.answer != fcmtest.Pass {
		return phone.fate.answer
	}
	var failure fcmtest.Failure
	switch n := f.chance.IntN(1000); {
	case n < 15:
		failure = pauses[n%len(pauses)]
	case n < 225:
		failure = mishaps[n%len(mishaps)]
	}
	switch failure {
	case fcmtest.Lost:
		f.lost++
	case fcmtest.Stall:
		end := f.stalled[phone.id]
		if end == nil {
			return fcmtest.Cut // A worker in another process, of which nobody knows how long it waits.
		}
		end()
	default:
	}
	return failure
}

// killAt lets the worker die at the send that comes after so many.
func (f *fleet) killAt(sends int, kill func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fatal, f.kill = f.sends+1+sends, kill
}

// spare calls killAt off, and tells whether it was too late.
func (f *fleet) spare() (killed bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	killed, f.kill = f.kill == nil, nil
	return killed
}

// sender is FCM's, composed as the server does. A send that stalls ends when the fake says so and not by this machine's clock.
func (f *fleet) sender() Sender {
	return NewConsiderate(sendFunc(func(ctx context.Context, m Message) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		f.mu.Lock()
		f.stalled[m.DeviceID] = cancel
		f.mu.Unlock()
		return f.fcm.Send(ctx, m)
	}), f.clock.Now)
}

// reopen opens the store again that a worker has left, in whatever way.
func (f *fleet) reopen() {
	f.t.Helper()
	f.store = openStore(f.t, f.dir, f.clock)
	f.stalled = make(map[string]func())
}

// work lets a worker run until ctx ends, the store is gone, or nothing is left to do, while time passes as it does.
func (f *fleet) work(ctx context.Context) (done bool) {
	worker := f.worker(f.sender())
	for ctx.Err() == nil {
		claimed, next, err := worker.round(ctx)
		switch {
		case err != nil:
			return false
		case claimed > 0:
		case next.IsZero():
			return true
		default:
			f.clock.advance(next.Sub(f.clock.Now()) + 20*time.Second) // Those that are due a little later come along.
		}
	}
	return false
}

// check holds the end against what the fleet knows: every order has come to the end that its phone allows, none is lost, and what
// went out twice is harmless and has its reason. inHand is how many sends a killed worker may have had in hand.
func (f *fleet) check(inHand int) {
	f.t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	messages, buried, orders := f.fake.Messages(), 0, make(map[string]int)
	last := make(map[string]int) // By phone: one more than the place of its newest message.
	arrived := make(map[string]int)
	for i, m := range messages {
		phone := f.phones[m.Address()]
		last[phone.id], arrived[phone.id] = i+1, arrived[phone.id]+1
		// All that a phone is ever told, so the second time takes the first one's place.
		if len(m.Data) != 1 || m.Data["hint"] != "sync" || m.CollapseKey != visibleCollapseKey || m.Title == "" {
			f.t.Fatalf("a message that is more than a hint: %s", m.Body)
		}
	}
	for _, o := range f.orders {
		orders[o.phone.id]++
		if o.phone.fate.buried {
			buried++
		}
		d := f.delivery(o.phone.id, o.task, 1)
		end := d.GetFailure()
		if o.phone.fate.end == "unregistered" && end == "no_address" {
			end = "unregistered" // The address was dropped over another order.
		}
		if (d.GetSentAt() != nil) != (o.phone.fate.end == "") || end != o.phone.fate.end {
			f.t.Errorf("%s (%s) of %s ends as %v, want %q", o.task, o.phone.fate.name, o.phone.id, d, o.phone.fate.end)
		}
		if o.phone.fate.end == "" && last[o.phone.id] <= o.before {
			f.t.Errorf("%s of %s counts as sent, and nothing arrived after it was given", o.task, o.phone.id)
		}
	}
	f.want(0, buried)
	duplicates := 0
	for id, n := range arrived {
		duplicates += max(0, n-orders[id])
	}
	if duplicates > f.lost+f.kills*inHand {
		f.t.Errorf("%d messages too many, for %d lost answers and %d kills", duplicates, f.lost, f.kills)
	}
	f.t.Logf("%d orders for %d phones: %d sends, %d messages, %d lost answers, %d kills, %d duplicates, %v",
		len(f.orders), len(f.phones), f.sends, len(messages), f.lost, f.kills, duplicates, f.clock.Now().Sub(newClock().now))
}
