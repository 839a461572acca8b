package sync

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"connectrpc.com/connect"
	"pgregory.net/rapid"

	"github.com/cong1022/fieldsync/auth"
	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/store"
)

// serve puts the engine behind HTTP, every call being made by the principal of ctx.
func (h *house) serve(ctx context.Context, t *testing.T) fieldsyncv1connect.SyncServiceClient {
	t.Helper()
	p, err := auth.PrincipalFrom(ctx)
	if err != nil {
		t.Fatal(err)
	}
	_, handler := fieldsyncv1connect.NewSyncServiceHandler(h.engine)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handler.ServeHTTP(w, r.WithContext(auth.WithPrincipal(r.Context(), p)))
	}))
	t.Cleanup(server.Close)
	return fieldsyncv1connect.NewSyncServiceClient(server.Client(), server.URL)
}

// Protects the live change: a stream that knows the cursor carries what changed, small enough, in order and applicable to
// the replica at its other end; a change that is too large, or a cursor that does not fit, is left to Sync from then on.
func TestWatchCarriesSmallDeltas(t *testing.T) {
	h := newHouse(t)
	ctx := h.device(t, "d", "crew")
	h.task(t, "t")
	h.assign(t, "t", "crew")
	client := h.serve(ctx, t)
	first, err := h.push(ctx)
	if err != nil {
		t.Fatal(err)
	}
	watch := func(cursor []byte) *connect.ServerStreamForClient[fieldsyncv1.WatchResponse] {
		t.Helper()
		stream, err := client.Watch(t.Context(), &fieldsyncv1.WatchRequest{Cursor: cursor, DeltaBytes: 200})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = stream.Close() })
		return stream
	}
	next := func(stream *connect.ServerStreamForClient[fieldsyncv1.WatchResponse]) *fieldsyncv1.WatchResponse {
		t.Helper()
		if !stream.Receive() {
			t.Fatal(stream.Err())
		}
		return stream.Msg()
	}
	knows, heads, unfit := watch(first.GetCursor()), watch(nil), watch(cursor{serverEpoch: 1}.encode())
	for _, stream := range []*connect.ServerStreamForClient[fieldsyncv1.WatchResponse]{knows, heads, unfit} {
		if m := next(stream); m.GetDelta() != nil || m.GetHead().GetSequence() != 1 {
			t.Errorf("at the start: %v", m)
		}
	}
	h.mustPush(ctx, t, note(1, "t", "ngắn"))
	if m := next(knows); len(m.GetDelta().GetTasks()) != 1 || m.GetDelta().GetTasks()[0].GetWhole() || len(m.GetDelta().GetTasks()[0].GetTask().GetNotes()) != 1 {
		t.Errorf("a note: %v", m)
	}
	for _, stream := range []*connect.ServerStreamForClient[fieldsyncv1.WatchResponse]{heads, unfit} {
		if m := next(stream); m.GetDelta() != nil || m.GetHead().GetSequence() != 2 {
			t.Errorf("a note, heads only: %v", m)
		}
	}
	h.mustPush(ctx, t, note(2, "t", string(make([]byte, 1900))))
	if m := next(knows); m.GetDelta() != nil || m.GetHead().GetSequence() != 3 {
		t.Errorf("a change that is too large: %v", m)
	}
	h.mustPush(ctx, t, note(3, "t", "ngắn"))
	if m := next(knows); m.GetDelta() != nil || m.GetHead().GetSequence() != 4 {
		t.Errorf("a change behind one that was not carried: %v", m)
	}
	h.engine.Drain()
	if knows.Receive() || connect.CodeOf(knows.Err()) == connect.CodeCanceled {
		t.Errorf("after the drain: %v", knows.Err())
	}
}

// Protects deny by default over time: a stream that outlives its right to the scope, because the member has moved to another
// crew or the device was revoked, carries nothing more.
func TestWatchEndsWithTheRight(t *testing.T) {
	for name, change := range map[string]func(tx *store.Tx) error{
		"scope_moved": func(tx *store.Tx) error {
			return store.Put(tx, store.MemberKey("member-d"), &fieldsyncv1.Member{Id: "member-d", Role: fieldsyncv1.Role_ROLE_CREW, CrewId: "another"})
		},
		"device_revoked": func(tx *store.Tx) error {
			return store.Put(tx, store.DeviceKey("d"), &storagev1.Device{Id: "d", MemberId: "member-d", RevokedAt: tx.Timestamp()})
		},
	} {
		h := newHouse(t)
		ctx := h.device(t, "d", "crew")
		h.task(t, "t")
		first, err := h.push(ctx)
		if err != nil {
			t.Fatal(err)
		}
		stream, err := h.serve(ctx, t).Watch(t.Context(), &fieldsyncv1.WatchRequest{Cursor: first.GetCursor()})
		if err != nil || !stream.Receive() {
			t.Fatal(err, stream.Err())
		}
		h.update(t, change)
		h.assign(t, "t", "crew")
		if stream.Receive() {
			t.Errorf("%s: the stream carries %v", name, stream.Msg())
		}
		if _, err := h.engine.AwaitChange(ctx, &fieldsyncv1.AwaitChangeRequest{Sequence: 1, WaitSeconds: 55}); fault.CodeOf(err) != name {
			t.Errorf("%s: the long poll says %v", name, err)
		}
		if err := stream.Close(); err != nil {
			t.Error(err)
		}
	}
}

// Protects the long poll: it answers at once where the head has moved, when it moves, and at a drain; never before.
func TestAwaitChange(t *testing.T) {
	h := newHouse(t)
	ctx := h.device(t, "d", "crew")
	h.task(t, "t")
	h.assign(t, "t", "crew")
	if resp, err := h.engine.AwaitChange(ctx, &fieldsyncv1.AwaitChangeRequest{Sequence: 0}); err != nil || resp.GetHead().GetSequence() != 1 {
		t.Errorf("the head had moved: %v, %v", resp, err)
	}
	answers := make(chan uint64)
	wait := func() {
		go func() {
			resp, err := h.engine.AwaitChange(ctx, &fieldsyncv1.AwaitChangeRequest{Sequence: 1, WaitSeconds: 55})
			if err != nil {
				t.Error(err)
			}
			answers <- resp.GetHead().GetSequence()
		}()
	}
	wait()
	h.assign(t, "t", "")
	if got := <-answers; got != 2 {
		t.Errorf("answered with %d", got)
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := h.engine.AwaitChange(gone, &fieldsyncv1.AwaitChangeRequest{Sequence: 2}); err == nil {
		t.Error("the caller had gone, and got an answer")
	}
	h.engine.Drain()
	if resp, err := h.engine.AwaitChange(ctx, &fieldsyncv1.AwaitChangeRequest{Sequence: 2}); err != nil || resp.GetHead().GetSequence() != 2 {
		t.Errorf("at a drain: %v, %v", resp, err)
	}
}

// Protects the server from whatever comes as a mutation: it is judged, always, with a verdict in both languages, whatever it
// says about tasks, times, photos and fields that are the server's.
func TestEveryMutationGetsAVerdict(t *testing.T) {
	h := newHouse(t)
	ctx := h.device(t, "d", "crew")
	h.task(t, "t")
	h.assign(t, "t", "crew")
	number := uint64(0)
	rapid.Check(t, func(rt *rapid.T) {
		number++
		m := &fieldsyncv1.Mutation{}
		switch rapid.IntRange(0, 5).Draw(rt, "intent") {
		case 0:
			m = note(0, "t", rapid.String().Draw(rt, "text"))
		case 1:
			m = attach(0, "t", rapid.String().Draw(rt, "photo"), 1)
			m.GetAttachPhoto().GetPhoto().Sha256 = rapid.SliceOf(rapid.Byte()).Draw(rt, "sha256")
			m.GetAttachPhoto().GetPhoto().SizeBytes = rapid.Uint64().Draw(rt, "size")
		case 2:
			m = complete(0, "t")
			m.GetComplete().Outcome = fieldsyncv1.Outcome(rapid.Int32().Draw(rt, "outcome"))
			m.GetComplete().PhotoIds = rapid.SliceOf(rapid.String()).Draw(rt, "photos")
		case 3:
			m.Intent = &fieldsyncv1.Mutation_AttachPhoto{}
		case 4:
			m.Intent = &fieldsyncv1.Mutation_Tick{Tick: &fieldsyncv1.Tick{ItemId: rapid.String().Draw(rt, "item")}}
		}
		m.Number = number
		m.TaskId = rapid.SampledFrom([]string{"t", "", "T", "../t", "nowhere"}).Draw(rt, "task")
		m.AssignmentEpoch = rapid.Uint64().Draw(rt, "epoch")
		m.BaseRevision = rapid.Uint64().Draw(rt, "revision")
		resp, err := h.push(ctx, m)
		if err != nil {
			rt.Fatal(err)
		}
		v := resp.GetVerdicts()[0]
		if v.GetNumber() != number || v.GetKind() == 0 || v.GetCode() == "" || v.GetMessage().GetVi() == "" || v.GetMessage().GetEn() == "" {
			rt.Errorf("verdict %v", v)
		}
	})
}
