package store

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
)

// TasksTopic is signalled when any task has changed.
const TasksTopic = "tasks"

// NextRevision raises the revision of the task by one and returns it, to be set on each facet and item that changes.
func NextRevision(record *storagev1.TaskRecord) uint64 {
	record.Task.Revision++
	return record.GetTask().GetRevision()
}

// SaveTask stores a task whose revision was raised, and enters the change into the log of each of its scopes, and into that of
// the changes of tickets where it is one. A scope that it has left since it was last stored is told so, with the reason
// leaving. The record's places are set. One that is flagged for review stands among those that wait (Reviews) until whoever takes the
// flag away deletes it there.
func SaveTask(tx *Tx, record *storagev1.TaskRecord, leaving fieldsyncv1.RemovalReason) error {
	NoteState(record, nil)
	id := record.GetTask().GetId()
	before, err := loadStanding(tx, id)
	if err != nil {
		return err
	}
	for _, scope := range before.scopes {
		if !slices.Contains(record.GetScopes(), scope) {
			if err := appendRemoval(tx, Scope(scope), id, before.places[scope], leaving); err != nil {
				return err
			}
		}
	}
	record.Places = make([]*storagev1.TaskPlace, 0, len(record.GetScopes()))
	for _, scope := range record.GetScopes() {
		place, err := appendChange(tx, Scope(scope), id, before.places[scope], record.GetTask().GetRevision())
		if err != nil {
			return err
		}
		record.Places = append(record.Places, &storagev1.TaskPlace{Scope: scope, Sequence: place})
	}
	if err := logTask(tx, record.GetTask()); err != nil {
		return err
	}
	if record.GetTask().GetStatus().GetReview() {
		if err := Put(tx, ReviewKey(id), &storagev1.TaskRecord{Task: &fieldsyncv1.Task{Id: id}}); err != nil {
			return err
		}
	}
	tx.Signal(TasksTopic)
	return Put(tx, TaskKey(id), record)
}

// Place is where the task's entry stands in the log of a scope, 0 where it has none: the record says so where the task is in
// the scope and was changed since records hold it, and a ScopePlace otherwise.
func Place(tx *Tx, scope Scope, record *storagev1.TaskRecord) (uint64, error) {
	for _, place := range record.GetPlaces() {
		if place.GetScope() == string(scope) {
			return place.GetSequence(), nil
		}
	}
	place, err := Get(tx, ScopePlaceKey(scope, record.GetTask().GetId()))
	return place.GetSequence(), err
}

// standing is in which scopes a task is as it is stored, and where.
type standing struct {
	scopes []string
	places map[string]uint64
}

// The numbers of TaskRecord.scopes and places.
const (
	scopesField = 2
	placesField = 5
)

// loadStanding reads it from the record, and decodes nothing else, since whoever saves a task has decoded it once already.
// There is none of a task that is not stored.
func loadStanding(tx *Tx, id string) (s standing, err error) {
	key := TaskKey(id)
	value, err := tx.get(key)
	for rest := value; err == nil && len(rest) > 0; {
		number, kind, n := protowire.ConsumeTag(rest)
		if n < 0 {
			return s, fmt.Errorf("the record of %q is damaged: %w", key, protowire.ParseError(n))
		}
		size := protowire.ConsumeFieldValue(number, kind, rest[n:])
		if size < 0 {
			return s, fmt.Errorf("the record of %q is damaged: %w", key, protowire.ParseError(size))
		}
		switch number {
		case scopesField:
			scope, _ := protowire.ConsumeString(rest[n:])
			s.scopes = append(s.scopes, scope)
		case placesField:
			place := new(storagev1.TaskPlace)
			encoded, _ := protowire.ConsumeBytes(rest[n:])
			if err := proto.Unmarshal(encoded, place); err != nil {
				return s, fmt.Errorf("the record of %q is damaged: %w", key, err)
			}
			if s.places == nil {
				s.places = make(map[string]uint64, 2)
			}
			s.places[place.GetScope()] = place.GetSequence()
		default:
		}
		rest = rest[n+size:]
	}
	return s, err
}
