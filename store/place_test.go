package store_test

import (
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/geo"
	"github.com/cong1022/fieldsync/store"
)

// Protects the search by place: whatever lies within the metres asked for lies in one of the cells, and there are few of them.
func TestCellsHoldWhatIsNear(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		here := &fieldsyncv1.Position{Latitude: rapid.Float64Range(-60, 60).Draw(t, "latitude"), Longitude: rapid.Float64Range(-179, 179).Draw(t, "longitude")}
		metres := rapid.Float64Range(1, 250).Draw(t, "metres")
		angle, share := rapid.Float64Range(0, 2*math.Pi).Draw(t, "angle"), rapid.Float64Range(0, 0.999).Draw(t, "share")
		there := &fieldsyncv1.Position{
			Latitude:  here.GetLatitude() + share*metres/111_195*math.Sin(angle),
			Longitude: here.GetLongitude() + share*metres/111_195/math.Cos(here.GetLatitude()*math.Pi/180)*math.Cos(angle),
		}
		if geo.Metres(here, there) > metres {
			t.Skip("half a metre beyond it: the test's step is flat")
		}
		cells := store.CellsAround(here, metres)
		if !slices.Contains(cells, store.CellOf(there)) || len(cells) > 30 {
			t.Errorf("%v, %.0f m from %v, is in none of %d cells", there, geo.Metres(here, there), here, len(cells))
		}
	})
	for _, edge := range []*fieldsyncv1.Position{{Latitude: 90, Longitude: 180}, {Latitude: -90, Longitude: -180}} {
		if cells := store.CellsAround(edge, 200); len(cells) == 0 || len(cells) > 30 {
			t.Errorf("%v: %d cells", edge, len(cells))
		}
	}
}

// Protects those who read no more than the first few: the newest come first.
func TestPlacesAreNewestFirst(t *testing.T) {
	cell, at := store.CellOf(&fieldsyncv1.Position{Latitude: 10.78, Longitude: 106.7}), time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC)
	older, newer := store.TicketPlaceKey(cell, at, "a"), store.TicketPlaceKey(cell, at.Add(time.Nanosecond), "a")
	if slices.Compare(newer, older) >= 0 || slices.Compare(store.ReporterTicketKey("m", at.Add(time.Second), "a"), store.ReporterTicketKey("m", at, "a")) >= 0 {
		t.Error("the older one comes first")
	}
}
