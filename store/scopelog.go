package store

import (
	"encoding/binary"
	"fmt"
	"iter"
	"time"

	"github.com/cespare/xxhash/v2"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
)

// Scope is what a device syncs: one crew, or one unit. Its log has one entry per task; the entry of a task that changes
// moves to the log's end under a new sequence. So the log never outgrows its tasks. The sequence is taken in the
// transaction that writes the change: it is dense, and whoever reads up to a head misses nothing that commits later.
type Scope string

// CrewScope is the scope of a crew.
func CrewScope(crew string) Scope { return Scope("c:" + crew) }

// UnitScope is the scope of a unit.
func UnitScope(unit string) Scope { return Scope("u:" + unit) }

// Topic is what to subscribe to in order to be woken by a change in the scope.
func (s Scope) Topic() string { return "scope/" + string(s) }

// maxSteps bounds an entry. A phone that is more changes of one task behind gets that task whole.
const maxSteps = 16

// LogEntry is an entry of a scope's log with its place. Its steps are not in the message: RevisionAt answers from them.
type LogEntry struct {
	*storagev1.ScopeEntry

	Sequence uint64
	steps    []step
}

// RevisionAt tells which revision of the task a replica holds that has read the log up to cursor: 0 where it holds none of
// it, or none that is still known. Of a task that has left the scope none is known.
func (e LogEntry) RevisionAt(cursor uint64) uint64 {
	if cursor < e.GetEntered() || e.GetRemoved() {
		return 0
	}
	if cursor >= e.Sequence {
		return e.GetRevision()
	}
	var revision uint64
	for _, s := range e.steps {
		if s.sequence > cursor {
			break
		}
		revision = s.revision
	}
	return revision
}

// Head returns the head of a scope's log. A scope of which nothing was ever heard has an empty one.
func Head(tx *Tx, scope Scope) (*storagev1.ScopeHead, error) {
	if head := tx.heads[scope]; head != nil {
		return head, nil
	}
	head, err := Get(tx, ScopeHeadKey(scope))
	if head == nil {
		head = &storagev1.ScopeHead{Epoch: 1}
	}
	return head, err
}

// putHeads writes the heads that the transaction has raised.
func (tx *Tx) putHeads() error {
	for scope, head := range tx.heads {
		if err := Put(tx, ScopeHeadKey(scope), head); err != nil {
			return err
		}
	}
	return nil
}

// ScanLog yields the entries of a scope's log behind the sequence after, in ascending order.
func ScanLog(tx *Tx, scope Scope, after uint64) iter.Seq2[LogEntry, error] {
	return func(yield func(LogEntry, error) bool) {
		prefix := ScopeLog(scope)
		for pair, err := range tx.scan(prefix, ScopeEntryKey(scope, after)) {
			if err != nil {
				yield(LogEntry{}, err)
				return
			}
			entry, steps, err := decodeEntry(pair.Key, pair.Value)
			sequence := binary.BigEndian.Uint64(pair.Key[len(prefix):])
			if !yield(LogEntry{entry, sequence, steps}, err) || err != nil {
				return
			}
		}
	}
}

// appendChange enters the task's new revision into the scope's log and returns where. place is where its entry stands as far
// as its record knows; 0 where that must be looked up.
func appendChange(tx *Tx, scope Scope, task string, place, revision uint64) (uint64, error) {
	if place == 0 {
		where, err := Get(tx, ScopePlaceKey(scope, task))
		if err != nil {
			return 0, err
		}
		if place = where.GetSequence(); place != 0 { // From now on the record knows it.
			if err := Delete(tx, ScopePlaceKey(scope, task)); err != nil {
				return 0, err
			}
		}
	}
	return moveEntry(tx, scope, task, place, func(entry *LogEntry, next uint64) bool {
		if place == 0 || entry.GetRemoved() {
			entry.Entered, entry.steps = next, nil
		} else {
			entry.steps = append(entry.steps, step{place, entry.GetRevision()})
			entry.steps = entry.steps[max(0, len(entry.steps)-maxSteps):]
		}
		entry.Revision, entry.Removed, entry.Reason = revision, false, 0
		return true
	})
}

// appendRemoval enters into the scope's log that the task has left it. What was never there leaves no trace. The place is as
// for appendChange; that of the removal is kept apart, since the task's record does not hear of the scope any more.
func appendRemoval(tx *Tx, scope Scope, task string, place uint64, reason fieldsyncv1.RemovalReason) error {
	if place == 0 {
		where, err := Get(tx, ScopePlaceKey(scope, task))
		if err != nil {
			return err
		}
		place = where.GetSequence()
	}
	to, err := moveEntry(tx, scope, task, place, func(entry *LogEntry, _ uint64) bool {
		if place == 0 || entry.GetRemoved() {
			return false
		}
		entry.steps, entry.Removed, entry.Reason = nil, true, reason
		return true
	})
	if err != nil || to == place {
		return err
	}
	return Put(tx, ScopePlaceKey(scope, task), &storagev1.ScopePlace{Sequence: to})
}

// moveEntry takes the task's entry out of its place in the scope's log, lets change it, puts it at the end under the next
// sequence, and returns that. place is 0 where the task has no entry yet. Where change says no, the log stays as it is.
func moveEntry(tx *Tx, scope Scope, task string, place uint64, change func(entry *LogEntry, next uint64) bool) (uint64, error) {
	head, err := Head(tx, scope)
	if err != nil {
		return 0, err
	}
	entry := LogEntry{ScopeEntry: &storagev1.ScopeEntry{TaskId: task}, Sequence: place}
	if place != 0 {
		if entry.ScopeEntry, entry.steps, err = getEntry(tx, scope, place); err != nil {
			return 0, err
		}
		if entry.GetTaskId() != task {
			return 0, fmt.Errorf("the log of %s has %q at %d, where task %s should stand", scope, entry.GetTaskId(), place, task)
		}
	}
	wasHere, was := place != 0 && !entry.GetRemoved(), entry.GetRevision()
	if !change(&entry, head.GetSequence()+1) {
		return place, nil
	}
	if place != 0 {
		if err := Delete(tx, ScopeEntryKey(scope, place)); err != nil {
			return 0, err
		}
	}
	if wasHere {
		head.Tasks--
		head.Digest -= TaskDigest(task, was)
	}
	head.Sequence++
	entry.At = tx.Timestamp()
	if !entry.GetRemoved() {
		head.Tasks++
		head.Digest += TaskDigest(task, entry.GetRevision())
	}
	if err := putEntry(tx, scope, head.GetSequence(), entry.ScopeEntry, entry.steps); err != nil {
		return 0, err
	}
	tx.Signal(scope.Topic())
	tx.heads[scope] = head
	return head.GetSequence(), nil
}

// TaskDigest is a task's share in the digest of a scope: XXH64 (seed 0) over the id, a zero byte and the revision in eight
// bytes, big-endian. Shares are summed modulo 2^64, so the digest does not depend on an order and is kept by adding and
// subtracting.
func TaskDigest(task string, revision uint64) uint64 {
	return xxhash.Sum64(binary.BigEndian.AppendUint64(append([]byte(task), 0), revision))
}

// ForgetRemovals takes up to limit removals that were entered before a time out of a scope's log, oldest first, and tells
// how many it took: fewer than limit when none are left. A cursor from before the newest of them is answered with a fresh
// snapshot from then on.
func ForgetRemovals(tx *Tx, scope Scope, before time.Time, limit int) (int, error) {
	var old []LogEntry
	for entry, err := range ScanLog(tx, scope, 0) {
		if err != nil {
			return 0, err
		}
		if len(old) == limit || !entry.GetAt().AsTime().Before(before) {
			break // Entries stand in the order in which they were written.
		}
		if entry.GetRemoved() {
			old = append(old, entry)
		}
	}
	if len(old) == 0 {
		return 0, nil
	}
	head, err := Head(tx, scope)
	if err != nil {
		return 0, err
	}
	for _, entry := range old {
		if err := Delete(tx, ScopeEntryKey(scope, entry.Sequence)); err != nil {
			return 0, err
		}
		if err := Delete(tx, ScopePlaceKey(scope, entry.GetTaskId())); err != nil {
			return 0, err
		}
	}
	head.Floor = old[len(old)-1].Sequence
	tx.heads[scope] = head
	return len(old), nil
}
