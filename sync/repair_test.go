package sync

import (
	"fmt"
	"testing"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/store"
)

// Protects a replica that is wrong from a full reload: just the parts that differ are sent, whole, and only against the head
// that the replica stands at.
func TestRepairSendsWhatDiffers(t *testing.T) {
	h := newHouse(t)
	ctx := h.device(t, "d", "crew")
	for i := range 40 {
		h.task(t, fmt.Sprintf("t%d", i))
		h.assign(t, fmt.Sprintf("t%d", i), "crew")
	}
	resp, err := h.push(ctx)
	if err != nil {
		t.Fatal(err)
	}
	buckets := make([]uint64, repairBuckets)
	for _, d := range resp.GetTasks() {
		buckets[bucketOf(d.GetTask().GetId())] += store.TaskDigest(d.GetTask().GetId(), d.GetTask().GetRevision())
	}
	repair := func(cursor []byte) *fieldsyncv1.RepairResponse {
		t.Helper()
		fixed, err := h.engine.Repair(ctx, &fieldsyncv1.RepairRequest{Cursor: cursor, Buckets: buckets})
		if err != nil {
			t.Fatal(err)
		}
		return fixed
	}
	if fixed := repair(resp.GetCursor()); len(fixed.GetBuckets()) != 0 || fixed.GetMoved() {
		t.Errorf("nothing is wrong, and it sends %v", fixed)
	}
	wrong := bucketOf("t7")
	buckets[wrong]++         // A task that differs.
	empty := (wrong + 1) % 2 // A bucket in which the replica holds something that it should not.
	for buckets[empty] != 0 || empty == wrong {
		empty++
	}
	buckets[empty] = 5
	fixed := repair(resp.GetCursor())
	sent := make(map[int][]*fieldsyncv1.Task)
	for _, b := range fixed.GetBuckets() {
		sent[int(b.GetIndex())] = b.GetTasks()
	}
	if len(sent) != 2 || len(sent[wrong]) == 0 || len(sent[empty]) != 0 || fixed.GetMore() {
		t.Errorf("buckets %d and %d differ, sent were %v", wrong, empty, sent)
	}
	h.assign(t, "t3", "")
	if fixed := repair(resp.GetCursor()); !fixed.GetMoved() || len(fixed.GetBuckets()) != 0 {
		t.Errorf("the scope has moved on, and it compares: %v", fixed)
	}
}
