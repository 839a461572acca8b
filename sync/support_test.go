package sync

import (
	"context"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cong1022/fieldsync/auth"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/store"
)

// desk returns a context in which a dispatcher of the unit calls, and sees to it that the device belongs to it.
func (h *house) desk(t *testing.T, unit string, devices ...string) context.Context {
	t.Helper()
	h.update(t, func(tx *store.Tx) error {
		if err := store.Put(tx, store.CrewKey("crew"), &fieldsyncv1.Crew{Id: "crew", UnitId: "unit"}); err != nil {
			return err
		}
		for _, device := range devices {
			member := &fieldsyncv1.Member{Id: "member-" + device, Role: fieldsyncv1.Role_ROLE_CREW, CrewId: "crew"}
			if err := store.Put(tx, store.MemberKey(member.GetId()), member); err != nil {
				return err
			}
		}
		return nil
	})
	return auth.WithPrincipal(t.Context(), auth.Principal{
		DeviceID: "desk", MemberID: "chi", Role: fieldsyncv1.Role_ROLE_DISPATCHER, UnitID: unit,
	})
}

// mustList returns what a dispatcher sees in quarantine.
func (h *house) mustList(desk context.Context, t *testing.T) []*fieldsyncv1.QuarantinedMutation {
	t.Helper()
	listed, err := h.engine.ListQuarantined(desk, &fieldsyncv1.ListQuarantinedRequest{})
	if err != nil {
		t.Fatal(err)
	}
	return listed.GetMutations()
}

// Protects what lies in quarantine: a dispatcher of the unit sees it, mends, releases it once in the author's name or
// discards it with a reason; anyone else is told that there is no such thing.
func TestQuarantineIsResolvedOnce(t *testing.T) {
	h := newHouse(t)
	ctx := h.device(t, "d", "crew")
	h.task(t, "t")
	h.assign(t, "t", "crew")
	desk, foreign := h.desk(t, "unit", "d"), h.desk(t, "elsewhere")
	h.mustPush(ctx, t, note(1, "t", strings.Repeat("x", 2001)), note(2, "t", strings.Repeat("y", 2001)), note(3, "t", "số 3"))
	h.mustPush(ctx, t, note(3, "t", "bản sao")) // A clone's.

	if listed, err := h.engine.ListQuarantined(foreign, &fieldsyncv1.ListQuarantinedRequest{}); err != nil || len(listed.GetMutations()) != 0 {
		t.Errorf("another unit sees %v (%v)", listed, err)
	}
	var all []*fieldsyncv1.QuarantinedMutation
	for token := ""; ; {
		page, err := h.engine.ListQuarantined(desk, &fieldsyncv1.ListQuarantinedRequest{Limit: 1, PageToken: token})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, page.GetMutations()...)
		if token = page.GetNextToken(); token == "" {
			break
		}
	}
	if len(all) != 3 || all[0].GetCode() != invalid.code || all[2].GetCode() != reusedNumber.code {
		t.Fatalf("quarantine: %v", all)
	}

	for _, id := range []string{all[0].GetId(), "d/1/1/00", "nonsense", ""} {
		if _, err := h.engine.ReleaseQuarantined(foreign, &fieldsyncv1.ReleaseQuarantinedRequest{Id: id, Reason: "?"}); fault.CodeOf(err) != "quarantined_unknown" {
			t.Errorf("another unit releases %q: %v", id, err)
		}
	}
	_, err := h.engine.ReleaseQuarantined(desk, &fieldsyncv1.ReleaseQuarantinedRequest{Id: all[0].GetId(), Reason: "thử"})
	if fault.CodeOf(err) != "release_failed" {
		t.Errorf("what breaks the rules was released: %v", err)
	}
	mended, err := h.engine.ReleaseQuarantined(desk, &fieldsyncv1.ReleaseQuarantinedRequest{Id: all[0].GetId(), Mended: note(9, "t", "rút gọn"), Reason: "quá dài"})
	if err != nil || mended.GetVerdict().GetCode() != applied.code || mended.GetVerdict().GetNumber() != 1 {
		t.Errorf("mended: %v, %v", mended, err)
	}
	if _, err := h.engine.DiscardQuarantined(desk, &fieldsyncv1.DiscardQuarantinedRequest{Id: all[1].GetId(), Reason: "trùng"}); err != nil {
		t.Error(err)
	}
	if _, err := h.engine.ReleaseQuarantined(desk, &fieldsyncv1.ReleaseQuarantinedRequest{Id: all[2].GetId(), Reason: "máy sao lưu"}); err != nil {
		t.Error(err)
	}
	for _, q := range all {
		if _, err := h.engine.ReleaseQuarantined(desk, &fieldsyncv1.ReleaseQuarantinedRequest{Id: q.GetId(), Reason: "lần nữa"}); fault.CodeOf(err) != "quarantined_unknown" {
			t.Errorf("%s was resolved twice: %v", q.GetId(), err)
		}
	}
	// The clone repeats itself: what was resolved does not come back.
	h.mustPush(ctx, t, note(3, "t", "bản sao"))
	if listed, err := h.engine.ListQuarantined(desk, &fieldsyncv1.ListQuarantinedRequest{}); err != nil || len(listed.GetMutations()) != 0 {
		t.Errorf("in quarantine again: %v (%v)", listed, err)
	}
	ids, texts := make(map[string]bool), []string{}
	for _, n := range h.load(t, "t").GetNotes() {
		ids[n.GetId()] = true
		texts = append(texts, n.GetText())
		if n.GetMemberId() != "member-d" {
			t.Errorf("the note %q is in the name of %s", n.GetText(), n.GetMemberId())
		}
	}
	if strings.Join(texts, ",") != "số 3,rút gọn,bản sao" || len(ids) != 3 {
		t.Errorf("notes %q under %d ids", texts, len(ids))
	}
}

// Protects whoever asks why a phone does not sync: each obstacle is named when it is there, and none when all is well.
func TestExplain(t *testing.T) {
	h := newHouse(t)
	ctx := h.device(t, "d", "crew")
	desk := h.desk(t, "unit", "d")
	h.task(t, "t")
	explain := func() *fieldsyncv1.ExplainDeviceResponse {
		t.Helper()
		x, err := h.engine.ExplainDevice(desk, &fieldsyncv1.ExplainDeviceRequest{DeviceId: "d"})
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	codes := func() string {
		var all []string
		for _, o := range explain().GetObstacles() {
			if o.GetMessage().GetVi() == "" || o.GetMessage().GetEn() == "" {
				t.Errorf("%s has no sentence", o.GetCode())
			}
			all = append(all, o.GetCode())
		}
		return strings.Join(all, " ")
	}
	sync := func(skew time.Duration, oldest time.Time, cursor []byte, batch ...*fieldsyncv1.Mutation) []byte {
		t.Helper()
		req := &fieldsyncv1.SyncRequest{
			Mutations: batch, InstallEpoch: 2, Cursor: cursor, AppVersion: "1.2",
			Clock: &fieldsyncv1.CaptureTime{Wall: timestamppb.New(h.now.Add(skew))},
			Queue: &fieldsyncv1.QueueReport{Mutations: uint32(len(batch)), Oldest: timestamppb.New(oldest)},
		}
		resp, err := h.engine.Sync(ctx, req)
		if err != nil {
			t.Fatal(err)
		}
		return resp.GetCursor()
	}
	if got := codes(); got != "never_synced" {
		t.Errorf("before the first sync: %q", got)
	}
	cursor := sync(0, h.now, nil)
	if got := codes(); got != "" {
		t.Errorf("all is well: %q", got)
	}
	h.assign(t, "t", "crew")
	if got := codes(); got != "behind" {
		t.Errorf("after an assignment: %q", got)
	}
	h.now = h.now.Add(25 * time.Hour)
	if got := codes(); got != "silent behind queue_stuck" {
		t.Errorf("after a day: %q", got)
	}
	sync(-time.Hour, h.now.Add(-25*time.Hour), cursor, note(1, "t", strings.Repeat("x", 3000)))
	if got := codes(); got != "queue_stuck quarantine clock_skew" {
		t.Errorf("a slow, skewed phone with trouble: %q", got)
	}
	x := explain()
	if x.GetScope() != "c:crew" || x.GetAppVersion() != "1.2" || x.GetLastNumber() != 1 || len(x.GetVerdicts()) != 1 || x.GetClockSkew().AsDuration() != -time.Hour {
		t.Errorf("explained: %v", x)
	}
	if _, err := h.engine.ExplainDevice(h.desk(t, "elsewhere"), &fieldsyncv1.ExplainDeviceRequest{DeviceId: "d"}); fault.CodeOf(err) != "device_unknown" {
		t.Errorf("another unit asks: %v", err)
	}
}
