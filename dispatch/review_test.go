package dispatch

import (
	"slices"
	"testing"

	"github.com/cong1022/fieldsync/auth"
	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/store"
)

var supervisor = auth.Principal{MemberID: "giam-sat", Role: fieldsyncv1.Role_ROLE_CITY_SUPERVISOR}

const (
	upheld   = fieldsyncv1.ReviewOutcome_REVIEW_OUTCOME_UPHELD
	setAside = fieldsyncv1.ReviewOutcome_REVIEW_OUTCOME_SET_ASIDE
)

// flag raises a task's flag as the rooms of photos and of sync do.
func (h *house) flag(id string, evidence func(record *storagev1.TaskRecord, revision uint64)) {
	h.t.Helper()
	h.update(func(tx *store.Tx) error {
		record, err := store.Get(tx, store.TaskKey(id))
		if err != nil {
			return err
		}
		revision := store.NextRevision(record)
		record.Task.Status.Revision, record.Task.Status.Review = revision, true
		evidence(record, revision)
		return store.SaveTask(tx, record, 0)
	})
}

func photoReused(record *storagev1.TaskRecord, revision uint64) {
	record.Task.Photos = append(record.Task.Photos, &fieldsyncv1.Photo{Revision: revision, Id: "p1", Findings: []*fieldsyncv1.Finding{
		{Code: "photo_reused", Review: true, Sentence: &fieldsyncv1.Sentence{Vi: "đã dùng", En: "used"}}, {Code: "photo_type_differs"},
	}})
}

func lateNote(record *storagev1.TaskRecord, revision uint64) {
	record.Task.Notes = append(record.Task.Notes, &fieldsyncv1.Note{Revision: revision, Id: "n1"})
	record.LateRevision = revision
}

func lateCompletion(record *storagev1.TaskRecord, revision uint64) {
	record.Task.LateCompletions = append(record.Task.LateCompletions, &fieldsyncv1.CompletionFacet{Revision: revision, CompletionId: "c9", MemberId: "minh"})
	record.LateRevision = revision
}

func codes(doubts []*fieldsyncv1.Doubt) (codes []string) {
	for _, doubt := range doubts {
		codes = append(codes, doubt.GetFinding().GetCode())
	}
	return codes
}

// waiting lists the ids of what waits for review, in pages of one.
func (h *house) waiting(by auth.Principal) (ids []string) {
	h.t.Helper()
	for page := (&fieldsyncv1.Page{Size: 1}); ; {
		got, err := h.ListReviews(h.as(by), &fieldsyncv1.ListReviewsRequest{Page: page})
		if err != nil {
			h.t.Fatal(err)
		}
		for _, r := range got.GetReviews() {
			ids = append(ids, r.GetTaskId())
		}
		if page.Token = got.GetNextToken(); page.GetToken() == "" {
			return ids
		}
	}
}

func (h *house) settle(by auth.Principal, task string, outcome fieldsyncv1.ReviewOutcome, reason string, seen *uint64) (*fieldsyncv1.Review, error) {
	got, err := h.ResolveReview(h.as(by), &fieldsyncv1.ResolveReviewRequest{TaskId: task, Outcome: outcome, Reason: reason, ExpectedRevision: seen})
	return got.GetReview(), err
}

// Protects the way out of a flag: who may settle it and who hears only that there is no such task, that the decision stays with its
// words and the flag goes for phones and boards, that a repeat changes nothing and another word is refused.
func TestResolveReview(t *testing.T) {
	h := newHouse(t)
	id := h.assigned("p-sai-gon", "cay-xanh").GetId()
	_, err := h.settle(saigonDesk, id, upheld, "x", nil)
	wantCode(t, err, "review_none")
	h.flag(id, photoReused)
	if crew := h.entry(store.CrewScope("cay-xanh"), id).GetRevision(); crew != h.record(id).GetTask().GetRevision() {
		t.Errorf("the crew hears of revision %d", crew)
	}

	for who, want := range map[*auth.Principal][]string{&saigonDesk: {id}, &saigonHead: {id}, &supervisor: {id}, &cityDesk: {id}, &admin: {id}, &choLonDesk: nil} {
		if got := h.waiting(*who); !slices.Equal(got, want) {
			t.Errorf("%s is shown %v, want %v", who.MemberID, got, want)
		}
	}
	for who, want := range map[*auth.Principal]string{&choLonDesk: "task_unknown", &crewMember: "role_denied", &hotline: "role_denied"} {
		_, err := h.settle(*who, id, upheld, "x", nil)
		wantCode(t, err, want)
		_, err = h.GetReview(h.as(*who), &fieldsyncv1.GetReviewRequest{TaskId: id})
		wantCode(t, err, want)
	}
	shown, err := h.GetReview(h.as(saigonDesk), &fieldsyncv1.GetReviewRequest{TaskId: id})
	wantCode(t, err, "")
	if got := codes(shown.GetReview().GetDoubts()); !slices.Equal(got, []string{"photo_reused"}) || shown.GetReview().GetDoubts()[0].GetPhotoId() != "p1" {
		t.Errorf("the doubts are %v", shown.GetReview().GetDoubts())
	}

	seen := shown.GetReview().GetRevision()
	_, err = h.settle(saigonDesk, id, upheld, "x", new(seen-1))
	wantCode(t, err, "review_moved")
	before := h.record(id)
	settled, err := h.settle(saigonDesk, id, upheld, "ảnh của phiếu khác", &seen)
	wantCode(t, err, "")
	after := h.record(id)
	status := after.GetTask().GetStatus()
	if settled.GetWaiting() || len(settled.GetDoubts()) != 0 || status.GetReview() || status.GetRevision() != after.GetTask().GetRevision() ||
		status.GetState() != before.GetTask().GetStatus().GetState() || after.GetTask().GetAssignment().GetCrewId() != "cay-xanh" {
		t.Errorf("settled: %v, the status is %v", settled, status)
	}
	if crew := h.entry(store.CrewScope("cay-xanh"), id).GetRevision(); crew != after.GetTask().GetRevision() {
		t.Errorf("the crew hears of revision %d", crew)
	}
	if d := settled.GetDecisions(); len(d) != 1 || d[0].GetOutcome() != upheld || d[0].GetReason() != "ảnh của phiếu khác" || d[0].GetMemberId() != "lan" ||
		!d[0].GetAt().AsTime().Equal(h.now) || d[0].GetSeenRevision() != seen || !slices.Equal(d[0].GetCodes(), []string{"photo_reused"}) {
		t.Errorf("decided %v", d)
	}
	if got := h.waiting(saigonDesk); len(got) != 0 {
		t.Errorf("still waiting: %v", got)
	}

	_, err = h.settle(saigonDesk, id, upheld, "ảnh của phiếu khác", &seen)
	wantCode(t, err, "")
	wantEqual(t, "a repeat", h.record(id), after)
	_, err = h.settle(supervisor, id, setAside, "x", nil)
	wantCode(t, err, "review_resolved")
}

// Protects new evidence from an old decision: what comes after it raises the flag again and is shown alone, a repeat of the old
// decision whose answer was lost does not settle it, and a supervisor's word does.
func TestNewEvidenceWantsNewReview(t *testing.T) {
	h := newHouse(t)
	id := h.assigned("p-sai-gon", "cay-xanh").GetId()
	h.flag(id, photoReused)
	seen := h.record(id).GetTask().GetRevision()
	_, err := h.settle(saigonDesk, id, setAside, "đúng chỗ", &seen)
	wantCode(t, err, "")
	for _, step := range []struct {
		evidence func(*storagev1.TaskRecord, uint64)
		want     []string
	}{
		{lateNote, []string{"late_evidence"}},
		{lateCompletion, []string{"late_completion"}},
		{func(record *storagev1.TaskRecord, revision uint64) {
			record.Task.Completion = &fieldsyncv1.CompletionFacet{Revision: revision, CompletionId: "c1", DrawnForReview: true}
		}, []string{"drawn"}},
		{func(*storagev1.TaskRecord, uint64) {}, []string{"late_evidence"}}, // As a store of before this version has it.
	} {
		h.flag(id, step.evidence)
		_, err := h.settle(saigonDesk, id, setAside, "đúng chỗ", &seen)
		wantCode(t, err, "") // A repeat of the first decision: heard, and nothing settled.
		got, err := h.GetReview(h.as(saigonDesk), &fieldsyncv1.GetReviewRequest{TaskId: id})
		wantCode(t, err, "")
		if !got.GetReview().GetWaiting() || !slices.Equal(codes(got.GetReview().GetDoubts()), step.want) {
			t.Fatalf("%v is shown, want %v", got.GetReview(), step.want)
		}
		seen = got.GetReview().GetRevision()
		_, err = h.settle(saigonDesk, id, setAside, "đúng chỗ", &seen)
		wantCode(t, err, "")
	}
	h.flag(id, photoReused)
	_, err = h.settle(supervisor, id, upheld, "x", nil)
	wantCode(t, err, "")
	for range maxDecisions {
		h.flag(id, lateNote)
		_, err = h.settle(admin, id, upheld, "x", nil)
		wantCode(t, err, "")
	}
	if n := len(h.record(id).GetReviews()); n != maxDecisions {
		t.Errorf("%d decisions are kept, want %d", n, maxDecisions)
	}
}

// Protects flags of before there was a list: they come into it.
func TestFlagsOfBeforeAreListed(t *testing.T) {
	h := newHouse(t)
	id := h.task("p-sai-gon").GetId()
	h.task("p-sai-gon")
	h.flag(id, lateNote)
	h.update(func(tx *store.Tx) error { return store.Delete(tx, store.ReviewKey(id)) })
	if got := h.waiting(admin); len(got) != 0 {
		t.Fatalf("listed before: %v", got)
	}
	if err := h.FillReviews(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := h.waiting(admin); !slices.Equal(got, []string{id}) {
		t.Errorf("listed are %v", got)
	}
}

// Protects the list from tasks that have gone to another unit, or whose record says that nothing waits: it shows what the record says.
func TestReviewsFollowTheRecord(t *testing.T) {
	h := newHouse(t)
	id := h.task("p-sai-gon").GetId()
	h.flag(id, lateNote)
	h.update(func(tx *store.Tx) error {
		record, err := store.Get(tx, store.TaskKey(id))
		if err != nil {
			return err
		}
		store.NextRevision(record)
		record.Task.Ticket.UnitId = "p-cho-lon"
		return store.SaveTask(tx, record, 0)
	})
	if here, there := h.waiting(saigonDesk), h.waiting(choLonDesk); len(here) != 0 || !slices.Equal(there, []string{id}) {
		t.Errorf("Sài Gòn is shown %v, Chợ Lớn %v", here, there)
	}
}
