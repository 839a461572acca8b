package main

import (
	"google.golang.org/protobuf/proto"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
	"github.com/cong1022/fieldsync/store"
)

// fence notes how things stand before a request, and returns what holds it against how they stand behind it: whoever gives an order, or
// records an answer, under an old assignment epoch moves nothing, and a phone is said to have heard of an order only if it has.
func (w *world) fence(c call, path string) (compare func()) {
	switch path {
	case fieldsyncv1connect.DispatchServiceAssignTaskProcedure:
		return fenceOrder(w, c, &fieldsyncv1.AssignTaskRequest{}, func(r *fieldsyncv1.AssignTaskRequest) *uint64 { return r.ExpectedAssignmentEpoch })
	case fieldsyncv1connect.DispatchServiceRecallTaskProcedure:
		return fenceOrder(w, c, &fieldsyncv1.RecallTaskRequest{}, func(r *fieldsyncv1.RecallTaskRequest) *uint64 { return r.ExpectedAssignmentEpoch })
	case fieldsyncv1connect.DispatchServiceCancelTaskProcedure:
		return fenceOrder(w, c, &fieldsyncv1.CancelTaskRequest{}, func(r *fieldsyncv1.CancelTaskRequest) *uint64 { return r.ExpectedAssignmentEpoch })
	case fieldsyncv1connect.SyncServiceSyncProcedure:
		request := &fieldsyncv1.SyncRequest{}
		if !readCall(c, request) {
			return func() {}
		}
		answers, orders := w.fenceAnswers(request), w.fenceHeard(c)
		return func() {
			answers()
			orders()
		}
	default:
		return func() {}
	}
}

func readCall(c call, request proto.Message) bool {
	sent, err := plain(c.header, c.body)
	return err == nil && proto.Unmarshal(sent, request) == nil
}

// fenceOrder: an order that knows of another assignment than the present one changes nothing. One that does change something begins with
// nobody having heard of it, and is on its way to every phone that has to.
func fenceOrder[M interface {
	proto.Message
	GetTaskId() string
}](w *world, c call, request M, expected func(M) *uint64) (compare func()) {
	if !readCall(c, request) {
		return func() {}
	}
	id := request.GetTaskId()
	before := w.truth().byID[id]
	return func() {
		after := w.truth().byID[id]
		if sameStanding(before, after) {
			return
		}
		if e := expected(request); e != nil && *e != before.GetTask().GetAssignment().GetAssignmentEpoch() {
			w.failf("fence", "an order under the assignment epoch %d moved %s from %v to %v", *e, id,
				before.GetTask().GetAssignment(), after.GetTask().GetAssignment())
		}
		w.checkAnnounced(after, before.GetTask().GetAssignment().GetCrewId())
	}
}

// sameStanding tells whether state, crew and assignment are the same.
func sameStanding(a, b *storagev1.TaskRecord) bool {
	return a.GetTask().GetStatus().GetState() == b.GetTask().GetStatus().GetState() &&
		a.GetTask().GetAssignment().GetAssignmentEpoch() == b.GetTask().GetAssignment().GetAssignmentEpoch() &&
		a.GetTask().GetAssignment().GetCrewId() == b.GetTask().GetAssignment().GetCrewId()
}

// checkAnnounced: each phone of the crew that has the task now, and of the one that had it, is followed, and has not heard of it.
func (w *world) checkAnnounced(record *storagev1.TaskRecord, lost string) {
	task, t := record.GetTask(), w.truth()
	deliveries := make(map[string]*storagev1.Delivery)
	err := w.house.truth.View(w.ctx, func(tx *store.Tx) error {
		for d, err := range store.Scan(tx, store.Deliveries(task.GetId()), nil) {
			if err != nil {
				return err
			}
			if d.GetAssignmentEpoch() == task.GetAssignment().GetAssignmentEpoch() {
				deliveries[d.GetDeviceId()] = d
			}
		}
		return nil
	})
	w.must("reading deliveries", err)
	for id, device := range t.devices {
		crew := t.members[device.GetMemberId()].GetCrewId()
		has := crew != "" && crew == task.GetAssignment().GetCrewId()
		if device.GetRevokedAt() != nil || !has && (crew == "" || crew != lost) {
			continue
		}
		if d := deliveries[id]; d == nil || d.GetSyncedAt() != nil || d.GetRecall() == has {
			w.failf("heard", "the order %d on %s has just been given, and of %s is said %v", task.GetAssignment().GetAssignmentEpoch(), task.GetId(), id, d)
		}
	}
}

// fenceAnswers: what a crew recorded of the state of a task under another assignment than the present one moves nothing.
func (w *world) fenceAnswers(request *fieldsyncv1.SyncRequest) (compare func()) {
	old := make(map[string]*storagev1.TaskRecord)
	t := w.truth()
	present := make(map[string]bool)
	for _, m := range request.GetMutations() {
		record := t.byID[m.GetTaskId()]
		if epoch := m.GetAssignmentEpoch(); epoch == 0 || epoch == record.GetTask().GetAssignment().GetAssignmentEpoch() {
			present[m.GetTaskId()] = true
		} else {
			old[m.GetTaskId()] = record
		}
	}
	return func() {
		after := w.truth()
		for id, before := range old {
			if !present[id] && !sameStanding(before, after.byID[id]) {
				w.failf("fence", "answers under an old assignment epoch moved %s from %v, %v to %v, %v", id, before.GetTask().GetAssignment(),
					before.GetTask().GetStatus(), after.byID[id].GetTask().GetAssignment(), after.byID[id].GetTask().GetStatus())
			}
		}
	}
}

// fenceHeard: of an order is said that a phone has synced it only where the phone held it, or held no more what it took away, when it
// called.
func (w *world) fenceHeard(c call) (compare func()) {
	device, _ := bearer(c)
	open := w.openOrders(device)
	if len(open) == 0 || c.late || c.set.damaged {
		return func() {}
	}
	tasks, err := c.set.phone.Tasks()
	w.must("listing a phone's tasks", err)
	held := make(map[string]uint64)
	for _, task := range tasks {
		held[task.Task.GetId()] = task.Task.GetAssignment().GetAssignmentEpoch()
	}
	t := w.truth()
	return func() {
		for _, stub := range open {
			d := w.delivery(stub, device)
			id, epoch := d.GetTaskId(), d.GetAssignmentEpoch()
			if d.GetSyncedAt() == nil {
				continue
			}
			has, holds := held[id]
			newest := t.byID[id].GetTask().GetAssignment().GetAssignmentEpoch() == epoch
			if holds && has < epoch || !d.GetRecall() && newest && !holds {
				w.failf("heard", "%s is said to have heard of the order %d on %s; it holds it: %t, of %d; %v", c.set.name, epoch, id, holds, has, d)
			}
		}
	}
}

// openOrders are those that a device has not shown to know.
func (w *world) openOrders(device string) (open []*storagev1.Delivery) {
	err := w.house.truth.View(w.ctx, func(tx *store.Tx) error {
		for stub, err := range store.Scan(tx, store.OpenDeliveries(device), nil) {
			if err != nil {
				return err
			}
			open = append(open, stub)
		}
		return nil
	})
	w.must("reading open orders", err)
	return open
}

func (w *world) delivery(stub *storagev1.Delivery, device string) (d *storagev1.Delivery) {
	err := w.house.truth.View(w.ctx, func(tx *store.Tx) (err error) {
		d, err = store.Get(tx, store.DeliveryKey(stub.GetTaskId(), stub.GetAssignmentEpoch(), device))
		return err
	})
	w.must("reading a delivery", err)
	return d
}

// checkHeard: a phone that has come to rest has heard of every order that was given to its crew.
func (w *world) checkHeard(h *handset) {
	t, s := w.truth(), h.status()
	for _, stub := range w.openOrders(s.DeviceID) {
		d := w.delivery(stub, s.DeviceID)
		if store.CrewScope(d.GetCrewId()) == t.scope(h.member) {
			w.failf("heard", "%s is at rest, and is said not to have heard of %v", h.name, d)
		}
	}
}
