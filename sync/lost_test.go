package sync

import (
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cong1022/fieldsync/auth"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
)

// Protects: what a crew recorded for a task that a restore of the server has lost, or for one whose order it has lost, is kept for a
// dispatcher and released to the task that stands in its place. A foreign task is judged as one that never was, and the grace ends
// with the longest offline time.
func TestWorkOnWhatARestoreHasLost(t *testing.T) {
	h := newHouse(t)
	ctx := h.device(t, "d", "crew")
	h.task(t, "foreign")
	h.task(t, "again")
	h.assign(t, "again", "crew")
	if v := h.mustPush(ctx, t, note(1, "gone", "?"))[0]; v.GetCode() != unknownTask.code {
		t.Errorf("before any restore: %v, want %s", v, unknownTask.code)
	}
	restored := h.store.Now()
	h.now = h.now.Add(2 * time.Hour)
	if err := h.store.RenewEpoch(t.Context(), restored); err != nil {
		t.Fatal(err)
	}
	recorded := func(m *fieldsyncv1.Mutation, at time.Time) *fieldsyncv1.Mutation {
		m.Recorded = &fieldsyncv1.CaptureTime{Wall: timestamppb.New(at)}
		return m
	}
	lost := restored.Add(time.Hour)
	verdicts := h.mustPush(ctx, t,
		recorded(note(2, "gone", "đã cưa cây"), lost),
		recorded(note(3, "foreign", "đã cưa cây"), lost),
		note(4, "gone", "không rõ giờ"),
	)
	for i, want := range []judgement{maybeLost, maybeLost, maybeLost} {
		if v := verdicts[i]; v.GetCode() != want.code || v.GetKind() != want.kind {
			t.Errorf("mutation %d: %v, want %s", i+2, v, want.code)
		}
	}
	h.now = h.now.Add(DefaultOfflineTime + time.Hour)
	if v := h.mustPush(ctx, t, recorded(note(5, "gone", "quá muộn"), lost))[0]; v.GetCode() != unknownTask.code {
		t.Errorf("after the longest offline time: %v, want %s", v, unknownTask.code)
	}
	desk := auth.WithPrincipal(t.Context(), auth.Principal{DeviceID: "desk", MemberID: "dispatcher", Role: fieldsyncv1.Role_ROLE_DISPATCHER, UnitID: auth.CityUnit})
	all, err := h.engine.ListQuarantined(desk, &fieldsyncv1.ListQuarantinedRequest{})
	if err != nil || len(all.GetMutations()) != 3 {
		t.Fatalf("in quarantine: %v, %v", all, err)
	}
	mended := all.GetMutations()[0].GetMutation()
	mended.TaskId = "again"
	if _, err := h.engine.ReleaseQuarantined(desk, &fieldsyncv1.ReleaseQuarantinedRequest{Id: all.GetMutations()[0].GetId(), Mended: mended, Reason: "lập lại"}); err != nil {
		t.Fatal(err)
	}
	if notes := h.load(t, "again").GetNotes(); len(notes) != 1 || notes[0].GetText() != "đã cưa cây" {
		t.Errorf("notes of the task that stands in its place: %v", notes)
	}
}
