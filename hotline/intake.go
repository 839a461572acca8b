package hotline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cong1022/fieldsync/auth"
	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/store"
)

// MaxBatchBytes bounds a call of SubmitTickets, as protobuf. A ticket is stored once by itself and once in its task, and all
// of the call fits into one transaction of the store (store.MaxTransactionBytes).
const MaxBatchBytes = 256 << 10

// maxDescription is what the rules of TicketIntake allow, in characters.
const maxDescription = 8000

// SubmitTickets hands tickets over: all of the call or none. A ticket is known by its hotline_id, within the call too, where
// the later one updates the earlier. Errors: Invalid "ticket_time_invalid", "parent_invalid", NotFound "unit_unknown",
// "parent_unknown", Exhausted "batch_too_large".
func (s *Service) SubmitTickets(ctx context.Context, request *fieldsyncv1.SubmitTicketsRequest) (*fieldsyncv1.SubmitTicketsResponse, error) {
	p, err := auth.PrincipalFrom(ctx)
	if err != nil {
		return nil, err
	}
	if proto.Size(request) > MaxBatchBytes {
		return nil, batchTooLarge()
	}
	var response *fieldsyncv1.SubmitTicketsResponse
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		response = &fieldsyncv1.SubmitTicketsResponse{}
		arriving := &arrivals{tx: tx, router: s.router}
		for _, in := range request.GetTickets() {
			result, err := arriving.takeIn(in)
			if err != nil {
				return err
			}
			response.Results = append(response.Results, result)
		}
		return nil
	})
	if errors.Is(err, store.ErrTooLarge) { // Tasks that have grown large by themselves.
		return nil, batchTooLarge()
	}
	if err != nil {
		return nil, err
	}
	s.log.InfoContext(ctx, "tickets taken in", "by", p.MemberID, "tickets", len(response.GetResults()),
		"created", count(response, fieldsyncv1.IntakeResult_INTAKE_RESULT_CREATED),
		"updated", count(response, fieldsyncv1.IntakeResult_INTAKE_RESULT_UPDATED))
	return response, nil
}

func count(response *fieldsyncv1.SubmitTicketsResponse, result fieldsyncv1.IntakeResult) (n int) {
	for _, r := range response.GetResults() {
		if r.GetResult() == result {
			n++
		}
	}
	return n
}

func batchTooLarge() error {
	return fault.New(fault.Exhausted, "batch_too_large",
		fmt.Sprintf("Gói phiếu quá lớn (tối đa %d KiB): hãy chia thành các gói nhỏ hơn rồi gửi lại.", MaxBatchBytes>>10),
		fmt.Sprintf("The batch is too large (at most %d KiB): split it into smaller ones and send those.", MaxBatchBytes>>10))
}

// A ticket's times lie between these. What is counted from them, a deadline above all, is a time that every answer can show.
var (
	earliestReport = time.Date(1970, time.January, 1, 0, 0, 0, 0, time.UTC)
	latestReport   = time.Date(2200, time.January, 1, 0, 0, 0, 0, time.UTC)
)

// checkTimes refuses times that no JSON answer could show again, or from which such a time would come: one would poison every list
// that it is in.
func checkTimes(in *fieldsyncv1.TicketIntake) error {
	possible := func(at *timestamppb.Timestamp) bool {
		return at == nil || at.IsValid() && !at.AsTime().Before(earliestReport) && at.AsTime().Before(latestReport)
	}
	if possible(in.GetReportedAt()) && possible(in.GetPosition().GetFixedAt()) {
		return nil
	}
	return fault.New(fault.Invalid, "ticket_time_invalid",
		fmt.Sprintf("Phiếu %s có thời điểm không hợp lệ (reported_at hoặc position.fixed_at): hãy ghi từ năm 1970 đến 2199.", in.GetHotlineId()),
		fmt.Sprintf("The ticket %s has an invalid time (reported_at or position.fixed_at): write one of the years 1970 to 2199.", in.GetHotlineId()))
}

// withoutNowhere leaves out a position of exactly 0/0, in the Gulf of Guinea: what systems and phones write that know none. Kept, all
// such reports would be likely duplicates of each other.
func withoutNowhere(in *fieldsyncv1.TicketIntake) *fieldsyncv1.TicketIntake {
	if at := in.GetPosition(); at == nil || at.GetLatitude() != 0 || at.GetLongitude() != 0 {
		return in
	}
	in = proto.CloneOf(in)
	in.Position = nil
	return in
}

// TakeIn stores a report, which keeps the rules of SubmitTickets, as a new ticket, or as an update of the one that the hotline
// knows by the same id. One that is new and names no unit goes to the unit that answers for its place. Errors: Invalid
// "ticket_time_invalid", "parent_invalid", NotFound "unit_unknown", "parent_unknown".
func (s *Service) TakeIn(tx *store.Tx, in *fieldsyncv1.TicketIntake) (*fieldsyncv1.SubmitTicketsResponse_Result, error) {
	return (&arrivals{tx: tx, router: s.router}).takeIn(in)
}

func (a *arrivals) takeIn(in *fieldsyncv1.TicketIntake) (*fieldsyncv1.SubmitTicketsResponse_Result, error) {
	tx := a.tx
	if err := checkTimes(in); err != nil {
		return nil, err
	}
	if err := checkUnit(tx, in); err != nil {
		return nil, err
	}
	ticket, err := TicketByHotlineID(tx, in.GetHotlineId())
	if err != nil {
		return nil, err
	}
	in = withoutNowhere(withoutErased(ticket, in))
	result := &fieldsyncv1.SubmitTicketsResponse_Result{
		HotlineId: in.GetHotlineId(),
		TicketId:  ticket.GetId(),
		Result:    fieldsyncv1.IntakeResult_INTAKE_RESULT_UNCHANGED,
	}
	switch {
	case ticket == nil:
		result.Result = fieldsyncv1.IntakeResult_INTAKE_RESULT_CREATED
		result.TicketId, err = a.create(in)
	case !proto.Equal(factsOf(in, ticket.GetFacts()), ticket.GetFacts()):
		result.Result = fieldsyncv1.IntakeResult_INTAKE_RESULT_UPDATED
		facts := factsOf(in, ticket.GetFacts())
		if err := a.reroute(in, ticket, facts); err != nil {
			return nil, err
		}
		err = update(tx, ticket, facts, fieldsyncv1.TicketChangeKind_TICKET_CHANGE_KIND_UPDATED)
	}
	if err != nil || in.GetParentHotlineId() == "" {
		return result, err
	}
	if ticket, err = store.Get(tx, store.TicketKey(result.GetTicketId())); err != nil {
		return nil, err
	}
	linked, err := linkDuplicate(tx, ticket, in.GetParentHotlineId())
	if err != nil || !linked {
		return result, err
	}
	if result.GetResult() == fieldsyncv1.IntakeResult_INTAKE_RESULT_UNCHANGED {
		result.Result = fieldsyncv1.IntakeResult_INTAKE_RESULT_UPDATED
	}
	return result, store.Put(tx, store.TicketKey(ticket.GetId()), ticket)
}

func (a *arrivals) create(in *fieldsyncv1.TicketIntake) (string, error) {
	tx := a.tx
	id, err := tx.NewID()
	if err != nil {
		return "", err
	}
	facts := factsOf(in, &fieldsyncv1.TicketFacet{TicketId: id, Revision: 1, UnitId: auth.CityUnit, ReportedAt: tx.Timestamp()})
	if err := a.route(in, facts); err != nil {
		return "", err
	}
	ticket := &storagev1.Ticket{Id: id, Facts: facts, ReceivedAt: tx.Timestamp()}
	stub := &storagev1.Ticket{Id: id}
	if err := store.Put(tx, store.TicketByHotlineKey(in.GetHotlineId()), stub); err != nil {
		return "", err
	}
	if err := store.Put(tx, store.UnitTicketKey(facts.GetUnitId(), id), stub); err != nil {
		return "", err
	}
	if err := index(tx, ticket, nil, facts); err != nil {
		return "", err
	}
	if err := logChange(tx, facts, fieldsyncv1.TicketChangeKind_TICKET_CHANGE_KIND_RECEIVED); err != nil {
		return "", err
	}
	return id, store.Put(tx, store.TicketKey(id), ticket)
}

func logChange(tx *store.Tx, facts *fieldsyncv1.TicketFacet, kind fieldsyncv1.TicketChangeKind) error {
	return store.LogTicket(tx, &fieldsyncv1.TicketChange{TicketId: facts.GetTicketId(), HotlineId: facts.GetHotlineId(), Kind: kind})
}

// update gives a ticket, and the task that it became, other facts. Where they name another unit, both move there; the crew
// keeps the task until a dispatcher says otherwise.
func update(tx *store.Tx, ticket *storagev1.Ticket, facts *fieldsyncv1.TicketFacet, kind fieldsyncv1.TicketChangeKind) error {
	from, to := ticket.GetFacts().GetUnitId(), facts.GetUnitId()
	facts.Revision++
	if err := index(tx, ticket, ticket.GetFacts(), facts); err != nil {
		return err
	}
	if err := logChange(tx, facts, kind); err != nil {
		return err
	}
	ticket.Facts = facts
	if from != to {
		if err := store.Delete(tx, store.UnitTicketKey(from, ticket.GetId())); err != nil {
			return err
		}
		if err := store.Put(tx, store.UnitTicketKey(to, ticket.GetId()), &storagev1.Ticket{Id: ticket.GetId()}); err != nil {
			return err
		}
	}
	if err := store.Put(tx, store.TicketKey(ticket.GetId()), ticket); err != nil || ticket.GetTaskId() == "" {
		return err
	}
	record, err := store.Get(tx, store.TaskKey(ticket.GetTaskId()))
	if err != nil {
		return err
	}
	record.Task.Ticket = proto.CloneOf(facts)
	record.Task.Ticket.Revision = store.NextRevision(record)
	if from != to {
		if err := moveTask(tx, record, from, to); err != nil {
			return err
		}
	}
	return store.SaveTask(tx, record, fieldsyncv1.RemovalReason_REMOVAL_REASON_REASSIGNED)
}

// Comment adds what somebody outside says about a ticket to its description, and so to the phones of the crew that has it.
// Invalid "comment_too_long" where the description would grow beyond what SubmitTickets allows.
func Comment(tx *store.Tx, ticket *storagev1.Ticket, text string) error {
	facts := proto.CloneOf(ticket.GetFacts())
	facts.Description = strings.TrimSpace(facts.GetDescription() + "\n" + text)
	if utf8.RuneCountInString(facts.GetDescription()) > maxDescription {
		return fault.New(fault.Invalid, "comment_too_long",
			"Mô tả của phiếu sẽ dài quá 8.000 ký tự: hãy rút gọn nội dung bổ sung.",
			"The ticket's description would have more than 8,000 characters: shorten what is to be added.")
	}
	return update(tx, ticket, facts, fieldsyncv1.TicketChangeKind_TICKET_CHANGE_KIND_COMMENTED)
}

func moveTask(tx *store.Tx, record *storagev1.TaskRecord, from, to string) error {
	id := record.GetTask().GetId()
	scopes := slices.DeleteFunc(record.GetScopes(), func(scope string) bool { return scope == string(store.UnitScope(from)) })
	scopes = append(scopes, string(store.UnitScope(to)))
	slices.Sort(scopes)
	record.Scopes = scopes
	if err := store.Delete(tx, store.UnitTaskKey(from, id)); err != nil {
		return err
	}
	return store.Put(tx, store.UnitTaskKey(to, id), &storagev1.TaskRecord{Task: &fieldsyncv1.Task{Id: id}})
}

// factsOf is what a report says, on top of what was known before: the revision, and what it does not mention (the time of
// the report, and the unit: a ticket that dispatchers have routed does not jump back because the hotline repeats itself).
func factsOf(in *fieldsyncv1.TicketIntake, before *fieldsyncv1.TicketFacet) *fieldsyncv1.TicketFacet {
	reported := in.GetReportedAt()
	if reported == nil {
		reported = before.GetReportedAt()
	}
	return &fieldsyncv1.TicketFacet{
		Revision:    before.GetRevision(),
		TicketId:    before.GetTicketId(),
		HotlineId:   in.GetHotlineId(),
		Category:    in.GetCategory(),
		Title:       in.GetTitle(),
		Description: in.GetDescription(),
		Address:     in.GetAddress(),
		Position:    in.GetPosition(),
		Urgency:     in.GetUrgency(),
		Reporter:    in.GetReporter(),
		ReportedAt:  reported,
		UnitId:      cmp.Or(in.GetUnitId(), before.GetUnitId()),
	}
}

func checkUnit(tx *store.Tx, in *fieldsyncv1.TicketIntake) error {
	if id := in.GetUnitId(); id != "" && id != auth.CityUnit {
		unit, err := store.Get(tx, store.UnitKey(id))
		if err != nil {
			return err
		}
		if unit == nil {
			return fault.New(fault.NotFound, "unit_unknown",
				fmt.Sprintf("Phiếu %s ghi đơn vị %s nhưng không có đơn vị này.", in.GetHotlineId(), id),
				fmt.Sprintf("The ticket %s names the unit %s, which does not exist.", in.GetHotlineId(), id))
		}
	}
	return nil
}

// TicketByHotlineID returns the ticket that the hotline knows by its own id, or nil where there is none.
func TicketByHotlineID(tx *store.Tx, hotlineID string) (*storagev1.Ticket, error) {
	stub, err := store.Get(tx, store.TicketByHotlineKey(hotlineID))
	if err != nil || stub == nil {
		return nil, err
	}
	return store.Get(tx, store.TicketKey(stub.GetId()))
}
