package hotline

import (
	"testing"

	"google.golang.org/protobuf/proto"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/store"
)

func byPhone(phone string) *fieldsyncv1.Citizen {
	return &fieldsyncv1.Citizen{By: &fieldsyncv1.Citizen_Phone{Phone: phone}}
}

// Protects: all that is held of one citizen is found however the number is written, and of nobody else; it is erased from ticket and
// task, for good, and what proves the work stays as it was.
func TestCitizenIsErased(t *testing.T) {
	h := newHouse(t)
	phone := func(number string) func(*fieldsyncv1.TicketIntake) {
		return func(in *fieldsyncv1.TicketIntake) { in.Reporter.Phone = number }
	}
	h.submit(report("1022-1", phone("0901 234 567")), report("1022-2", phone("+84 901.234.567")), report("1022-3", phone("0901234568")), report("1022-4", phone("")))
	_, task, completion := h.sealed("1022-5")
	_ = completion
	h.submit(report("1022-5", phone("(+84)901234567")))

	held, err := h.ExportCitizen(h.ctx, &fieldsyncv1.ExportCitizenRequest{Citizen: byPhone("0901-234-567")})
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, ticket := range held.GetTickets() {
		ids = append(ids, ticket.GetFacts().GetHotlineId())
		if ticket.GetFacts().GetReporter().GetName() == "" || ticket.GetErasedAt() != nil {
			t.Errorf("exported: %v", ticket)
		}
	}
	if len(ids) != 3 {
		t.Fatalf("found %v, want 1022-1, -2 and -5", ids)
	}
	before := h.record(task).GetTask()
	var sealed []byte
	h.view(func(tx *store.Tx) error {
		c, err := store.Get(tx, store.CompletionKey(completion))
		sealed = c.GetRecord()
		return err
	})

	erased, err := h.EraseCitizen(h.ctx, &fieldsyncv1.EraseCitizenRequest{Citizen: byPhone("84901234567"), Texts: true})
	if err != nil || len(erased.GetTicketIds()) != 3 {
		t.Fatalf("erased: %v, %v", erased, err)
	}
	after := h.record(task).GetTask()
	if after.GetTicket().GetReporter() != nil || after.GetTicket().GetDescription() != "" || after.GetTicket().GetTitle() != erasedText {
		t.Errorf("the task still says %v", after.GetTicket())
	}
	if after.GetTicket().GetRevision() <= before.GetTicket().GetRevision() || after.GetTicket().GetAddress() == "" {
		t.Error("phones do not hear of it, or the place is gone")
	}
	h.view(func(tx *store.Tx) error {
		c, err := store.Get(tx, store.CompletionKey(completion))
		if string(c.GetRecord()) != string(sealed) || !proto.Equal(after.GetCompletion(), before.GetCompletion()) {
			t.Error("the completion has changed")
		}
		return err
	})

	h.view(func(tx *store.Tx) error {
		marks, err := OpenReporterMarks(tx)
		if err != nil {
			return err
		}
		for place, err := range store.Scan(tx, store.ReporterTickets(marks.Of(&fieldsyncv1.Reporter{Phone: "0901234567"})), nil) {
			t.Errorf("the number still leads to %v, %v", place, err)
		}
		return nil
	})

	// The hotline's next word does not bring it back.
	h.submit(report("1022-1", func(in *fieldsyncv1.TicketIntake) {
		in.Reporter.Phone, in.Address = "0901234567", "Đường Hàm Nghi"
	}))
	for _, id := range erased.GetTicketIds() {
		ticket := h.ticket(id)
		if facts := ticket.GetFacts(); facts.GetReporter() != nil || facts.GetDescription() != "" || ticket.GetErasure().GetAt() == nil {
			t.Errorf("%s holds %v", id, facts)
		}
		if ticket.GetFacts().GetHotlineId() == "1022-1" && ticket.GetFacts().GetAddress() != "Đường Hàm Nghi" {
			t.Error("an update of the hotline is lost")
		}
	}
	if _, err := h.EraseCitizen(h.ctx, &fieldsyncv1.EraseCitizenRequest{Citizen: byPhone("0901234567")}); fault.CodeOf(err) != "citizen_unknown" {
		t.Errorf("erased again: %v", err)
	}
	// Of one ticket, the name alone.
	one := &fieldsyncv1.Citizen{By: &fieldsyncv1.Citizen_TicketId{TicketId: "1022-3"}}
	if _, err := h.EraseCitizen(h.ctx, &fieldsyncv1.EraseCitizenRequest{Citizen: one}); err != nil {
		t.Fatal(err)
	}
	held, err = h.ExportCitizen(h.ctx, &fieldsyncv1.ExportCitizenRequest{Citizen: one})
	if err != nil || len(held.GetTickets()) != 1 || held.GetTickets()[0].GetFacts().GetReporter() != nil ||
		held.GetTickets()[0].GetFacts().GetDescription() == "" || held.GetTickets()[0].GetErasedAt() == nil {
		t.Errorf("of one ticket: %v, %v", held, err)
	}
}
