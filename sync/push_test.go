package sync

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cong1022/fieldsync/auth"
	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/store"
)

// Protects promise 2: a batch sent again, whole or from any point on, has no second effect, and its verdicts come back byte
// for byte although time has passed.
func TestRepeatIsAnsweredNotApplied(t *testing.T) {
	h := newHouse(t)
	ctx := h.device(t, "d", "crew")
	h.task(t, "t")
	h.assign(t, "t", "crew")
	batch := []*fieldsyncv1.Mutation{start(1, "t"), note(2, "t", "một"), note(3, "t", "một"), attach(4, "t", "p", 1), complete(5, "t")}
	first := h.mustPush(ctx, t, batch...)
	revision := h.load(t, "t").GetRevision()
	h.now = h.now.Add(72 * 3600e9)
	for from := range batch {
		again := h.mustPush(ctx, t, batch[from:]...)
		for i, verdict := range again {
			want, _ := proto.MarshalOptions{Deterministic: true}.Marshal(first[from+i])
			got, _ := proto.MarshalOptions{Deterministic: true}.Marshal(verdict)
			if string(got) != string(want) {
				t.Errorf("number %d: verdict %v, was %v", verdict.GetNumber(), verdict, first[from+i])
			}
		}
	}
	task := h.load(t, "t")
	if task.GetRevision() != revision || len(task.GetNotes()) != 2 || len(task.GetPhotos()) != 1 {
		t.Errorf("revision %d (was %d), %d notes, %d photos", task.GetRevision(), revision, len(task.GetNotes()), len(task.GetPhotos()))
	}
}

// Protects promise 3: whatever is wrong with one mutation, it gets a verdict and those behind it take effect.
func TestPoisonedMutationBlocksNothing(t *testing.T) {
	h := newHouse(t)
	ctx := h.device(t, "d", "crew")
	h.task(t, "t")
	h.assign(t, "t", "crew")
	unknown := &fieldsyncv1.Mutation{Number: 2, TaskId: "t"}
	// Field 90 is what a newer app may send.
	if err := proto.Unmarshal([]byte{0xd2, 0x05, 0x03, 'n', 'e', 'w'}, unknown); err != nil {
		t.Fatal(err)
	}
	unknown.Number, unknown.TaskId = 2, "t"
	verdicts := h.mustPush(ctx, t,
		note(1, "t", strings.Repeat("x", 2001)),
		unknown,
		note(3, "nowhere", "?"),
		note(4, "../../etc", "?"),
		note(5, "t", "đến nơi"),
	)
	for i, want := range []judgement{invalid, unknownIntent, unknownTask, invalid, applied} {
		if v := verdicts[i]; v.GetCode() != want.code || v.GetKind() != want.kind || v.GetMessage().GetVi() == "" || v.GetMessage().GetEn() == "" {
			t.Errorf("mutation %d: %v, want %s", i+1, v, want.code)
		}
	}
	if notes := h.load(t, "t").GetNotes(); len(notes) != 1 || notes[0].GetText() != "đến nơi" {
		t.Errorf("notes %v", notes)
	}
	kept := quarantined(t, h)
	if len(kept) != 3 || !strings.Contains(string(kept[1].GetMutation()), "new") {
		t.Errorf("%d mutations in quarantine, want 3, the second with the fields that nobody knows", len(kept))
	}
}

func quarantined(t *testing.T, h *house) []*storagev1.Quarantined {
	t.Helper()
	var all []*storagev1.Quarantined
	err := h.store.View(t.Context(), func(tx *store.Tx) error {
		for q, err := range store.Scan(tx, store.QuarantinedAll(), nil) {
			if err != nil {
				return err
			}
			all = append(all, q)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// Protects against two phones with one key and phones restored from a backup: another payload under a used number is kept
// aside and has no effect, and the first verdict stays what it was.
func TestReusedNumberIsQuarantined(t *testing.T) {
	h := newHouse(t)
	ctx := h.device(t, "d", "crew")
	h.task(t, "t")
	h.assign(t, "t", "crew")
	h.mustPush(ctx, t, note(1, "t", "bản gốc"))
	verdicts := h.mustPush(ctx, t, note(1, "t", "bản sao"), note(2, "t", "tiếp"))
	if len(verdicts) != 1 || verdicts[0].GetCode() != reusedNumber.code {
		t.Errorf("verdicts %v", verdicts)
	}
	// The epoch is closed to new numbers, whoever comes with them, and open for what it has judged.
	if _, err := h.push(ctx, note(2, "t", "tiếp")); fault.CodeOf(err) != "install_epoch_conflicted" {
		t.Errorf("a new number: %v", err)
	}
	if v := h.mustPush(ctx, t, note(1, "t", "bản gốc"))[0]; v.GetCode() != applied.code {
		t.Errorf("the original's verdict is now %v", v)
	}
	// Under a new epoch the work goes on.
	if _, err := h.engine.Sync(ctx, &fieldsyncv1.SyncRequest{Mutations: []*fieldsyncv1.Mutation{note(1, "t", "tiếp")}, InstallEpoch: 2}); err != nil {
		t.Error(err)
	}
	if notes := h.load(t, "t").GetNotes(); len(notes) != 2 || notes[0].GetText() != "bản gốc" || notes[1].GetText() != "tiếp" {
		t.Errorf("notes %v", notes)
	}
	if kept := quarantined(t, h); len(kept) != 1 {
		t.Errorf("%d in quarantine", len(kept))
	}
}

// Protects authorship: what was recorded before the member moved to another crew is judged by the crew of that time, kept and
// flagged; of what was recorded after it, by somebody who could not know, evidence waits for a dispatcher, who can let it take
// effect; and a task that the old crew got after the member had left it is a stranger's, which looks as if it never was.
func TestMovedMemberIsJudgedByTheTimeOfAuthorship(t *testing.T) {
	h := newHouse(t)
	h.task(t, "t")
	h.assign(t, "t", "old")
	ctx := h.device(t, "d", "new")
	left := h.now
	h.update(t, func(tx *store.Tx) error {
		return store.Put(tx, store.MemberHistoryKey("member-d"), &storagev1.MemberHistory{Memberships: []*storagev1.Membership{
			{CrewId: "old", From: timestamppb.New(left.Add(-48 * time.Hour)), Until: timestamppb.New(left)},
			{CrewId: "new", From: timestamppb.New(left)},
		}})
	})
	h.now = h.now.Add(time.Minute)
	h.task(t, "later")
	h.assign(t, "later", "old")
	h.now = h.now.Add(30 * 24 * time.Hour)
	at := func(m *fieldsyncv1.Mutation, when time.Time) *fieldsyncv1.Mutation {
		m.Recorded = &fieldsyncv1.CaptureTime{ServerTime: timestamppb.New(when)}
		return m
	}
	late := left.Add(25 * time.Hour)
	verdicts := h.mustPush(ctx, t,
		at(note(1, "t", "trước khi chuyển tổ"), left.Add(-time.Hour)),
		at(note(2, "t", "sau khi chuyển tổ"), late),
		at(attach(3, "t", "p", 1), late),
		at(complete(4, "t"), late),
		at(start(5, "t"), late),
		note(6, "later", "?"), // Nobody can tell when: it might have been before the move.
		note(7, "never-was", "?"),
	)
	for i, want := range []judgement{keptLate, afterMove, afterMove, afterMove, alreadyEnded, unknownTask, unknownTask} {
		if verdicts[i].GetCode() != want.code || verdicts[i].GetKind() != want.kind {
			t.Errorf("number %d: %s, want %s", i+1, verdicts[i].GetCode(), want.code)
		}
	}
	verdicts[6].Number = 6
	if !proto.Equal(verdicts[5], verdicts[6]) {
		t.Errorf("a task of later: %v, one that never was: %v", verdicts[5], verdicts[6])
	}
	if task := h.load(t, "t"); len(task.GetNotes()) != 1 || !task.GetStatus().GetReview() {
		t.Errorf("%d notes, review %t", len(task.GetNotes()), task.GetStatus().GetReview())
	}
	desk := h.desk(t, "unit")
	for _, q := range h.mustList(desk, t) {
		if _, err := h.engine.ReleaseQuarantined(desk, &fieldsyncv1.ReleaseQuarantinedRequest{Id: q.GetId(), Reason: "đúng là đã làm"}); err != nil {
			t.Errorf("releasing %d: %v", q.GetMutation().GetNumber(), err)
		}
	}
	if task := h.load(t, "t"); len(task.GetNotes()) != 2 || len(task.GetPhotos()) != 1 || len(task.GetLateCompletions()) != 1 {
		t.Errorf("after the release: %v", task)
	}
}

// Protects the outbox of whoever has become a dispatcher since: it is judged by the time of authorship,
// as of a member who was moved; what needs a dispatcher's eye is the last crew's; and nothing is open to it that no crew has.
func TestMemberWhoLeftTheCrews(t *testing.T) {
	h := newHouse(t)
	h.task(t, "t")
	h.assign(t, "t", "old")
	h.task(t, "nobodys")
	h.device(t, "d", "old")
	left := h.now
	h.update(t, func(tx *store.Tx) error {
		return store.Put(tx, store.MemberHistoryKey("member-d"), &storagev1.MemberHistory{Memberships: []*storagev1.Membership{
			{CrewId: "old", From: timestamppb.New(left.Add(-48 * time.Hour)), Until: timestamppb.New(left)},
		}})
	})
	h.now = h.now.Add(30 * 24 * time.Hour)
	by := auth.Principal{DeviceID: "d", MemberID: "member-d", Role: fieldsyncv1.Role_ROLE_DISPATCHER, UnitID: "unit"}
	batch := []*fieldsyncv1.Mutation{note(1, "t", "trước khi lên làm điều phối"), note(2, "nobodys", "?"), note(3, "t", "sau đó")}
	for i, at := range []time.Time{left.Add(-time.Hour), left.Add(-time.Hour), left.Add(25 * time.Hour)} {
		batch[i].Recorded = &fieldsyncv1.CaptureTime{ServerTime: timestamppb.New(at)}
	}
	if _, err := h.engine.Sync(auth.WithPrincipal(t.Context(), by), &fieldsyncv1.SyncRequest{Mutations: batch, InstallEpoch: 1}); fault.KindOf(err) != fault.Denied {
		t.Errorf("without a crew ever: %v", err)
	}
	by.LeftCrews = true
	verdicts := h.mustPush(auth.WithPrincipal(t.Context(), by), t, batch...)
	for i, want := range []judgement{keptLate, unknownTask, afterMove} {
		if verdicts[i].GetCode() != want.code {
			t.Errorf("number %d: %s, want %s", i+1, verdicts[i].GetCode(), want.code)
		}
	}
	if kept := h.mustList(h.desk(t, "unit"), t); len(kept) != 1 {
		t.Errorf("the unit's dispatchers see %v in quarantine", kept)
	}
}

// Protects the numbering: gaps, disorder, foreign epochs and callers that are no crew are refused as a whole, with the code
// that tells what to do, and nothing takes effect.
func TestRefusedBatches(t *testing.T) {
	h := newHouse(t)
	ctx := h.device(t, "d", "crew")
	h.task(t, "t")
	h.assign(t, "t", "crew")
	h.mustPush(ctx, t, note(1, "t", "một"))
	for _, test := range []struct {
		name  string
		epoch uint32
		batch []*fieldsyncv1.Mutation
		code  string
	}{
		{"gap", 1, []*fieldsyncv1.Mutation{note(3, "t", "?")}, "mutation_gap"},
		{"hole inside", 1, []*fieldsyncv1.Mutation{note(2, "t", "?"), note(4, "t", "?")}, "numbers_not_consecutive"},
		{"backwards", 1, []*fieldsyncv1.Mutation{note(3, "t", "?"), note(2, "t", "?")}, "numbers_not_consecutive"},
		{"zero", 1, []*fieldsyncv1.Mutation{note(0, "t", "?")}, "numbers_not_consecutive"},
		{"no epoch", 0, []*fieldsyncv1.Mutation{note(2, "t", "?")}, "install_epoch_unknown"},
		{"epoch to come", 3, []*fieldsyncv1.Mutation{note(1, "t", "?")}, "install_epoch_unknown"},
	} {
		_, err := h.engine.Sync(ctx, &fieldsyncv1.SyncRequest{Mutations: test.batch, InstallEpoch: test.epoch})
		if fault.CodeOf(err) != test.code {
			t.Errorf("%s: %v, want %s", test.name, err, test.code)
		}
	}
	if notes := h.load(t, "t").GetNotes(); len(notes) != 1 {
		t.Errorf("%d notes", len(notes))
	}
	// Both epochs of the device number for themselves.
	if _, err := h.engine.Sync(ctx, &fieldsyncv1.SyncRequest{Mutations: []*fieldsyncv1.Mutation{note(1, "t", "hai")}, InstallEpoch: 2}); err != nil {
		t.Error(err)
	}
}

// Protects deny by default: a mutation on another crew's task is answered as one on a task that never was.
func TestForeignTaskLooksUnknown(t *testing.T) {
	h := newHouse(t)
	ctx := h.device(t, "d", "crew")
	h.task(t, "foreign")
	h.assign(t, "foreign", "other")
	verdicts := h.mustPush(ctx, t, note(1, "foreign", "?"), note(2, "never-was", "?"), complete(3, "foreign"), complete(4, "never-was"))
	for i := 0; i < len(verdicts); i += 2 {
		verdicts[i].Number = verdicts[i+1].GetNumber()
		if !proto.Equal(verdicts[i], verdicts[i+1]) {
			t.Errorf("foreign: %v, unknown: %v", verdicts[i], verdicts[i+1])
		}
	}
}

// Protects large batches: what one transaction cannot hold is cut into several, and everything in it is judged once.
func TestLargeBatchIsCut(t *testing.T) {
	h := newHouse(t)
	ctx := h.device(t, "d", "crew")
	text := strings.Repeat("đ", 2000) // 4,000 bytes each: 200 of them are near what one transaction may write.
	var batch []*fieldsyncv1.Mutation
	for i := range 20 {
		h.task(t, fmt.Sprintf("t%d", i))
		h.assign(t, fmt.Sprintf("t%d", i), "crew")
	}
	for i := range 200 {
		batch = append(batch, note(uint64(i)+1, fmt.Sprintf("t%d", i%20), text))
	}
	for _, v := range h.mustPush(ctx, t, batch...) {
		if v.GetCode() != applied.code {
			t.Fatalf("number %d: %s", v.GetNumber(), v.GetCode())
		}
	}
	for i := range 20 {
		if n := len(h.load(t, fmt.Sprintf("t%d", i)).GetNotes()); n != 10 {
			t.Errorf("task %d has %d notes", i, n)
		}
	}
}

// Protects the bound on a task: what would outgrow it goes into quarantine, and the task stays usable.
func TestFullTaskQuarantines(t *testing.T) {
	h := newHouse(t)
	ctx := h.device(t, "d", "crew")
	h.task(t, "t")
	h.assign(t, "t", "crew")
	text := strings.Repeat("đ", 2000)
	number, full := uint64(0), 0
	for range 100 {
		number++
		if v := h.mustPush(ctx, t, note(number, "t", text))[0]; v.GetCode() == taskFull.code {
			full++
		}
	}
	if full == 0 || len(quarantined(t, h)) != full {
		t.Errorf("%d verdicts say that the task is full, %d are in quarantine", full, len(quarantined(t, h)))
	}
	if v := h.mustPush(ctx, t, start(number+1, "t"))[0]; v.GetCode() != applied.code {
		t.Errorf("a full task cannot be started: %s", v.GetCode())
	}
}

// Protects evidence that arrives before its attach, or serves twice: a photo whose original this device has sent is verified
// at once, and one that another device has sent is not.
func TestAttachKnownOriginal(t *testing.T) {
	h := newHouse(t)
	ctx := h.device(t, "d", "crew")
	h.task(t, "t")
	h.assign(t, "t", "crew")
	own, other := attach(1, "t", "own", 1), attach(2, "t", "other", 2)
	h.update(t, func(tx *store.Tx) error {
		for device, m := range map[string]*fieldsyncv1.Mutation{"d": own, "e": other} {
			upload := &storagev1.Upload{Id: "upload-" + device, State: fieldsyncv1.PhotoState_PHOTO_STATE_VERIFIED}
			if err := store.Put(tx, store.UploadKey(upload.GetId()), upload); err != nil {
				return err
			}
			key := store.DeviceUploadKey(device, m.GetAttachPhoto().GetPhoto().GetSha256())
			if err := store.Put(tx, key, &storagev1.Upload{Id: upload.GetId()}); err != nil {
				return err
			}
		}
		return nil
	})
	h.mustPush(ctx, t, own, other)
	photos := h.load(t, "t").GetPhotos()
	if photos[0].GetState() != fieldsyncv1.PhotoState_PHOTO_STATE_VERIFIED || photos[1].GetState() != fieldsyncv1.PhotoState_PHOTO_STATE_ON_PHONE {
		t.Errorf("own: %v, another's: %v", photos[0].GetState(), photos[1].GetState())
	}
}
