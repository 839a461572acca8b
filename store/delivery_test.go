package store_test

import (
	"testing"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/store"
)

// Protects the dispatcher's picture from a member who changes crews: the log of one crew's scope says nothing about the orders of
// another's. What was given to the former crew is not said to have arrived, what was recalled from it is known once the phone has read
// anything of the new one, and a member who comes back is heard of again.
func TestOrdersOfTwoCrews(t *testing.T) {
	s, phone := opened(t, engine(t), newClock()), "phone"
	begin := func(task, crew string, recall bool) {
		update(t, s, func(tx *store.Tx) error {
			if err := store.Put(tx, store.ScopeHeadKey(store.CrewScope(crew)), &storagev1.ScopeHead{Sequence: map[string]uint64{"old": 2, "new": 7}[crew]}); err != nil {
				return err
			}
			return store.BeginDelivery(tx, &storagev1.Delivery{DeviceId: phone, TaskId: task, AssignmentEpoch: 1, CrewId: crew, Recall: recall})
		})
	}
	sync := func(crew string, held uint64) {
		update(t, s, func(tx *store.Tx) error {
			open, err := store.OpenOrders(tx, phone, store.CrewScope(crew), held, false)
			if err != nil || !open {
				return err
			}
			return store.ConfirmOrders(tx, phone, store.CrewScope(crew), held, false)
		})
	}
	want := func(when string, synced map[string]bool) {
		t.Helper()
		view(t, s, func(tx *store.Tx) error {
			for task, want := range synced {
				d, err := store.Get(tx, store.DeliveryKey(task, 1, phone))
				if err != nil {
					return err
				}
				if got := d.GetSyncedAt() != nil; got != want {
					t.Errorf("%s: %s is synced: %t, want %t", when, task, got, want)
				}
			}
			return nil
		})
	}
	begin("given", "old", false)
	begin("recalled", "old", true)
	begin("of the new", "new", false)
	sync("new", 0)
	want("the phone has read nothing of the new crew", map[string]bool{"given": false, "recalled": false, "of the new": false})
	sync("new", 5)
	want("it has read a part", map[string]bool{"given": false, "recalled": true, "of the new": false})
	sync("new", 7)
	want("it has read all", map[string]bool{"given": false, "recalled": true, "of the new": true})
	sync("old", 2)
	want("it is back", map[string]bool{"given": true, "recalled": true, "of the new": true})
	view(t, s, func(tx *store.Tx) error {
		if open, err := store.OpenOrders(tx, phone, store.CrewScope("old"), 3, true); err != nil || open {
			t.Errorf("something is open still, though all is known: %v", err)
		}
		return nil
	})
}

// Protects the dispatcher's picture from a task that came and went while a phone was away, done by another phone of the crew: the phone
// has never had it, and is not said to. One that came back with a cursor from between has had it.
func TestOrderThatEndedUnheard(t *testing.T) {
	s, scope := opened(t, engine(t), newClock()), store.CrewScope("to-1")
	record := &storagev1.TaskRecord{Task: &fieldsyncv1.Task{Id: "task", Revision: 1}, Scopes: []string{string(scope)}}
	update(t, s, func(tx *store.Tx) error {
		if err := store.SaveTask(tx, record, 0); err != nil {
			return err
		}
		for _, phone := range []string{"in-between", "away"} {
			if err := store.BeginDelivery(tx, &storagev1.Delivery{DeviceId: phone, TaskId: "task", AssignmentEpoch: 1, CrewId: "to-1"}); err != nil {
				return err
			}
		}
		return nil
	})
	update(t, s, func(tx *store.Tx) error {
		record.Scopes, record.Task.Revision = nil, 2
		return store.SaveTask(tx, record, fieldsyncv1.RemovalReason_REMOVAL_REASON_CLOSED)
	})
	for phone, held := range map[string]uint64{"in-between": 1, "away": 2} {
		update(t, s, func(tx *store.Tx) error { return store.ConfirmOrders(tx, phone, scope, held, false) })
		view(t, s, func(tx *store.Tx) error {
			d, err := store.Get(tx, store.DeliveryKey("task", 1, phone))
			if got, want := d.GetSyncedAt() != nil, phone == "in-between"; got != want {
				t.Errorf("%s has synced the order: %t, want %t", phone, got, want)
			}
			if open, err := store.OpenOrders(tx, phone, scope, 2, true); err != nil || (open && phone == "away") {
				t.Errorf("the order is still open for %s, though it has ended: %v", phone, err)
			}
			return err
		})
	}
}
