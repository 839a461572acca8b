package sync

import (
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/store"
)

// Protects promise 2 over the longest offline time, and what comes after it: verdicts are returned byte for byte for as long,
// then forgotten; a repeat from before that never takes effect twice and is never lost, and the numbering goes on.
func TestForgottenVerdicts(t *testing.T) {
	h := newHouse(t)
	ctx := h.device(t, "d", "crew")
	h.desk(t, "unit")
	h.task(t, "t")
	h.assign(t, "t", "crew")
	old := []*fieldsyncv1.Mutation{note(1, "t", "cũ"), start(2, "t"), attach(3, "t", "p", 1)}
	first := h.mustPush(ctx, t, old...)
	h.now = h.now.Add(DefaultOfflineTime - time.Hour)
	h.forget(t)
	for i, again := range h.mustPush(ctx, t, append(old, note(4, "t", "mới"))...)[:3] {
		if !proto.Equal(again, first[i]) {
			t.Errorf("within the longest offline time: %v, was %v", again, first[i])
		}
	}
	h.now = h.now.Add(2 * time.Hour)
	h.forget(t)
	h.forget(t) // A second time finds nothing to do.
	revision := h.load(t, "t").GetRevision()
	gone := h.mustPush(ctx, t, append(old, note(4, "t", "mới"), note(5, "t", "tiếp"))...)
	for i, want := range []judgement{forgotten, forgotten, forgotten, applied, applied} {
		if gone[i].GetCode() != want.code {
			t.Errorf("number %d after the longest offline time: %s, want %s", i+1, gone[i].GetCode(), want.code)
		}
	}
	if task := h.load(t, "t"); len(task.GetNotes()) != 3 || len(task.GetPhotos()) != 1 || task.GetRevision() != revision+1 {
		t.Errorf("%d notes, %d photos, revision %d after %d", len(task.GetNotes()), len(task.GetPhotos()), task.GetRevision(), revision)
	}
	h.now = h.now.Add(time.Hour)
	for i, again := range h.mustPush(ctx, t, old...) {
		if !proto.Equal(again, gone[i]) {
			t.Errorf("the repeat of a forgotten one: %v, was %v", again, gone[i])
		}
	}
	// A dispatcher who does not know that it took effect cannot make it two.
	desk := h.desk(t, "unit", "d")
	for _, q := range h.mustList(desk, t) {
		_, _ = h.engine.ReleaseQuarantined(desk, &fieldsyncv1.ReleaseQuarantinedRequest{Id: q.GetId(), Reason: "cho chắc"})
	}
	if task := h.load(t, "t"); len(task.GetNotes()) != 3 || len(task.GetPhotos()) != 1 {
		t.Errorf("after the release: %d notes, %d photos", len(task.GetNotes()), len(task.GetPhotos()))
	}
}

// Protects the disk: what tells renumbered mutations by their content is forgotten together with the verdicts.
func TestForgottenRenumbered(t *testing.T) {
	h := newHouse(t)
	ctx := h.device(t, "d", "crew")
	h.task(t, "t")
	h.assign(t, "t", "crew")
	m := note(1, "t", "chung")
	m.Recorded = &fieldsyncv1.CaptureTime{BootId: "b", SinceBootMs: 4711}
	if _, err := h.engine.Sync(ctx, &fieldsyncv1.SyncRequest{Mutations: []*fieldsyncv1.Mutation{m}, InstallEpoch: 2}); err != nil {
		t.Fatal(err)
	}
	content, err := contentOf(m)
	if err != nil {
		t.Fatal(err)
	}
	known := func() (record *storagev1.VerdictRecord) {
		h.update(t, func(tx *store.Tx) (err error) {
			record, err = store.Get(tx, store.RenumberedKey("d", content))
			return err
		})
		return record
	}
	if known() == nil {
		t.Fatal("a mutation of a later epoch is not known by its content")
	}
	h.now = h.now.Add(DefaultOfflineTime + time.Hour)
	h.forget(t)
	if known() != nil {
		t.Error("it is still there after the longest offline time")
	}
}

func (h *house) forget(t *testing.T) {
	t.Helper()
	if err := h.engine.Forget(t.Context()); err != nil {
		t.Fatal(err)
	}
}
