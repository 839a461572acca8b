package hotline

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/store"
)

// Protects hints about tickets that were taken in before there were indexes: they are entered once, with the mark of who reported, and a
// backfill that is done does nothing more.
func TestTicketsOfBeforeAreIndexed(t *testing.T) {
	h := newHouse(t)
	market := &fieldsyncv1.Position{Latitude: 10.7721, Longitude: 106.6983}
	var ids []string
	for i := range 3 {
		ids = append(ids, h.submit(report(fmt.Sprint("t", i), func(in *fieldsyncv1.TicketIntake) {
			in.Position, in.Reporter.Phone, in.ReportedAt = market, "0900000001", timestamppb.New(start.Add(-time.Duration(i)*time.Hour))
		}))[0].GetTicketId())
	}
	mark := h.ticket(ids[0]).GetReporterMark()
	asBefore := func() {
		h.update(func(tx *store.Tx) error {
			for _, id := range ids {
				ticket, err := store.Get(tx, store.TicketKey(id))
				if err != nil {
					return err
				}
				if err := unindex(tx, ticket, ticket.GetFacts()); err != nil {
					return err
				}
				ticket.ReporterMark = ""
				if err := store.Put(tx, store.TicketKey(id), ticket); err != nil {
					return err
				}
			}
			return nil
		})
	}
	found := func() (atPlace, ofReporter, reported []string) {
		h.view(func(tx *store.Tx) error {
			for prefix, ids := range map[string]*[]string{
				string(store.TicketPlaces(store.CellOf(market))): &atPlace, string(store.ReporterTickets(mark)): &ofReporter,
				string(store.TicketsReported()): &reported,
			} {
				for stub, err := range store.Scan(tx, store.Prefix[storagev1.Ticket](prefix), nil) {
					if err != nil {
						return err
					}
					*ids = append(*ids, stub.GetId())
				}
			}
			return nil
		})
		return atPlace, ofReporter, reported
	}
	asBefore()
	if a, b, c := found(); len(a)+len(b)+len(c) != 0 {
		t.Fatalf("not as before: %v, %v, %v", a, b, c)
	}
	if err := h.FillIndexes(t.Context()); err != nil {
		t.Fatal(err)
	}
	if a, b, c := found(); !slices.Equal(a, ids) || !slices.Equal(b, ids) || len(c) != len(ids) || h.ticket(ids[2]).GetReporterMark() != mark {
		t.Errorf("at the place %v, of the reporter %v, by time %v; want %v", a, b, c, ids)
	}
	asBefore()
	if err := h.FillIndexes(t.Context()); err != nil {
		t.Fatal(err)
	}
	if a, b, c := found(); len(a)+len(b)+len(c) != 0 {
		t.Errorf("begun anew: %v, %v, %v", a, b, c)
	}
}

// Protects what hints are read from: a ticket stands once under its place and once under its reporter's mark, newest first, goes with
// an update of either, and no key or record of the indexes holds a telephone number.
func TestIndexesFollowTheTicket(t *testing.T) {
	h := newHouse(t)
	market := &fieldsyncv1.Position{Latitude: 10.7721, Longitude: 106.6983}
	square := &fieldsyncv1.Position{Latitude: 10.7797, Longitude: 106.7060}
	at := func(id, phone string, where *fieldsyncv1.Position, hours int) *fieldsyncv1.TicketIntake {
		return report(id, func(in *fieldsyncv1.TicketIntake) {
			in.Position, in.Reporter.Phone, in.ReportedAt = where, phone, timestamppb.New(start.Add(time.Duration(hours)*time.Hour))
		})
	}
	old := h.submit(at("old", "0900 000 001", market, -5))[0].GetTicketId()
	young := h.submit(at("young", "+84900000001", market, -1))[0].GetTicketId()
	other := h.submit(at("other", "0900000002", square, -1))[0].GetTicketId()
	none := h.submit(at("none", "", nil, -1))[0].GetTicketId()
	check := func(ticket string, place *fieldsyncv1.Position, atPlace, ofReporter []string) {
		t.Helper()
		h.view(func(tx *store.Tx) error {
			read := func(prefix store.Prefix[storagev1.Ticket]) (ids []string) {
				for stub, err := range store.Scan(tx, prefix, nil) {
					if err != nil {
						t.Fatal(err)
					}
					if stub.GetFacts() != nil {
						t.Errorf("the index holds facts: %v", stub)
					}
					ids = append(ids, stub.GetId())
				}
				return ids
			}
			if place != nil {
				if got := read(store.TicketPlaces(store.CellOf(place))); !slices.Equal(got, atPlace) {
					t.Errorf("at the place: %v, want %v", got, atPlace)
				}
			}
			if got := read(store.ReporterTickets(h.ticket(ticket).GetReporterMark())); !slices.Equal(got, ofReporter) {
				t.Errorf("of the reporter: %v, want %v", got, ofReporter)
			}
			return nil
		})
	}
	check(old, market, []string{young, old}, []string{young, old})
	check(other, square, []string{other}, []string{other})
	if mark := h.ticket(none).GetReporterMark(); mark != "" {
		t.Errorf("who told no number has the mark %q", mark)
	}
	h.submit(at("young", "0900000002", square, 0)) // Another place, number and time at once.
	check(old, market, []string{old}, []string{old})
	check(young, square, []string{young, other}, []string{young, other})
	h.submit(at("young", "", nil, 0))
	check(other, square, []string{other}, []string{other})
	if mark := h.ticket(old).GetReporterMark(); len(mark) != 16 || strings.Contains(mark, "900000001") {
		t.Errorf("the mark is %q", mark)
	}
}
