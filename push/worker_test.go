package push

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	"github.com/cong1022/fieldsync/push/fcmtest"
	"github.com/cong1022/fieldsync/store"
)

// A hint reaches the device's address once and leaves nothing behind; the log says nothing of the address.
func TestDelivered(t *testing.T) {
	w := newWorld(t)
	w.device("a")
	w.enqueue("a", true)
	var log bytes.Buffer
	worker := NewWorker(Options{Store: w.store, Sender: w.fcm, Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	w.round(worker)
	w.round(worker)
	messages := w.fake.Messages()
	if len(messages) != 1 || messages[0].Token != "token of a" || messages[0].Title == "" {
		t.Errorf("arrived: %+v", messages)
	}
	w.want(0, 0)
	if !strings.Contains(log.String(), "device_id=a") || strings.Contains(log.String(), "token of a") {
		t.Errorf("log: %s", log.String())
	}
}

// A device that is unknown, revoked or told no address is no failure: its rows must not stay and be tried for ever.
func TestNobodyToWake(t *testing.T) {
	w := newWorld(t)
	w.device("revoked", func(d *storagev1.Device) { d.RevokedAt = timestamppb.New(w.clock.Now()) })
	w.device("silent", func(d *storagev1.Device) { d.Push = nil })
	for _, id := range []string{"revoked", "silent", "unknown"} {
		w.enqueue(id, true)
	}
	w.round(w.worker(w.fcm))
	if n := w.fake.Attempts(); n != 0 {
		t.Errorf("%d sends, want none", n)
	}
	w.want(0, 0)
}

// FCM asks that dead addresses are not used again.
func TestDeadAddressIsDropped(t *testing.T) {
	w := newWorld(t)
	w.device("a")
	w.enqueue("a", false)
	w.fake.Kill("token of a")
	worker := w.worker(w.fcm)
	w.round(worker)
	if address := w.address("a"); address != nil {
		t.Errorf("the address is still there: %v", address)
	}
	w.want(0, 0)
	w.enqueue("a", false)
	w.round(worker)
	if n := w.fake.Attempts(); n != 1 {
		t.Errorf("%d sends, want 1", n)
	}
}

// A phone may tell a new address while the old one is being found dead: the new one must stay.
func TestNewAddressSurvivesTheOldOnesDeath(t *testing.T) {
	w := newWorld(t)
	w.device("a")
	w.enqueue("a", false)
	w.round(w.worker(sendFunc(func(context.Context, Message) error {
		w.device("a", func(d *storagev1.Device) { d.Push.Value = "new" })
		return ErrUnregistered
	})))
	if got := w.address("a").GetValue(); got != "new" {
		t.Errorf("the address is %q, want the new one", got)
	}
	w.want(0, 0)
}

// Failures come back later and later, never before the service wants them, and end: a poisoned row must not live for ever.
func TestBackoff(t *testing.T) {
	w := newWorld(t)
	w.device("a")
	w.enqueue("a", false)
	worker := w.worker(w.fcm)
	slow := fcmtest.Unavailable
	slow.RetryAfter = 10 * time.Minute
	for attempt := 1; attempt <= defaultMaxAttempts; attempt++ {
		failure, asked := fcmtest.Internal, time.Duration(0)
		if attempt == 5 {
			failure, asked = slow, slow.RetryAfter
		}
		w.fake.Fail(failure)
		if n := w.round(worker); n != 1 {
			t.Fatalf("attempt %d: %d rows were claimed, want 1", attempt, n)
		}
		if n := w.fake.Attempts(); n != attempt {
			t.Fatalf("%d sends after attempt %d", n, attempt)
		}
		if attempt == defaultMaxAttempts {
			break
		}
		rows := w.waiting()
		if len(rows) != 1 {
			t.Fatalf("attempt %d: %d rows wait, want 1", attempt, len(rows))
		}
		whole := min(time.Hour, time.Second<<attempt)
		wait := rows[0].GetDueAt().AsTime().Sub(w.clock.Now()) - asked
		if wait < whole/2 || wait > whole {
			t.Errorf("attempt %d: comes back after %v more than asked, want %v to %v", attempt, wait, whole/2, whole)
		}
		w.clock.advance(wait + asked - time.Nanosecond)
		if n := w.round(worker); n != 0 {
			t.Errorf("attempt %d: tried again before its time", attempt)
		}
		w.clock.advance(time.Nanosecond)
	}
	w.want(0, 1)
	reason := w.buried()[0].GetError()
	if !strings.Contains(reason, "16 attempts") || !strings.Contains(reason, "INTERNAL") || strings.Contains(reason, "token of a") {
		t.Errorf("given up because: %q", reason)
	}
}

// One failure costs time, not the hint.
func TestRetrySucceeds(t *testing.T) {
	for name, failure := range map[string]fcmtest.Failure{
		"quota": fcmtest.QuotaExceeded, "unavailable": fcmtest.Unavailable, "internal": fcmtest.Internal, "cut": fcmtest.Cut,
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.device("a")
			w.enqueue("a", false)
			w.fake.Fail(failure)
			worker := w.worker(w.fcm)
			w.round(worker)
			w.want(1, 0)
			w.clock.advance(2 * time.Minute)
			w.round(worker)
			w.want(0, 0)
			if n := len(w.fake.Messages()); n != 1 {
				t.Errorf("%d messages arrived, want 1", n)
			}
		})
	}
}

// A message that the service will never take is not tried again, and somebody can see why.
func TestRejectedIsKeptAside(t *testing.T) {
	w := newWorld(t)
	w.device("a")
	w.enqueue("a", false)
	w.fake.Fail(fcmtest.InvalidArgument)
	w.round(w.worker(w.fcm))
	w.want(0, 1)
	if reason := w.buried()[0].GetError(); !strings.Contains(reason, "INVALID_ARGUMENT") || !strings.Contains(reason, "message.android.ttl") {
		t.Errorf("given up because: %q", reason)
	}
	if w.address("a") == nil {
		t.Error("the address was dropped, which was not to blame")
	}
}

// Twenty assignments in a row wake a phone once, visibly if one of them is to be seen; another phone's stay its own.
func TestCoalesced(t *testing.T) {
	w := newWorld(t)
	w.device("a")
	w.device("b")
	for i := range 20 {
		w.enqueue("a", i == 7)
	}
	w.enqueue("b", false)
	w.round(w.worker(w.fcm))
	titles := map[string]string{}
	for _, m := range w.fake.Messages() {
		titles[m.Token] = m.Title
	}
	if n := len(w.fake.Messages()); n != 2 || titles["token of a"] == "" || titles["token of b"] != "" {
		t.Errorf("%d messages, titles %v", n, titles)
	}
	w.want(0, 0)
}

// Protects people from reading of a new task where there is none, and from not reading of one that comes with something else.
func TestVisibleTitle(t *testing.T) {
	w := newWorld(t)
	remind := func(device string) {
		w.update(func(tx *store.Tx) error {
			return store.Enqueue(tx, &storagev1.OutboxRow{Work: &storagev1.OutboxRow_Push{
				Push: &storagev1.PushHint{DeviceId: device, Visible: true, Reminder: true},
			}})
		})
	}
	w.device("a", func(d *storagev1.Device) { d.Push.Language = "vi" })
	w.device("b")
	remind("a")
	w.enqueue("a", false)
	remind("b")
	w.enqueue("b", true)
	w.round(w.worker(w.fcm))
	titles := map[string]string{}
	for _, m := range w.fake.Messages() {
		titles[m.Token] = m.Title
	}
	if titles["token of a"] != "Có việc cần xem" || titles["token of b"] != "Có công việc mới · New task" {
		t.Errorf("titles %v", titles)
	}
}

// A worker that was too slow must not end what another has in hand.
func TestLostLease(t *testing.T) {
	w := newWorld(t)
	w.device("a")
	w.enqueue("a", false)
	fast := w.worker(sendFunc(func(context.Context, Message) error { return &RetryError{After: time.Hour, Err: errors.New("no")} }))
	slow := w.worker(sendFunc(func(context.Context, Message) error {
		w.clock.advance(defaultLease)
		w.round(fast)
		return nil
	}))
	w.round(slow)
	rows := w.waiting()
	if len(rows) != 1 || rows[0].GetAttempts() != 2 || rows[0].GetDueAt().AsTime().Before(w.clock.Now().Add(time.Hour)) {
		t.Errorf("the second worker's verdict was overwritten: %v", rows)
	}
}

// Nor may it tell a dispatcher that a hint has failed which the other has brought out.
func TestLostLeaseSaysNothing(t *testing.T) {
	w := newWorld(t)
	w.device("a")
	w.update(func(tx *store.Tx) error { return order(tx, "a", "task", 1) })
	slow := w.worker(sendFunc(func(context.Context, Message) error {
		w.clock.advance(defaultLease)
		w.round(w.worker(w.fcm))
		return ErrRejected
	}))
	w.round(slow)
	w.want(0, 0)
	if got := w.delivery("a", "task", 1); got.GetSentAt() == nil || got.GetFailure() != "" {
		t.Errorf("the hint went out, and its delivery says %v", got)
	}
}

// A hint must not be given up for the failures of others: while the service wants to be left alone, what is not sent is not tried.
func TestHeldBackIsNoAttempt(t *testing.T) {
	w := newWorld(t)
	w.device("a")
	w.enqueue("a", false)
	worker := w.worker(NewConsiderate(w.fcm, w.clock.Now))
	for range 2 * defaultMaxAttempts {
		w.fake.Fail(asking(fcmtest.QuotaExceeded, 24*time.Hour))
		if err := worker.o.Sender.Send(t.Context(), Message{Address: w.address("a")}); err == nil { // Another phone's.
			t.Fatal("the quota was not met")
		}
		for w.round(worker) > 0 { //nolint:revive // The round is the work.
		}
		w.clock.advance(25 * time.Hour)
	}
	for range 3 {
		w.round(worker)
		w.clock.advance(time.Hour)
	}
	w.want(0, 0)
}

// A row over which the process dies each time is given up, although no attempt ever came to an end.
func TestRowThatKills(t *testing.T) {
	w := newWorld(t)
	w.device("a")
	w.enqueue("a", false)
	for range defaultMaxAttempts {
		w.update(func(tx *store.Tx) error {
			_, _, err := store.Claim(tx, 1, time.Minute)
			return err
		})
		w.clock.advance(time.Minute)
	}
	w.round(w.worker(w.fcm))
	w.want(0, 1)
	if n := w.fake.Attempts(); n != 0 {
		t.Errorf("%d sends, want none", n)
	}
}

// After a step back to an older version, what the newer one had planned must still be there when it returns.
func TestUnknownWorkWaits(t *testing.T) {
	w := newWorld(t)
	w.update(func(tx *store.Tx) error { return store.Enqueue(tx, &storagev1.OutboxRow{}) })
	w.round(w.worker(w.fcm))
	w.want(1, 0)
}

// running starts a worker whose end is waited for by stop, which may be called again.
func running(t *testing.T, worker *Worker) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- worker.Run(ctx) }()
	stop = sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	t.Cleanup(func() { _ = stop() })
	return stop
}

// deadline bounds a wait for something that happens by itself.
func deadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// A running worker hears of a row when it is committed, of a retry when it is due, and stops when told.
func TestRunWakesByItself(t *testing.T) {
	w := newWorld(t)
	w.device("a")
	stop := running(t, w.worker(w.fcm))
	limit := deadline(t)
	for n := 1; n <= 3; n++ {
		w.enqueue("a", false)
		if _, err := w.fake.Await(limit, n); err != nil {
			t.Fatal(err)
		}
	}
	w.fake.Fail(fcmtest.Internal)
	w.enqueue("a", false)
	for rows := w.waiting(); len(rows) != 1 || rows[0].GetAttempts() != 1 || rows[0].GetLease() != ""; rows = w.waiting() {
		if limit.Err() != nil {
			t.Fatal("the failed row was not given back")
		}
		time.Sleep(time.Millisecond)
	}
	w.clock.advance(firstBackoff)
	if _, err := w.fake.Await(limit, 4); err != nil {
		t.Fatal(err)
	}
	if err := stop(); err != nil {
		t.Errorf("Run returned %v", err)
	}
	w.want(0, 0)
}

// An orderly stop must not turn a message that has gone out into one that is sent again, nor take up new work.
func TestStopFinishesTheSendUnderWay(t *testing.T) {
	w := newWorld(t)
	w.device("a")
	w.device("b")
	w.enqueue("a", false)
	started, release := make(chan struct{}), make(chan struct{})
	worker := w.worker(sendFunc(func(ctx context.Context, m Message) error {
		close(started) // A second send would panic here.
		<-release
		return w.fcm.Send(ctx, m)
	}))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- worker.Run(ctx) }()
	<-started
	w.enqueue("b", false)
	cancel()
	close(release)
	if err := <-done; err != nil {
		t.Errorf("Run returned %v", err)
	}
	if n := len(w.fake.Messages()); n != 1 {
		t.Errorf("%d messages arrived, want 1", n)
	}
	w.want(1, 0)

	stop := running(t, w.worker(w.fcm))
	if _, err := w.fake.Await(deadline(t), 2); err != nil {
		t.Fatal(err)
	}
	if err := stop(); err != nil {
		t.Errorf("Run returned %v", err)
	}
	w.want(0, 0)
}

// A worker over a closed store must say so rather than spin.
func TestRunEndsWithTheStore(t *testing.T) {
	w := newWorld(t)
	if err := w.store.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.worker(w.fcm).Run(t.Context()); !errors.Is(err, store.ErrClosed) {
		t.Errorf("Run returned %v, want ErrClosed", err)
	}
}

// Workers share an outbox without sending twice what nobody has dropped.
func TestConcurrentWorkers(t *testing.T) {
	w := newWorld(t)
	const devices = 100
	for i := range devices {
		id := fmt.Sprintf("d%03d", i)
		w.device(id)
		w.enqueue(id, i%2 == 0)
	}
	var stops []func() error
	for range 3 {
		worker := NewWorker(Options{Store: w.store, Sender: w.fcm, Log: slog.New(slog.DiscardHandler), Batch: 7})
		stops = append(stops, running(t, worker))
	}
	if _, err := w.fake.Await(deadline(t), devices); err != nil {
		t.Fatal(err)
	}
	for _, stop := range stops {
		if err := stop(); err != nil {
			t.Errorf("Run returned %v", err)
		}
	}
	w.want(0, 0)
	seen := map[string]int{}
	for _, m := range w.fake.Messages() {
		seen[m.Token]++
	}
	if len(seen) != devices || len(w.fake.Messages()) != devices {
		t.Errorf("%d messages for %d of %d devices", len(w.fake.Messages()), len(seen), devices)
	}
}

// Whenever the process dies, with a row written, claimed, sent or half settled: each device is woken at least once, and
// nothing stays behind. The store is closed under the worker's hands, which to it is a crash: nothing that it has in hand
// is kept any more.
func TestCrashes(t *testing.T) {
	const lives, perLife = 40, 5
	w, dir := newWorld(t), t.TempDir()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	faults := []fcmtest.Failure{fcmtest.Internal, fcmtest.Unavailable, fcmtest.Cut, fcmtest.QuotaExceeded, fcmtest.Pass}
	for life := range lives {
		w.store = openStore(t, dir, w.clock)
		for i := range perLife {
			id := fmt.Sprintf("life-%d-%d", life, i)
			w.device(id)
			w.enqueue(id, false)
		}
		w.fake.Fail(faults[random.IntN(len(faults))])
		w.liveAndDie(random.Int64N(2*perLife), random.IntN(2) == 0)
		w.clock.advance(2 * time.Minute)
	}

	w.store = openStore(t, dir, w.clock)
	last := NewWorker(Options{Store: w.store, Sender: w.fcm, Log: slog.New(slog.DiscardHandler), MaxAttempts: 10 * lives})
	for hours := 0; len(w.waiting()) > 0 && hours < 100; hours++ {
		for w.round(last) > 0 { //nolint:revive // The round is the work.
		}
		w.clock.advance(time.Hour)
	}
	w.want(0, 0)
	woken := map[string]bool{}
	for _, m := range w.fake.Messages() {
		woken[m.Token] = true
	}
	if len(woken) != lives*perLife {
		t.Errorf("%d of %d devices were woken", len(woken), lives*perLife)
	}
	t.Logf("%d messages for %d rows", len(w.fake.Messages()), lives*perLife)
}

// liveAndDie runs a worker that dies at its send number fatal, before the message is out or after it.
func (w *world) liveAndDie(fatal int64, before bool) {
	w.t.Helper()
	var sends atomic.Int64
	die := sync.OnceFunc(func() { w.store.Close() })
	worker := NewWorker(Options{
		Store: w.store, Log: slog.New(slog.DiscardHandler), Batch: 3, MaxAttempts: 1000,
		Sender: sendFunc(func(ctx context.Context, m Message) error {
			dead := sends.Add(1) > fatal
			if dead && before {
				die()
				return errors.New("died before the send")
			}
			err := w.fcm.Send(ctx, m)
			if dead {
				die()
			}
			return err
		}),
	})
	for {
		claimed, _, err := worker.round(w.t.Context())
		if err != nil || claimed == 0 {
			die() // With its work done, if it had less to do.
			return
		}
	}
}
