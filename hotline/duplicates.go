package hotline

import (
	"fmt"

	"google.golang.org/protobuf/types/known/timestamppb"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/store"
)

// maxDuplicates bounds the duplicates of a ticket: all of them hear of its end in one transaction.
const maxDuplicates = 1000

// linkDuplicate makes a ticket the duplicate of another, or of the one of which that is a duplicate itself, with all that were its
// own. changed is false where it was so already. The caller stores the ticket. Errors: NotFound "parent_unknown", Invalid
// "parent_invalid".
func linkDuplicate(tx *store.Tx, ticket *storagev1.Ticket, parentHotlineID string) (changed bool, err error) {
	parent, err := rootTicket(tx, parentHotlineID)
	if err != nil {
		return false, err
	}
	switch {
	case parent == nil:
		return false, fault.New(fault.NotFound, "parent_unknown",
			fmt.Sprintf("Phiếu %s ghi phiếu gốc %s nhưng không có phiếu này: hãy nhập phiếu gốc trước.", ticket.GetFacts().GetHotlineId(), parentHotlineID),
			fmt.Sprintf("The ticket %s names the parent %s, which does not exist: hand that one over first.", ticket.GetFacts().GetHotlineId(), parentHotlineID))
	case parent.GetId() == ticket.GetId():
		return false, fault.New(fault.Invalid, "parent_invalid",
			fmt.Sprintf("Phiếu %s không thể trùng với chính nó hay với phiếu trùng của nó.", ticket.GetFacts().GetHotlineId()),
			fmt.Sprintf("The ticket %s can be a duplicate neither of itself nor of one of its own.", ticket.GetFacts().GetHotlineId()))
	case parent.GetId() == ticket.GetParentId():
		return false, nil
	}
	own, err := duplicatesOf(tx, ticket.GetId())
	if err != nil {
		return false, err
	}
	others, err := duplicatesOf(tx, parent.GetId())
	if err != nil {
		return false, err
	}
	if len(own)+len(others) >= maxDuplicates {
		return false, fault.New(fault.Invalid, "parent_invalid",
			fmt.Sprintf("Phiếu %s đã có 1.000 phiếu trùng.", parent.GetFacts().GetHotlineId()),
			fmt.Sprintf("The ticket %s has 1,000 duplicates already.", parent.GetFacts().GetHotlineId()))
	}
	for _, id := range own {
		duplicate, err := store.Get(tx, store.TicketKey(id))
		if err != nil {
			return false, err
		}
		if err := moveDuplicate(tx, duplicate, parent); err != nil {
			return false, err
		}
		if err := store.Put(tx, store.TicketKey(id), duplicate); err != nil {
			return false, err
		}
	}
	return true, moveDuplicate(tx, ticket, parent)
}

func moveDuplicate(tx *store.Tx, ticket, parent *storagev1.Ticket) error {
	if former := ticket.GetParentId(); former != "" {
		if err := store.Delete(tx, store.TicketDuplicateKey(former, ticket.GetId())); err != nil {
			return err
		}
	}
	ticket.ParentId = parent.GetId()
	if err := store.Put(tx, store.TicketDuplicateKey(parent.GetId(), ticket.GetId()), &storagev1.Ticket{Id: ticket.GetId()}); err != nil {
		return err
	}
	return store.LogTicket(tx, &fieldsyncv1.TicketChange{
		TicketId: ticket.GetId(), HotlineId: ticket.GetFacts().GetHotlineId(), TaskId: ticket.GetTaskId(),
		Kind: fieldsyncv1.TicketChangeKind_TICKET_CHANGE_KIND_DUPLICATE, ParentHotlineId: parent.GetFacts().GetHotlineId(),
	})
}

// rootTicket is the ticket with the hotline's id, or the one of which it is a duplicate. Nil where there is none.
func rootTicket(tx *store.Tx, hotlineID string) (*storagev1.Ticket, error) {
	ticket, err := TicketByHotlineID(tx, hotlineID)
	if err != nil || ticket.GetParentId() == "" {
		return ticket, err
	}
	return store.Get(tx, store.TicketKey(ticket.GetParentId()))
}

// duplicatesOf are the ids of a ticket's duplicates, by age.
func duplicatesOf(tx *store.Tx, ticket string) (ids []string, err error) {
	for stub, err := range store.Scan(tx, store.TicketDuplicates(ticket), nil) {
		if err != nil {
			return nil, err
		}
		ids = append(ids, stub.GetId())
	}
	return ids, nil
}

// closeDuplicates tells of each duplicate that it ends with its ticket. A duplicate that crews work on by itself ends by itself.
// Nothing is stored in the duplicates: closedAt derives it.
func closeDuplicates(tx *store.Tx, ticket *storagev1.Ticket) error {
	return tellDuplicates(tx, ticket, fieldsyncv1.TicketChangeKind_TICKET_CHANGE_KIND_CLOSED_WITH_PARENT)
}

// Reopen opens the ticket of a task again, with its duplicates, in the transaction that opens the task. One that the hotline has not
// closed yet is open.
func Reopen(tx *store.Tx, id string) error {
	ticket, err := store.Get(tx, store.TicketKey(id))
	if err != nil || ticket.GetClosedAt() == nil {
		return err
	}
	ticket.ClosedAt = nil
	if err := store.Put(tx, store.TicketKey(id), ticket); err != nil {
		return err
	}
	return tellDuplicates(tx, ticket, fieldsyncv1.TicketChangeKind_TICKET_CHANGE_KIND_REOPENED_WITH_PARENT)
}

func tellDuplicates(tx *store.Tx, ticket *storagev1.Ticket, kind fieldsyncv1.TicketChangeKind) error {
	ids, err := duplicatesOf(tx, ticket.GetId())
	if err != nil {
		return err
	}
	for _, id := range ids {
		duplicate, err := store.Get(tx, store.TicketKey(id))
		if err != nil {
			return err
		}
		if duplicate.GetTaskId() != "" || duplicate.GetWithdrawnAt() != nil {
			continue
		}
		if err := store.LogTicket(tx, &fieldsyncv1.TicketChange{
			TicketId: id, HotlineId: duplicate.GetFacts().GetHotlineId(),
			Kind: kind, ParentHotlineId: ticket.GetFacts().GetHotlineId(),
		}); err != nil {
			return err
		}
	}
	return nil
}

// closedAt is when a ticket was closed: by itself, or with the one of which it is a duplicate. parent is nil where it is none.
func closedAt(ticket, parent *storagev1.Ticket) *timestamppb.Timestamp {
	if ticket.GetClosedAt() == nil && ticket.GetTaskId() == "" && ticket.GetWithdrawnAt() == nil {
		return parent.GetClosedAt()
	}
	return ticket.GetClosedAt()
}

func parentOf(tx *store.Tx, ticket *storagev1.Ticket) (*storagev1.Ticket, error) {
	if ticket.GetParentId() == "" {
		return nil, nil //nolint:nilnil // It is no duplicate, which is no error.
	}
	return store.Get(tx, store.TicketKey(ticket.GetParentId()))
}
