package store

import (
	"slices"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
)

// NextRevision raises the revision of the task by one and returns it, to be set on each facet and item that changes.
func NextRevision(record *storagev1.TaskRecord) uint64 {
	record.Task.Revision++
	return record.GetTask().GetRevision()
}

// SaveTask stores a task whose revision was raised, and enters the change into the log of each of its scopes. A scope that
// it has left since it was last stored is told so, with the reason leaving.
func SaveTask(tx *Tx, record *storagev1.TaskRecord, leaving fieldsyncv1.RemovalReason) error {
	id := record.GetTask().GetId()
	before, err := Get(tx, TaskKey(id))
	if err != nil {
		return err
	}
	for _, scope := range before.GetScopes() {
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
	return Put(tx, TaskKey(id), record)
}
