package hotline

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/store"
)

const (
	claimed   = fieldsyncv1.ProofState_PROOF_STATE_CLAIMED
	delivered = fieldsyncv1.ProofState_PROOF_STATE_DELIVERED
)

// Protects the feed: walked in pages of any size it gives each sealed completion once, in the order of sealing, with the
// bytes that were signed; and a cursor waits for what comes next.
func TestFeed(t *testing.T) {
	h := newHouse(t)
	list := func(cursor []byte, limit uint32) *fieldsyncv1.ListCompletionsResponse {
		t.Helper()
		response, err := h.ListCompletions(h.ctx, &fieldsyncv1.ListCompletionsRequest{Cursor: cursor, Limit: limit})
		wantCode(t, err, "")
		return response
	}
	if empty := list(nil, 0); len(empty.GetCursor())+len(empty.GetCompletions()) != 0 || empty.GetMore() {
		t.Fatalf("the empty feed answers %v", empty)
	}
	var want []string
	for i := range 7 {
		_, _, id := h.sealed(fmt.Sprint("1022-", i))
		want = append(want, id)
	}
	h.completion(h.task(h.submit(report("1022-claimed", nil))[0].GetTicketId()), claimed)
	for _, limit := range []uint32{1, 3, 7, 0} {
		var got []string
		var cursor []byte
		for {
			response := list(cursor, limit)
			for _, c := range response.GetCompletions() {
				got = append(got, c.GetId())
				if c.GetDecoded().GetCompletionId() != c.GetId() || len(c.GetSignature()) != 64 || c.GetKeyId() != "key" ||
					c.GetState() != fieldsyncv1.ProofState_PROOF_STATE_SEALED {
					t.Fatalf("the completion is %v", c)
				}
			}
			cursor = response.GetCursor()
			if !response.GetMore() {
				break
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("pages of %d: got %v, want %v", limit, got, want)
		}
		if end := list(cursor, limit); len(end.GetCompletions()) != 0 || !bytes.Equal(end.GetCursor(), cursor) || end.GetMore() {
			t.Fatalf("behind the end: %v", end)
		}
	}
	end := list(nil, 0).GetCursor()
	_, _, next := h.sealed("1022-next")
	if got := list(end, 0).GetCompletions(); len(got) != 1 || got[0].GetId() != next {
		t.Fatalf("what was sealed later: %v", got)
	}
}

// Protects the hotline from a cursor that lies: what this server did not give is refused, and what a server gave that was
// restored since is told apart, so that the hotline begins again.
func TestForeignCursors(t *testing.T) {
	h := newHouse(t)
	h.sealed("1022-1")
	epoch := h.store.ServerEpoch()
	for _, c := range []struct {
		name, code string
		cursor     []byte
	}{
		{"empty", "", nil},
		{"head", "", cursor{completionCursor, epoch, 1}.bytes()},
		{"beginning", "", cursor{completionCursor, epoch, 0}.bytes()},
		{"ahead", "cursor_ahead", cursor{completionCursor, epoch, 2}.bytes()},
		{"far ahead", "cursor_ahead", cursor{completionCursor, epoch, 1<<64 - 1}.bytes()},
		{"other epoch", "cursor_ahead", cursor{completionCursor, epoch + 2, 1}.bytes()},
		{"other version", "cursor_invalid", append([]byte{2}, cursor{completionCursor, epoch, 1}.bytes()[1:]...)},
		{"of another list", "cursor_invalid", cursor{changeCursor, epoch, 1}.bytes()},
		{"with claims", "", feedCursor{epoch, true, [2]uint64{1, 0}}.bytes()},
		{"with claims, seals ahead", "cursor_ahead", feedCursor{epoch, true, [2]uint64{2, 0}}.bytes()},
		{"with claims, short", "cursor_invalid", feedCursor{epoch, true, [2]uint64{1, 0}}.bytes()[:20]},
		{"short", "cursor_invalid", cursor{completionCursor, epoch, 1}.bytes()[:12]},
		{"long", "cursor_invalid", append(cursor{completionCursor, epoch, 1}.bytes(), 0)},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := h.ListCompletions(h.ctx, &fieldsyncv1.ListCompletionsRequest{Cursor: c.cursor})
			wantCode(t, err, c.code)
		})
	}
	_, err := h.ListCompletions(t.Context(), &fieldsyncv1.ListCompletionsRequest{})
	wantCode(t, err, "token_missing")
}

// Protects the end of the way: the acknowledgement delivers the proof, closes task and ticket, takes the task from the crew
// and leaves it with the unit; a repeat changes nothing.
func TestAcknowledge(t *testing.T) {
	h := newHouse(t)
	ticket, task, id := h.sealed("1022-1")
	ack := func(ids ...string) (*fieldsyncv1.AcknowledgeCompletionsResponse, error) {
		return h.AcknowledgeCompletions(h.ctx, &fieldsyncv1.AcknowledgeCompletionsRequest{CompletionIds: ids})
	}
	h.now = h.now.Add(time.Hour)
	response, err := ack(id, id)
	wantCode(t, err, "")
	if response.GetNewlyAcknowledged() != 1 {
		t.Fatalf("newly acknowledged: %d", response.GetNewlyAcknowledged())
	}
	record := h.record(task)
	got := record.GetTask()
	if s := got.GetStatus(); s.GetState() != fieldsyncv1.TaskState_TASK_STATE_CLOSED || s.GetRevision() != 3 || s.GetByMemberId() != "tong-dai" || !s.GetSince().AsTime().Equal(h.now) {
		t.Fatalf("the status is %v", s)
	}
	if c := got.GetCompletion(); c.GetProofState() != delivered || c.GetRevision() != 3 || got.GetRevision() != 3 {
		t.Fatalf("the completion is %v at revision %d", c, got.GetRevision())
	}
	if until := record.GetTenures()[0].GetUntil(); !until.AsTime().Equal(h.now) {
		t.Fatalf("the crew's time ended at %v", until)
	}
	if e := h.entry(store.CrewScope("cay-xanh"), task); !e.GetRemoved() || e.GetReason() != fieldsyncv1.RemovalReason_REMOVAL_REASON_CLOSED {
		t.Fatalf("the crew's log has %v", e)
	}
	if e := h.entry(store.UnitScope("p-sai-gon"), task); e.GetRemoved() || e.GetRevision() != 3 {
		t.Fatalf("the unit's log has %v", e)
	}
	if at := h.ticket(ticket).GetClosedAt(); !at.AsTime().Equal(h.now) {
		t.Fatalf("the ticket was closed at %v", at)
	}
	list, err := h.ListCompletions(h.ctx, &fieldsyncv1.ListCompletionsRequest{})
	wantCode(t, err, "")
	if list.GetCompletions()[0].GetState() != delivered {
		t.Fatal("the feed does not say that the completion is delivered")
	}

	h.now = h.now.Add(time.Hour)
	response, err = ack(id)
	wantCode(t, err, "")
	if response.GetNewlyAcknowledged() != 0 {
		t.Fatal("the repeat acknowledged it again")
	}
	wantEqual(t, "the task after the repeat", h.record(task), record)
}

// Protects the hotline's books: an id that is unknown or not sealed yet fails the call, and nothing of it was acknowledged.
func TestAcknowledgeAllOrNone(t *testing.T) {
	h := newHouse(t)
	_, task, id := h.sealed("1022-1")
	waiting := h.completion(h.task(h.submit(report("1022-2", nil))[0].GetTicketId()), claimed)
	for _, bad := range []string{waiting, "none", "a\x00b"} {
		_, err := h.AcknowledgeCompletions(h.ctx, &fieldsyncv1.AcknowledgeCompletionsRequest{CompletionIds: []string{id, bad}})
		wantCode(t, err, "completion_unknown")
		if h.record(task).GetTask().GetStatus().GetState() != fieldsyncv1.TaskState_TASK_STATE_DONE {
			t.Fatalf("%q: the good one was acknowledged", bad)
		}
	}
	_, err := h.AcknowledgeCompletions(t.Context(), &fieldsyncv1.AcknowledgeCompletionsRequest{CompletionIds: []string{id}})
	wantCode(t, err, "token_missing")
}

// Protects the dispatcher's word: a completion that came late is delivered and closes nothing.
func TestAcknowledgeLateCompletion(t *testing.T) {
	h := newHouse(t)
	ticket, task, id := h.sealed("1022-1")
	h.update(func(tx *store.Tx) error {
		record, err := store.Get(tx, store.TaskKey(task))
		if err != nil {
			return err
		}
		record.Task.LateCompletions, record.Task.Completion = []*fieldsyncv1.CompletionFacet{record.GetTask().GetCompletion()}, nil
		record.Task.Status.State, record.Task.Status.Revision = fieldsyncv1.TaskState_TASK_STATE_CANCELLED, store.NextRevision(record)
		return store.SaveTask(tx, record, 0)
	})
	response, err := h.AcknowledgeCompletions(h.ctx, &fieldsyncv1.AcknowledgeCompletionsRequest{CompletionIds: []string{id}})
	wantCode(t, err, "")
	got := h.record(task).GetTask()
	if response.GetNewlyAcknowledged() != 1 || got.GetLateCompletions()[0].GetProofState() != delivered ||
		got.GetStatus().GetState() != fieldsyncv1.TaskState_TASK_STATE_CANCELLED || h.ticket(ticket).GetClosedAt() != nil {
		t.Fatalf("the task is %v", got)
	}
}

// Protects the largest call that the API allows from the store's limit on a transaction: it is split.
func TestAcknowledgeManyLargeTasks(t *testing.T) {
	if testing.Short() {
		t.Skip("the largest acknowledgement (500 tasks) is left out under -short")
	}
	h := newHouse(t)
	var ids []string
	for i := range 500 {
		_, _, id := h.sealed(fmt.Sprint("1022-", i))
		ids = append(ids, id)
	}
	response, err := h.AcknowledgeCompletions(h.ctx, &fieldsyncv1.AcknowledgeCompletionsRequest{CompletionIds: ids})
	wantCode(t, err, "")
	if response.GetNewlyAcknowledged() != 500 {
		t.Fatalf("newly acknowledged: %d", response.GetNewlyAcknowledged())
	}
	h.view(func(tx *store.Tx) error {
		for task, err := range store.Scan(tx, store.Tasks(), nil) {
			if err != nil {
				return err
			}
			if state := task.GetTask().GetStatus().GetState(); state != fieldsyncv1.TaskState_TASK_STATE_CLOSED {
				return fmt.Errorf("the task %s is %v", task.GetTask().GetId(), state)
			}
		}
		return nil
	})
}

// Protects the answer from a page of heavy records: it ends early and says that more is waiting.
func TestFeedPageEndsByBytes(t *testing.T) {
	h := newHouse(t)
	for i := range 4 {
		_, _, id := h.sealed(fmt.Sprint("1022-", i))
		h.update(func(tx *store.Tx) error {
			c, err := store.Get(tx, store.CompletionKey(id))
			if err != nil {
				return err
			}
			c.Record, err = heavy(c)
			if err != nil {
				return err
			}
			return store.Put(tx, store.CompletionKey(id), c)
		})
	}
	response, err := h.ListCompletions(h.ctx, &fieldsyncv1.ListCompletionsRequest{})
	wantCode(t, err, "")
	if len(response.GetCompletions()) != 3 || !response.GetMore() {
		t.Fatalf("%d completions, more %v; want 3 and more", len(response.GetCompletions()), response.GetMore())
	}
}

// Protects the cursor's parser: what it takes is what bytes writes, and nothing makes it panic.
func FuzzParseCursor(f *testing.F) {
	f.Add([]byte{})
	f.Add(cursor{completionCursor, 1, 1}.bytes())
	f.Add([]byte{1, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := parseCursor(completionCursor, b, 7)
		switch {
		case err != nil:
			wantCode(t, err, "cursor_invalid")
		case len(b) == 0 && c != (cursor{completionCursor, 7, 0}):
			t.Fatalf("the empty cursor is %v", c)
		case len(b) > 0 && !bytes.Equal(c.bytes(), b):
			t.Fatalf("%x was read as %v", b, c)
		}
	})
}

// heavy is the completion's record with notes of 400 KiB.
func heavy(c *storagev1.Completion) ([]byte, error) {
	record := &fieldsyncv1.CompletionRecord{}
	if err := proto.Unmarshal(c.GetRecord(), record); err != nil {
		return nil, err
	}
	record.Note = strings.Repeat("x", 400<<10)
	return proto.Marshal(record)
}
