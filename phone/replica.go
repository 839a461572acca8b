package phone

import (
	"encoding/binary"

	"github.com/cespare/xxhash/v2"
	bolt "go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
)

// applyDelta brings the replica to where the answer's cursor stands. It reports false where the answer builds on a task that
// the replica does not hold: then only loading everything helps.
func applyDelta(tx *bolt.Tx, answer *fieldsyncv1.SyncResponse, reset bool) (whole bool, err error) {
	if reset {
		if err := empty(tx, bucketReplica); err != nil {
			return false, err
		}
	}
	bucket := tx.Bucket(bucketReplica)
	whole = true
	for _, delta := range answer.GetTasks() {
		task := delta.GetTask()
		if !delta.GetWhole() {
			held, err := getTask(tx, task.GetId())
			if err != nil {
				return false, err
			}
			if held == nil {
				whole = false
				continue
			}
			merge(held, task)
			task = held
		}
		if err := putProto(bucket, []byte(task.GetId()), task); err != nil {
			return false, err
		}
	}
	for _, removal := range answer.GetRemovals() {
		if err := bucket.Delete([]byte(removal.GetTaskId())); err != nil {
			return false, err
		}
	}
	return whole, nil
}

// merge brings the facets and items of a delta into the task held. Each carries the revision at which it last changed, so a
// delta that overlaps with what is held already changes nothing.
func merge(held, delta *fieldsyncv1.Task) {
	held.Revision = max(held.GetRevision(), delta.GetRevision())
	held.Ticket = newer(held.GetTicket(), delta.GetTicket())
	held.Status = newer(held.GetStatus(), delta.GetStatus())
	held.Assignment = newer(held.GetAssignment(), delta.GetAssignment())
	held.Completion = newer(held.GetCompletion(), delta.GetCompletion())
	held.Notes = mergeItems(held.GetNotes(), delta.GetNotes(), (*fieldsyncv1.Note).GetId)
	held.Checklist = mergeItems(held.GetChecklist(), delta.GetChecklist(), (*fieldsyncv1.ChecklistItem).GetId)
	held.Photos = mergeItems(held.GetPhotos(), delta.GetPhotos(), (*fieldsyncv1.Photo).GetId)
	held.LateCompletions = mergeItems(held.GetLateCompletions(), delta.GetLateCompletions(),
		(*fieldsyncv1.CompletionFacet).GetCompletionId)
}

// revised is what carries a revision of its own. Its nil is an absent one, of revision 0.
type revised interface {
	proto.Message
	comparable
	GetRevision() uint64
}

func newer[T revised](held, delta T) T {
	var absent T
	if delta == absent || held != absent && delta.GetRevision() < held.GetRevision() {
		return held
	}
	return delta
}

// mergeItems replaces items by id and appends new ones in the delta's order, which is the order of their making.
func mergeItems[T revised](held, delta []T, id func(T) string) []T {
	if len(delta) == 0 {
		return held
	}
	place := make(map[string]int, len(held))
	for i, item := range held {
		place[id(item)] = i
	}
	for _, item := range delta {
		if i, ok := place[id(item)]; ok {
			held[i] = newer(held[i], item)
		} else {
			place[id(item)] = len(held)
			held = append(held, item)
		}
	}
	return held
}

// digest is what the server's head must say of this replica: XXH64 (seed 0) over each task's id, a zero byte and its
// revision in eight bytes, big-endian, summed modulo 2^64. It is taken from the tasks as stored, not kept beside them: it
// proves what is there.
func digest(tx *bolt.Tx) (head, error) {
	var h head
	for task, err := range replica(tx) {
		if err != nil {
			return h, err
		}
		h.Tasks++
		h.Digest += xxhash.Sum64(binary.BigEndian.AppendUint64(append([]byte(task.GetId()), 0), task.GetRevision()))
	}
	return h, nil
}
