package sync

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
)

// Protects: a remembered task is given for its own revision only, and never changed by whoever reads it: each phone gets what
// the store holds, in whichever order changes and reads come.
func TestRememberedTasks(t *testing.T) {
	h := newHouse(t)
	phone := h.device(t, "d1", "c1")
	h.task(t, "t1")
	h.assign(t, "t1", "c1")
	var cursor []byte
	for round := range 5 {
		if round%2 == 1 {
			h.mustPush(phone, t, note(uint64(round/2+1), "t1", "ghi chú"))
		} else {
			h.assign(t, "t1", "c1")
		}
		stored := h.load(t, "t1")
		for range 2 { // From the store or the push, then from memory.
			whole, err := h.engine.Sync(phone, &fieldsyncv1.SyncRequest{})
			if err != nil {
				t.Fatal(err)
			}
			if got := whole.GetTasks()[0].GetTask(); !proto.Equal(got, stored) {
				t.Fatalf("round %d: got %v, want %v", round, got, stored)
			}
			delta, err := h.engine.Sync(phone, &fieldsyncv1.SyncRequest{Cursor: cursor})
			if err != nil {
				t.Fatal(err)
			}
			if got := delta.GetTasks()[0].GetTask(); got.GetRevision() != stored.GetRevision() {
				t.Fatalf("round %d: revision %d, want %d", round, got.GetRevision(), stored.GetRevision())
			}
		}
		whole, err := h.engine.Sync(phone, &fieldsyncv1.SyncRequest{})
		if err != nil {
			t.Fatal(err)
		}
		cursor = whole.GetCursor()
	}
}

// Protects: the memory of tasks is bounded by their bytes.
func TestTaskMemoryIsBounded(t *testing.T) {
	var m taskMemory
	text := strings.Repeat("x", 10<<10)
	for i := range 4 * rememberedBytes / len(text) {
		task := &fieldsyncv1.Task{Id: fmt.Sprint(i), Revision: 1, Ticket: &fieldsyncv1.TicketFacet{Description: text}}
		m.put(task, proto.Size(task))
	}
	held := 0
	for _, tasks := range []map[string]*fieldsyncv1.Task{m.young, m.aged} {
		for _, task := range tasks {
			held += proto.Size(task)
		}
	}
	if held > 2*rememberedBytes {
		t.Errorf("%d bytes are held", held)
	}
	if m.get("0", 1) != nil {
		t.Error("the oldest task is still held")
	}
}
