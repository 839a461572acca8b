package store

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"

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
// leaving.
func SaveTask(tx *Tx, record *storagev1.TaskRecord, leaving fieldsyncv1.RemovalReason) error {
	id := record.GetTask().GetId()
	before, err := storedScopes(tx, id)
	if err != nil {
		return err
	}
	for _, scope := range before {
		if !slices.Contains(record.GetScopes(), scope) {
			if err := appendRemoval(tx, Scope(scope), id, leaving); err != nil {
				return err
			}
		}
	}
	for _, scope := range record.GetScopes() {
		if err := appendChange(tx, Scope(scope), id, record.GetTask().GetRevision()); err != nil {
			return err
		}
	}
	if err := logTask(tx, record.GetTask()); err != nil {
		return err
	}
	tx.Signal(TasksTopic)
	return Put(tx, TaskKey(id), record)
}

// scopesField is the number of TaskRecord.scopes.
const scopesField = 2

// storedScopes returns the scopes of a task as it is stored: none where it is not. It decodes nothing else, since whoever saves
// a task has decoded it once already.
func storedScopes(tx *Tx, id string) ([]string, error) {
	key := TaskKey(id)
	value, err := tx.get(key)
	var scopes []string
	for rest := value; err == nil && len(rest) > 0; {
		number, kind, n := protowire.ConsumeTag(rest)
		if n < 0 {
			return nil, fmt.Errorf("the record of %q is damaged: %w", key, protowire.ParseError(n))
		}
		size := protowire.ConsumeFieldValue(number, kind, rest[n:])
		if size < 0 {
			return nil, fmt.Errorf("the record of %q is damaged: %w", key, protowire.ParseError(size))
		}
		if number == scopesField {
			scope, _ := protowire.ConsumeString(rest[n:])
			scopes = append(scopes, scope)
		}
		rest = rest[n+size:]
	}
	return scopes, err
}
