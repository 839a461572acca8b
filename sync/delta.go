package sync

import (
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
)

// delta returns what changed in a task since a revision of it: the whole task since 0.
func delta(task *fieldsyncv1.Task, since uint64) *fieldsyncv1.TaskDelta {
	if since == 0 {
		return &fieldsyncv1.TaskDelta{Task: task, Whole: true}
	}
	changed := &fieldsyncv1.Task{
		Id: task.GetId(), Revision: task.GetRevision(),
		Notes:           itemsSince(task.GetNotes(), since),
		Checklist:       itemsSince(task.GetChecklist(), since),
		Photos:          itemsSince(task.GetPhotos(), since),
		LateCompletions: itemsSince(task.GetLateCompletions(), since),
	}
	if f := task.GetTicket(); f.GetRevision() > since {
		changed.Ticket = f
	}
	if f := task.GetStatus(); f.GetRevision() > since {
		changed.Status = f
	}
	if f := task.GetAssignment(); f.GetRevision() > since {
		changed.Assignment = f
	}
	if f := task.GetCompletion(); f.GetRevision() > since {
		changed.Completion = f
	}
	return &fieldsyncv1.TaskDelta{Task: changed}
}

func itemsSince[T interface{ GetRevision() uint64 }](items []T, since uint64) []T {
	var changed []T
	for _, item := range items {
		if item.GetRevision() > since {
			changed = append(changed, item)
		}
	}
	return changed
}
