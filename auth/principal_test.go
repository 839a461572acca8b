package auth

import (
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
