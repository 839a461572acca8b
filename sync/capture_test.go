package sync

import (
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
)

// Protects "device time never decides": for an honest phone with any wall clock, any boots and any delay, the interval
// contains the true moment; and it is never empty, whatever a dishonest one says.
func TestBoundsContainTheTruth(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		epoch := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
		at := func(label string, from time.Time) time.Time {
			return from.Add(time.Duration(rapid.IntRange(0, 5*86400*1000).Draw(t, label)) * time.Millisecond)
		}
		heard := at("heard", epoch)
		recorded := at("recorded", heard)
		sent := at("sent", recorded)
		arrived := at("arrived", sent)
		skew := time.Duration(rapid.Int64Range(-1e6, 1e6).Draw(t, "skew")) * time.Hour
		boots := []string{"a", "a", "a"} // When heard, recorded, sent.
		reboots := rapid.IntRange(0, 2).Draw(t, "reboot before")
		started := []time.Time{epoch.Add(-time.Hour), epoch.Add(-time.Hour), epoch.Add(-time.Hour)}
		for i := 3 - reboots; i < 3; i++ {
			boots[i], started[i] = "b", []time.Time{heard, recorded, sent}[i]
		}
		since := func(moment time.Time, i int) uint64 {
			return uint64(moment.Sub(started[i]).Milliseconds())
		}
		if reboots == 2 {
			started[2] = started[1]
		}
		got := bounds(
			&fieldsyncv1.CaptureTime{
				Wall: timestamppb.New(recorded.Add(skew)), BootId: boots[1], SinceBootMs: since(recorded, 1),
				ServerTime: timestamppb.New(heard), ServerBootId: boots[0], ServerSinceBootMs: since(heard, 0),
			},
			&fieldsyncv1.CaptureTime{BootId: boots[2], SinceBootMs: since(sent, 2)},
			arrived,
		)
		if got.GetEarliest().AsTime().After(recorded) || got.GetLatest().AsTime().Before(recorded) {
			t.Errorf("recorded at %v, bounds %v to %v", recorded, got.GetEarliest().AsTime(), got.GetLatest().AsTime())
		}
	})
}

// Protects the interval from phones that lie: it never lies in the future and is never empty.
func TestBoundsOfALiar(t *testing.T) {
	arrived := time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC)
	rapid.Check(t, func(t *rapid.T) {
		clock := rapid.Custom(func(t *rapid.T) *fieldsyncv1.CaptureTime {
			return &fieldsyncv1.CaptureTime{
				Wall:   &timestamppb.Timestamp{Seconds: rapid.Int64().Draw(t, "wall")},
				BootId: rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "boot"), SinceBootMs: rapid.Uint64().Draw(t, "since"),
				ServerTime:   &timestamppb.Timestamp{Seconds: rapid.Int64().Draw(t, "server")},
				ServerBootId: rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "server boot"), ServerSinceBootMs: rapid.Uint64().Draw(t, "server since"),
			}
		})
		got := bounds(clock.Draw(t, "recorded"), clock.Draw(t, "sent"), arrived)
		if got.GetLatest().AsTime().After(arrived.Add(time.Second)) || got.GetEarliest() != nil && got.GetEarliest().AsTime().After(got.GetLatest().AsTime()) {
			t.Errorf("bounds %v to %v, arrived %v", got.GetEarliest().AsTime(), got.GetLatest().AsTime(), arrived)
		}
	})
}
