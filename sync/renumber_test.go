package sync

import (
	"crypto/sha256"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/store"
)

// Protects the quarantine: a reused number that comes again is answered byte for byte as before, and what a dispatcher has
// decided on it meanwhile stands (a second release would let it take effect twice).
func TestReusedNumberIsRepeated(t *testing.T) {
	h := newHouse(t)
	ctx := h.device(t, "d", "crew")
	h.task(t, "t")
	h.assign(t, "t", "crew")
	h.mustPush(ctx, t, note(1, "t", "bản gốc"))
	first := h.mustPush(ctx, t, note(1, "t", "bản sao"))[0]
	h.update(t, func(tx *store.Tx) error {
		for q, err := range store.Scan(tx, store.QuarantinedAll(), nil) {
			if err != nil {
				return err
			}
			q.Resolution = &storagev1.Resolution{MemberId: "chi", At: tx.Timestamp(), Reason: "trùng"}
			sum := contentHash(t, note(1, "t", "bản sao"))
			return store.Put(tx, store.QuarantinedKey("d", 1, 1, sum), q)
		}
		t.Error("nothing in quarantine")
		return nil
	})
	h.now = h.now.Add(time.Hour)
	if again := h.mustPush(ctx, t, note(1, "t", "bản sao"))[0]; !proto.Equal(again, first) {
		t.Errorf("first %v, then %v", first, again)
	}
	if kept := quarantined(t, h); len(kept) != 1 || kept[0].GetResolution().GetMemberId() != "chi" {
		t.Errorf("in quarantine: %v", kept)
	}
}

// Protects exactly once across epochs: two copies of a phone that have both renumbered what they had in common, each under a
// new epoch of its own, have it applied once, and both hear the same verdict.
func TestRenumberedTwiceIsAppliedOnce(t *testing.T) {
	h := newHouse(t)
	ctx := h.device(t, "d", "crew")
	h.update(t, func(tx *store.Tx) error {
		return store.Put(tx, store.DeviceKey("d"), &storagev1.Device{Id: "d", MemberId: "member-d", InstallEpoch: 3})
	})
	h.task(t, "t")
	h.assign(t, "t", "crew")
	under := func(epoch uint32, m *fieldsyncv1.Mutation) *fieldsyncv1.Verdict {
		t.Helper()
		resp, err := h.engine.Sync(ctx, &fieldsyncv1.SyncRequest{Mutations: []*fieldsyncv1.Mutation{m}, InstallEpoch: epoch})
		if err != nil {
			t.Fatal(err)
		}
		return resp.GetVerdicts()[0]
	}
	shared := func(number uint64) *fieldsyncv1.Mutation {
		m := note(number, "t", "chung")
		m.Recorded = &fieldsyncv1.CaptureTime{BootId: "b", SinceBootMs: 4711}
		return m
	}
	under(3, note(1, "t", "khác"))
	first := under(2, shared(1))
	h.now = h.now.Add(time.Hour)
	second := under(3, shared(2))
	if repeat := under(3, shared(2)); !proto.Equal(repeat, second) {
		t.Errorf("the repeat of %v is %v", second, repeat)
	}
	if second.Number--; !proto.Equal(first, second) {
		t.Errorf("first %v, then %v", first, second)
	}
	if notes := h.load(t, "t").GetNotes(); len(notes) != 2 {
		t.Errorf("notes %v", notes)
	}
	// Two equal notes of a phone that says nothing of the time are two.
	under(3, note(3, "t", "như nhau"))
	under(3, note(4, "t", "như nhau"))
	if notes := h.load(t, "t").GetNotes(); len(notes) != 4 {
		t.Errorf("notes %v", notes)
	}
}

// contentHash is the hash of a mutation as the store's keys have it.
func contentHash(tb testing.TB, m *fieldsyncv1.Mutation) [32]byte {
	tb.Helper()
	payload, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		tb.Fatal(err)
	}
	return sha256.Sum256(payload)
}
