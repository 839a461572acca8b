package sync

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
)

// Protects the server from whatever comes as a batch: each mutation gets its verdict, or the whole is refused with a code and
// without effect; sent again it is answered byte for byte as before; and what is behind it goes on.
func FuzzBatch(f *testing.F) {
	seed := func(batch ...*fieldsyncv1.Mutation) {
		b, err := proto.Marshal(&fieldsyncv1.SyncRequest{Mutations: batch, InstallEpoch: 1})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	seed(note(1, "t", "một"), start(2, "t"), attach(3, "t", "p", 1), complete(4, "t"))
	seed(note(1, "t", strings.Repeat("x", 2001)), note(1, "t", "hai"))
	seed(&fieldsyncv1.Mutation{Number: 1}, note(2, "nowhere", "?"))
	f.Add([]byte{0x12, 0x05, 0x08, 0x01, 0xd2, 0x05, 0x00})
	f.Fuzz(func(t *testing.T, b []byte) {
		req := &fieldsyncv1.SyncRequest{}
		if proto.Unmarshal(b, req) != nil || len(req.GetMutations()) > 20 || len(b) > 1<<20 {
			return
		}
		h := newHouse(t)
		ctx := h.device(t, "d", "crew")
		h.task(t, "t")
		h.assign(t, "t", "crew")
		req.Cursor = nil
		first, err := h.engine.Sync(ctx, req)
		if err != nil {
			if fault.CodeOf(err) == "" || h.load(t, "t").GetRevision() != 2 {
				t.Errorf("refused with %v at revision %d", err, h.load(t, "t").GetRevision())
			}
			return
		}
		again, err := h.engine.Sync(ctx, req)
		if err != nil || len(again.GetVerdicts()) != len(first.GetVerdicts()) {
			t.Fatalf("again: %v, %v", again.GetVerdicts(), err)
		}
		for i, v := range again.GetVerdicts() {
			if !proto.Equal(v, first.GetVerdicts()[i]) || v.GetCode() == "" || v.GetNumber() != req.GetMutations()[i].GetNumber() {
				t.Errorf("mutation %d: %v, then %v", i+1, first.GetVerdicts()[i], v)
			}
		}
		if n := len(req.GetMutations()); n > 0 && len(first.GetVerdicts()) == n {
			h.mustPush(ctx, t, note(req.GetMutations()[n-1].GetNumber()+1, "t", "tiếp"))
		}
	})
}

// Protects the server from whatever comes as a repair: parts that differ, or a code.
func FuzzRepair(f *testing.F) {
	b, err := proto.Marshal(&fieldsyncv1.RepairRequest{Buckets: make([]uint64, repairBuckets), BudgetBytes: 1})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b, true)
	f.Add(b[:20], false)
	f.Add([]byte{}, true)
	h := newHouse(f)
	ctx := h.device(f, "d", "crew")
	for _, id := range []string{"a", "b", "c"} {
		h.task(f, id)
		h.assign(f, id, "crew")
	}
	synced, err := h.push(ctx)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte, current bool) {
		req := &fieldsyncv1.RepairRequest{}
		if proto.Unmarshal(b, req) != nil {
			return
		}
		if current {
			req.Cursor = synced.GetCursor()
		}
		resp, err := h.engine.Repair(ctx, req)
		if err != nil {
			if fault.CodeOf(err) == "" {
				t.Errorf("refused without a code: %v", err)
			}
			return
		}
		if !resp.GetMoved() && resp.GetHead().GetTasks() != 3 || resp.GetMore() && len(resp.GetBuckets()) == 0 {
			t.Errorf("answer %v", resp)
		}
	})
}

// Protects what dispatchers name mutations in quarantine by: an id is read in one way, or is of nothing.
func FuzzQuarantineID(f *testing.F) {
	for _, seed := range []string{"", "///", "d/1/2/" + strings.Repeat("0a", 32), "d/4294967296/2/" + strings.Repeat("0a", 32), "d/+1/2/" + strings.Repeat("0A", 32), "d/1/-2/"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		id, err := parseQuarantineID(text)
		if err != nil {
			if fault.CodeOf(err) != "quarantined_unknown" {
				t.Fatal(err)
			}
			return
		}
		if again, err := parseQuarantineID(id.String()); err != nil || again != id {
			t.Fatalf("%q is %+v, which is %+v (%v)", text, id, again, err)
		}
		_ = id.key()
	})
}
