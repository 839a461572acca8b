package hotline

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/store"
)

// Protects the log of changes: walked in pages of any size it tells of each change once and in order, from the receipt to the
// closing, says nothing where nothing changed, and gives times that rise in whole seconds.
func TestTicketChanges(t *testing.T) {
	h := newHouse(t)
	h.now = h.now.Add(300 * time.Millisecond)
	ticket, task, completion := h.sealed("1022-1")
	h.submit(report("1022-1", nil))
	h.submit(report("1022-1", func(in *fieldsyncv1.TicketIntake) { in.Title = "Cây đổ hẳn"; in.UnitId = "p-cho-lon" }))
	if _, err := h.AcknowledgeCompletions(h.ctx, &fieldsyncv1.AcknowledgeCompletionsRequest{CompletionIds: []string{completion}}); err != nil {
		t.Fatal(err)
	}
	list := func(cursor []byte, limit uint32) *fieldsyncv1.ListTicketChangesResponse {
		t.Helper()
		response, err := h.ListTicketChanges(h.ctx, &fieldsyncv1.ListTicketChangesRequest{Cursor: cursor, Limit: limit})
		wantCode(t, err, "")
		return response
	}
	var told []string
	for i, c := range list(nil, 0).GetChanges() {
		told = append(told, fmt.Sprintf("%d %d->%d %d", c.GetKind(), c.GetFromState(), c.GetState(), c.GetProofState()))
		if c.GetSequence() != uint64(i+1) || c.GetTicketId() != ticket || c.GetHotlineId() != "1022-1" || c.GetId() == "" {
			t.Errorf("change %d is %v", i, c)
		}
		if want := start.Add(time.Duration(i) * time.Second); !c.GetAt().AsTime().Equal(want) {
			t.Errorf("change %d was at %v, want %v", i, c.GetAt().AsTime(), want)
		}
		if (c.GetKind() >= fieldsyncv1.TicketChangeKind_TICKET_CHANGE_KIND_STATUS) != (c.GetTaskId() == task) {
			t.Errorf("change %d names the task %q", i, c.GetTaskId())
		}
	}
	const received, updated, status, referred = 1, 2, 3, 4
	want := fmt.Sprint([]string{
		fmt.Sprintf("%d 0->0 0", received), fmt.Sprintf("%d 0->6 0", status), fmt.Sprintf("%d 6->6 2", status),
		fmt.Sprintf("%d 6->6 2", updated), fmt.Sprintf("%d 6->6 2", referred), fmt.Sprintf("%d 6->7 3", status),
	})
	if fmt.Sprint(told) != want {
		t.Errorf("got  %v\nwant %v", told, want)
	}
	for _, limit := range []uint32{1, 4, 6} {
		var cursor []byte
		var n uint64
		for {
			page := list(cursor, limit)
			for _, c := range page.GetChanges() {
				if n++; c.GetSequence() != n {
					t.Errorf("pages of %d: %d instead of %d", limit, c.GetSequence(), n)
				}
			}
			if cursor = page.GetCursor(); !page.GetMore() {
				break
			}
		}
		if end := list(cursor, limit); n != 6 || len(end.GetChanges()) != 0 || !bytes.Equal(end.GetCursor(), cursor) {
			t.Errorf("pages of %d: %d changes, then %v", limit, n, end)
		}
	}
	_, err := h.ListTicketChanges(h.ctx, &fieldsyncv1.ListTicketChangesRequest{Cursor: cursor{completionCursor, h.store.ServerEpoch(), 1}.bytes()})
	wantCode(t, err, "cursor_invalid")
	_, err = h.ListTicketChanges(h.ctx, &fieldsyncv1.ListTicketChangesRequest{Cursor: cursor{changeCursor, h.store.ServerEpoch(), 7}.bytes()})
	wantCode(t, err, "cursor_ahead")
}

// Protects what was said to a ticket by somebody outside: it reaches ticket and task as a change of its own kind, and one that does
// not fit leaves both as they were.
func TestComment(t *testing.T) {
	h := newHouse(t)
	ticket, task, _ := h.sealed("1022-1")
	comment := func(text string) error {
		return h.store.Update(h.ctx, func(tx *store.Tx) error {
			stored, err := store.Get(tx, store.TicketKey(ticket))
			if err != nil {
				return err
			}
			return Comment(tx, stored, text)
		})
	}
	wantCode(t, comment("vẫn còn"), "")
	const want = "Cây me ngã ngang đường sau mưa\nvẫn còn"
	if got := h.record(task).GetTask().GetTicket(); got.GetDescription() != want || h.ticket(ticket).GetFacts().GetDescription() != want {
		t.Errorf("the crew reads %q", got.GetDescription())
	}
	wantCode(t, comment(string(make([]rune, maxDescription))), "comment_too_long")
	changes, err := h.ListTicketChanges(h.ctx, &fieldsyncv1.ListTicketChangesRequest{})
	if last := changes.GetChanges()[len(changes.GetChanges())-1]; err != nil || last.GetKind() != fieldsyncv1.TicketChangeKind_TICKET_CHANGE_KIND_COMMENTED ||
		last.GetState() != fieldsyncv1.TaskState_TASK_STATE_DONE {
		t.Errorf("the last change is %v %v", last, err)
	}
}

// Protects the hotline that waits: a long poll answers with what is sealed while it waits, and at once when the server stops.
func TestLongPoll(t *testing.T) {
	h := newHouse(t)
	answers := make(chan int)
	poll := func() {
		got, err := h.ListCompletions(h.ctx, &fieldsyncv1.ListCompletionsRequest{WaitSeconds: 55})
		if err != nil {
			t.Error(err)
		}
		answers <- len(got.GetCompletions())
	}
	go poll()
	h.sealed("1022-1")
	if n := <-answers; n != 1 {
		t.Errorf("%d completions", n)
	}
	changes := make(chan error)
	go func() {
		end, err := h.ListTicketChanges(h.ctx, &fieldsyncv1.ListTicketChangesRequest{
			Cursor: cursor{changeCursor, h.store.ServerEpoch(), 3}.bytes(), WaitSeconds: 55,
		})
		if len(end.GetChanges()) != 0 {
			t.Errorf("the end of the changes has %v", end)
		}
		changes <- err
	}()
	h.Drain()
	h.Drain()
	wantCode(t, <-changes, "")
}
