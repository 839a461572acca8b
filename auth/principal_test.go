package auth

import (
	"slices"
	"strings"
	"testing"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/store"
)

// Protects: who sees a task and what each syncs; a foreign task cannot be told from one that never was.
func TestPrincipal(t *testing.T) {
	h := openHouse(t)
	h.update(t, func(tx *store.Tx) error {
		for id, crewID := range map[string]string{"assigned": "a1", "open": ""} {
			task := &storagev1.TaskRecord{Task: &fieldsyncv1.Task{
				Id:         id,
				Ticket:     &fieldsyncv1.TicketFacet{UnitId: "a"},
				Assignment: &fieldsyncv1.AssignmentFacet{CrewId: crewID},
			}}
			if err := store.Put(tx, store.TaskKey(id), task); err != nil {
				return err
			}
		}
		return nil
	})
	for _, test := range []struct {
		name           string
		p              Principal
		assigned, open bool
		scope          store.Scope
	}{
		{"its crew", Principal{Role: crew, CrewID: "a1", UnitID: "a"}, true, false, store.CrewScope("a1")},
		{"another crew of the unit", Principal{Role: crew, CrewID: "a2", UnitID: "a"}, false, false, store.CrewScope("a2")},
		{"a crew without a name", Principal{Role: crew, UnitID: "a"}, false, false, store.CrewScope("")},
		{"its lead", Principal{Role: lead, CrewID: "a1", UnitID: "a"}, true, false, store.CrewScope("a1")},
		{"another crew's lead", Principal{Role: lead, CrewID: "a2", UnitID: "a"}, false, false, store.CrewScope("a2")},
		{"its head", Principal{Role: head, UnitID: "a"}, true, true, store.UnitScope("a")},
		{"another unit's head", Principal{Role: head, UnitID: "b"}, false, false, store.UnitScope("b")},
		{"the city's supervisor", Principal{Role: supervisor}, true, true, store.UnitScope(CityUnit)},
		{"its dispatcher", Principal{Role: dispatcher, UnitID: "a"}, true, true, store.UnitScope("a")},
		{"another dispatcher", Principal{Role: dispatcher, UnitID: "b"}, false, false, store.UnitScope("b")},
		{"the city's dispatcher", Principal{Role: dispatcher, UnitID: CityUnit}, true, true, store.UnitScope(CityUnit)},
		{"admin", Principal{Role: admin}, true, true, ""},
		{"hotline", Principal{Role: hotline}, false, false, ""},
		{"no role", Principal{CrewID: "a1", UnitID: CityUnit}, false, false, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			h.view(t, func(tx *store.Tx) error {
				_, missing := test.p.LoadTask(tx, "never-was")
				for id, want := range map[string]bool{"assigned": test.assigned, "open": test.open} {
					task, err := test.p.LoadTask(tx, id)
					if (task != nil) != want || !want && (err == nil || err.Error() != missing.Error()) {
						t.Errorf("%s: %v, %v", id, task, err)
					}
				}
				return nil
			})
			scope, err := test.p.Scope()
			if scope != test.scope {
				t.Errorf("scope %q, want %q", scope, test.scope)
			}
			if test.scope == "" {
				wantCode(t, err, fault.Denied, "scope_none")
			}
		})
	}
}

// Protects: who reads a unit is not who changes it, and nobody makes a member who may do more than they may.
func TestWhoChangesWhat(t *testing.T) {
	roles := []fieldsyncv1.Role{crew, lead, dispatcher, head, supervisor, hotline, admin}
	for _, test := range []struct {
		p              Principal
		reads, changes string // Of the units "a", "b" and "city".
		appoints       []fieldsyncv1.Role
	}{
		{Principal{Role: crew, CrewID: "a1", UnitID: "a"}, "", "", nil},
		{Principal{Role: lead, CrewID: "a1", UnitID: "a"}, "", "", nil},
		{Principal{Role: dispatcher, UnitID: "a"}, "a", "a", []fieldsyncv1.Role{crew, lead}},
		{Principal{Role: dispatcher, UnitID: CityUnit}, "a b city", "a b city", []fieldsyncv1.Role{crew, lead}},
		{Principal{Role: head, UnitID: "a"}, "a", "a", []fieldsyncv1.Role{crew, lead, dispatcher}},
		{Principal{Role: supervisor}, "a b city", "", nil},
		{Principal{Role: hotline}, "", "", nil},
		{Principal{Role: admin}, "a b city", "a b city", roles},
		{Principal{UnitID: CityUnit}, "", "", nil},
	} {
		var reads, changes []string
		for _, unit := range []string{"a", "b", CityUnit} {
			if test.p.SeesUnit(unit) {
				reads = append(reads, unit)
			}
			if test.p.Dispatches(unit) {
				changes = append(changes, unit)
			}
		}
		if r, c := strings.Join(reads, " "), strings.Join(changes, " "); r != test.reads || c != test.changes {
			t.Errorf("%v reads %q, changes %q; want %q, %q", test.p, r, c, test.reads, test.changes)
		}
		for _, role := range roles {
			if test.p.Appoints(role) != slices.Contains(test.appoints, role) {
				t.Errorf("%v appoints %s: %v", test.p, role, test.p.Appoints(role))
			}
		}
	}
}
