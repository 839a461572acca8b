package server

import (
	"testing"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
	"github.com/cong1022/fieldsync/phone"
)

// Protects what a dispatcher is told of an order: each step when the phone has shown it, and none before. An answer that went
// out is no such sign; a phone that is offline is not said to know of its recall.
func TestDeliveryIsFollowed(t *testing.T) {
	r := settled(t, testConfig(t))
	desk := client(t, false, r.token(t, "sep"))
	orders := fieldsyncv1connect.NewDispatchServiceClient(desk, r.url)
	assignments := fieldsyncv1connect.NewAssignmentServiceClient(desk, r.url)
	if _, err := orders.PutMember(t.Context(), &fieldsyncv1.PutMemberRequest{
		Member: &fieldsyncv1.Member{Id: "an", Name: "An", Role: fieldsyncv1.Role_ROLE_CREW, CrewId: "to-1"},
	}); err != nil {
		t.Fatal(err)
	}
	crew := r.enrol(t, "an", t.TempDir())
	syncs(t, crew)
	task := r.assigned(t)

	want := func(step string, state fieldsyncv1.DeliveryState, recall, synced bool) {
		t.Helper()
		resp, err := assignments.ListDeliveries(t.Context(), &fieldsyncv1.ListDeliveriesRequest{TaskId: task})
		if err != nil {
			t.Fatal(err)
		}
		if len(resp.GetDeliveries()) != 1 {
			t.Fatalf("%s: %v", step, resp)
		}
		d := resp.GetDeliveries()[0]
		if d.GetState() != state || d.GetRecall() != recall || (d.GetSyncedAt() != nil) != synced || resp.GetSummary().GetVi() == "" {
			t.Errorf("%s: %v, want %v", step, resp, state)
		}
	}
	want("ordered", fieldsyncv1.DeliveryState_DELIVERY_STATE_UNREACHED, false, false)
	syncs(t, crew)
	want("answered, which may be lost", fieldsyncv1.DeliveryState_DELIVERY_STATE_UNREACHED, false, false)
	crew.Woken()
	syncs(t, crew)
	want("came back", fieldsyncv1.DeliveryState_DELIVERY_STATE_SYNCED, false, true)
	for range 2 {
		if err := crew.Seen(task); err != nil {
			t.Fatal(err)
		}
	}
	if status, err := crew.Status(); err != nil || status.Queued != 1 {
		t.Errorf("two looks at the task wait as %d mutations: %v", status.Queued, err)
	}
	syncs(t, crew)
	want("seen", fieldsyncv1.DeliveryState_DELIVERY_STATE_SEEN, false, true)
	if err := crew.Accept(task); err != nil {
		t.Fatal(err)
	}
	syncs(t, crew)
	want("accepted", fieldsyncv1.DeliveryState_DELIVERY_STATE_ACCEPTED, false, true)

	if _, err := orders.RecallTask(t.Context(), &fieldsyncv1.RecallTaskRequest{TaskId: task}); err != nil {
		t.Fatal(err)
	}
	want("recalled", fieldsyncv1.DeliveryState_DELIVERY_STATE_UNREACHED, true, false)
	syncs(t, crew)
	syncs(t, crew)
	want("the recall is known", fieldsyncv1.DeliveryState_DELIVERY_STATE_SYNCED, true, true)
}

func syncs(t *testing.T, p *phone.Phone) {
	t.Helper()
	if _, err := p.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
}
