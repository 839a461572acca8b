package store_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/store"
)

// event is what the model of a scope's log remembers: everything, in the order of the commits.
type event struct {
	task     string
	revision uint64
	removed  bool
	reason   fieldsyncv1.RemovalReason
}

// history is a scope's events; the sequence of one is its index and one more.
type history []event

// held is what a replica holds of a task that has read the log up to cursor.
func (h history) held(task string, cursor uint64) (revision uint64) {
	for _, e := range h[:cursor] {
		if e.task == task {
			if revision = e.revision; e.removed {
				revision = 0
			}
		}
	}
	return revision
}

// stay is the sequences of the task's changes since it last came into the scope.
func (h history) stay(task string) (sequences []uint64) {
	for i, e := range h {
		if e.task == task {
			if sequences = append(sequences, uint64(i)+1); e.removed {
				sequences = nil
			}
		}
	}
	return sequences
}

// world is the model: what each scope's log must say.
type world struct {
	histories map[store.Scope]history
	revisions map[string]uint64
	in        map[string][]string // Which scopes have a task.
}

func (w *world) clone() *world {
	c := &world{make(map[store.Scope]history), maps.Clone(w.revisions), maps.Clone(w.in)}
	for scope, h := range w.histories {
		c.histories[scope] = slices.Clone(h)
	}
	return c
}

// save does to the model what SaveTask does to the store.
func (w *world) save(task string, scopes []string, reason fieldsyncv1.RemovalReason) {
	w.revisions[task]++
	for _, scope := range w.in[task] {
		if !slices.Contains(scopes, scope) {
			w.histories[store.Scope(scope)] = append(w.histories[store.Scope(scope)],
				event{task: task, revision: w.revisions[task] - 1, removed: true, reason: reason})
		}
	}
	for _, scope := range scopes {
		w.histories[store.Scope(scope)] = append(w.histories[store.Scope(scope)], event{task: task, revision: w.revisions[task]})
	}
	w.in[task] = scopes
}

func saveTask(tx *store.Tx, task string, scopes []string, reason fieldsyncv1.RemovalReason) error {
	record, err := store.Get(tx, store.TaskKey(task))
	if err != nil {
		return err
	}
	if record == nil {
		record = &storagev1.TaskRecord{Task: &fieldsyncv1.Task{Id: task}}
	}
	record.Scopes = scopes
	store.NextRevision(record)
	return store.SaveTask(tx, record, reason)
}

// compare holds a scope's log to its history: the head dense and with the right sums, one entry for each task that was
// ever there, at the place of its last event, and the right answer for every cursor that a phone may come with.
func (h history) compare(tx *store.Tx, scope store.Scope) error {
	head, err := store.Head(tx, scope)
	if err != nil {
		return err
	}
	want := &storagev1.ScopeHead{Epoch: 1, Sequence: uint64(len(h))}
	last := make(map[string]uint64)
	for i, e := range h {
		last[e.task] = uint64(i) + 1
	}
	for task := range last {
		if revision := h.held(task, want.GetSequence()); revision != 0 {
			want.Tasks++
			want.Digest += store.TaskDigest(task, revision)
		}
	}
	if !proto.Equal(head, want) {
		return fmt.Errorf("the head of %s is %v, not %v", scope, head, want)
	}
	places := slices.Sorted(maps.Values(last))
	for entry, err := range store.ScanLog(tx, scope, 0) {
		if err != nil {
			return err
		}
		if len(places) == 0 || entry.Sequence != places[0] {
			return fmt.Errorf("%s has an entry at %d, where none should be", scope, entry.Sequence)
		}
		places = places[1:]
		e := h[entry.Sequence-1]
		if entry.GetTaskId() != e.task || entry.GetRemoved() != e.removed || entry.GetReason() != e.reason || entry.GetRevision() != e.revision {
			return fmt.Errorf("%s has %v at %d, not %v", scope, entry, entry.Sequence, e)
		}
		if err := h.compareRevisions(entry); err != nil {
			return fmt.Errorf("%s: %w", scope, err)
		}
	}
	if len(places) > 0 {
		return fmt.Errorf("%s has no entry at %d", scope, places[0])
	}
	return nil
}

func (h history) compareRevisions(entry store.LogEntry) error {
	if entry.Steps() > store.MaxSteps {
		return fmt.Errorf("%s has %d steps", entry.GetTaskId(), entry.Steps())
	}
	stay := h.stay(entry.GetTaskId())
	known := uint64(len(h)) + 1 // From here on the replica's revision is known.
	if len(stay) > 0 {
		known = stay[max(0, len(stay)-1-store.MaxSteps)]
	}
	for cursor := range uint64(len(h)) + 1 {
		want := uint64(0)
		if cursor >= known {
			want = h.held(entry.GetTaskId(), cursor)
		}
		if got := entry.RevisionAt(cursor); got != want {
			return fmt.Errorf("at cursor %d task %s (%v at %d) was at revision %d, not %d", cursor, entry.GetTaskId(), entry, entry.Sequence, want, got)
		}
	}
	return nil
}

// Tasks come, change, leave and come again, several in a transaction, some of which fail: the log says of it what a
// complete history would.
func TestScopeLogAgainstHistory(t *testing.T) {
	for name, e := range engines(t) {
		t.Run(name, func(t *testing.T) {
			s := opened(t, e, newClock())
			check := 0
			rapid.Check(t, func(rt *rapid.T) {
				check++ // Each check has tasks and scopes of its own in the one store.
				w := &world{make(map[store.Scope]history), make(map[string]uint64), make(map[string][]string)}
				scopes := []string{
					string(store.CrewScope(fmt.Sprint("a", check))), string(store.CrewScope(fmt.Sprint("b", check))),
					string(store.UnitScope(fmt.Sprint("u", check))),
				}
				rt.Repeat(map[string]func(*rapid.T){
					"Save": func(rt *rapid.T) {
						after, fails := w.clone(), rapid.IntRange(0, 5).Draw(rt, "fails") == 0
						type change struct {
							task   string
							scopes []string
							reason fieldsyncv1.RemovalReason
						}
						changes := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) change {
							return change{
								task:   fmt.Sprintf("t%d-%d", check, rapid.IntRange(0, 3).Draw(rt, "task")),
								scopes: scopes[rapid.IntRange(0, 3).Draw(rt, "from"):],
								reason: rapid.SampledFrom([]fieldsyncv1.RemovalReason{1, 2}).Draw(rt, "reason"),
							}
						}), 1, 6).Draw(rt, "changes")
						for _, c := range changes {
							after.save(c.task, c.scopes, c.reason)
						}
						failure := errors.New("failure")
						err := s.Update(t.Context(), func(tx *store.Tx) error {
							for _, c := range changes {
								if err := saveTask(tx, c.task, c.scopes, c.reason); err != nil {
									return err
								}
							}
							if fails {
								return failure
							}
							return nil
						})
						switch {
						case fails && !errors.Is(err, failure), !fails && err != nil:
							rt.Fatalf("a transaction (failing: %t) returned %v", fails, err)
						case !fails:
							w = after
						}
					},
					"": func(rt *rapid.T) {
						err := s.View(t.Context(), func(tx *store.Tx) error {
							for _, scope := range scopes {
								if err := w.histories[store.Scope(scope)].compare(tx, store.Scope(scope)); err != nil {
									return err
								}
							}
							return nil
						})
						if err != nil {
							rt.Fatal(err)
						}
					},
				})
			})
		})
	}
}

// A task that changes more often than an entry has steps is still answered for rightly: whole for a cursor from before
// them, by its revision for one within.
func TestMoreChangesThanSteps(t *testing.T) {
	s := opened(t, engine(t), newClock())
	w := &world{make(map[store.Scope]history), make(map[string]uint64), make(map[string][]string)}
	scope := store.CrewScope("c")
	stays := [][]string{{string(scope)}, {}, {string(scope)}}
	for stay, scopes := range stays {
		for range 2*store.MaxSteps + stay {
			for _, task := range []string{"busy", "other"} {
				w.save(task, scopes, 1)
				update(t, s, func(tx *store.Tx) error { return saveTask(tx, task, scopes, 1) })
			}
		}
		view(t, s, func(tx *store.Tx) error { return w.histories[scope].compare(tx, scope) })
	}
}

// A task that was never in a scope, or has left it already, cannot leave it: the log keeps no trace, and its entry the
// reason why it once left.
func TestRemovalOfWhatIsNotThere(t *testing.T) {
	s := opened(t, engine(t), newClock())
	scope := store.CrewScope("c")
	wake, stop := s.Subscribe(scope.Topic())
	defer stop()
	remove := func(task string) {
		update(t, s, func(tx *store.Tx) error { return store.AppendRemoval(tx, scope, task, 0, 2) })
		select {
		case <-wake:
			t.Errorf("the removal of %s woke somebody", task)
		default:
		}
	}
	remove("never")
	view(t, s, func(tx *store.Tx) error { return history(nil).compare(tx, scope) })
	update(t, s, func(tx *store.Tx) error { return saveTask(tx, "left", []string{string(scope)}, 0) })
	update(t, s, func(tx *store.Tx) error { return saveTask(tx, "left", nil, 1) })
	<-wake
	remove("left")
	want := history{{task: "left", revision: 1}, {task: "left", revision: 1, removed: true, reason: 1}}
	view(t, s, func(tx *store.Tx) error { return want.compare(tx, scope) })
}

// A log without the entry to which a task's place points is damaged: that is an error, not a guess.
func TestDamagedLog(t *testing.T) {
	s := opened(t, engine(t), newClock())
	scope := store.CrewScope("c")
	update(t, s, func(tx *store.Tx) error { return saveTask(tx, "t", []string{string(scope)}, 0) })
	update(t, s, func(tx *store.Tx) error { return store.Delete(tx, store.ScopeEntryKey(scope, 1)) })
	if err := s.Update(t.Context(), func(tx *store.Tx) error { return saveTask(tx, "t", []string{string(scope)}, 0) }); err == nil {
		t.Error("the task was saved")
	}
}

// While many write, a reader that goes on from the last head it saw misses nothing: no entry ever appears at or before a
// head that was already there.
func TestReaderMissesNothing(t *testing.T) {
	s := opened(t, engine(t), newClock())
	scope := store.UnitScope("u")
	const writers, each = 8, 40
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for i := range each {
				scopes := []string{string(scope)}
				if i%7 == 6 {
					scopes = nil
				}
				err := s.Update(t.Context(), func(tx *store.Tx) error {
					return saveTask(tx, fmt.Sprintf("t%d", (w+i)%5), scopes, 1)
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	written := make(chan struct{})
	go func() { all.Wait(); close(written) }()

	replica := make(map[string]uint64)
	var cursor, digest uint64
	follow := func() error {
		return s.View(t.Context(), func(tx *store.Tx) error {
			head, err := store.Head(tx, scope)
			if err != nil {
				return err
			}
			for entry, err := range store.ScanLog(tx, scope, cursor) {
				if err != nil {
					return err
				}
				if entry.Sequence <= cursor || entry.Sequence > head.GetSequence() {
					return fmt.Errorf("an entry at %d, the cursor is %d, the head %d", entry.Sequence, cursor, head.GetSequence())
				}
				task := entry.GetTaskId()
				if at := entry.RevisionAt(cursor); at != 0 && at != replica[task] {
					return fmt.Errorf("the log takes %s for revision %d here, it is %d", task, at, replica[task])
				}
				if replica[task] = entry.GetRevision(); entry.GetRemoved() {
					delete(replica, task)
				}
			}
			cursor, digest = head.GetSequence(), 0
			for task, revision := range replica {
				digest += store.TaskDigest(task, revision)
			}
			if digest != head.GetDigest() || uint64(len(replica)) != head.GetTasks() {
				return fmt.Errorf("at %d the replica has %d tasks and digest %x, the head says %v", cursor, len(replica), digest, head)
			}
			return nil
		})
	}
	for done := false; !done; {
		select {
		case <-written:
			done = true // And once more.
		default:
		}
		if err := follow(); err != nil {
			t.Fatal(err)
		}
	}
}
