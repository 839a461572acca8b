package hotline

import (
	"strings"
	"testing"

	"github.com/cong1022/fieldsync/auth"
	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/store"
)

// byAddress routes what names a unit of the house in its address, and counts how often the territory was read.
func byAddress(reads *int) Router {
	return func(*store.Tx) (func(*fieldsyncv1.TicketFacet) string, error) {
		*reads++
		return func(facts *fieldsyncv1.TicketFacet) string {
			for _, unit := range []string{"p-sai-gon", "p-cho-lon"} {
				if strings.Contains(facts.GetAddress(), unit) {
					return unit
				}
			}
			return ""
		}, nil
	}
}

// Protects the way of a ticket to its unit: at once where something tells, by hand where nothing does; what names its unit, what people
// have decided, and what is worked on stay where they are, however often the hotline repeats itself.
func TestArrivalsAreRouted(t *testing.T) {
	h := newHouse(t)
	reads := 0
	h.router = byAddress(&reads)
	at := func(id, unit, address string) *fieldsyncv1.TicketIntake {
		return report(id, func(in *fieldsyncv1.TicketIntake) { in.UnitId, in.Address = unit, address })
	}
	routed := func(in *fieldsyncv1.TicketIntake, result fieldsyncv1.IntakeResult, unit string) string {
		t.Helper()
		got := h.submit(in)[0]
		if got.GetResult() != result {
			t.Fatalf("%s: %v, want %v", in.GetHotlineId(), got.GetResult(), result)
		}
		ticket := h.ticket(got.GetTicketId())
		if ticket.GetFacts().GetUnitId() != unit {
			t.Fatalf("%s went to %q, want %q", in.GetHotlineId(), ticket.GetFacts().GetUnitId(), unit)
		}
		var units []string
		h.view(func(tx *store.Tx) error {
			for _, id := range []string{auth.CityUnit, "p-sai-gon", "p-cho-lon"} {
				stub, err := store.Get(tx, store.UnitTicketKey(id, ticket.GetId()))
				if err != nil {
					return err
				}
				if stub != nil {
					units = append(units, id)
				}
			}
			return nil
		})
		if len(units) != 1 || units[0] != unit {
			t.Fatalf("%s is listed for %v, want for %s alone", in.GetHotlineId(), units, unit)
		}
		return ticket.GetId()
	}

	for range 2 { // The second time nothing changes.
		want := created
		if reads > 0 {
			want = unchanged
		}
		routed(at("told", "", "12 Lê Lợi, p-cho-lon"), want, "p-cho-lon")
		routed(at("named", "p-sai-gon", "12 Lê Lợi, p-cho-lon"), want, "p-sai-gon")
		routed(at("kept by the city", auth.CityUnit, "p-cho-lon"), want, auth.CityUnit)
		routed(at("nothing tells", "", "gần chợ"), want, auth.CityUnit)
	}
	routed(at("told", "", "12 Lê Lợi, p-sai-gon"), updated, "p-cho-lon") // Its dispatchers have it: they send it on.
	routed(at("nothing tells", "", "gần chợ, p-sai-gon"), updated, "p-sai-gon")
	routed(at("nothing tells", "", "gần chợ, p-cho-lon"), updated, "p-sai-gon")

	worked := routed(at("worked on", "", "gần cầu"), created, auth.CityUnit)
	h.update(func(tx *store.Tx) error {
		ticket, err := store.Get(tx, store.TicketKey(worked))
		if err != nil {
			return err
		}
		ticket.TaskId = "viec"
		if err := store.Put(tx, store.TaskKey("viec"), &storagev1.TaskRecord{Task: &fieldsyncv1.Task{Id: "viec", Ticket: ticket.GetFacts()}}); err != nil {
			return err
		}
		return store.Put(tx, store.TicketKey(worked), ticket)
	})
	routed(at("worked on", "", "gần cầu, p-cho-lon"), updated, auth.CityUnit)

	reads = 0
	h.submit(at("a", "", "p-cho-lon"), at("b", "", ""), at("c", "", "p-sai-gon"))
	h.submit(at("d", "p-cho-lon", ""))
	if reads != 1 {
		t.Errorf("the territory was read %d times, want once for a batch and never for tickets that name their unit", reads)
	}
}
