package dispatch

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cong1022/fieldsync/auth"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/store"
)

// square is a GeoJSON feature of a unit, a tenth of a degree wide, with its lower left corner at the place given.
func square(unit string, x, y float64) string { //nolint:unparam // A place has two coordinates.
	return fmt.Sprintf(`{"type":"Feature","properties":{"unit":%q},"geometry":{"type":"Polygon","coordinates":[[[%[2]v,%[3]v],[%[4]v,%[3]v],[%[4]v,%[5]v],[%[2]v,%[5]v],[%[2]v,%[3]v]]]}}`,
		unit, x, y, x+0.1, y+0.1)
}

func (h *house) putAreas(features ...string) error {
	h.t.Helper()
	_, err := h.PutAreas(h.as(admin), &fieldsyncv1.PutAreasRequest{
		Geojson: []byte(`{"type":"FeatureCollection","features":[` + strings.Join(features, ",") + `]}`),
	})
	return err
}

// ticketAt is a ticket of a unit with a position (none at 0) and an address.
func (h *house) ticketAt(unit string, latitude, longitude float64, address string) string {
	h.t.Helper()
	id := h.ticket(unit)
	h.update(func(tx *store.Tx) error {
		ticket, err := store.Get(tx, store.TicketKey(id))
		if err != nil {
			return err
		}
		ticket.Facts.Address = address
		if latitude != 0 {
			ticket.Facts.Position = &fieldsyncv1.Position{Latitude: latitude, Longitude: longitude}
		}
		return store.Put(tx, store.TicketKey(id), ticket)
	})
	return id
}

// Protects routing: by position first, by the names of before and of today else, by hand always; what nothing tells of stays, with
// the units that it may belong to.
func TestRouteTicket(t *testing.T) {
	h := newHouse(t)
	must(t)(h.PutUnit(h.as(admin), &fieldsyncv1.PutUnitRequest{Unit: &fieldsyncv1.Unit{
		Id: "p-sai-gon", Name: "Phường Sài Gòn", ValidFrom: timestamppb.New(start.Add(-time.Second)),
	}}))
	must(t)(h.PutUnit(h.as(admin), &fieldsyncv1.PutUnitRequest{Unit: unitBetween(0, start.Unix()-1)})) // quan-1, which is no more.
	wantCode(t, h.putAreas(square("p-sai-gon", 106.6, 10.7), square("p-cho-lon", 106.7, 10.7), square("quan-1", 106.6, 10.7)), "")
	_, err := h.PutSuccessions(h.as(admin), &fieldsyncv1.PutSuccessionsRequest{Csv: []byte(
		"old_district,old_ward,new_unit\nQuận 1,Phường Bến Nghé,p-sai-gon\nQuận 5,Phường 1,p-cho-lon\nQuận 5,Phường 2,p-sai-gon\n")})
	wantCode(t, err, "")
	for name, test := range map[string]struct {
		ticket, to, unit string
		by               fieldsyncv1.RoutedBy
		candidates       int
	}{
		"position":          {h.ticketAt(auth.CityUnit, 10.75, 106.65, "phường 1, quận 5"), "", "p-sai-gon", fieldsyncv1.RoutedBy_ROUTED_BY_POSITION, 0},
		"border":            {h.ticketAt(auth.CityUnit, 10.75, 106.7, ""), "", "p-cho-lon", fieldsyncv1.RoutedBy_ROUTED_BY_POSITION, 0},
		"outside, old name": {h.ticketAt(auth.CityUnit, 21, 105.8, "12 nguyen hue, P. ben nghe, Q1"), "", "p-sai-gon", fieldsyncv1.RoutedBy_ROUTED_BY_NAME, 0},
		"today's name":      {h.ticketAt(auth.CityUnit, 0, 0, "12 Nguyễn Huệ, phường Sài Gòn"), "", "p-sai-gon", fieldsyncv1.RoutedBy_ROUTED_BY_NAME, 0},
		"split district":    {h.ticketAt(auth.CityUnit, 0, 0, "đâu đó ở Quận 5"), "", auth.CityUnit, 0, 2},
		"nowhere":           {h.ticketAt(auth.CityUnit, 0, 0, "Đà Lạt"), "", auth.CityUnit, 0, 0},
		"by hand":           {h.ticketAt(auth.CityUnit, 10.75, 106.65, ""), "p-cho-lon", "p-cho-lon", fieldsyncv1.RoutedBy_ROUTED_BY_HAND, 0},
	} {
		got, err := h.RouteTicket(h.as(cityDesk), &fieldsyncv1.RouteTicketRequest{TicketId: test.ticket, UnitId: test.to})
		wantCode(t, err, "")
		if got.GetUnitId() != test.unit || got.GetBy() != test.by || len(got.GetCandidates()) != test.candidates {
			t.Errorf("%s: %v", name, got)
		}
		h.wantUnit(test.ticket, test.unit)
	}
	ticket := h.ticketAt(auth.CityUnit, 0, 0, "")
	for _, unit := range []string{"quan-1", "khong-co"} {
		_, err := h.RouteTicket(h.as(cityDesk), &fieldsyncv1.RouteTicketRequest{TicketId: ticket, UnitId: unit})
		wantCode(t, err, "unit_unknown")
	}
	_, err = h.RouteTicket(h.as(saigonDesk), &fieldsyncv1.RouteTicketRequest{TicketId: ticket, UnitId: "p-sai-gon"})
	wantCode(t, err, "ticket_unknown")
}

// wantUnit checks that the ticket is its unit's in every index, and nobody else's.
func (h *house) wantUnit(ticket, unit string) {
	h.t.Helper()
	h.view(func(tx *store.Tx) error {
		stored, err := store.Get(tx, store.TicketKey(ticket))
		if err != nil {
			return err
		}
		if stored.GetFacts().GetUnitId() != unit {
			h.t.Fatalf("the ticket is %s's, want %s", stored.GetFacts().GetUnitId(), unit)
		}
		for _, id := range []string{auth.CityUnit, "p-sai-gon", "p-cho-lon"} {
			stub, err := store.Get(tx, store.UnitTicketKey(id, ticket))
			if err != nil {
				return err
			}
			if (stub != nil) != (id == unit) {
				h.t.Fatalf("the index of %s: %v, want it of %s alone", id, stub, unit)
			}
		}
		return nil
	})
}

// Protects a reorganisation: every open ticket and task of the old unit ends with one that is valid, or with the city, in every index
// and log; crews keep their tasks, what has ended stays, and a second run changes nothing.
func TestRerouteUnit(t *testing.T) {
	h := newHouse(t)
	must(t)(h.PutUnit(h.as(admin), &fieldsyncv1.PutUnitRequest{Unit: unitBetween(0, start.Add(time.Hour).Unix())}))
	wantCode(t, h.putAreas(square("quan-1", 106.6, 10.7)), "")
	var tickets []string
	for i := range 25 { // More than one transaction holds.
		switch i % 3 {
		case 0:
			tickets = append(tickets, h.ticketAt("quan-1", 10.75, 106.65, ""))
		case 1:
			tickets = append(tickets, h.ticketAt("quan-1", 0, 0, "Bến Nghé, Q.1"))
		default:
			tickets = append(tickets, h.ticketAt("quan-1", 0, 0, "không rõ"))
		}
	}
	created, err := h.CreateTask(h.as(admin), &fieldsyncv1.CreateTaskRequest{TicketId: tickets[0]})
	wantCode(t, err, "")
	task := created.GetTask().GetId()
	must(t)(h.AssignTask(h.as(admin), &fieldsyncv1.AssignTaskRequest{TaskId: task, CrewId: "cay-xanh"}))
	h.update(func(tx *store.Tx) error {
		ticket, err := store.Get(tx, store.TicketKey(tickets[1]))
		if err != nil {
			return err
		}
		ticket.ClosedAt = tx.Timestamp()
		return store.Put(tx, store.TicketKey(tickets[1]), ticket)
	})
	h.now = start.Add(2 * time.Hour)
	wantCode(t, h.putAreas(square("p-sai-gon", 106.6, 10.7), square("quan-1", 106.6, 10.7)), "rows_invalid") // Sài Gòn has always been valid.
	must(t)(h.PutUnit(h.as(admin), &fieldsyncv1.PutUnitRequest{Unit: &fieldsyncv1.Unit{
		Id: "p-sai-gon", Name: "Phường Sài Gòn", ValidFrom: timestamppb.New(start.Add(time.Hour)),
	}}))
	wantCode(t, h.putAreas(square("p-sai-gon", 106.6, 10.7), square("quan-1", 106.6, 10.7)), "")
	_, err = h.PutSuccessions(h.as(admin), &fieldsyncv1.PutSuccessionsRequest{Csv: []byte("old_district,old_ward,new_unit\nQuận 1,,p-sai-gon\n")})
	wantCode(t, err, "")
	_, err = h.RerouteUnit(h.as(cityDesk), &fieldsyncv1.RerouteUnitRequest{UnitId: "quan-1"})
	wantCode(t, err, "role_denied")
	got, err := h.RerouteUnit(h.as(admin), &fieldsyncv1.RerouteUnitRequest{UnitId: "quan-1"})
	wantCode(t, err, "")
	if got.GetMoved() != 16 || got.GetToCity() != 8 || got.GetKept() != 1 {
		t.Fatalf("rerouted: %v, want 16 moved, 8 to the city, 1 kept", got)
	}
	for i, ticket := range tickets {
		switch {
		case i == 1:
			continue
		case i%3 == 2:
			h.wantUnit(ticket, auth.CityUnit)
		default:
			h.wantUnit(ticket, "p-sai-gon")
		}
	}
	h.wantState(task, fieldsyncv1.TaskState_TASK_STATE_ASSIGNED, "cay-xanh", 1)
	if e := h.entry(store.UnitScope("quan-1"), task); !e.GetRemoved() {
		t.Errorf("the old unit's log: %v", e)
	}
	if e := h.entry(store.UnitScope("p-sai-gon"), task); e == nil || e.GetRemoved() {
		t.Errorf("the new unit's log: %v", e)
	}
	got, err = h.RerouteUnit(h.as(admin), &fieldsyncv1.RerouteUnitRequest{UnitId: "quan-1"})
	if wantCode(t, err, ""); got.GetMoved()+got.GetToCity() != 0 {
		t.Errorf("a second run: %v", got)
	}
}

// Protects what is in force from an import that cannot be: bad features and rows are named, and routing goes on by what was before.
func TestBadTerritory(t *testing.T) {
	h := newHouse(t)
	wantCode(t, h.putAreas(square("p-sai-gon", 106.6, 10.7)), "")
	for name, features := range map[string][]string{
		"no such unit": {square("p-cho-lon", 106.6, 10.7), square("khong-co", 106.8, 10.7)},
		"overlap":      {square("p-cho-lon", 106.6, 10.7), square("p-sai-gon", 106.65, 10.7)},
	} {
		err := h.putAreas(features...)
		t.Log(name, err)
		wantCode(t, err, "rows_invalid")
	}
	_, err := h.PutSuccessions(h.as(admin), &fieldsyncv1.PutSuccessionsRequest{Csv: []byte("old_district,old_ward,new_unit\nQuận 1,,khong-co\n")})
	wantCode(t, err, "rows_invalid")
	got, err := h.RouteTicket(h.as(admin), &fieldsyncv1.RouteTicketRequest{TicketId: h.ticketAt(auth.CityUnit, 10.75, 106.65, "Quận 1")})
	if wantCode(t, err, ""); got.GetUnitId() != "p-sai-gon" {
		t.Errorf("routed %v", got)
	}
	for range 2 { // Later imports take the place of earlier ones.
		wantCode(t, h.putAreas(square("p-cho-lon", 106.6, 10.7)), "")
	}
	got, err = h.RouteTicket(h.as(admin), &fieldsyncv1.RouteTicketRequest{TicketId: h.ticketAt(auth.CityUnit, 10.75, 106.65, "")})
	if wantCode(t, err, ""); got.GetUnitId() != "p-cho-lon" {
		t.Errorf("after the import: %v", got)
	}
	h.view(func(tx *store.Tx) error {
		for version := range uint64(3) {
			for _, err := range store.Scan(tx, store.Areas(version), nil) {
				if err != nil {
					return err
				}
				t.Errorf("the areas of version %d are still there", version)
			}
		}
		return nil
	})
}

// Protects intake from a damaged record: an area that cannot be read is left out, the others route, and what lies in it waits for a hand.
func TestDamagedArea(t *testing.T) {
	h := newHouse(t)
	wantCode(t, h.putAreas(square("p-sai-gon", 106.6, 10.7), square("p-cho-lon", 106.7, 10.7)), "")
	h.update(func(tx *store.Tx) error {
		head, err := store.Get(tx, store.TerritoryHeadKey())
		if err != nil {
			return err
		}
		for number := range uint64(2) {
			key := store.AreaKey(head.GetAreas(), number)
			area, err := store.Get(tx, key)
			if err != nil {
				return err
			}
			if area.GetUnitId() == "p-sai-gon" {
				area.Wkb = area.GetWkb()[:20]
				return store.Put(tx, key, area)
			}
		}
		return errors.New("the area is not where it was looked for")
	})
	h.territory.index = nil // As after a start.
	for unit, longitude := range map[string]float64{"p-cho-lon": 106.75, auth.CityUnit: 106.65} {
		got, err := h.RouteTicket(h.as(admin), &fieldsyncv1.RouteTicketRequest{TicketId: h.ticketAt(auth.CityUnit, 10.75, longitude, "")})
		if wantCode(t, err, ""); got.GetUnitId() != unit {
			t.Errorf("at %v: %v, want %s", longitude, got, unit)
		}
	}
}
