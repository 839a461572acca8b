package store

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
)

// TicketChangesTopic is signalled when the log of the changes of tickets has grown.
const TicketChangesTopic = "ticket-changes"

// LogTicket enters a change into the log of the changes of tickets, in the transaction that makes it: what the world
// outside hears of a ticket is what happened, in the order in which it was accepted. The caller sets everything but id,
// sequence and time, and where the task stands, which stays as it was. The time is the transaction's, in whole seconds as GeoReport has it, and at least a second
// after the ticket's last: readers that drop what is not newer lose nothing of what one sync brought.
func LogTicket(tx *Tx, change *fieldsyncv1.TicketChange) error {
	last, err := Get(tx, TicketHeadKey(change.GetTicketId()))
	if err != nil {
		return err
	}
	change.State, change.CompletionId, change.ProofState = last.GetState(), last.GetCompletionId(), last.GetProofState()
	change.MayClose = last.GetMayClose()
	return logTicket(tx, last, change, last.GetUnitId())
}

// logTask enters what a new revision of a task says about its ticket, if it says anything. It compares with the ticket's
// head, which is small, and not with the task as it was.
func logTask(tx *Tx, task *fieldsyncv1.Task) error {
	ticket, completion := task.GetTicket(), task.GetCompletion()
	if ticket.GetTicketId() == "" {
		return nil
	}
	last, err := Get(tx, TicketHeadKey(ticket.GetTicketId()))
	if err != nil {
		return err
	}
	kind := fieldsyncv1.TicketChangeKind_TICKET_CHANGE_KIND_STATUS
	if last.GetState() == task.GetStatus().GetState() && last.GetProofState() == completion.GetProofState() && last.GetCompletionId() == completion.GetCompletionId() {
		if last.GetUnitId() == ticket.GetUnitId() {
			return nil
		}
		kind = fieldsyncv1.TicketChangeKind_TICKET_CHANGE_KIND_REFERRED
	}
	mayClose, err := MayClose(tx, task)
	if err != nil {
		return err
	}
	return logTicket(tx, last, &fieldsyncv1.TicketChange{
		TicketId: ticket.GetTicketId(), HotlineId: ticket.GetHotlineId(), TaskId: task.GetId(), Kind: kind,
		State: task.GetStatus().GetState(), CompletionId: completion.GetCompletionId(), Outcome: completion.GetOutcome(),
		ProofState: completion.GetProofState(), MayClose: mayClose,
	}, ticket.GetUnitId())
}

func logTicket(tx *Tx, last *storagev1.TicketHead, change *fieldsyncv1.TicketChange, unit string) error {
	id, err := tx.NewID()
	if err != nil {
		return err
	}
	head, err := Get(tx, TicketChangeHeadKey())
	if err != nil {
		return err
	}
	at := tx.Now().Truncate(time.Second)
	if next := last.GetChangedAt().AsTime().Add(time.Second); last != nil && next.After(at) {
		at = next
	}
	change.Id, change.Sequence, change.At, change.FromState = id, head.GetSequence()+1, timestamppb.New(at), last.GetState()
	if err := Put(tx, TicketChangeKey(change.GetSequence()), change); err != nil {
		return err
	}
	stub := &fieldsyncv1.TicketChange{Sequence: change.GetSequence(), TicketId: change.GetTicketId()}
	if err := Put(tx, TicketChangeAtKey(at, change.GetSequence()), stub); err != nil {
		return err
	}
	if err := Put(tx, TicketHeadKey(change.GetTicketId()), &storagev1.TicketHead{
		ChangedAt: change.GetAt(), UnitId: unit,
		State: change.GetState(), CompletionId: change.GetCompletionId(), ProofState: change.GetProofState(), MayClose: change.GetMayClose(),
	}); err != nil {
		return err
	}
	tx.Signal(TicketChangesTopic)
	return Put(tx, TicketChangeHeadKey(), &storagev1.SequenceHead{Sequence: change.GetSequence()})
}
