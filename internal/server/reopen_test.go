package server

import (
	"slices"
	"testing"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
	"github.com/cong1022/fieldsync/proof"
	"github.com/cong1022/fieldsync/proof/receipt"
)

// Protects a citizen whose tree still lies there: a dispatcher opens the task again after the hotline has closed the ticket; the hotline
// hears of it in each feed, ticket and duplicate are open, the log takes the completion back, and the crew completes the task anew
// under another id, which the log ties to the first.
func TestReopenAfterTheClose(t *testing.T) {
	r := settled(t, testConfig(t))
	task := r.assigned(t)
	crew := r.enrol(t, "an", t.TempDir())
	desk := fieldsyncv1connect.NewDispatchServiceClient(client(t, true, r.token(t, "chi")), r.url)
	system := client(t, true, r.token(t, "tong-dai"))
	hotline, proofs := fieldsyncv1connect.NewHotlineServiceClient(system, r.url), fieldsyncv1connect.NewProofServiceClient(system, r.url)
	complete := func() (id string) {
		t.Helper()
		if _, err := crew.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := crew.Complete(task, fieldsyncv1.Outcome_OUTCOME_REPAIRED, "xong"); err != nil {
			t.Fatal(err)
		}
		report, err := crew.Sync(t.Context())
		if err != nil || len(report.Verdicts) != 1 || report.Verdicts[0].Verdict.GetCode() != "applied" {
			t.Fatalf("%v, %v", report, err)
		}
		return report.Verdicts[0].Verdict.GetCompletionId()
	}
	acknowledge := func(id string) {
		t.Helper()
		if _, err := hotline.AcknowledgeCompletions(t.Context(), &fieldsyncv1.AcknowledgeCompletionsRequest{CompletionIds: []string{id}}); err != nil {
			t.Fatal(err)
		}
	}
	status := func(id string) *fieldsyncv1.GetTicketStatusResponse {
		t.Helper()
		got, err := hotline.GetTicketStatus(t.Context(), &fieldsyncv1.GetTicketStatusRequest{HotlineId: id})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	first := complete()
	got, err := desk.GetTask(t.Context(), &fieldsyncv1.GetTaskRequest{TaskId: task})
	if err != nil {
		t.Fatal(err)
	}
	ticket := got.GetTask().GetTicket()
	if _, err := hotline.SubmitTickets(t.Context(), &fieldsyncv1.SubmitTicketsRequest{Tickets: []*fieldsyncv1.TicketIntake{
		{HotlineId: "again", Category: ticket.GetCategory(), Title: "Cây đổ", ParentHotlineId: ticket.GetHotlineId()},
	}}); err != nil {
		t.Fatal(err)
	}
	acknowledge(first)
	if status("again").GetClosedAt() == nil {
		t.Fatal("the duplicate is open still")
	}

	reopen := func(completion string) error {
		_, err := desk.ReopenTask(t.Context(), &fieldsyncv1.ReopenTaskRequest{TaskId: task, CompletionId: completion, Reason: "cây vẫn còn đó"})
		return err
	}
	wantFault(t, reopen("another"), "completion_moved")
	for range 2 { // The second repeats it after a lost answer.
		if err := reopen(first); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range []string{ticket.GetHotlineId(), "again"} {
		if got := status(id); got.GetClosedAt() != nil || id != "again" && got.GetState() != fieldsyncv1.TaskState_TASK_STATE_OPEN {
			t.Errorf("%s stands at %v", id, got)
		}
	}
	changes, err := hotline.ListTicketChanges(t.Context(), &fieldsyncv1.ListTicketChangesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	for _, c := range changes.GetChanges() {
		if c.GetKind() == fieldsyncv1.TicketChangeKind_TICKET_CHANGE_KIND_REOPENED_WITH_PARENT ||
			c.GetFromState() == fieldsyncv1.TaskState_TASK_STATE_CLOSED && c.GetState() == fieldsyncv1.TaskState_TASK_STATE_OPEN {
			told = append(told, c.GetHotlineId())
		}
	}
	if !slices.Equal(told, []string{"again", ticket.GetHotlineId()}) {
		t.Errorf("told of being opened again: %v", told)
	}

	if _, err := desk.AssignTask(t.Context(), &fieldsyncv1.AssignTaskRequest{TaskId: task, CrewId: "to-1"}); err != nil {
		t.Fatal(err)
	}
	second := complete()
	feed, err := hotline.ListCompletions(t.Context(), &fieldsyncv1.ListCompletionsRequest{})
	if err != nil || len(feed.GetCompletions()) != 2 || second == first {
		t.Fatalf("the feed is %v, %v", feed, err)
	}
	old, now := feed.GetCompletions()[0], feed.GetCompletions()[1]
	if old.GetReopened().GetReason() != "cây vẫn còn đó" || old.GetReopened().GetMemberId() != "chi" || now.GetReopened() != nil ||
		now.GetDecoded().GetCorrects().GetCompletionId() != first {
		t.Errorf("the feed is %v", feed)
	}
	keys := logKeys(t, r.url)
	proven := func(completion string) (seal, reopened *receipt.Proven) {
		t.Helper()
		got, err := proofs.GetReceipt(t.Context(), &fieldsyncv1.GetReceiptRequest{CompletionId: completion})
		if err != nil {
			t.Fatal(err)
		}
		if seal, err = receipt.Verify(got.GetReceipt(), keys); err == nil && len(got.GetReopened()) > 0 {
			reopened, err = receipt.Verify(got.GetReopened(), keys)
		}
		if err != nil {
			t.Fatal(err)
		}
		return seal, reopened
	}
	seal, reopened := proven(first)
	later, never := proven(second)
	if reopened == nil || reopened.Kind != receipt.Reopened || !reopened.Corrects(seal) || !later.Corrects(seal) || never != nil {
		t.Errorf("the log proves %v, %v, %v, %v", seal, reopened, later, never)
	}
	acknowledge(second)
	if got := status(ticket.GetHotlineId()); got.GetClosedAt() == nil || got.GetCompletion().GetCompletionId() != second || status("again").GetClosedAt() == nil {
		t.Errorf("in the end the ticket stands at %v", got)
	}
	if err := proof.Audit(t.Context(), r.store); err != nil {
		t.Error(err)
	}
}
