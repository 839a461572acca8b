package server

import (
	"errors"
	"testing"

	"connectrpc.com/connect"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
)

// Protects the stream of changes: it tells all that lies behind the cursor, then each change as it is made, once and in order; whoever
// breaks off goes on from the last cursor without a gap; a cursor of the other feed is refused, and a stop of the server ends it.
func TestWatchTicketChanges(t *testing.T) {
	r := settled(t, testConfig(t))
	task := r.assigned(t)
	desk := fieldsyncv1connect.NewHotlineServiceClient(client(t, true, r.token(t, "tong-dai")), r.url)
	watch := func(cursor []byte) *connect.ServerStreamForClient[fieldsyncv1.WatchTicketChangesResponse] {
		t.Helper()
		stream, err := desk.WatchTicketChanges(t.Context(), &fieldsyncv1.WatchTicketChangesRequest{Cursor: cursor})
		if err != nil {
			t.Fatal(err)
		}
		return stream
	}
	var cursor []byte
	var told uint64
	until := func(stream *connect.ServerStreamForClient[fieldsyncv1.WatchTicketChangesResponse], proof fieldsyncv1.ProofState, state fieldsyncv1.TaskState) {
		t.Helper()
		for stream.Receive() {
			done := false
			for _, c := range stream.Msg().GetChanges() {
				if told++; c.GetSequence() != told {
					t.Fatalf("the change %d comes in the place of %d", c.GetSequence(), told)
				}
				done = done || c.GetProofState() == proof && c.GetState() == state
			}
			if cursor = stream.Msg().GetCursor(); done {
				return
			}
		}
		t.Fatalf("the stream ended: %v", stream.Err())
	}

	first := watch(nil)
	until(first, 0, fieldsyncv1.TaskState_TASK_STATE_ASSIGNED)
	crew := r.enrol(t, "an", t.TempDir())
	if _, err := crew.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := crew.Start(task); err != nil {
		t.Fatal(err)
	}
	if _, err := crew.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	until(first, 0, fieldsyncv1.TaskState_TASK_STATE_STARTED)
	if err := first.Close(); err != nil && !errors.Is(err, t.Context().Err()) {
		t.Fatal(err)
	}
	// While nobody listens the crew goes on.
	if err := crew.Complete(task, fieldsyncv1.Outcome_OUTCOME_REPAIRED, "xong"); err != nil {
		t.Fatal(err)
	}
	if _, err := crew.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	second := watch(cursor)
	defer second.Close()
	until(second, fieldsyncv1.ProofState_PROOF_STATE_SEALED, fieldsyncv1.TaskState_TASK_STATE_DONE)

	completions, err := desk.ListCompletions(t.Context(), &fieldsyncv1.ListCompletionsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	foreign := watch(completions.GetCursor())
	defer foreign.Close()
	if foreign.Receive() || connect.CodeOf(foreign.Err()) != connect.CodeInvalidArgument {
		t.Errorf("with a cursor of the other feed: %v", foreign.Err())
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if second.Receive() || connect.CodeOf(second.Err()) != connect.CodeUnavailable {
		t.Errorf("the stream ends with %v", second.Err())
	}
}
