package push

import (
	"testing"
	"time"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	"github.com/cong1022/fieldsync/push/fcmtest"
	"github.com/cong1022/fieldsync/store"
)

// Protects the dispatcher's picture: each end that a hint can come to stands in the delivery of the order that it spoke of.
func TestDeliveryHearsOfItsPush(t *testing.T) {
	for name, tt := range map[string]struct {
		prepare func(*world)
		rounds  int
		sent    bool
		failure string
	}{
		"taken over":     {func(*world) {}, 1, true, ""},
		"late":           {func(w *world) { w.fake.Fail(fcmtest.Internal) }, 2, true, ""},
		"dead address":   {func(w *world) { w.fake.Kill("token of a") }, 1, false, "unregistered"},
		"refused":        {func(w *world) { w.fake.Fail(fcmtest.SenderIDMismatch) }, 1, false, "rejected"},
		"address gone":   {func(w *world) { w.device("a", func(d *storagev1.Device) { d.Push = nil }) }, 1, false, "no_address"},
		"never possible": {func(w *world) { w.fake.Fail(failing(defaultMaxAttempts)...) }, defaultMaxAttempts, false, "expired"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.device("a")
			w.update(func(tx *store.Tx) error { return order(tx, "a", "task", 3) })
			tt.prepare(w)
			worker := w.worker(w.fcm)
			for range tt.rounds {
				w.round(worker)
				w.clock.advance(time.Hour)
			}
			got := w.delivery("a", "task", 3)
			if (got.GetSentAt() != nil) != tt.sent || got.GetFailure() != tt.failure || (got.GetFailedAt() != nil) != (tt.failure != "") {
				t.Errorf("got %v, want sent %v, failure %q", got, tt.sent, tt.failure)
			}
		})
	}
}

func failing(times int) (failures []fcmtest.Failure) {
	for range times {
		failures = append(failures, fcmtest.Internal)
	}
	return failures
}
