package main

import (
	"fmt"
	"time"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/phone"
	"github.com/cong1022/fieldsync/store"
	syncengine "github.com/cong1022/fieldsync/sync"
)

// fact is something that a crew member recorded and that can be told from everything else that was ever recorded: by its
// text, or by its photo's id. It is what the city must end up with, once.
type fact struct {
	key  string
	kind op
	task string
	// at is when it was recorded, in the server's time.
	at time.Time
	// verdict is what a phone has been told, nil while none was.
	verdict *fieldsyncv1.Verdict
	// on are the handsets that hold it: the one that recorded it, and clones of that.
	on map[*handset]bool
	// undone: the server was set back to a time before it.
	undone bool
}

// recorded enters a new fact. Text is unique in the run.
func (w *world) recorded(h *handset, kind op, task, key string) {
	f := &fact{key: key, kind: kind, task: task, at: w.house.clock(), on: map[*handset]bool{h: true}}
	w.facts = append(w.facts, f)
	w.byKey[key] = f
}

// text is a text that nobody has used before.
func (w *world) text(what op) string {
	w.texts++
	return fmt.Sprintf("%s.%d;", what, w.texts)
}

// keyOf tells which fact a mutation carries, "" for those that cannot be told apart.
func keyOf(m *fieldsyncv1.Mutation) string {
	switch {
	case m.GetAddNote() != nil:
		return m.GetAddNote().GetText()
	case m.GetAttachPhoto() != nil:
		return m.GetAttachPhoto().GetPhoto().GetPhotoId()
	case m.GetComplete() != nil:
		return m.GetComplete().GetNote()
	default:
		return futureText(m)
	}
}

// judged takes note of a verdict that a phone has stored.
func (w *world) judged(h *handset, j phone.Judged) {
	f := w.byKey[keyOf(j.Mutation)]
	if f == nil {
		return
	}
	if f.undone || better(j.Verdict.GetKind(), f.verdict.GetKind()) {
		f.verdict, f.undone = j.Verdict, false
	}
	if code := j.Verdict.GetCode(); code == "task_unknown" && w.setBack.IsZero() && (w.entitled(h.member, f) || w.maybeLost(f)) {
		w.failf("dropped", "%s recorded %s for a task that its crew had, and was told %s", h.name, f.key, code)
	}
}

// maybeLost tells whether the server was restored to before the fact, which may be about what is no more, and remembers that: a phone
// records for nothing that it had not got, unless its replica was damaged.
func (w *world) maybeLost(f *fact) bool {
	h := w.house
	return h.epochs > 0 && w.injected["replica-damaged"] == 0 && f.at.After(h.backedUp) && h.clock().Before(h.restored.Add(syncengine.DefaultOfflineTime))
}

// entitled tells whether a crew of the member had the fact's task while the member was in it.
func (w *world) entitled(member string, f *fact) (entitled bool) {
	err := w.house.truth.View(w.ctx, func(tx *store.Tx) error {
		history, err := store.Get(tx, store.MemberHistoryKey(member))
		if err != nil {
			return err
		}
		record, err := store.Get(tx, store.TaskKey(f.task))
		for _, m := range history.GetMemberships() {
			for _, t := range record.GetTenures() {
				apart := m.GetUntil() != nil && m.GetUntil().AsTime().Before(t.GetFrom().AsTime()) ||
					t.GetUntil() != nil && t.GetUntil().AsTime().Before(m.GetFrom().AsTime())
				entitled = entitled || t.GetCrewId() == m.GetCrewId() && !apart
			}
		}
		return err
	})
	w.must("reading a member's history", err)
	return entitled
}

// better: of a fact that two clones have sent, the verdict with more effect tells what must be there.
func better(a, b fieldsyncv1.VerdictKind) bool {
	rank := func(k fieldsyncv1.VerdictKind) int {
		switch k {
		case fieldsyncv1.VerdictKind_VERDICT_KIND_UNSPECIFIED:
			return 0
		case fieldsyncv1.VerdictKind_VERDICT_KIND_REJECTED:
			return 1
		case fieldsyncv1.VerdictKind_VERDICT_KIND_SUPERSEDED:
			return 2
		case fieldsyncv1.VerdictKind_VERDICT_KIND_QUARANTINED:
			return 3
		default:
			return 4
		}
	}
	return rank(a) > rank(b)
}

// lives tells whether some handset still has it.
func (f *fact) lives() bool {
	for h := range f.on {
		if !h.gone && !h.w.lockedOut(h) {
			return true
		}
	}
	return false
}

// forget takes the facts from the handset that were recorded since the count.
func (w *world) forget(h *handset, since int) {
	for _, f := range w.facts[since:] {
		delete(f.on, h)
	}
}
