package proof

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cong1022/fieldsync/auth"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/proof/receipt"
	"github.com/cong1022/fieldsync/store"
)

// watcher is a witness as another house runs it, with the keys of who trusts the log and this witness.
type watcher struct {
	receipt.Witness

	public string
}

func newWatcher(t *testing.T, name string) watcher {
	t.Helper()
	secret, public, err := receipt.NewWitness(name)
	if err != nil {
		t.Fatal(err)
	}
	w, err := receipt.ParseWitnessSecret(secret)
	if err != nil {
		t.Fatal(err)
	}
	return watcher{w, public}
}

// watched opens the house's log again, with witnesses, and returns the keys of who trusts all of them.
func (h *house) watched(t *testing.T, watchers ...watcher) receipt.Keys {
	t.Helper()
	var public []string
	for _, w := range watchers {
		public = append(public, w.public)
	}
	var err error
	if h.Sealer, err = Open(t.Context(), h.store, public...); err != nil {
		t.Fatal(err)
	}
	file, _ := h.published(t)
	keys, err := receipt.ParseKeys([]byte(string(file) + strings.Join(public, "\n")))
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func (h *house) served(t *testing.T, cosigned bool) string {
	t.Helper()
	got, err := h.GetCheckpoint(h.ctx, &fieldsyncv1.GetCheckpointRequest{Cosigned: cosigned})
	if err != nil {
		t.Fatal(err)
	}
	return got.GetCheckpoint()
}

// cosign lets a watcher cosign a checkpoint and brings it to the log.
func (h *house) cosign(t *testing.T, w watcher, checkpoint string) error {
	t.Helper()
	signed, err := w.Cosign([]byte(checkpoint), h.now)
	if err != nil {
		t.Fatal(err)
	}
	_, err = h.AddCosignature(h.ctx, &fieldsyncv1.AddCosignatureRequest{Checkpoint: string(signed)})
	return err
}

// Protects what a witness's word is good for: what it has cosigned is served with it, and so are the receipts of all that it covers, also
// while the log goes on and after the log's key was changed; what it does not cover bears no cosignature.
func TestCosignaturesAreServed(t *testing.T) {
	h := newHouse(t)
	one, two := newWatcher(t, "1022.example/w"), newWatcher(t, "press.example/w")
	keys := h.watched(t, one, two)
	covered := h.claim(t, "covered")
	if _, err := h.GetCheckpoint(h.ctx, &fieldsyncv1.GetCheckpointRequest{Cosigned: true}); fault.CodeOf(err) != "checkpoint_not_cosigned" {
		t.Errorf("before anybody cosigned: %v", err)
	}
	checkpoint := h.served(t, false)
	for range 2 { // The second repeats it after a lost answer.
		if err := h.cosign(t, one, checkpoint); err != nil {
			t.Fatal(err)
		}
	}
	later := h.claim(t, "later")
	witnesses := func(completion string) string {
		t.Helper()
		p, err := receipt.Verify(h.receiptOf(t, completion), keys)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(p.Checkpoint.Witnesses, " ")
	}
	if got := witnesses(covered) + "; " + witnesses(later); got != "1022.example/w; " {
		t.Errorf("the receipts are cosigned by %q", got)
	}
	// The second witness takes what the first has cosigned; a minute later it cosigns the same once more.
	for range 2 {
		if err := h.cosign(t, two, h.served(t, true)); err != nil {
			t.Fatal(err)
		}
		h.now = h.now.Add(time.Minute)
	}
	if err := h.cosign(t, one, h.served(t, false)); err != nil {
		t.Fatal(err)
	}
	if _, err := h.RotateLogKey(h.ctx, &fieldsyncv1.RotateLogKeyRequest{}); err != nil {
		t.Fatal(err)
	}
	if got := witnesses(covered) + "; " + witnesses(later); got != "1022.example/w press.example/w; 1022.example/w" {
		t.Errorf("the receipts are cosigned by %q", got)
	}
	signed, err := receipt.OpenCheckpoint([]byte(h.served(t, true)), keys)
	verifier, parseErr := receipt.ParseWitness(two.public)
	if err != nil || parseErr != nil || !signed.CosignedBy(verifier) || signed.Size != 2 || len(signed.Witnesses) != 2 {
		t.Errorf("served is %v, %v", signed, err)
	}
	stranger, err := receipt.ParseWitness(newWatcher(t, "press.example/w").public)
	if err != nil || signed.CosignedBy(stranger) {
		t.Errorf("another key of the same name passes for the witness's, %v", err)
	}
}

// Protects the log from words that are not a witness's, or not of this log: nothing of them is kept.
func TestCosignaturesAreChecked(t *testing.T) {
	h, other := newHouse(t), newHouse(t)
	known, stranger := newWatcher(t, "1022.example/w"), newWatcher(t, "1022.example/w")
	h.watched(t, known)
	other.watched(t, known)
	h.claim(t, "t")
	other.claim(t, "u")
	checkpoint := h.served(t, false)
	good, err := known.Cosign([]byte(checkpoint), h.now)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(good), "\n")
	last := lines[len(lines)-2]
	spoilt := strings.Replace(string(good), last, last[:len(last)-8]+"AAAAAA=\n", 1)
	byStranger, err := stranger.Cosign([]byte(checkpoint), h.now)
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := known.Cosign([]byte(other.served(t, false)), h.now)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ checkpoint, code string }{
		"by nobody":            {checkpoint, "witness_unknown"},
		"by a stranger":        {string(byStranger), "witness_unknown"},
		"with a changed bit":   {spoilt, "checkpoint_unsigned"},
		"of another log":       {string(foreign), "checkpoint_unsigned"},
		"without the log's":    {strings.Join(append(lines[:4:4], last), ""), "checkpoint_unsigned"},
		"no checkpoint at all": {"x", "checkpoint_malformed"},
		"of another size":      {strings.Replace(string(good), "\n2\n", "\n1\n", 1), "checkpoint_unsigned"},
	} {
		if _, err := h.AddCosignature(h.ctx, &fieldsyncv1.AddCosignatureRequest{Checkpoint: c.checkpoint}); fault.CodeOf(err) != c.code {
			t.Errorf("%s: %v, want %q", name, err, c.code)
		}
	}
	if _, err := h.GetCheckpoint(h.ctx, &fieldsyncv1.GetCheckpointRequest{Cosigned: true}); fault.CodeOf(err) != "checkpoint_not_cosigned" {
		t.Errorf("something was kept: %v", err)
	}
	if _, err := h.AddCosignature(t.Context(), &fieldsyncv1.AddCosignatureRequest{Checkpoint: string(good)}); fault.CodeOf(err) != "token_missing" {
		t.Errorf("nobody brings one: %v", err)
	}
	if _, err := h.AddCosignature(auth.WithPrincipal(t.Context(), hotline), &fieldsyncv1.AddCosignatureRequest{Checkpoint: string(good)}); err != nil {
		t.Errorf("the good one: %v", err)
	}
	if _, err := Open(t.Context(), h.store, "1022.example/w+00000000+AAAA"); fault.CodeOf(err) != "witness_key_invalid" {
		t.Errorf("a key that is none: %v", err)
	}
}

// Protects the store: cosigned checkpoints do not pile up, and the newest stay.
func TestCosignedCheckpointsAreBounded(t *testing.T) {
	h := newHouse(t)
	w := newWatcher(t, "1022.example/w")
	h.watched(t, w)
	for i := range cosignedKept + 4 {
		h.claim(t, strconv.Itoa(i))
		if err := h.cosign(t, w, h.served(t, false)); err != nil {
			t.Fatal(err)
		}
	}
	var sizes []uint64
	h.update(t, func(tx *store.Tx) error {
		sizes = nil
		for cosigned, err := range store.Scan(tx, store.LogCosigned(), nil) {
			if err != nil {
				return err
			}
			sizes = append(sizes, cosigned.GetSize())
		}
		return nil
	})
	if len(sizes) != cosignedKept || sizes[len(sizes)-1] != 2*(cosignedKept+4) || sizes[0] != 10 {
		t.Errorf("kept are %v", sizes)
	}
}
