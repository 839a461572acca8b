package store

import (
	"slices"

	"google.golang.org/protobuf/types/known/timestamppb"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
)

// How far the news of an order has come on its way to each phone. Whoever gives orders begins a delivery, in the order's
// transaction; the outbox's worker says what became of the push, and the sync engine what the phone shows that it knows. So
// the three meet here, as they do in the outbox, and never by import.

// BeginDelivery writes down that a device has to hear of an order on a task, which SaveTask has entered into the log of the
// crew's scope in the same transaction. The caller sets device, member, task, epoch, crew and recall, and failure where no
// push can be sent.
func BeginDelivery(tx *Tx, d *storagev1.Delivery) error {
	scope := CrewScope(d.GetCrewId())
	log, err := Head(tx, scope)
	if err != nil {
		return err
	}
	d.Sequence, d.OrderedAt = log.GetSequence(), tx.Timestamp()
	if d.GetFailure() != "" {
		d.FailedAt = tx.Timestamp()
	}
	head, err := Get(tx, DeliveryHeadKey(d.GetDeviceId()))
	if err != nil {
		return err
	}
	if head.GetScope() != string(scope) {
		head = &storagev1.DeliveryHead{Scope: string(scope)}
	}
	head.Ordered = d.GetSequence()
	if err := Put(tx, DeliveryHeadKey(d.GetDeviceId()), head); err != nil {
		return err
	}
	stub := &storagev1.Delivery{
		TaskId: d.GetTaskId(), AssignmentEpoch: d.GetAssignmentEpoch(), CrewId: d.GetCrewId(), Recall: d.GetRecall(), Sequence: d.GetSequence(),
	}
	if err := Put(tx, OpenDeliveryKey(d.GetDeviceId(), d.GetTaskId()), stub); err != nil {
		return err
	}
	return Put(tx, DeliveryKey(d.GetTaskId(), d.GetAssignmentEpoch(), d.GetDeviceId()), d)
}

// ChangeDelivery lets change say what is new about a delivery, if there is such a one: a row of the outbox, or a mutation, may
// speak of an order from before deliveries were kept.
func ChangeDelivery(tx *Tx, task string, epoch uint64, device string, change func(*storagev1.Delivery)) error {
	if task == "" {
		return nil
	}
	key := DeliveryKey(task, epoch, device)
	d, err := Get(tx, key)
	if err != nil || d == nil {
		return err
	}
	change(d)
	return Put(tx, key, d)
}

// FirstTime sets *at to the transaction's time unless it is set: of each step of a delivery the first counts.
func FirstTime(tx *Tx, at **timestamppb.Timestamp) {
	if *at == nil {
		*at = tx.Timestamp()
	}
}

// OpenOrders tells whether ConfirmOrders would have something to write: a small read, for each sync.
func OpenOrders(tx *Tx, device string, scope Scope, held uint64, woken bool) (bool, error) {
	head, err := Get(tx, DeliveryHeadKey(device))
	if head == nil || head.GetScope() != string(scope) {
		return head != nil && held > 0, err
	}
	if head.GetConfirmed() >= head.GetOrdered() {
		return false, err
	}
	return woken || head.GetConfirmed() < held, err
}

// maxConfirmed bounds what one call of ConfirmOrders writes; the device's next sync goes on.
const maxConfirmed = 500

// ConfirmOrders writes down that a device holds the log of its scope up to held and, where woken, that a push has reached it. A device
// that holds anything of its scope has nothing left of the one that its member was in before: it has heard of what was recalled there,
// and what was given there it has not got, unless the member comes back.
func ConfirmOrders(tx *Tx, device string, scope Scope, held uint64, woken bool) error {
	head, err := Get(tx, DeliveryHeadKey(device))
	if err != nil || head == nil {
		return err
	}
	if head.GetScope() != string(scope) {
		if held == 0 {
			return nil
		}
		head = &storagev1.DeliveryHead{Scope: string(scope)}
	}
	var open []*storagev1.Delivery
	more := false
	for stub, err := range Scan(tx, OpenDeliveries(device), nil) {
		if err != nil {
			return err
		}
		if crew := stub.GetCrewId(); crew != "" && CrewScope(crew) != scope { // Stubs from before they named the crew name none.
			if !stub.GetRecall() || held == 0 {
				continue
			}
			stub.Sequence = 0
		} else {
			head.Ordered = max(head.GetOrdered(), stub.GetSequence())
		}
		if stub.GetSequence() > held && !woken {
			continue
		}
		if more = len(open) == maxConfirmed; more {
			break
		}
		open = append(open, stub)
	}
	for _, stub := range open {
		if err := confirm(tx, device, scope, stub, held, woken); err != nil {
			return err
		}
	}
	if more {
		return nil
	}
	head.Confirmed = max(head.GetConfirmed(), held)
	return Put(tx, DeliveryHeadKey(device), head)
}

func confirm(tx *Tx, device string, scope Scope, stub *storagev1.Delivery, held uint64, woken bool) error {
	heard := stub.GetSequence() <= held
	missed := false
	if heard && !stub.GetRecall() {
		var err error
		if missed, err = leftBefore(tx, scope, stub.GetTaskId(), held); err != nil {
			return err
		}
	}
	err := ChangeDelivery(tx, stub.GetTaskId(), stub.GetAssignmentEpoch(), device, func(d *storagev1.Delivery) {
		if woken {
			FirstTime(tx, &d.DeliveredAt)
		}
		if heard && !missed {
			FirstTime(tx, &d.SyncedAt)
		}
	})
	if err != nil || !heard {
		return err
	}
	return Delete(tx, OpenDeliveryKey(device, stub.GetTaskId()))
}

// leftBefore tells whether a task has left the scope by the sequence held. A device that is first heard of behind that has read of the
// end of an order, not of the order: nothing shows that it ever had the task.
func leftBefore(tx *Tx, scope Scope, task string, held uint64) (bool, error) {
	record, err := Get(tx, TaskKey(task))
	if err != nil || record == nil || slices.Contains(record.GetScopes(), string(scope)) {
		return false, err
	}
	removal, err := Get(tx, ScopePlaceKey(scope, task)) // None where it is forgotten: it is older than what any device holds.
	return removal.GetSequence() <= held, err
}
