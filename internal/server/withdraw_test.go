package server

import (
	"testing"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
)

// Protects a crew that is offline while the hotline changes its mind: an update reaches it with the next sync, a withdrawal takes the
// task from it, and what it did meanwhile is kept for review, never lost.
func TestUpdateAndWithdrawWhileOffline(t *testing.T) {
	r := settled(t, testConfig(t))
	task := r.assigned(t)
	crew := r.enrol(t, "an", t.TempDir())
	desk := fieldsyncv1connect.NewHotlineServiceClient(client(t, true, r.token(t, "tong-dai")), r.url)
	if _, err := crew.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	held, err := crew.Task(task)
	if err != nil {
		t.Fatal(err)
	}
	facts := held.Task.GetTicket()
	update := &fieldsyncv1.TicketIntake{HotlineId: facts.GetHotlineId(), Category: facts.GetCategory(), Title: "Cây đổ, có người kẹt"}
	if _, err := desk.SubmitTickets(t.Context(), &fieldsyncv1.SubmitTicketsRequest{Tickets: []*fieldsyncv1.TicketIntake{update}}); err != nil {
		t.Fatal(err)
	}
	if err := crew.Note(task, "đang trên đường"); err != nil {
		t.Fatal(err)
	}
	if _, err := crew.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if held, err = crew.Task(task); err != nil || held.Task.GetTicket().GetTitle() != update.GetTitle() {
		t.Fatalf("the phone shows %v, %v", held.Task.GetTicket(), err)
	}

	got, err := desk.WithdrawTickets(t.Context(), &fieldsyncv1.WithdrawTicketsRequest{
		Tickets: []*fieldsyncv1.WithdrawTicketsRequest_Withdrawal{{HotlineId: facts.GetHotlineId(), Reason: "dân báo đã tự dọn"}},
	})
	if err != nil || got.GetResults()[0] != fieldsyncv1.WithdrawResult_WITHDRAW_RESULT_WITHDRAWN {
		t.Fatal(got, err)
	}
	if err := crew.Complete(task, fieldsyncv1.Outcome_OUTCOME_REPAIRED, "xong"); err != nil {
		t.Fatal(err)
	}
	report, err := crew.Sync(t.Context())
	if err != nil || len(report.Verdicts) != 1 || report.Verdicts[0].Verdict.GetCode() != "kept_for_review" || report.Verdicts[0].Verdict.GetCompletionId() != "" {
		t.Fatalf("%v, %v", report, err)
	}
	if _, err := crew.Task(task); err == nil {
		t.Error("the withdrawn task is still on the phone")
	}
	status, err := desk.GetTicketStatus(t.Context(), &fieldsyncv1.GetTicketStatusRequest{HotlineId: facts.GetHotlineId()})
	if err != nil || status.GetWithdrawnAt() == nil || status.GetState() != fieldsyncv1.TaskState_TASK_STATE_CANCELLED {
		t.Errorf("the ticket stands at %v, %v", status, err)
	}
}
