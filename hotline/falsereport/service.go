// Package falsereport keeps what is decided about reports of things that were not there ("tin báo giả"). A crew says only that it
// found nothing. That the report was false is the word of a second person, on a dossier that they have seen; it enters the proof
// log, and can be taken back. A citizen may be fined for it, so a dossier names none: it has a mark in the place of a telephone
// number, and who that is stands in the ticket alone.
package falsereport

import (
	"bytes"
	"context"
	"crypto/sha256"
	"log/slog"

	"google.golang.org/protobuf/proto"

	"github.com/cong1022/fieldsync/auth"
	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
	"github.com/cong1022/fieldsync/hotline"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/store"
)

// maxDecisions bounds how often one report is decided on.
const maxDecisions = 20

// Options are what a Service needs, all of it.
type Options struct {
	Store *store.Store
	Log   *slog.Logger
	// Decide enters a decision into the proof log, in its transaction, and returns the number of its leaf.
	Decide func(tx *store.Tx, record *storagev1.TaskRecord, completion *storagev1.Completion, decision *fieldsyncv1.FalseReportDecision) (leaf uint64, err error)
	// Receipts are those of a decision's leaf and of its completion's seal.
	Receipts func(tx *store.Tx, completion string, leaf uint64) (decision, seal []byte, err error)
}

// Service implements fieldsync.v1.FalseReportService. It expects requests that protovalidate has passed and contexts that carry an
// auth.Principal. All methods are safe for concurrent use; what they have answered is durable.
type Service struct{ o Options }

var _ fieldsyncv1connect.FalseReportServiceHandler = (*Service)(nil)

// New makes a Service.
func New(o Options) *Service { return &Service{o} }

// found is a ticket of which a crew says that it found nothing.
type found struct {
	ticket     *storagev1.Ticket
	record     *storagev1.TaskRecord
	completion *storagev1.Completion // Nil where no crew says so, or the seal is missing.
	decided    *storagev1.FalseReport
}

// confirmed tells how the last decision was.
func (f found) confirmed() bool {
	n := len(f.decided.GetDecided())
	return n > 0 && f.decided.GetDecided()[n-1].GetDecision().GetConfirmed()
}

// load returns a ticket that the caller may see. NotFound "ticket_unknown".
func load(tx *store.Tx, p auth.Principal, hotlineID string) (f found, err error) {
	unknown := fault.New(fault.NotFound, "ticket_unknown", "Không có phiếu mang mã tổng đài này.", "There is no ticket with this hotline id.")
	if f.ticket, err = hotline.TicketByHotlineID(tx, hotlineID); err != nil {
		return f, err
	}
	if f.ticket.GetTaskId() == "" {
		return f, unknown
	}
	if f.record, err = store.Get(tx, store.TaskKey(f.ticket.GetTaskId())); err != nil {
		return f, err
	}
	if !p.SeesTask(f.record) {
		return f, unknown
	}
	if f.decided, err = store.Get(tx, store.FalseReportKey(f.ticket.GetId())); err != nil {
		return f, err
	}
	facet := f.record.GetTask().GetCompletion()
	state := f.record.GetTask().GetStatus().GetState() // Not one that was reopened since.
	if (state == fieldsyncv1.TaskState_TASK_STATE_DONE || state == fieldsyncv1.TaskState_TASK_STATE_CLOSED) &&
		facet.GetOutcome() == fieldsyncv1.Outcome_OUTCOME_NOTHING_FOUND && facet.GetProofState() >= fieldsyncv1.ProofState_PROOF_STATE_SEALED {
		f.completion, err = store.Get(tx, store.CompletionKey(facet.GetCompletionId()))
	}
	return f, err
}

func nothingFoundMissing() error {
	return fault.New(fault.Precondition, "nothing_found_missing",
		"Chưa có tổ nào báo \"không phát hiện gì\" với đủ bằng chứng cho phiếu này.",
		"No crew says of this ticket that it found nothing, with all its evidence here.")
}

// GetDossier implements the RPC of that name.
func (s *Service) GetDossier(ctx context.Context, request *fieldsyncv1.GetDossierRequest) (*fieldsyncv1.GetDossierResponse, error) {
	p, err := auth.PrincipalFrom(ctx)
	if err != nil {
		return nil, err
	}
	var response *fieldsyncv1.GetDossierResponse
	// An Update, for the first dossier of all makes the secret of the marks.
	err = s.o.Store.Update(ctx, func(tx *store.Tx) error {
		f, err := load(tx, p, request.GetHotlineId())
		if err != nil {
			return err
		}
		if f.completion == nil {
			return nothingFoundMissing()
		}
		text, dossier, err := write(tx, f)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(text)
		response = &fieldsyncv1.GetDossierResponse{Dossier: text, Decoded: dossier, Sha256: sum[:], FalseReport: f.confirmed()}
		for _, d := range f.decided.GetDecided() {
			response.Decisions = append(response.Decisions, d.GetDecision())
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return response, nil
}

// ConfirmFalseReport implements the RPC of that name.
func (s *Service) ConfirmFalseReport(ctx context.Context, request *fieldsyncv1.ConfirmFalseReportRequest) (*fieldsyncv1.ConfirmFalseReportResponse, error) {
	p, err := auth.PrincipalFrom(ctx)
	if err != nil {
		return nil, err
	}
	var decision *fieldsyncv1.FalseReportDecision
	err = s.o.Store.Update(ctx, func(tx *store.Tx) error {
		f, err := load(tx, p, request.GetHotlineId())
		if err != nil {
			return err
		}
		if f.completion == nil {
			return nothingFoundMissing()
		}
		if p.MemberID == f.completion.GetMemberId() || (p.CrewID != "" && p.CrewID == f.completion.GetCrewId()) {
			return fault.New(fault.Precondition, "second_person_needed",
				"Người báo \"không phát hiện gì\" không được tự xác nhận tin báo giả: cần người thứ hai.",
				"Who found nothing cannot confirm that the report was false: it takes a second person.")
		}
		if f.confirmed() {
			decision = f.decided.GetDecided()[len(f.decided.GetDecided())-1].GetDecision()
			return nil
		}
		text, _, err := write(tx, f)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(text)
		if !bytes.Equal(sum[:], request.GetDossierSha256()) {
			return fault.New(fault.Precondition, "dossier_moved",
				"Hồ sơ đã có thêm nội dung từ khi bạn xem: hãy xem lại rồi xác nhận.",
				"The dossier says something else since you have looked: look at it again.")
		}
		decision = &fieldsyncv1.FalseReportDecision{
			Confirmed: true, MemberId: p.MemberID, At: tx.Timestamp(), Reason: request.GetReason(), DossierSha256: sum[:],
		}
		return s.decide(tx, f, decision, text)
	})
	if err != nil {
		return nil, err
	}
	s.o.Log.InfoContext(ctx, "false report confirmed", "ticket", request.GetHotlineId(), "by", p.MemberID)
	return &fieldsyncv1.ConfirmFalseReportResponse{Decision: decision}, nil
}

// ReverseFalseReport implements the RPC of that name.
func (s *Service) ReverseFalseReport(ctx context.Context, request *fieldsyncv1.ReverseFalseReportRequest) (*fieldsyncv1.ReverseFalseReportResponse, error) {
	p, err := auth.PrincipalFrom(ctx)
	if err != nil {
		return nil, err
	}
	var decision *fieldsyncv1.FalseReportDecision
	err = s.o.Store.Update(ctx, func(tx *store.Tx) error {
		f, err := load(tx, p, request.GetHotlineId())
		if err != nil {
			return err
		}
		n := len(f.decided.GetDecided())
		if n == 0 {
			return notConfirmed()
		}
		last := f.decided.GetDecided()[n-1].GetDecision()
		if !f.confirmed() { // The same again.
			decision = last
			return nil
		}
		if f.completion, err = store.Get(tx, store.CompletionKey(last.GetCompletionId())); err != nil {
			return err
		}
		decision = &fieldsyncv1.FalseReportDecision{
			MemberId: p.MemberID, At: tx.Timestamp(), Reason: request.GetReason(), DossierSha256: last.GetDossierSha256(),
		}
		return s.decide(tx, f, decision, nil)
	})
	if err != nil {
		return nil, err
	}
	s.o.Log.InfoContext(ctx, "false report reversed", "ticket", request.GetHotlineId(), "by", p.MemberID)
	return &fieldsyncv1.ReverseFalseReportResponse{Decision: decision}, nil
}

func notConfirmed() error {
	return fault.New(fault.Precondition, "not_confirmed",
		"Phiếu này chưa từng được xác nhận là tin báo giả.", "This ticket was never confirmed to be a false report.")
}

// decide takes a decision down: in the proof log, with the ticket, in the changes that the hotline hears of, and for the figures.
func (s *Service) decide(tx *store.Tx, f found, decision *fieldsyncv1.FalseReportDecision, dossier []byte) error {
	if f.decided == nil {
		f.decided = &storagev1.FalseReport{TicketId: f.ticket.GetId()}
	}
	if len(f.decided.GetDecided()) >= maxDecisions {
		return fault.New(fault.Exhausted, "decisions_full",
			"Phiếu này đã được quyết định 20 lần.", "This ticket was decided on 20 times already.")
	}
	leaf, err := s.o.Decide(tx, f.record, f.completion, decision)
	if err != nil {
		return err
	}
	f.decided.Decided = append(f.decided.Decided, &storagev1.FalseReport_Decided{Decision: decision, Dossier: dossier, Leaf: leaf})
	if err := store.Put(tx, store.FalseReportKey(f.ticket.GetId()), f.decided); err != nil {
		return err
	}
	facts := f.ticket.GetFacts()
	if err := store.Put(tx, store.FalseReportMarkKey(tx.Now(), f.ticket.GetId()), &storagev1.FalseReportMark{
		TicketId: f.ticket.GetId(), Confirmed: decision.GetConfirmed(), Category: facts.GetCategory(), UnitId: facts.GetUnitId(), AtNs: tx.Now().UnixNano(),
	}); err != nil {
		return err
	}
	kind := fieldsyncv1.TicketChangeKind_TICKET_CHANGE_KIND_FALSE_REPORT_REVERSED
	if decision.GetConfirmed() {
		kind = fieldsyncv1.TicketChangeKind_TICKET_CHANGE_KIND_FALSE_REPORT
	}
	if err := store.LogTicket(tx, &fieldsyncv1.TicketChange{
		TicketId: f.ticket.GetId(), HotlineId: facts.GetHotlineId(), TaskId: f.ticket.GetTaskId(), Kind: kind,
	}); err != nil {
		return err
	}
	// The task has changed for nobody who syncs it, only its newest leaf has.
	return store.Put(tx, store.TaskKey(f.ticket.GetTaskId()), f.record)
}

// ExportFalseReport implements the RPC of that name.
func (s *Service) ExportFalseReport(ctx context.Context, request *fieldsyncv1.ExportFalseReportRequest) (*fieldsyncv1.ExportFalseReportResponse, error) {
	p, err := auth.PrincipalFrom(ctx)
	if err != nil {
		return nil, err
	}
	response := &fieldsyncv1.ExportFalseReportResponse{}
	return response, s.o.Store.View(ctx, func(tx *store.Tx) error {
		f, err := load(tx, p, request.GetHotlineId())
		if err != nil {
			return err
		}
		n := len(f.decided.GetDecided())
		if n == 0 {
			return notConfirmed()
		}
		for _, d := range f.decided.GetDecided() { // The confirmation on which the last one rests.
			if len(d.GetDossier()) > 0 {
				response.Dossier = d.GetDossier()
			}
		}
		last := f.decided.GetDecided()[n-1]
		response.TaskId = f.ticket.GetTaskId()
		response.DecisionReceipt, response.CompletionReceipt, err = s.o.Receipts(tx, last.GetDecision().GetCompletionId(), last.GetLeaf())
		return err
	})
}

func marshal(m proto.Message) ([]byte, error) {
	return proto.MarshalOptions{Deterministic: true}.Marshal(m)
}
