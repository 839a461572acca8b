package sync

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"github.com/cong1022/fieldsync/auth"
	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/store"
)

// replica is what a phone holds, in its simplest form.
type replica struct {
	cursor []byte
	tasks  map[string]*fieldsyncv1.Task
}

// apply takes an answer as docs/protocol.md says.
func (r *replica) apply(t *rapid.T, resp *fieldsyncv1.SyncResponse) {
	if resp.GetReset_() {
		r.tasks = make(map[string]*fieldsyncv1.Task)
	}
	for _, d := range resp.GetTasks() {
		id := d.GetTask().GetId()
		if d.GetWhole() {
			r.tasks[id] = proto.CloneOf(d.GetTask())
			continue
		}
		held := r.tasks[id]
		if held == nil {
			t.Fatalf("a part of the task %s came, which the replica does not hold", id)
		}
		mergeDelta(held, d.GetTask())
	}
	for _, removal := range resp.GetRemovals() {
		delete(r.tasks, removal.GetTaskId())
	}
	r.cursor = resp.GetCursor()
}

func mergeDelta(held, changed *fieldsyncv1.Task) {
	changed = proto.CloneOf(changed)
	held.Revision = changed.GetRevision()
	if changed.GetTicket() != nil {
		held.Ticket = changed.GetTicket()
	}
	if changed.GetStatus() != nil {
		held.Status = changed.GetStatus()
	}
	if changed.GetAssignment() != nil {
		held.Assignment = changed.GetAssignment()
	}
	if changed.GetCompletion() != nil {
		held.Completion = changed.GetCompletion()
	}
	held.Notes = mergeItems(held.GetNotes(), changed.GetNotes(), (*fieldsyncv1.Note).GetId)
	held.LateCompletions = mergeItems(held.GetLateCompletions(), changed.GetLateCompletions(), (*fieldsyncv1.CompletionFacet).GetCompletionId)
	held.Checklist = mergeItems(held.GetChecklist(), changed.GetChecklist(), (*fieldsyncv1.ChecklistItem).GetId)
	held.Photos = mergeItems(held.GetPhotos(), changed.GetPhotos(), (*fieldsyncv1.Photo).GetId)
}

func mergeItems[T any](held, changed []T, id func(T) string) []T {
	for _, item := range changed {
		if i := slices.IndexFunc(held, func(h T) bool { return id(h) == id(item) }); i >= 0 {
			held[i] = item
		} else {
			held = append(held, item)
		}
	}
	return held
}

// Protects promise 5 and the delta by facet: whatever dispatchers and crews do between any two pages of any size, a replica
// that has read to the end equals the server's projection of its scope, and so does its digest.
func TestReplicaConverges(t *testing.T) {
	h := newHouse(t)
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		run++ // One store for all runs, with crews, devices and tasks of their own: opening one takes longer than a run.
		mine, other := fmt.Sprintf("mine%d", run), fmt.Sprintf("other%d", run)
		ctx := h.device(t, fmt.Sprintf("d%d", run), mine)
		r := &replica{tasks: make(map[string]*fieldsyncv1.Task)}
		var ids []string
		var number uint64
		sync := func() bool {
			resp, err := h.engine.Sync(ctx, &fieldsyncv1.SyncRequest{
				Cursor: r.cursor, BudgetBytes: rapid.SampledFrom([]uint32{1, 300, 1000, 0}).Draw(rt, "budget"),
			})
			if err != nil {
				rt.Fatal(err)
			}
			r.apply(rt, resp)
			return resp.GetMore()
		}
		pick := func() string { return rapid.SampledFrom(ids).Draw(rt, "task") }
		steps := map[string]func(){
			"create": func() { ids = append(ids, fmt.Sprintf("t%d-%d", run, len(ids))); h.task(t, ids[len(ids)-1]) },
			"assign": func() { h.assign(t, pick(), mine) },
			"away":   func() { h.assign(t, pick(), other) },
			"recall": func() { h.assign(t, pick(), "") },
			"cancel": func() { h.cancel(t, pick()) },
			"note":   func() { number++; h.mustPush(ctx, t, note(number, pick(), "ghi chú")) },
			"start":  func() { number++; h.mustPush(ctx, t, start(number, pick())) },
			"photo": func() {
				number++
				h.mustPush(ctx, t, attach(number, pick(), fmt.Sprintf("p%d", number), byte(number)))
			},
			"complete": func() { number++; h.mustPush(ctx, t, complete(number, pick())) },
			"tick": func() {
				number++
				h.mustPush(ctx, t, &fieldsyncv1.Mutation{
					Number: number, TaskId: pick(),
					Intent: &fieldsyncv1.Mutation_Tick{Tick: &fieldsyncv1.Tick{ItemId: "fence", Checked: rapid.Bool().Draw(rt, "checked")}},
				})
			},
			"page":   func() { sync() },
			"forget": func() { r.cursor = nil },
		}
		steps["create"]()
		names := slices.Sorted(maps.Keys(steps))
		for range rapid.IntRange(1, 60).Draw(rt, "steps") {
			steps[rapid.SampledFrom(names).Draw(rt, "step")]()
		}
		for sync() {
		}
		checkReplica(t, rt, h, r, mine, ids)
	})
}

func checkReplica(t *testing.T, rt *rapid.T, h *house, r *replica, crew string, ids []string) {
	t.Helper()
	var digest uint64
	for id, task := range r.tasks {
		digest += store.TaskDigest(id, task.GetRevision())
	}
	want := 0
	for _, id := range ids {
		task := h.load(t, id)
		held := r.tasks[id]
		mine := task.GetAssignment().GetCrewId() == crew && task.GetStatus().GetState() != fieldsyncv1.TaskState_TASK_STATE_CANCELLED
		if mine {
			want++
		}
		if mine != (held != nil) {
			rt.Errorf("the task %s: the crew's %t, held %t", id, mine, held != nil)
		} else if mine && !proto.Equal(task, held) {
			rt.Errorf("the replica holds %v, the server %v", held, task)
		}
	}
	err := h.store.View(t.Context(), func(tx *store.Tx) error {
		head, err := store.Head(tx, store.CrewScope(crew))
		if head.GetDigest() != digest || head.GetTasks() != uint64(want) {
			rt.Errorf("the head says %d tasks and digest %x, the replica has %d and %x", head.GetTasks(), head.GetDigest(), want, digest)
		}
		return err
	})
	if err != nil {
		rt.Fatal(err)
	}
}

// Protects the crew's connection: a note on a heavy task costs the note, not the task.
func TestDeltaIsSmall(t *testing.T) {
	h := newHouse(t)
	ctx := h.device(t, "d", "crew")
	h.task(t, "01hq3v8k2m9x7c5b4n6p")
	h.change(t, "01hq3v8k2m9x7c5b4n6p", func(_ *store.Tx, record *storagev1.TaskRecord, revision uint64) {
		for i := range 19 {
			record.Task.Checklist = append(record.Task.Checklist, &fieldsyncv1.ChecklistItem{Revision: revision, Id: fmt.Sprintf("item-%d", i)})
		}
	})
	h.assign(t, "01hq3v8k2m9x7c5b4n6p", "crew")
	var number uint64
	for i := range 30 {
		number++
		h.mustPush(ctx, t, note(number, "01hq3v8k2m9x7c5b4n6p", fmt.Sprintf("ghi chú dài dòng số %d về hiện trường", i)))
	}
	for i := range 10 {
		number++
		h.mustPush(ctx, t, attach(number, "01hq3v8k2m9x7c5b4n6p", fmt.Sprintf("photo-%d", i), byte(i)))
	}
	first, err := h.push(ctx)
	if err != nil {
		t.Fatal(err)
	}
	added := note(1, "01hq3v8k2m9x7c5b4n6p", "Đã rào chắn")
	added.Recorded = &fieldsyncv1.CaptureTime{Wall: timestamppb.New(h.now.Add(-1234567891)), ServerTime: timestamppb.New(h.now.Add(-98765432100))}
	author := auth.Principal{DeviceID: "06fgxk2v9d3n8s5t1q7r", MemberID: "nguyen-van-an", Role: fieldsyncv1.Role_ROLE_CREW, CrewID: "crew"}
	h.device(t, author.DeviceID, "crew")
	h.mustPush(auth.WithPrincipal(t.Context(), author), t, added)
	resp, err := h.engine.Sync(ctx, &fieldsyncv1.SyncRequest{Cursor: first.GetCursor()})
	if err != nil {
		t.Fatal(err)
	}
	if size := proto.Size(resp); size > 150 || len(resp.GetTasks()) != 1 || len(resp.GetTasks()[0].GetTask().GetNotes()) != 1 {
		t.Errorf("%d bytes: %v", size, resp)
	}
	t.Logf("one note on a task with 30 notes, 10 photos and 20 checklist items: %d bytes", proto.Size(resp))
}

// Protects the long offline: removals are told for 90 days; a phone that stood before one that is forgotten begins anew, and
// one that stood behind it goes on.
func TestForgottenRemovals(t *testing.T) {
	h := newHouse(t)
	ctx := h.device(t, "d", "crew")
	h.desk(t, "unit") // The crew is on record.
	for _, id := range []string{"stays", "goes", "goes-late"} {
		h.task(t, id)
		h.assign(t, id, "crew")
	}
	before, err := h.push(ctx)
	if err != nil {
		t.Fatal(err)
	}
	h.assign(t, "goes", "")
	between, err := h.push(ctx)
	if err != nil {
		t.Fatal(err)
	}
	h.now = h.now.Add(DefaultOfflineTime - time.Hour)
	h.assign(t, "goes-late", "")
	pull := func(cursor []byte) *fieldsyncv1.SyncResponse {
		t.Helper()
		if err := h.engine.Forget(ctx); err != nil {
			t.Fatal(err)
		}
		resp, err := h.engine.Sync(ctx, &fieldsyncv1.SyncRequest{Cursor: cursor})
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	if resp := pull(before.GetCursor()); resp.GetReset_() || len(resp.GetRemovals()) != 2 {
		t.Errorf("within 90 days: %v", resp)
	}
	h.now = h.now.Add(2 * time.Hour)
	if resp := pull(before.GetCursor()); !resp.GetReset_() || len(resp.GetRemovals()) != 0 || len(resp.GetTasks()) != 1 {
		t.Errorf("after 90 days: %v", resp)
	}
	if resp := pull(between.GetCursor()); resp.GetReset_() || len(resp.GetRemovals()) != 1 || len(resp.GetTasks()) != 0 {
		t.Errorf("a cursor behind what was forgotten: %v", resp)
	}
}

// Protects the order of a slow sync: assignments, removals and cancellations overtake what else changed, urgent tasks the
// rest, and the answer tells how much is waiting.
func TestUrgentFirst(t *testing.T) {
	h := newHouse(t)
	ctx, other := h.device(t, "d", "crew"), h.device(t, "e", "crew")
	for _, id := range []string{"plain", "urgent", "taken"} {
		h.task(t, id)
		h.assign(t, id, "crew")
	}
	h.change(t, "urgent", func(_ *store.Tx, record *storagev1.TaskRecord, _ uint64) {
		record.Task.Ticket.Urgency = fieldsyncv1.Urgency_URGENCY_HIGH
	})
	first, err := h.push(ctx)
	if err != nil {
		t.Fatal(err)
	}
	h.mustPush(other, t, note(1, "plain", "một"), note(2, "urgent", "hai"))
	h.task(t, "new")
	h.assign(t, "new", "crew")
	h.assign(t, "taken", "another")
	var order []string
	cursor := first.GetCursor()
	for waiting := uint64(3); ; waiting-- {
		resp, err := h.engine.Sync(ctx, &fieldsyncv1.SyncRequest{Cursor: cursor, BudgetBytes: 1})
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range resp.GetTasks() {
			order = append(order, d.GetTask().GetId())
		}
		for _, r := range resp.GetRemovals() {
			order = append(order, "-"+r.GetTaskId())
		}
		if resp.GetRemaining() != waiting || resp.GetMore() != (waiting > 0) {
			t.Errorf("remaining %d, more %t; want %d", resp.GetRemaining(), resp.GetMore(), waiting)
		}
		if cursor = resp.GetCursor(); !resp.GetMore() {
			break
		}
	}
	if want := []string{"new", "-taken", "urgent", "plain"}; !slices.Equal(order, want) {
		t.Errorf("order %v, want %v", order, want)
	}
}

// Protects phones from a server that was restored, a changed crew and nonsense: a cursor that does not fit starts anew with
// a reset, one that is no cursor is refused before anything takes effect.
func TestCursors(t *testing.T) {
	h := newHouse(t)
	ctx := h.device(t, "d", "crew")
	h.task(t, "t")
	h.assign(t, "t", "crew")
	resp, err := h.push(ctx)
	if err != nil {
		t.Fatal(err)
	}
	good, err := decodeCursor(resp.GetCursor())
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*cursor){
		"ahead":         func(c *cursor) { c.sequence++ },
		"other server":  func(c *cursor) { c.serverEpoch++ },
		"other crew":    func(c *cursor) { c.scope++ },
		"other log":     func(c *cursor) { c.scopeEpoch++ },
		"far too large": func(c *cursor) { c.sequence = 1<<64 - 1 },
	} {
		c := good
		change(&c)
		resp, err := h.engine.Sync(ctx, &fieldsyncv1.SyncRequest{Cursor: c.encode()})
		if err != nil || !resp.GetReset_() || len(resp.GetTasks()) != 1 || !resp.GetTasks()[0].GetWhole() {
			t.Errorf("%s: %v, %v", name, resp, err)
		}
	}
	for name, bytes := range map[string][]byte{
		"truncated": resp.GetCursor()[:len(resp.GetCursor())-1], "longer": append(slices.Clone(resp.GetCursor()), 0x80),
		"garbage": []byte("garbage"), "newer version": append([]byte{9}, resp.GetCursor()[1:]...),
	} {
		_, err := h.engine.Sync(ctx, &fieldsyncv1.SyncRequest{Cursor: bytes, Mutations: []*fieldsyncv1.Mutation{note(1, "t", "?")}, InstallEpoch: 1})
		if fault.CodeOf(err) != "cursor_invalid" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := len(h.load(t, "t").GetNotes()); n != 0 {
		t.Errorf("%d notes took effect beside a refused cursor", n)
	}
}

// Protects the server from whatever comes as a cursor: it is decoded to what encodes to the same bytes, or refused.
func FuzzCursor(f *testing.F) {
	f.Add(cursor{serverEpoch: 7, scope: 9, scopeEpoch: 1, sequence: 300}.encode())
	f.Add(cursor{serverEpoch: 7, scope: 9, scopeEpoch: 1, sequence: 300, start: 500}.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := decodeCursor(b)
		if err != nil {
			return
		}
		if again, err := decodeCursor(c.encode()); len(b) > 0 && (err != nil || again != c) {
			t.Errorf("%x decodes to %+v, which encodes to what decodes to %+v (%v)", b, c, again, err)
		}
	})
}
