package dispatch

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/store"
)

// ListDeliveries tells how far the newest order of a task has come on each phone. Errors: NotFound "task_unknown".
func (s *Service) ListDeliveries(ctx context.Context, request *fieldsyncv1.ListDeliveriesRequest) (*fieldsyncv1.ListDeliveriesResponse, error) {
	p, err := dispatcher(ctx)
	if err != nil {
		return nil, err
	}
	response := &fieldsyncv1.ListDeliveriesResponse{}
	return response, s.store.View(ctx, func(tx *store.Tx) error {
		record, err := p.LoadTask(tx, request.GetTaskId())
		if err != nil {
			return err
		}
		deliveries, err := newestDeliveries(tx, record.GetTask())
		for _, d := range deliveries {
			response.Deliveries = append(response.Deliveries, showDelivery(d))
		}
		response.Summary = summary(response.GetDeliveries())
		return err
	})
}

// newestDeliveries are those of the task's newest order, and of older recalls those whose phones have not been heard of since.
// A device appears once, with the newest that concerns it.
func newestDeliveries(tx *store.Tx, task *fieldsyncv1.Task) ([]*storagev1.Delivery, error) {
	newest := make(map[string]*storagev1.Delivery)
	for d, err := range store.Scan(tx, store.Deliveries(task.GetId()), nil) {
		if err != nil {
			return nil, err
		}
		newest[d.GetDeviceId()] = d // They come in the order of the orders.
	}
	var deliveries []*storagev1.Delivery
	for _, d := range newest {
		if d.GetAssignmentEpoch() == task.GetAssignment().GetAssignmentEpoch() || d.GetRecall() && d.GetSyncedAt() == nil {
			deliveries = append(deliveries, d)
		}
	}
	slices.SortFunc(deliveries, func(a, b *storagev1.Delivery) int {
		if a.GetRecall() != b.GetRecall() {
			if a.GetRecall() {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(a.GetCrewId(), b.GetCrewId()), cmp.Compare(a.GetDeviceId(), b.GetDeviceId()))
	})
	return deliveries, nil
}

func showDelivery(d *storagev1.Delivery) *fieldsyncv1.Delivery {
	return &fieldsyncv1.Delivery{
		DeviceId: d.GetDeviceId(), MemberId: d.GetMemberId(), CrewId: d.GetCrewId(), AssignmentEpoch: d.GetAssignmentEpoch(),
		Recall: d.GetRecall(), State: deliveryState(d), OrderedAt: d.GetOrderedAt(), SentAt: d.GetSentAt(),
		DeliveredAt: d.GetDeliveredAt(), SyncedAt: d.GetSyncedAt(), SeenAt: d.GetSeenAt(), AcceptedAt: d.GetAcceptedAt(),
		FailedAt: d.GetFailedAt(), Failure: d.GetFailure(),
	}
}

// deliveryState is the farthest step that was heard of.
func deliveryState(d *storagev1.Delivery) fieldsyncv1.DeliveryState {
	switch {
	case d.GetAcceptedAt() != nil:
		return fieldsyncv1.DeliveryState_DELIVERY_STATE_ACCEPTED
	case d.GetSeenAt() != nil:
		return fieldsyncv1.DeliveryState_DELIVERY_STATE_SEEN
	case d.GetSyncedAt() != nil:
		return fieldsyncv1.DeliveryState_DELIVERY_STATE_SYNCED
	case d.GetDeliveredAt() != nil:
		return fieldsyncv1.DeliveryState_DELIVERY_STATE_DELIVERED
	case d.GetSentAt() != nil:
		return fieldsyncv1.DeliveryState_DELIVERY_STATE_SENT
	case d.GetFailure() != "":
		return fieldsyncv1.DeliveryState_DELIVERY_STATE_UNREACHED
	default:
		return fieldsyncv1.DeliveryState_DELIVERY_STATE_ORDERED
	}
}

// summary says in a line what a dispatcher wants to know first.
func summary(deliveries []*fieldsyncv1.Delivery) *fieldsyncv1.Sentence {
	var phones, synced, seen, unheard int
	for _, d := range deliveries {
		switch {
		case d.GetRecall() && d.GetSyncedAt() == nil:
			unheard++
		case d.GetRecall():
		default:
			phones++
			if d.GetState() == fieldsyncv1.DeliveryState_DELIVERY_STATE_SYNCED {
				synced++
			}
			if d.GetSeenAt() != nil {
				seen++
			}
		}
	}
	said := &fieldsyncv1.Sentence{}
	switch {
	case phones == 0:
	case seen > 0:
		said.Vi, said.En = fmt.Sprintf("Đã xem trên %d trong %d máy.", seen, phones), fmt.Sprintf("Seen on %d of %d phones.", seen, phones)
	case synced > 0:
		said.Vi = fmt.Sprintf("Đã về %d trong %d máy, chưa ai xem.", synced, phones)
		said.En = fmt.Sprintf("On %d of %d phones, and nobody has opened it yet.", synced, phones)
	default:
		said.Vi = fmt.Sprintf("Chưa về máy nào trong %d máy của tổ.", phones)
		said.En = fmt.Sprintf("On none of the crew's %d phones yet.", phones)
	}
	if unheard > 0 {
		said.Vi = fmt.Sprintf("Đã thu hồi, nhưng %d máy của tổ cũ chưa biết. %s", unheard, said.GetVi())
		said.En = fmt.Sprintf("Recalled, but %d phones of the former crew have not heard of it yet. %s", unheard, said.GetEn())
	}
	if phones+unheard == 0 {
		said.Vi, said.En = "Không máy nào phải nhận tin.", "No phone has to hear of it."
	}
	return said
}
