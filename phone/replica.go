package phone

import (
	"encoding/binary"
	"fmt"
	"iter"

	"github.com/cespare/xxhash/v2"
	bolt "go.etcd.io/bbolt"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
)

// applyDelta brings the replica to where the answer's cursor stands, if it is what the last answer left. Where it is not (a
// task is missing, or anything was changed behind the phone's back), the revision that a partial delta brings would make the
// task look whole: such a task is left out or given up instead, so that the digest shows it and a repair brings it. Once not
// sound, a replica stays so until the digest at the head says otherwise.
func applyDelta(tx *bolt.Tx, st *state, answer *fieldsyncv1.SyncResponse, reset bool) (sound bool, err error) {
	sound = reset
	if reset {
		if err := empty(tx, bucketReplica); err != nil {
			return false, err
		}
	} else if st.Left != nil {
		held, err := digestOf(tx)
		if err != nil {
			return false, err
		}
		sound = held == *st.Left
	}
	bucket := tx.Bucket(bucketReplica)
	for _, delta := range answer.GetTasks() {
		task := delta.GetTask()
		if !delta.GetWhole() {
			held, err := getTask(tx, task.GetId())
			if err != nil {
				return false, err
			}
			if held == nil || !sound {
				if err := bucket.Delete([]byte(task.GetId())); err != nil {
					return false, err
				}
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
	return sound, nil
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

// digestOf is what the server's head must say of this replica: XXH64 (seed 0) over each task's id, a zero byte and its
// revision in eight bytes, big-endian, summed modulo 2^64. It is taken from the tasks as stored, not kept beside them: it
// proves what is there.
func digestOf(tx *bolt.Tx) (digest, error) {
	var all digest
	for d, err := range digests(tx) {
		if err != nil {
			return all, err
		}
		all.Tasks++
		all.Sum += d.sum
	}
	return all, nil
}

// taskDigest is one task's part in the digest. The id is good until the transaction ends.
type taskDigest struct {
	id  []byte
	sum uint64
}

// digests yields the digest of each task held. It runs over the whole replica twice a sync, so it reads the revisions alone.
func digests(tx *bolt.Tx) iter.Seq2[taskDigest, error] {
	return func(yield func(taskDigest, error) bool) {
		var input []byte
		cursor := tx.Bucket(bucketReplica).Cursor()
		for id, task := cursor.First(); id != nil; id, task = cursor.Next() {
			revision, err := revisionOf(task)
			input = binary.BigEndian.AppendUint64(append(append(input[:0], id...), 0), revision)
			if !yield(taskDigest{id, xxhash.Sum64(input)}, err) || err != nil {
				return
			}
		}
	}
}

// taskRevision is the number of the field Task.revision.
const taskRevision = 2

// revisionOf reads a stored task's revision. Of a field that occurs more than once the last counts, as for protobuf.
func revisionOf(task []byte) (revision uint64, err error) {
	for len(task) > 0 {
		number, kind, n := protowire.ConsumeTag(task)
		if n < 0 {
			return 0, fmt.Errorf("a task of the replica is damaged: %w", protowire.ParseError(n))
		}
		task = task[n:]
		if number == taskRevision && kind == protowire.VarintType {
			revision, n = protowire.ConsumeVarint(task)
		} else {
			n = protowire.ConsumeFieldValue(number, kind, task)
		}
		if n < 0 {
			return 0, fmt.Errorf("a task of the replica is damaged: %w", protowire.ParseError(n))
		}
		task = task[n:]
	}
	return revision, nil
}
