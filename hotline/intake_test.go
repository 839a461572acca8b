package hotline

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cong1022/fieldsync/auth"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/store"
)

const (
	created   = fieldsyncv1.IntakeResult_INTAKE_RESULT_CREATED
	updated   = fieldsyncv1.IntakeResult_INTAKE_RESULT_UPDATED
	unchanged = fieldsyncv1.IntakeResult_INTAKE_RESULT_UNCHANGED
)

// Protects the intake from a hotline that repeats itself: the same facts change nothing, other facts update the ticket, a
// doubled id in one call included; and what a report leaves out stays as it was.
func TestSubmitIsIdempotent(t *testing.T) {
	h := newHouse(t)
	first := h.submit(report("1022-1", nil), report("1022-2", func(in *fieldsyncv1.TicketIntake) { in.UnitId, in.ReportedAt = "", nil }))
	if first[0].GetResult() != created || first[1].GetResult() != created || first[0].GetTicketId() == first[1].GetTicketId() {
		t.Fatalf("first call: %v", first)
	}
	before := h.ticket(first[0].GetTicketId())
	if f := before.GetFacts(); f.GetRevision() != 1 || f.GetTicketId() != before.GetId() || f.GetReporter().GetPhone() != "0900000000" {
		t.Fatalf("the ticket is %v", before)
	}
	if f := h.ticket(first[1].GetTicketId()).GetFacts(); f.GetUnitId() != auth.CityUnit || !f.GetReportedAt().AsTime().Equal(start) {
		t.Fatalf("a report without unit and time became %v", f)
	}

	h.now = h.now.Add(time.Hour)
	again := h.submit(
		report("1022-1", nil),
		report("1022-1", func(in *fieldsyncv1.TicketIntake) { in.UnitId, in.ReportedAt = "", nil }),
		report("1022-2", func(in *fieldsyncv1.TicketIntake) { in.UnitId, in.ReportedAt = "", nil }),
	)
	for i, result := range again {
		if result.GetResult() != unchanged {
			t.Fatalf("repeat %d: %v", i, result)
		}
	}
	wantEqual(t, "the ticket after the repeat", h.ticket(before.GetId()), before)

	third := h.submit(
		report("1022-3", nil),
		report("1022-3", func(in *fieldsyncv1.TicketIntake) { in.Title = "Hai cây đổ" }),
		report("1022-3", func(in *fieldsyncv1.TicketIntake) { in.Title = "Hai cây đổ" }),
	)
	if third[0].GetResult() != created || third[1].GetResult() != updated || third[2].GetResult() != unchanged ||
		third[2].GetTicketId() != third[0].GetTicketId() {
		t.Fatalf("one id three times: %v", third)
	}
	if f := h.ticket(third[0].GetTicketId()).GetFacts(); f.GetRevision() != 2 || f.GetTitle() != "Hai cây đổ" {
		t.Fatalf("the ticket is %v", f)
	}
}

// Protects the crew from working on stale facts: an update reaches the task under a new revision, and a change of unit moves
// ticket, task and indexes while the crew keeps the task.
func TestUpdateReachesTheTask(t *testing.T) {
	h := newHouse(t)
	ticket := h.submit(report("1022-1", nil))[0].GetTicketId()
	task := h.task(ticket)

	h.submit(report("1022-1", func(in *fieldsyncv1.TicketIntake) { in.Address = "Đường Nguyễn Huệ" }))
	record := h.record(task)
	if f := record.GetTask().GetTicket(); f.GetAddress() != "Đường Nguyễn Huệ" || f.GetRevision() != 2 || record.GetTask().GetRevision() != 2 {
		t.Fatalf("the task is %v", record)
	}
	for _, scope := range []store.Scope{store.CrewScope("cay-xanh"), store.UnitScope("p-sai-gon")} {
		if e := h.entry(scope, task); e.GetRemoved() || e.GetRevision() != 2 {
			t.Fatalf("%s has %v", scope, e)
		}
	}

	h.submit(report("1022-1", func(in *fieldsyncv1.TicketIntake) { in.UnitId = "p-cho-lon" }))
	if h.unitTickets("p-sai-gon") != nil || h.unitTasks("p-sai-gon") != nil || len(h.unitTickets("p-cho-lon")) != 1 || len(h.unitTasks("p-cho-lon")) != 1 {
		t.Fatal("the indexes do not follow the unit")
	}
	if e := h.entry(store.UnitScope("p-sai-gon"), task); !e.GetRemoved() || e.GetReason() != fieldsyncv1.RemovalReason_REMOVAL_REASON_REASSIGNED {
		t.Fatalf("the old unit has %v", e)
	}
	for _, scope := range []store.Scope{store.CrewScope("cay-xanh"), store.UnitScope("p-cho-lon")} {
		if e := h.entry(scope, task); e == nil || e.GetRemoved() || e.GetRevision() != 3 {
			t.Fatalf("%s has %v", scope, e)
		}
	}
}

// Protects hints and routing from reports that say 0/0 for want of a position: they have none, and a second one changes nothing.
func TestNowhereIsNoPosition(t *testing.T) {
	h := newHouse(t)
	at := func(id string, position *fieldsyncv1.Position) *fieldsyncv1.SubmitTicketsResponse_Result {
		return h.submit(report(id, func(in *fieldsyncv1.TicketIntake) { in.Position = position }))[0]
	}
	nowhere := at("1022-1", &fieldsyncv1.Position{})
	if again := at("1022-1", &fieldsyncv1.Position{}); again.GetResult() != fieldsyncv1.IntakeResult_INTAKE_RESULT_UNCHANGED {
		t.Errorf("the same once more: %v", again)
	}
	equator := at("1022-2", &fieldsyncv1.Position{Longitude: 106.7})
	for id, has := range map[string]bool{nowhere.GetTicketId(): false, equator.GetTicketId(): true} {
		if ticket := h.ticket(id); ticket == nil || (ticket.GetFacts().GetPosition() != nil) != has {
			t.Errorf("has a position %t: %v", has, ticket)
		}
	}
}

// Protects all-or-none: a call with one bad ticket leaves nothing of the good ones.
func TestSubmitAllOrNone(t *testing.T) {
	h := newHouse(t)
	for _, c := range []struct {
		code   string
		change func(*fieldsyncv1.TicketIntake)
	}{
		{"unit_unknown", func(in *fieldsyncv1.TicketIntake) { in.UnitId = "nowhere" }},
		{"ticket_time_invalid", func(in *fieldsyncv1.TicketIntake) { in.ReportedAt = &timestamppb.Timestamp{Nanos: -1} }},
		{"ticket_time_invalid", func(in *fieldsyncv1.TicketIntake) { // Its deadline would lie beyond what JSON can show.
			in.ReportedAt = timestamppb.New(time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC))
		}},
		{"ticket_time_invalid", func(in *fieldsyncv1.TicketIntake) { in.ReportedAt = timestamppb.New(time.Time{}) }},
		{"ticket_time_invalid", func(in *fieldsyncv1.TicketIntake) {
			in.Position.FixedAt = &timestamppb.Timestamp{Seconds: 1 << 60}
		}},
	} {
		_, err := h.SubmitTickets(h.ctx, &fieldsyncv1.SubmitTicketsRequest{Tickets: []*fieldsyncv1.TicketIntake{
			report("good", nil), report("bad", c.change),
		}})
		wantCode(t, err, c.code)
		if h.unitTickets("p-sai-gon") != nil {
			t.Fatalf("%s: the good ticket was kept", c.code)
		}
	}
	_, err := h.SubmitTickets(t.Context(), &fieldsyncv1.SubmitTicketsRequest{Tickets: []*fieldsyncv1.TicketIntake{report("x", nil)}})
	wantCode(t, err, "token_missing")
}

// Protects the store's limit on a transaction: a hundred tickets as large as the batch's limit lets them be are taken in and
// updated with their tasks; anything larger is refused with what to do.
func TestBatchSize(t *testing.T) {
	h := newHouse(t)
	batch := func(runes int, title string) *fieldsyncv1.SubmitTicketsRequest {
		request := &fieldsyncv1.SubmitTicketsRequest{}
		for i := range 100 {
			request.Tickets = append(request.Tickets, report(fmt.Sprint("1022-", i), func(in *fieldsyncv1.TicketIntake) {
				in.Title, in.Description = title, strings.Repeat("ự", runes)
			}))
		}
		return request
	}
	_, err := h.SubmitTickets(h.ctx, batch(8000, "Dài"))
	wantCode(t, err, "batch_too_large")

	largest := batch(775, "Ngập")
	if err := protovalidate.Validate(largest); err != nil {
		t.Fatal(err)
	}
	response, err := h.SubmitTickets(h.ctx, largest)
	wantCode(t, err, "")
	for _, result := range response.GetResults() {
		h.task(result.GetTicketId())
	}
	_, err = h.SubmitTickets(h.ctx, batch(775, "Ngạt"))
	wantCode(t, err, "")
	if _, err = h.SubmitTickets(h.ctx, batch(850, "Ngập")); err == nil {
		t.Fatal("the limit is larger than this test believes: make its tickets larger")
	}
}

// Protects what the hotline is told of a ticket, at each stage.
func TestTicketStatus(t *testing.T) {
	h := newHouse(t)
	status := func() *fieldsyncv1.GetTicketStatusResponse {
		t.Helper()
		response, err := h.GetTicketStatus(h.ctx, &fieldsyncv1.GetTicketStatusRequest{HotlineId: "1022-1"})
		wantCode(t, err, "")
		return response
	}
	_, err := h.GetTicketStatus(h.ctx, &fieldsyncv1.GetTicketStatusRequest{HotlineId: "1022-1"})
	wantCode(t, err, "ticket_unknown")
	_, err = h.GetTicketStatus(t.Context(), &fieldsyncv1.GetTicketStatusRequest{HotlineId: "1022-1"})
	wantCode(t, err, "token_missing")

	ticket := h.submit(report("1022-1", nil))[0].GetTicketId()
	wantEqual(t, "new", status(), &fieldsyncv1.GetTicketStatusResponse{TicketId: ticket})
	task := h.task(ticket)
	id := h.completion(task, fieldsyncv1.ProofState_PROOF_STATE_SEALED)
	got := status()
	if got.GetTaskId() != task || got.GetState() != fieldsyncv1.TaskState_TASK_STATE_DONE || got.GetCompletion().GetCompletionId() != id || got.GetClosedAt() != nil {
		t.Fatalf("done: %v", got)
	}
	_, err = h.AcknowledgeCompletions(h.ctx, &fieldsyncv1.AcknowledgeCompletionsRequest{CompletionIds: []string{id}})
	wantCode(t, err, "")
	got = status()
	if got.GetState() != fieldsyncv1.TaskState_TASK_STATE_CLOSED || !got.GetClosedAt().AsTime().Equal(start) ||
		got.GetCompletion().GetProofState() != fieldsyncv1.ProofState_PROOF_STATE_DELIVERED {
		t.Fatalf("closed: %v", got)
	}
}
