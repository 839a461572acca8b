package dispatch

import (
	"context"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cong1022/fieldsync/auth"
	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/store"
)

// maxDecisions bounds the decisions that a task keeps: who flags and settles without end loses the oldest.
const maxDecisions = 50

// ListReviews lists the tasks of the caller's units that wait for review. Errors: Invalid "page_token_invalid".
func (s *Service) ListReviews(ctx context.Context, request *fieldsyncv1.ListReviewsRequest) (*fieldsyncv1.ListReviewsResponse, error) {
	p, err := dispatcher(ctx)
	if err != nil {
		return nil, err
	}
	c, err := newCut(request.GetPage())
	if err != nil {
		return nil, err
	}
	response := &fieldsyncv1.ListReviewsResponse{}
	return response, s.store.View(ctx, func(tx *store.Tx) error {
		stubs := store.Scan(tx, store.Reviews(), behind(c, store.ReviewKey))
		response.Reviews, response.NextToken, err = list(c, stubs,
			func(stub *storagev1.TaskRecord) string { return stub.GetTask().GetId() },
			func(stub *storagev1.TaskRecord) (*fieldsyncv1.Review, bool, error) {
				record, err := store.Get(tx, store.TaskKey(stub.GetTask().GetId()))
				if err != nil || record == nil || !p.SeesTask(record) {
					return nil, false, err
				}
				return reviewOf(record), record.GetTask().GetStatus().GetReview(), nil
			})
		return err
	})
}

// FillReviews enters the tasks that were flagged before this version into the list of what waits, in the background of a server. It
// returns when it is done or ctx ends; the next start goes on where it was.
func (s *Service) FillReviews(ctx context.Context) error {
	return store.Backfill(ctx, s.store, s.log, "reviews", store.Tasks(), func(tx *store.Tx, record *storagev1.TaskRecord) error {
		if !record.GetTask().GetStatus().GetReview() {
			return nil
		}
		id := record.GetTask().GetId()
		return store.Put(tx, store.ReviewKey(id), &storagev1.TaskRecord{Task: &fieldsyncv1.Task{Id: id}})
	})
}

// GetReview tells what there is to look at about a task and what was decided. Errors: NotFound "task_unknown".
func (s *Service) GetReview(ctx context.Context, request *fieldsyncv1.GetReviewRequest) (*fieldsyncv1.GetReviewResponse, error) {
	p, err := dispatcher(ctx)
	if err != nil {
		return nil, err
	}
	response := &fieldsyncv1.GetReviewResponse{}
	return response, s.store.View(ctx, func(tx *store.Tx) error {
		record, err := p.LoadTask(tx, request.GetTaskId())
		if err != nil {
			return err
		}
		response.Review = reviewOf(record)
		return nil
	})
}

// ResolveReview settles what waits about a task. No phone is woken: what the crew does is the same before and after. Errors:
// NotFound "task_unknown", Precondition "review_none", "review_resolved", "review_moved".
func (s *Service) ResolveReview(ctx context.Context, request *fieldsyncv1.ResolveReviewRequest) (*fieldsyncv1.ResolveReviewResponse, error) {
	p, err := dispatcher(ctx)
	if err != nil {
		return nil, err
	}
	response := &fieldsyncv1.ResolveReviewResponse{}
	var changed bool
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		record, err := p.LoadTask(tx, request.GetTaskId())
		if err != nil {
			return err
		}
		if changed, err = resolve(record, request, p, tx.Now()); err != nil {
			return err
		}
		if changed {
			if err := store.Delete(tx, store.ReviewKey(record.GetTask().GetId())); err != nil {
				return err
			}
			if err := store.SaveTask(tx, record, fieldsyncv1.RemovalReason_REMOVAL_REASON_UNSPECIFIED); err != nil {
				return err
			}
		}
		response.Review = reviewOf(record)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if changed {
		s.log.InfoContext(ctx, "review resolved", "task", request.GetTaskId(), "outcome", request.GetOutcome().String(), "by", p.MemberID)
	}
	return response, nil
}

// resolve enters a decision into the record. It is pure. A decision that was made already changes nothing, also where new evidence
// has come since: that is a repeat after a lost answer, and whoever decided has not seen the new.
func resolve(record *storagev1.TaskRecord, request *fieldsyncv1.ResolveReviewRequest, p auth.Principal, now time.Time) (changed bool, err error) {
	task, last := record.GetTask(), lastDecision(record)
	waiting := task.GetStatus().GetReview()
	same := last.GetOutcome() == request.GetOutcome() && last.GetReason() == request.GetReason() && last.GetMemberId() == p.MemberID
	if same && (!waiting || request.ExpectedRevision != nil && request.GetExpectedRevision() == last.GetSeenRevision()) {
		return false, nil
	}
	switch {
	case !waiting && last == nil:
		return false, fault.New(fault.Precondition, "review_none",
			"Công việc này không có gì chờ xem xét.", "Nothing about this task waits for review.")
	case !waiting:
		return false, fault.New(fault.Precondition, "review_resolved",
			fmt.Sprintf("%s đã xem xét xong rồi (%s): hãy xem kết quả trước khi ghi khác đi.", last.GetMemberId(), outcomeVi(last.GetOutcome())),
			fmt.Sprintf("%s has settled it already (%s): look at that before you say otherwise.", last.GetMemberId(), outcomeEn(last.GetOutcome())))
	case request.ExpectedRevision != nil && request.GetExpectedRevision() != task.GetRevision():
		return false, fault.New(fault.Precondition, "review_moved",
			"Công việc đã thay đổi từ lúc bạn xem: hãy xem lại rồi ghi kết quả.",
			"The task has changed since you looked at it: look again, then settle it.")
	}
	decision := &fieldsyncv1.ReviewDecision{
		Outcome: request.GetOutcome(), Reason: request.GetReason(), MemberId: p.MemberID, At: timestamppb.New(now),
		SeenRevision: task.GetRevision(),
	}
	for _, doubt := range doubts(record) {
		if code := doubt.GetFinding().GetCode(); !slices.Contains(decision.GetCodes(), code) {
			decision.Codes = append(decision.Codes, code)
		}
	}
	decision.Revision = store.NextRevision(record)
	task.Status.Revision, task.Status.Review = decision.GetRevision(), false
	record.Reviews = append(record.GetReviews(), decision)
	record.Reviews = record.GetReviews()[max(0, len(record.GetReviews())-maxDecisions):]
	return true, nil
}

func outcomeVi(outcome fieldsyncv1.ReviewOutcome) string {
	if outcome == fieldsyncv1.ReviewOutcome_REVIEW_OUTCOME_UPHELD {
		return "nghi vấn đúng"
	}
	return "bỏ qua nghi vấn"
}

func outcomeEn(outcome fieldsyncv1.ReviewOutcome) string {
	if outcome == fieldsyncv1.ReviewOutcome_REVIEW_OUTCOME_UPHELD {
		return "upheld"
	}
	return "set aside"
}

func lastDecision(record *storagev1.TaskRecord) *fieldsyncv1.ReviewDecision {
	if n := len(record.GetReviews()); n > 0 {
		return record.GetReviews()[n-1]
	}
	return nil
}

func reviewOf(record *storagev1.TaskRecord) *fieldsyncv1.Review {
	task := record.GetTask()
	review := &fieldsyncv1.Review{
		TaskId: task.GetId(), Revision: task.GetRevision(), HotlineId: task.GetTicket().GetHotlineId(), UnitId: task.GetTicket().GetUnitId(),
		Title: task.GetTicket().GetTitle(), State: task.GetStatus().GetState(), CrewId: task.GetAssignment().GetCrewId(),
		Waiting: task.GetStatus().GetReview(), Decisions: record.GetReviews(),
	}
	if review.GetWaiting() {
		review.Doubts = doubts(record)
	}
	return review
}

// doubts are why somebody should look at a task: what is new since the last decision.
func doubts(record *storagev1.TaskRecord) (found []*fieldsyncv1.Doubt) {
	task, since := record.GetTask(), lastDecision(record).GetRevision()
	for _, photo := range task.GetPhotos() {
		if photo.GetRevision() <= since {
			continue
		}
		for _, finding := range photo.GetFindings() {
			if finding.GetReview() {
				found = append(found, &fieldsyncv1.Doubt{Finding: finding, PhotoId: photo.GetId()})
			}
		}
	}
	if completion := task.GetCompletion(); completion.GetRevision() > since {
		for _, finding := range completion.GetFindings() {
			if finding.GetReview() {
				found = append(found, &fieldsyncv1.Doubt{Finding: finding, CompletionId: completion.GetCompletionId()})
			}
		}
		if completion.GetDrawnForReview() {
			found = append(found, doubt("drawn", completion.GetCompletionId(),
				"Được rút thăm để kiểm tra; không có gì nghi ngờ.", "Drawn by lot; nothing speaks against it."))
		}
	}
	late := record.GetLateRevision() > since
	for _, completion := range task.GetLateCompletions() {
		if completion.GetRevision() <= since {
			continue
		}
		found = append(found, doubt("late_completion", completion.GetCompletionId(),
			completion.GetMemberId()+" báo hoàn thành sau khi việc đã giao cho tổ khác hoặc đã hủy.",
			completion.GetMemberId()+" completed it after it was given to others or called off."))
		late = late && completion.GetRevision() != record.GetLateRevision()
	}
	if late || len(found) == 0 { // What was flagged before records told of late evidence can be nothing else.
		found = append(found, doubt("late_evidence", "",
			"Ghi chú hoặc ảnh đến từ một tổ không còn giữ việc này.", "Notes or photos came from a crew that no longer had the task."))
	}
	return found
}

func doubt(code, completion, vi, en string) *fieldsyncv1.Doubt {
	return &fieldsyncv1.Doubt{
		Finding:      &fieldsyncv1.Finding{Code: code, Sentence: &fieldsyncv1.Sentence{Vi: vi, En: en}, Review: true},
		CompletionId: completion,
	}
}
