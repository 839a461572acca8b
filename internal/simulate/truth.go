package main

import (
	"google.golang.org/protobuf/proto"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/store"
)

// truth is what the server's disk holds, read past its handlers.
type truth struct {
	tasks   []*storagev1.TaskRecord
	byID    map[string]*storagev1.TaskRecord
	tickets []*storagev1.Ticket
	members map[string]*fieldsyncv1.Member
	devices map[string]*storagev1.Device
	// quarantine is everything in it, as it was recorded.
	quarantine []*storagev1.Quarantined
	// settled is what dispatchers have taken out of it.
	settled []*storagev1.Quarantined
	// feed are the completions in the order of the hotline's feed.
	feed []*storagev1.Completion
	// places is how often each fact's key stands in each task.
	places map[string][]string
}

// truth reads all of it, unless nothing was written since the last time.
func (w *world) truth() *truth {
	if e := w.house.engine; w.known == nil || w.knownOf != e || w.knownAt != e.commits {
		w.known, w.knownOf, w.knownAt = w.readTruth(), e, e.commits
		w.model.remember(w.known)
	}
	return w.known
}

func (w *world) readTruth() *truth {
	t := &truth{
		byID: make(map[string]*storagev1.TaskRecord), members: make(map[string]*fieldsyncv1.Member),
		devices: make(map[string]*storagev1.Device), places: make(map[string][]string),
	}
	err := w.house.truth.View(w.ctx, func(tx *store.Tx) error {
		for record, err := range store.Scan(tx, store.Tasks(), nil) {
			if err != nil {
				return err
			}
			t.tasks = append(t.tasks, record)
			t.byID[record.GetTask().GetId()] = record
			t.place(record.GetTask())
		}
		for ticket, err := range store.Scan(tx, store.Tickets(), nil) {
			if err != nil {
				return err
			}
			t.tickets = append(t.tickets, ticket)
		}
		for member, err := range store.Scan(tx, store.Members(), nil) {
			if err != nil {
				return err
			}
			t.members[member.GetId()] = member
		}
		for device, err := range store.Scan(tx, store.Devices(), nil) {
			if err != nil {
				return err
			}
			t.devices[device.GetId()] = device
		}
		for q, err := range store.Scan(tx, store.QuarantinedAll(), nil) {
			if err != nil {
				return err
			}
			t.quarantine = append(t.quarantine, q)
		}
		for q, err := range store.Scan(tx, store.ResolvedAll(), nil) {
			if err != nil {
				return err
			}
			t.settled = append(t.settled, q)
		}
		for stub, err := range store.Scan(tx, store.Feed(), nil) {
			if err != nil {
				return err
			}
			completion, err := store.Get(tx, store.CompletionKey(stub.GetId()))
			if err != nil {
				return err
			}
			t.feed = append(t.feed, completion)
		}
		return nil
	})
	w.must("reading the server's disk", err)
	return t
}

func (t *truth) place(task *fieldsyncv1.Task) {
	add := func(key string) { t.places[key] = append(t.places[key], task.GetId()) }
	for _, note := range task.GetNotes() {
		add(note.GetText())
	}
	for _, photo := range task.GetPhotos() {
		add(photo.GetId())
	}
	for _, late := range task.GetLateCompletions() {
		add(late.GetNote())
	}
	if c := task.GetCompletion(); c != nil {
		add(c.GetNote())
	}
}

// quarantined tells whether the fact is kept aside.
func (t *truth) quarantined(key string) bool {
	for _, q := range t.quarantine {
		m := &fieldsyncv1.Mutation{}
		if proto.Unmarshal(q.GetMutation(), m) == nil && keyOf(m) == key {
			return true
		}
	}
	return false
}

// scope is what a device of the member syncs.
func (t *truth) scope(member string) store.Scope {
	m := t.members[member]
	switch m.GetRole() {
	case fieldsyncv1.Role_ROLE_CREW:
		return store.CrewScope(m.GetCrewId())
	case fieldsyncv1.Role_ROLE_DISPATCHER:
		return store.UnitScope(m.GetUnitId())
	default:
		return ""
	}
}

// in are the tasks of a scope, by id.
func (t *truth) in(scope store.Scope) (tasks []*fieldsyncv1.Task) {
	for _, record := range t.tasks {
		for _, s := range record.GetScopes() {
			if s == string(scope) {
				tasks = append(tasks, record.GetTask())
			}
		}
	}
	return tasks
}

// lockedOut tells whether the server has locked the handset's device out.
func (w *world) lockedOut(h *handset) bool {
	return w.truth().devices[h.status().DeviceID].GetRevokedAt() != nil
}
