package main

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/store"
)

// tolerance is what a time may be off by in an interval: clocks since boot are told in milliseconds.
const tolerance = 2 * time.Millisecond

// model is what must stay true from one step to the next.
type model struct {
	// verdicts are those that were ever answered, by device, epoch, number and payload.
	verdicts map[string][]byte
	// heads and revisions never go back.
	heads map[string]uint64
	// taken is the newest sequence of each scope after the last commit.
	taken     map[string]uint64
	revisions map[string]uint64
	// scopes are all in which a task ever was, crews all that a member was ever in, units of a dispatcher alike.
	scopes  map[string]map[string]bool
	members map[string]map[string]bool
	// assigned is the newest assignment of each task, climbed when each step of an escalation was taken, called those that somebody
	// outside was called for, up to the sequence calledTo.
	assigned map[string]assigned
	climbed  map[rung]time.Time
	called   map[rung]bool
	calledTo uint64
}

func (m *model) reset() {
	*m = model{
		verdicts: make(map[string][]byte), heads: make(map[string]uint64), taken: make(map[string]uint64), revisions: make(map[string]uint64),
		scopes: make(map[string]map[string]bool), members: make(map[string]map[string]bool),
		assigned: make(map[string]assigned), climbed: make(map[rung]time.Time), called: make(map[rung]bool),
	}
}

func mark(sets map[string]map[string]bool, key, value string) {
	if sets[key] == nil {
		sets[key] = make(map[string]bool)
	}
	sets[key][value] = true
}

// remember takes note of who is in what.
func (m *model) remember(t *truth) {
	for _, record := range t.tasks {
		for _, scope := range record.GetScopes() {
			mark(m.scopes, record.GetTask().GetId(), scope)
		}
	}
	for id := range t.members {
		mark(m.members, id, string(t.scope(id)))
	}
}

// check looks at everything that must hold between any two steps.
func (w *world) check() {
	if w.bad != nil {
		return
	}
	t := w.truth()
	w.checkFacts(t)
	if t == w.checked {
		return
	}
	w.checked = t
	w.checkTasks(t)
	w.checkClimbs(t)
	w.checkFeed(t)
	err := w.house.truth.View(w.ctx, func(tx *store.Tx) error {
		for _, scope := range logs() {
			if err := w.checkScope(tx, t, scope); err != nil {
				return err
			}
		}
		return w.checkCalls(tx)
	})
	if err != nil {
		w.failf("scope log", "%v", err)
	}
}

// checkFacts: what was acknowledged is there, and nothing is there twice.
func (w *world) checkFacts(t *truth) {
	for _, f := range w.facts {
		places := t.places[f.key]
		if len(places) > 1 {
			w.failf("twice", "%s stands in %v", f.key, places)
		}
		if len(places) == 1 && places[0] != f.task {
			w.failf("wrong task", "%s was recorded for %s and stands in %s", f.key, f.task, places[0])
		}
		if f.verdict == nil || f.undone {
			continue
		}
		switch f.verdict.GetKind() {
		case fieldsyncv1.VerdictKind_VERDICT_KIND_APPLIED, fieldsyncv1.VerdictKind_VERDICT_KIND_MERGED:
			if len(places) == 0 {
				w.failf("acknowledged", "%s was answered with %s and is nowhere", f.key, f.verdict.GetCode())
			}
		case fieldsyncv1.VerdictKind_VERDICT_KIND_QUARANTINED:
			if len(places) == 0 && !t.quarantined(f.key) && t.resolved(f.key) == nil {
				w.failf("acknowledged", "%s was answered with %s and is not in quarantine", f.key, f.verdict.GetCode())
			}
		default:
		}
	}
}

// checkTasks: revisions never fall, and the interval in which something is said to have been recorded holds the moment at
// which it was, whatever the phone's wall clock said.
func (w *world) checkTasks(t *truth) {
	for _, record := range t.tasks {
		task := record.GetTask()
		if before := w.model.revisions[task.GetId()]; task.GetRevision() < before {
			w.failf("revision", "%s fell from revision %d to %d", task.GetId(), before, task.GetRevision())
		}
		w.model.revisions[task.GetId()] = task.GetRevision()
		for _, note := range task.GetNotes() {
			w.checkInterval(note.GetText(), note.GetRecorded())
		}
		for _, photo := range task.GetPhotos() {
			if !photo.GetFromGallery() {
				w.checkInterval(photo.GetId(), photo.GetCaptured())
			}
		}
		for _, c := range append(slices.Clone(task.GetLateCompletions()), task.GetCompletion()) {
			if c != nil {
				w.checkInterval(c.GetNote(), c.GetCompleted())
			}
		}
	}
}

func (w *world) checkInterval(key string, in *fieldsyncv1.TimeInterval) {
	f := w.byKey[key]
	if f == nil || !w.setBack.IsZero() {
		return
	}
	early := in.GetEarliest() != nil && f.at.Before(in.GetEarliest().AsTime().Add(-tolerance))
	if early || in.GetLatest() == nil || f.at.After(in.GetLatest().AsTime().Add(tolerance)) {
		w.failf("time", "%s was recorded at %v, and is said to be of %v to %v", key, f.at, in.GetEarliest().AsTime(), in.GetLatest().AsTime())
	}
}

// checkFeed: the hotline's feed has no gap, and what is sealed is whole.
func (w *world) checkFeed(t *truth) {
	for i, c := range t.feed {
		if c.GetFeedSequence() != uint64(i+1) {
			w.failf("feed", "place %d of the feed holds the completion of place %d", i+1, c.GetFeedSequence())
			return
		}
		record := &fieldsyncv1.CompletionRecord{}
		if err := proto.Unmarshal(c.GetRecord(), record); err != nil {
			w.failf("feed", "the completion %s: %v", c.GetId(), err)
		}
		for _, photo := range record.GetPhotos() {
			if _, kept := w.house.blobs.kept[[sha256.Size]byte(photo.GetSha256())]; !kept {
				w.failf("evidence", "the completion %s is sealed over the photo %s, whose bytes are not kept", c.GetId(), photo.GetPhotoId())
			}
		}
	}
}

// checkScope: a scope's log has each of its tasks once at its newest revision, and a head that says so.
func (w *world) checkScope(tx *store.Tx, t *truth, scope store.Scope) error {
	head, err := store.Head(tx, scope)
	if err != nil {
		return err
	}
	if before := w.model.heads[string(scope)]; head.GetSequence() < before {
		return fmt.Errorf("the head of %s fell from %d to %d", scope, before, head.GetSequence())
	}
	w.model.heads[string(scope)] = head.GetSequence()
	var tasks, digest, last uint64
	seen := make(map[string]bool)
	for entry, err := range store.ScanLog(tx, scope, 0) {
		if err != nil {
			return err
		}
		id, record := entry.GetTaskId(), t.byID[entry.GetTaskId()]
		place, err := store.Place(tx, scope, record)
		if err != nil {
			return err
		}
		here := slices.Contains(record.GetScopes(), string(scope))
		switch {
		case seen[id]:
			return fmt.Errorf("%s has two entries for %s", scope, id)
		case place != entry.Sequence:
			return fmt.Errorf("%s has %s at %d and remembers %d", scope, id, entry.Sequence, place)
		case here == entry.GetRemoved():
			return fmt.Errorf("%s has an entry for %s, removed: %t, in scope: %t", scope, id, entry.GetRemoved(), here)
		case here && entry.GetRevision() != record.GetTask().GetRevision():
			return fmt.Errorf("%s has %s at revision %d, it is at %d", scope, id, entry.GetRevision(), record.GetTask().GetRevision())
		}
		seen[id], last = true, entry.Sequence
		if here {
			tasks++
			digest += store.TaskDigest(id, entry.GetRevision())
		}
	}
	if want := uint64(len(t.in(scope))); tasks != want || head.GetTasks() != want || head.GetDigest() != digest || last != head.GetSequence() && head.GetFloor() < last {
		return fmt.Errorf("%s has %d tasks, its log %d and its head %d; digest %d, head %d; last %d, head %d",
			scope, want, tasks, head.GetTasks(), digest, head.GetDigest(), last, head.GetSequence())
	}
	return nil
}

// checkDense: each commit takes the numbers that come next in the logs that it writes to, and leaves an entry under each.
func (w *world) checkDense() {
	if w.bad != nil || w.house.truth == nil {
		return
	}
	err := w.house.truth.View(w.ctx, func(tx *store.Tx) error {
		for _, scope := range logs() {
			head, err := store.Head(tx, scope)
			if err != nil {
				return err
			}
			before, known := w.model.taken[string(scope)]
			for n := before + 1; known && n <= head.GetSequence(); n++ {
				if entry, err := store.Get(tx, store.ScopeEntryKey(scope, n)); err != nil || entry == nil {
					w.failf("dense", "a commit took %d to %d of %s and left nothing at %d (%v)", before+1, head.GetSequence(), scope, n, err)
				}
			}
			w.model.taken[string(scope)] = head.GetSequence()
		}
		return nil
	})
	w.must("reading the logs", err)
}

// logs are the scopes of the city.
func logs() (scopes []store.Scope) {
	for _, unit := range units {
		scopes = append(scopes, store.UnitScope(unit))
	}
	for _, crew := range crews {
		scopes = append(scopes, store.CrewScope(crew))
	}
	return scopes
}

// checkCursor: a replica never goes back in a scope, in one life of the server's data.
func (w *world) checkCursor(h *handset) {
	s := h.status()
	if !s.Whole || h.told == "" {
		return
	}
	if h.scope == h.told && s.Sequence < h.sequence {
		w.failf("cursor", "%s went back from %d to %d", h.name, h.sequence, s.Sequence)
	}
	h.scope, h.sequence = h.told, s.Sequence
}

// checkReplica: a phone that has just been told that it is whole, and after whose answer nothing has changed, holds what
// its scope holds, to the byte.
func (w *world) checkReplica(h *handset) {
	if w.bad != nil {
		return
	}
	t, s := w.truth(), h.status()
	scope := t.scope(h.member)
	var sequence uint64
	err := w.house.truth.View(w.ctx, func(tx *store.Tx) error {
		head, err := store.Head(tx, scope)
		sequence = head.GetSequence()
		return err
	})
	w.must("reading a head", err)
	held, err := h.phone.Tasks()
	w.must("listing a phone's tasks", err)
	if !s.Whole || s.Sequence != sequence || h.told != string(scope) {
		return // It was told of another moment.
	}
	want := t.in(scope)
	if len(held) != len(want) {
		w.failf("replica", "%s holds %d tasks of %s, there are %d", h.name, len(held), scope, len(want))
		return
	}
	for i, task := range want {
		if !proto.Equal(held[i].Task, task) {
			w.failf("replica", "%s holds\n%v\nof %s, the server\n%v", h.name, held[i].Task, scope, task)
			return
		}
	}
}

// reverted adapts the model to a server that was set back: what it no longer knows, nobody can expect of it.
func (w *world) reverted() {
	t := w.truth()
	for _, h := range w.sets {
		h.told, h.sequence = "", 0
	}
	keep := w.model.verdicts
	w.model.reset()
	w.model.remember(t)
	for _, f := range w.facts {
		if f.verdict != nil && len(t.places[f.key]) == 0 && t.quarantined(f.key) {
			// What a dispatcher has released since is to be released again.
			f.verdict = &fieldsyncv1.Verdict{Kind: fieldsyncv1.VerdictKind_VERDICT_KIND_QUARANTINED}
		}
		f.undone = f.verdict != nil && len(t.places[f.key]) == 0 && !t.quarantined(f.key) && t.resolved(f.key) == nil
	}
	w.keepVerdicts(keep, func(stored *storagev1.VerdictRecord, payload string, _ []byte) bool {
		return fmt.Sprintf("%x", stored.GetPayloadSha256()) == payload
	})
}

// offlineTime is how long the server has promised to remember.
const offlineTime = 90 * 24 * time.Hour

// pruneVerdicts adapts the model to a server that has forgotten what it may forget.
func (w *world) pruneVerdicts() {
	keep := w.model.verdicts
	w.model.verdicts = make(map[string][]byte)
	w.keepVerdicts(keep, func(stored *storagev1.VerdictRecord, _ string, said []byte) bool {
		v := &fieldsyncv1.Verdict{}
		_ = proto.Unmarshal(said, v)
		// What came after its number was used, or was forgotten, lies in quarantine, and is no verdict on the number.
		if stored == nil && v.GetCode() != "verdict_forgotten" && v.GetCode() != "number_reused" && w.house.clock().Sub(v.GetJudgedAt().AsTime()) <= offlineTime {
			w.failf("verdict", "the verdict %s is forgotten too early", show(said))
		}
		return stored != nil
	})
}

// keepVerdicts takes those of the verdicts over that are good still.
func (w *world) keepVerdicts(keep map[string][]byte, good func(stored *storagev1.VerdictRecord, payload string, said []byte) bool) {
	err := w.house.truth.View(w.ctx, func(tx *store.Tx) error {
		for key, said := range keep {
			var device string
			var epoch uint32
			var number uint64
			var payload string
			if _, err := fmt.Sscanf(strings.ReplaceAll(key, "/", " "), "%s %d %d %s", &device, &epoch, &number, &payload); err != nil {
				return err
			}
			stored, err := store.Get(tx, store.VerdictKey(device, epoch, number))
			if err != nil {
				return err
			}
			if good(stored, payload, said) {
				w.model.verdicts[key] = said
			}
		}
		return nil
	})
	w.must("reading verdicts", err)
}
