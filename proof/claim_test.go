package proof

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"maps"
	"math/big"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/proof/receipt"
	"github.com/cong1022/fieldsync/store"
)

// device is a P-256 key that is the same in each run.
func device(t *testing.T, seed byte) *ecdsa.PrivateKey {
	t.Helper()
	raw := make([]byte, 32)
	raw[31] = seed
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), raw)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// sign signs as docs/proofs.md has it, written here a second time. RFC 6979 makes it the same in each run.
func sign(t *testing.T, key *ecdsa.PrivateKey, claim []byte) []byte {
	t.Helper()
	sum := sha256.Sum256(append([]byte("fieldsync/claim/v1\n"), claim...))
	der, err := key.Sign(nil, sum[:], crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	var rs struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(der, &rs); err != nil {
		t.Fatal(err)
	}
	raw := make([]byte, 64)
	rs.R.FillBytes(raw[:32])
	rs.S.FillBytes(raw[32:])
	return raw
}

// said is the mutation that completes the task of completed, and what its device claims.
func said(task string) (*fieldsyncv1.Mutation, *fieldsyncv1.CompletionClaim) {
	note := sha256.Sum256([]byte("xong"))
	recorded := &fieldsyncv1.CaptureTime{Wall: timestamppb.New(time.Date(2025, 11, 24, 8, 30, 0, 5e8, time.UTC)), SinceBootMs: 9}
	where := &fieldsyncv1.Position{Latitude: 10.77, Longitude: 106.7, AccuracyM: 8, FixedAt: recorded.GetWall()}
	m := &fieldsyncv1.Mutation{
		TaskId: task, Recorded: recorded, Position: where,
		Intent: &fieldsyncv1.Mutation_Complete{Complete: &fieldsyncv1.Complete{Outcome: fieldsyncv1.Outcome_OUTCOME_REPAIRED, Note: "xong"}},
	}
	return m, &fieldsyncv1.CompletionClaim{
		DeviceId: "d", MemberId: "an", TaskId: task, Outcome: fieldsyncv1.Outcome_OUTCOME_REPAIRED, NoteSha256: note[:],
		Recorded: recorded, Position: where, Photos: []*fieldsyncv1.ClaimedPhoto{{PhotoId: "a", Sha256: make([]byte, 32)}},
	}
}

// forgeries are the ways in which what the device signed can be something else than what is asserted.
var forgeries = map[string]func(claim *fieldsyncv1.CompletionClaim){
	"device":   func(c *fieldsyncv1.CompletionClaim) { c.DeviceId = "e" },
	"member":   func(c *fieldsyncv1.CompletionClaim) { c.MemberId = "binh" },
	"task":     func(c *fieldsyncv1.CompletionClaim) { c.TaskId = "another" },
	"outcome":  func(c *fieldsyncv1.CompletionClaim) { c.Outcome = fieldsyncv1.Outcome_OUTCOME_NOTHING_FOUND },
	"note":     func(c *fieldsyncv1.CompletionClaim) { c.NoteSha256 = nil },
	"time":     func(c *fieldsyncv1.CompletionClaim) { c.Recorded.Wall.Seconds++ },
	"no-time":  func(c *fieldsyncv1.CompletionClaim) { c.Recorded = nil },
	"place":    func(c *fieldsyncv1.CompletionClaim) { c.Position.Latitude += 1e-9 },
	"accuracy": func(c *fieldsyncv1.CompletionClaim) { c.Position.AccuracyM = 9 },
	"mock":     func(c *fieldsyncv1.CompletionClaim) { c.Position.Mock = true },
	"no-place": func(c *fieldsyncv1.CompletionClaim) { c.Position = nil },
}

func (h *house) putDevice(t *testing.T, key *ecdsa.PrivateKey) {
	t.Helper()
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	h.update(t, func(tx *store.Tx) error {
		return store.Put(tx, store.DeviceKey("d"), &storagev1.Device{Id: "d", MemberId: "an", PublicKey: spki})
	})
}

// claimSigned makes a completion that its device signed, and for each forgery one with which a server got past its own check. It
// returns their ids by name, and takes care that they are made in the same order each time.
func (h *house) claimSigned(t *testing.T) map[string]string {
	t.Helper()
	key := device(t, 5)
	h.putDevice(t, key)
	ids := make(map[string]string)
	complete := func(name string, key *ecdsa.PrivateKey, forge func(*fieldsyncv1.CompletionClaim)) {
		task := "signed-" + name
		m, claim := said(task)
		record := completed(task, verified)
		record.Task.Completion.Completed = &fieldsyncv1.TimeInterval{
			Latest: timestamppb.New(h.now), Wall: &timestamppb.Timestamp{Seconds: claim.GetRecorded().GetWall().GetSeconds()},
		}
		record.Task.Completion.Position = proto.CloneOf(m.GetPosition())
		forge(claim)
		h.update(t, func(tx *store.Tx) (err error) {
			record, complete := proto.CloneOf(record), m.GetComplete()
			if complete.Claim, err = (proto.MarshalOptions{Deterministic: true}).Marshal(claim); err != nil {
				return err
			}
			complete.ClaimSignature = sign(t, key, complete.GetClaim())
			if err := h.Claim(tx, record, crewAn, 6, complete); err != nil {
				return err
			}
			ids[name] = record.GetTask().GetCompletion().GetCompletionId()
			return store.Put(tx, store.TaskKey(task), record)
		})
	}
	complete("signed", key, func(*fieldsyncv1.CompletionClaim) {})
	for _, name := range slices.Sorted(maps.Keys(forgeries)) {
		complete("forged-"+name, key, forgeries[name])
	}
	complete("forged-key", device(t, 6), func(*fieldsyncv1.CompletionClaim) {})
	return ids
}

// Protects the crew member: what the device signed is checked when it arrives and again from the receipt alone, and a server that
// says something else in its log is found out. What was never signed stays good.
func TestTheDeviceSigns(t *testing.T) {
	h := newHouse(t)
	_, keys := h.published(t)
	for name, id := range h.claimSigned(t) {
		proven, err := receipt.Verify(h.receiptOf(t, id), keys)
		if name != "signed" {
			if fault.CodeOf(err) != "claim_unproven" {
				t.Errorf("%s: %v, %v", name, proven, err)
			}
			continue
		}
		if err != nil || proven.Claim == nil || proven.Kind != receipt.Sealed || !proven.Vouches(proven.Record.GetPhotos()[0]) {
			t.Errorf("%s: %v, %v", name, proven, err)
		}
	}
	if proven, err := receipt.Verify(h.receiptOf(t, h.claim(t, "unsigned")), keys); err != nil || proven.Claim != nil {
		t.Errorf("without a signature: %v, %v", proven, err)
	}
	if err := Audit(h.ctx, h.store); err != nil {
		t.Error(err)
	}

	good := func(m *fieldsyncv1.Mutation) (good bool) {
		h.update(t, func(tx *store.Tx) (err error) {
			good, err = h.CheckClaim(tx, crewAn, m)
			return err
		})
		return good
	}
	for name, forge := range forgeries {
		m, _ := said("t")
		_, claim := said("t")
		forge(claim)
		bytes, err := proto.Marshal(claim)
		if err != nil {
			t.Fatal(err)
		}
		m.GetComplete().Claim, m.GetComplete().ClaimSignature = bytes, sign(t, device(t, 5), bytes)
		if good(m) {
			t.Errorf("%s: a mutation passes whose signature says something else", name)
		}
	}
	m, claim := said("t")
	if !good(m) {
		t.Error("a mutation without a signature does not pass")
	}
	bytes, err := proto.Marshal(claim)
	if err != nil {
		t.Fatal(err)
	}
	m.GetComplete().Claim, m.GetComplete().ClaimSignature = bytes, sign(t, device(t, 5), bytes)
	if !good(m) {
		t.Error("a signed mutation does not pass")
	}
	m.GetComplete().ClaimSignature[9] ^= 1
	if good(m) {
		t.Error("a changed signature passes")
	}
	m.GetComplete().ClaimSignature = nil
	if good(m) {
		t.Error("a claim without its signature passes")
	}
}
