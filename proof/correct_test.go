package proof

import (
	"bytes"
	"errors"
	"testing"

	"google.golang.org/protobuf/proto"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/proof/receipt"
	"github.com/cong1022/fieldsync/store"
)

func (h *house) reopen(t *testing.T, task string) {
	t.Helper()
	h.change(t, task, func(tx *store.Tx, record *storagev1.TaskRecord) error {
		return h.Reopen(tx, record, "lan", "cây vẫn còn đó")
	})
}

// completeAgain completes a task a second time, with its photos on the phone still. It returns the new completion's id.
func (h *house) completeAgain(t *testing.T, task string) string {
	t.Helper()
	h.change(t, task, func(tx *store.Tx, record *storagev1.TaskRecord) error {
		record.Task.Completion = completed(task, onPhone).GetTask().GetCompletion()
		for _, photo := range record.GetTask().GetPhotos() {
			photo.State = onPhone
		}
		return h.Claim(tx, record, crewAn, 9, nil)
	})
	return h.completionOf(t, task)
}

func (h *house) reopenedReceipt(t *testing.T, completion string) []byte {
	t.Helper()
	got, err := h.GetReceipt(h.ctx, &fieldsyncv1.GetReceiptRequest{CompletionId: completion})
	if err != nil {
		t.Fatal(err)
	}
	return got.GetReopened()
}

// reopenSigned makes the vectors of a reopening and of the completion that takes the place of the one that was taken back.
func (h *house) reopenSigned(t *testing.T) (reopened, replacing []byte) {
	t.Helper()
	first := h.claim(t, "again", verified)
	h.reopen(t, "again")
	reopened = h.reopenedReceipt(t, first)
	second := h.completeAgain(t, "again")
	h.arrive(t, "again")
	return reopened, h.receiptOf(t, second)
}

// Protects the history of a task that was not done after all: its reopening is a leaf that names the very leaf it takes back, the
// completion that comes instead names it too, sealed and claimed, each in the order of the log; what was sealed stays proven.
func TestReopeningAndReplacement(t *testing.T) {
	h := newHouse(t)
	_, keys := h.published(t)
	verify := func(text []byte) *receipt.Proven {
		t.Helper()
		p, err := receipt.Verify(text, keys)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	first := h.claim(t, "t", onPhone)
	if got := h.reopenedReceipt(t, first); got != nil {
		t.Errorf("before it was reopened there is a receipt of it: %s", got)
	}
	h.arrive(t, "t")
	h.deliver(t, "t")
	sealed := verify(h.receiptOf(t, first))
	h.reopen(t, "t")
	if err := Audit(h.ctx, h.store); err != nil {
		t.Error(err)
	}
	reopened := verify(h.reopenedReceipt(t, first))
	if c := reopened.Record.GetCorrects(); reopened.Kind != receipt.Reopened || !reopened.Corrects(sealed) || sealed.Corrects(reopened) ||
		c.GetCompletionId() != first || c.GetMemberId() != "lan" || c.GetReason() != "cây vẫn còn đó" || c.GetAt() == nil ||
		reopened.Record.GetSealedAt() == nil || reopened.Index != sealed.Index+2 {
		t.Errorf("the reopening's receipt proves %v, the seal's %v", reopened, sealed)
	}
	second := h.completeAgain(t, "t")
	claim := verify(h.receiptOf(t, second))
	h.arrive(t, "t")
	seal := verify(h.receiptOf(t, second))
	for _, p := range []*receipt.Proven{claim, seal} {
		if c := p.Record.GetCorrects(); second == first || !p.Corrects(sealed) || c.GetCompletionId() != first || c.GetMemberId() != "" {
			t.Errorf("what replaces it proves %v", p)
		}
	}
	if claim.Kind != receipt.Claimed || seal.Kind != receipt.Sealed {
		t.Errorf("the second is %v, then %v", claim.Kind, seal.Kind)
	}
	if still := verify(h.receiptOf(t, first)); still.Kind != receipt.Sealed || still.Leaf != sealed.Leaf || still.Record.GetCorrects() != nil {
		t.Errorf("the first proves %v now", still)
	}
	if err := Audit(h.ctx, h.store); err != nil {
		t.Error(err)
	}
}

// Protects a completion that is taken back while its photos are on the phone still: the leaf that is taken back is the claim's, and
// when the photos come it is sealed like any other.
func TestReopeningOfAClaim(t *testing.T) {
	h := newHouse(t)
	_, keys := h.published(t)
	id := h.claim(t, "t", onPhone)
	claimed, err := receipt.Verify(h.receiptOf(t, id), keys)
	if err != nil {
		t.Fatal(err)
	}
	h.reopen(t, "t")
	reopened, err := receipt.Verify(h.reopenedReceipt(t, id), keys)
	if err != nil || !reopened.Corrects(claimed) {
		t.Errorf("the reopening proves %v, %v", reopened, err)
	}
	h.arrive(t, "t")
	if sealed, err := receipt.Verify(h.receiptOf(t, id), keys); err != nil || sealed.Kind != receipt.Sealed || sealed.Corrects(claimed) {
		t.Errorf("the seal proves %v, %v", sealed, err)
	}
	if err := Audit(h.ctx, h.store); err != nil {
		t.Error(err)
	}
}

// Protects the audit: a reopening whose leaf, reason or mark on the completion was changed in the store does not pass.
func TestAuditFindsAChangedReopening(t *testing.T) {
	for name, spoil := range map[string]func(tx *store.Tx, c *storagev1.Completion) error{
		"the mark is gone": func(tx *store.Tx, c *storagev1.Completion) error {
			c.ReopenedLeaf = 0
			return store.Put(tx, store.CompletionKey(c.GetId()), c)
		},
		"the reason": func(tx *store.Tx, c *storagev1.Completion) error {
			entry, err := store.Get(tx, store.LogLeafKey(c.GetReopenedLeaf()))
			if err != nil {
				return err
			}
			entry.Said = bytes.Replace(entry.GetSaid(), []byte("lan"), []byte("mai"), 1)
			return store.Put(tx, store.LogLeafKey(c.GetReopenedLeaf()), entry)
		},
	} {
		h := newHouse(t)
		id := h.claim(t, "t")
		h.reopen(t, "t")
		completion := h.completion(t, id)
		h.update(t, func(tx *store.Tx) error { return spoil(tx, proto.CloneOf(completion)) })
		if err := Audit(h.ctx, h.store); !errors.Is(err, ErrAudit) {
			t.Errorf("%s: the audit says %v", name, err)
		}
	}
}

// Protects the end of a claim that was taken back and replaced before its photos had come: it is never sealed nor in the feed, and says by
// which completion it was superseded, with the receipts of its claim and of its reopening; the one in its place is sealed when its
// photos are there, the same ones.
func TestSupersededClaim(t *testing.T) {
	h := newHouse(t)
	_, keys := h.published(t)
	first := h.claim(t, "t", onPhone)
	h.reopen(t, "t")
	second := h.completeAgain(t, "t")
	h.arrive(t, "t")
	got, err := h.GetReceipt(h.ctx, &fieldsyncv1.GetReceiptRequest{CompletionId: first})
	if err != nil {
		t.Fatal(err)
	}
	claimed, claimErr := receipt.Verify(got.GetReceipt(), keys)
	reopened, reopenErr := receipt.Verify(got.GetReopened(), keys)
	sealed, sealErr := receipt.Verify(h.receiptOf(t, second), keys)
	if err := errors.Join(claimErr, reopenErr, sealErr); err != nil {
		t.Fatal(err)
	}
	if got.GetSupersededBy() != second || claimed.Kind != receipt.Claimed || !reopened.Corrects(claimed) || sealed.Kind != receipt.Sealed || !sealed.Corrects(claimed) {
		t.Errorf("superseded by %q: %v, %v, then %v", got.GetSupersededBy(), claimed, reopened, sealed)
	}
	if c := h.completion(t, first); c.GetState() != fieldsyncv1.ProofState_PROOF_STATE_CLAIMED || c.GetFeedSequence() != 0 || h.completion(t, second).GetFeedSequence() != 1 {
		t.Errorf("the first is %v", c)
	}
	if err := Audit(h.ctx, h.store); err != nil {
		t.Error(err)
	}
	h.update(t, func(tx *store.Tx) error {
		c, err := store.Get(tx, store.CompletionKey(first))
		if err != nil {
			return err
		}
		c.SupersededBy = first
		return store.Put(tx, store.CompletionKey(first), c)
	})
	if err := Audit(h.ctx, h.store); !errors.Is(err, ErrAudit) {
		t.Errorf("superseded by another one: the audit says %v", err)
	}
}

// Protects the audit of decisions on false reports: a decision that is gone or was changed, and one whose leaf is none, do not pass.
func TestAuditFindsALostDecision(t *testing.T) {
	for name, spoil := range map[string]func(*storagev1.FalseReport){
		"gone":               func(r *storagev1.FalseReport) { r.Decided = r.GetDecided()[:1] },
		"changed":            func(r *storagev1.FalseReport) { r.Decided[1].Decision.Confirmed = true },
		"of another leaf":    func(r *storagev1.FalseReport) { r.Decided[0].Leaf = r.GetDecided()[1].GetLeaf() },
		"one without a leaf": func(r *storagev1.FalseReport) { r.Decided = append(r.Decided, &storagev1.FalseReport_Decided{}) },
		"one with another's leaf": func(r *storagev1.FalseReport) {
			r.Decided = append(r.Decided, &storagev1.FalseReport_Decided{Decision: &fieldsyncv1.FalseReportDecision{}, Leaf: 1})
		},
	} {
		h := newHouse(t)
		h.claim(t, "t")
		for _, confirmed := range []bool{true, false} {
			h.change(t, "t", func(tx *store.Tx, record *storagev1.TaskRecord) error { return decide(confirmed)(h.Sealer, tx, record) })
		}
		if err := Audit(h.ctx, h.store); err != nil {
			t.Fatal(err)
		}
		h.update(t, func(tx *store.Tx) error {
			report, err := store.Get(tx, store.FalseReportKey("ticket"))
			if err != nil {
				return err
			}
			spoil(report)
			return store.Put(tx, store.FalseReportKey("ticket"), report)
		})
		if err := Audit(h.ctx, h.store); !errors.Is(err, ErrAudit) {
			t.Errorf("%s: the audit says %v", name, err)
		}
	}
}
