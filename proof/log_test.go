package proof

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"github.com/cong1022/fieldsync/auth"
	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/internal/toolserver"
	"github.com/cong1022/fieldsync/proof/receipt"
	"github.com/cong1022/fieldsync/store"
	"github.com/cong1022/fieldsync/store/memory"
)

var (
	crewAn  = auth.Principal{MemberID: "an", DeviceID: "d", CrewID: "to-1", Role: fieldsyncv1.Role_ROLE_CREW}
	hotline = auth.Principal{MemberID: "1022", Role: fieldsyncv1.Role_ROLE_HOTLINE}
)

// house is a sealer over a store in memory whose clock stands still.
type house struct {
	*Sealer

	ctx context.Context //nolint:containedctx // The hotline's, the same in all of a test.
	now time.Time
}

func newHouse(t *testing.T) *house {
	t.Helper()
	h := &house{now: time.Date(2025, 11, 24, 9, 0, 0, 0, time.UTC), ctx: auth.WithPrincipal(t.Context(), hotline)}
	st, err := store.Open(t.Context(), new(memory.Disk).Open(), store.Options{Clock: func() time.Time { return h.now }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	if h.Sealer, err = Open(t.Context(), st); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *house) update(t *testing.T, f func(tx *store.Tx) error) {
	t.Helper()
	if err := h.store.Update(h.ctx, f); err != nil {
		t.Fatal(err)
	}
}

// claim completes a task, with photos in the given states, and stores it. It returns the completion's id.
func (h *house) claim(t *testing.T, id string, photos ...fieldsyncv1.PhotoState) string {
	t.Helper()
	record := completed(id, photos...)
	h.update(t, func(tx *store.Tx) error {
		record = completed(id, photos...)
		if err := h.Claim(tx, record, crewAn, 6, nil); err != nil {
			return err
		}
		return store.Put(tx, store.TaskKey(id), record)
	})
	return record.GetTask().GetCompletion().GetCompletionId()
}

// arrive lets every photo of a task arrive.
func (h *house) arrive(t *testing.T, id string) {
	t.Helper()
	h.change(t, id, func(tx *store.Tx, record *storagev1.TaskRecord) error {
		for _, photo := range record.GetTask().GetPhotos() {
			photo.State = verified
		}
		return h.Advance(tx, record, 7)
	})
}

func (h *house) deliver(t *testing.T, id string) {
	t.Helper()
	h.change(t, id, func(tx *store.Tx, record *storagev1.TaskRecord) error {
		completion, err := store.Get(tx, store.CompletionKey(record.GetTask().GetCompletion().GetCompletionId()))
		if err != nil {
			return err
		}
		if err := h.Deliver(tx, record, completion); err != nil {
			return err
		}
		return store.Put(tx, store.CompletionKey(completion.GetId()), completion)
	})
}

func (h *house) change(t *testing.T, id string, f func(*store.Tx, *storagev1.TaskRecord) error) {
	t.Helper()
	h.update(t, func(tx *store.Tx) error {
		record, err := store.Get(tx, store.TaskKey(id))
		if err != nil {
			return err
		}
		if err := f(tx, record); err != nil {
			return err
		}
		return store.Put(tx, store.TaskKey(id), record)
	})
}

func (h *house) receiptOf(t *testing.T, completion string) []byte {
	t.Helper()
	got, err := h.GetReceipt(h.ctx, &fieldsyncv1.GetReceiptRequest{CompletionId: completion})
	if err != nil {
		t.Fatal(err)
	}
	return got.GetReceipt()
}

// published are the keys as the server gives them to anyone.
func (h *house) published(t *testing.T) ([]byte, receipt.Keys) {
	t.Helper()
	w := httptest.NewRecorder()
	h.LogKeys(slog.New(slog.DiscardHandler)).ServeHTTP(w, httptest.NewRequestWithContext(h.ctx, http.MethodGet, "/", nil))
	keys, err := receipt.ParseKeys(w.Body.Bytes())
	if err != nil {
		t.Fatalf("%v\n%s", err, w.Body)
	}
	return w.Body.Bytes(), keys
}

func (h *house) newest(t *testing.T, since int64) (receipt.Signed, []tlog.Hash) {
	t.Helper()
	got, err := h.GetCheckpoint(h.ctx, &fieldsyncv1.GetCheckpointRequest{SinceSize: uint64(since)})
	if err != nil {
		t.Fatal(err)
	}
	_, keys := h.published(t)
	checkpoint, err := receipt.OpenCheckpoint([]byte(got.GetCheckpoint()), keys)
	if err != nil {
		t.Fatal(err)
	}
	var hashes []tlog.Hash
	for _, hash := range got.GetConsistency() {
		hashes = append(hashes, tlog.Hash(hash))
	}
	return checkpoint, hashes
}

// Protects the way of a completion through the log: a leaf when it is claimed, one when it is sealed, one when it is delivered,
// each naming the one before; a receipt at any time, which says how far it has come and holds no citizen.
func TestReceiptFollowsTheCompletion(t *testing.T) {
	h := newHouse(t)
	_, keys := h.published(t)
	h.claim(t, "other")
	id := h.claim(t, "t", onPhone)
	claimed, err := receipt.Verify(h.receiptOf(t, id), keys)
	if err != nil {
		t.Fatal(err)
	}
	if claimed.Kind != receipt.Claimed || claimed.Index != 2 || claimed.Record.GetSealedAt() != nil || len(claimed.Record.GetPhotos()) != 1 {
		t.Errorf("the claim's receipt proves %v", claimed)
	}
	h.arrive(t, "t")
	text := h.receiptOf(t, id)
	sealed, err := receipt.Verify(text, keys)
	if err != nil {
		t.Fatal(err)
	}
	if r := sealed.Record; sealed.Kind != receipt.Sealed || sealed.Index != 3 || r.GetCompletionId() != id || r.GetSealedAt() == nil ||
		r.GetDeviceId() != "d" || len(r.GetNotes()) != 1 || sealed.Checkpoint.Size != 4 {
		t.Errorf("the seal's receipt proves %v", sealed)
	}
	parsed, err := receipt.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	claimedReceipt, _, err := receipt.NewLeaf(receipt.Claimed, h.completion(t, id).GetClaimedRecord(), tlog.Hash{})
	if err != nil || parsed.Previous != claimedReceipt.Hash() {
		t.Errorf("the seal names %v as the leaf before it, %v", parsed.Previous, err)
	}
	if bytes.Contains(parsed.Record, []byte("Mai")) || bytes.Contains(parsed.Record, []byte("0900")) {
		t.Error("the receipt names the citizen")
	}
	h.deliver(t, "t")
	delivered := h.completion(t, id)
	if delivered.GetClaimedLeaf() != 3 || delivered.GetSealedLeaf() != 4 || delivered.GetDeliveredLeaf() != 5 {
		t.Errorf("the leaves are %d, %d and %d", delivered.GetClaimedLeaf(), delivered.GetSealedLeaf(), delivered.GetDeliveredLeaf())
	}
	if late, err := receipt.Verify(h.receiptOf(t, id), keys); err != nil || late.Kind != receipt.Sealed || late.Checkpoint.Size != 5 {
		t.Errorf("after the delivery the receipt proves %v, %v", late, err)
	}
	if _, err := receipt.Verify(text, keys); err != nil {
		t.Errorf("a receipt from before does not verify any more: %v", err)
	}
	if err := Audit(h.ctx, h.store); err != nil {
		t.Error(err)
	}
}

func (h *house) completion(t *testing.T, id string) (completion *storagev1.Completion) {
	t.Helper()
	h.update(t, func(tx *store.Tx) (err error) {
		completion, err = store.Get(tx, store.CompletionKey(id))
		return err
	})
	return completion
}

// Protects the tree: after any sequence of claims, arriving photos and deliveries, the stored hashes give the same root as the
// library alone over the leaves, every leaf can be proven, and any two sizes are consistent.
func TestLogAgainstTheLibrary(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		h := newHouse(t)
		var waiting, sealed []string
		var leaves [][]byte
		noted := func(kind receipt.Kind, said []byte, previous uint64) {
			var before tlog.Hash
			if previous > 0 {
				before = tlog.RecordHash(leaves[previous-1])
			}
			leaf, _, err := receipt.NewLeaf(kind, said, before)
			if err != nil {
				rt.Fatal(err)
			}
			leaves = append(leaves, leaf.Bytes())
		}
		for i := range rapid.IntRange(1, 25).Draw(rt, "steps") {
			switch task := strconv.Itoa(i); rapid.IntRange(0, 3).Draw(rt, "step") {
			case 0:
				c := h.completion(t, h.claim(t, task))
				noted(receipt.Claimed, c.GetClaimedRecord(), 0)
				noted(receipt.Sealed, c.GetRecord(), c.GetClaimedLeaf())
				sealed = append(sealed, task)
			case 1:
				noted(receipt.Claimed, h.completion(t, h.claim(t, task, onPhone)).GetClaimedRecord(), 0)
				waiting = append(waiting, task)
			case 2:
				if len(waiting) > 0 {
					h.arrive(t, waiting[0])
					c := h.completion(t, h.completionOf(t, waiting[0]))
					noted(receipt.Sealed, c.GetRecord(), c.GetClaimedLeaf())
					sealed, waiting = append(sealed, waiting[0]), waiting[1:]
				}
			case 3:
				if len(sealed) > 0 {
					h.deliver(t, sealed[0])
					c := h.completion(t, h.completionOf(t, sealed[0]))
					noted(receipt.Delivered, c.GetRecord(), c.GetSealedLeaf())
					sealed = sealed[1:]
				}
			}
		}
		alone := newLibrary(rt, leaves)
		checkpoint, _ := h.newest(t, 0)
		size := int64(len(leaves))
		if root := alone.root(rt, size); checkpoint.Size != size || checkpoint.Root != root {
			rt.Fatalf("the log has %d leaves and the root %v, the library %d and %v", checkpoint.Size, checkpoint.Root, size, root)
		}
		for since := range size + 1 {
			now, hashes := h.newest(t, since)
			earlier := receipt.Checkpoint{Origin: now.Origin, Size: since, Root: alone.root(rt, since)}
			if err := receipt.CheckConsistency(earlier, now.Checkpoint, hashes); err != nil {
				rt.Fatalf("since %d: %v", since, err)
			}
			if since == 0 || since == size {
				continue
			}
			earlier.Root[rapid.IntRange(0, 31).Draw(rt, "byte")] ^= 1
			if err := receipt.CheckConsistency(earlier, now.Checkpoint, hashes); fault.CodeOf(err) != "log_inconsistent" {
				rt.Fatalf("since %d: a log that was rewritten passes: %v", since, err)
			}
		}
		for n, leaf := range leaves {
			err := h.store.View(h.ctx, func(tx *store.Tx) error {
				path, err := tlog.ProveRecord(size, int64(n), tree{tx})
				if err != nil {
					return err
				}
				return tlog.CheckRecord(path, size, checkpoint.Root, int64(n), tlog.RecordHash(leaf))
			})
			if err != nil {
				rt.Fatalf("leaf %d of %d: %v", n, size, err)
			}
		}
		if err := Audit(h.ctx, h.store); err != nil {
			rt.Fatal(err)
		}
	})
}

func (h *house) completionOf(t *testing.T, task string) (id string) {
	t.Helper()
	h.update(t, func(tx *store.Tx) error {
		record, err := store.Get(tx, store.TaskKey(task))
		id = record.GetTask().GetCompletion().GetCompletionId()
		return err
	})
	return id
}

// library is a log in memory as the library alone keeps it.
type library []tlog.Hash

// ReadHashes implements tlog.HashReader.
func (l library) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	hashes := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		hashes[i] = l[index]
	}
	return hashes, nil
}

type fataler interface{ Fatal(args ...any) }

func newLibrary(f fataler, leaves [][]byte) library {
	var l library
	for n, leaf := range leaves {
		hashes, err := tlog.StoredHashes(int64(n), leaf, l)
		if err != nil {
			f.Fatal(err)
		}
		l = append(l, hashes...)
	}
	return l
}

func (l library) root(f fataler, size int64) tlog.Hash {
	root, err := tlog.TreeHash(size, l)
	if err != nil {
		f.Fatal(err)
	}
	return root
}

// Protects: whose completion it is decides who gets its receipt, and nobody else learns that there is one.
func TestWhoGetsAReceipt(t *testing.T) {
	h := newHouse(t)
	id := h.claim(t, "t")
	h.change(t, "t", func(_ *store.Tx, record *storagev1.TaskRecord) error {
		record.Task.Ticket.UnitId = "sai-gon"
		return nil
	})
	role := func(role fieldsyncv1.Role) auth.Principal { return auth.Principal{MemberID: "x", Role: role} }
	dispatcher := func(unit string) auth.Principal {
		return auth.Principal{MemberID: "chi", UnitID: unit, Role: fieldsyncv1.Role_ROLE_DISPATCHER}
	}
	for _, c := range []struct {
		name string
		by   auth.Principal
		id   string
		code string
	}{
		{"hotline", hotline, id, ""},
		{"admin", role(fieldsyncv1.Role_ROLE_ADMIN), id, ""},
		{"who completed it", crewAn, id, ""},
		{"who completed it, in another crew now", auth.Principal{MemberID: "an", CrewID: "to-2", Role: fieldsyncv1.Role_ROLE_CREW}, id, ""},
		{"the crew", auth.Principal{MemberID: "binh", CrewID: "to-1", Role: fieldsyncv1.Role_ROLE_CREW}, id, ""},
		{"another crew", auth.Principal{MemberID: "binh", CrewID: "to-2", Role: fieldsyncv1.Role_ROLE_CREW}, id, "completion_unknown"},
		{"no crew", role(fieldsyncv1.Role_ROLE_CREW), id, "completion_unknown"},
		{"its unit", dispatcher("sai-gon"), id, ""},
		{"the city", dispatcher(auth.CityUnit), id, ""},
		{"another unit", dispatcher("binh-thanh"), id, "completion_unknown"},
		{"none such", hotline, "x", "completion_unknown"},
	} {
		_, err := h.GetReceipt(auth.WithPrincipal(t.Context(), c.by), &fieldsyncv1.GetReceiptRequest{CompletionId: c.id})
		if fault.CodeOf(err) != c.code || (c.code == "") != (err == nil) {
			t.Errorf("%s: %v, want %q", c.name, err, c.code)
		}
	}
	if _, err := h.GetReceipt(t.Context(), &fieldsyncv1.GetReceiptRequest{CompletionId: id}); fault.CodeOf(err) != "token_missing" {
		t.Errorf("nobody: %v", err)
	}
	if _, err := h.GetCheckpoint(h.ctx, &fieldsyncv1.GetCheckpointRequest{SinceSize: 3}); fault.CodeOf(err) != "log_ahead" {
		t.Errorf("a checkpoint since a size that the log never had: %v", err)
	}
}

// Protects completions from before there was a log: they enter it once, in the order of the feed, however often the server
// starts, and those that are sealed afterwards are not entered twice.
func TestFormerCompletionsAreAdopted(t *testing.T) {
	h := newHouse(t)
	var ids []string
	for i := range 5 {
		ids = append(ids, h.claim(t, strconv.Itoa(i)))
	}
	waiting := h.claim(t, "waiting", onPhone)
	// What a version without a log would have written.
	h.update(t, func(tx *store.Tx) error {
		for number := range uint64(11) {
			if err := store.Delete(tx, store.LogLeafKey(number+1)); err != nil {
				return err
			}
		}
		for _, id := range append([]string{waiting}, ids...) {
			completion, err := store.Get(tx, store.CompletionKey(id))
			if err != nil {
				return err
			}
			completion.ClaimedLeaf, completion.SealedLeaf, completion.ClaimedRecord = 0, 0, nil
			if id == ids[4] {
				completion.State = fieldsyncv1.ProofState_PROOF_STATE_DELIVERED
			}
			if err := store.Put(tx, store.CompletionKey(id), completion); err != nil {
				return err
			}
			record, err := store.Get(tx, store.TaskKey(completion.GetTaskId()))
			if err != nil {
				return err
			}
			record.LogLeaf = 0
			if err := store.Put(tx, store.TaskKey(completion.GetTaskId()), record); err != nil {
				return err
			}
		}
		return store.Delete(tx, store.LogHeadKey())
	})
	for range 2 {
		var err error
		if h.Sealer, err = Open(t.Context(), h.store); err != nil {
			t.Fatal(err)
		}
	}
	_, keys := h.published(t)
	for i, id := range ids {
		if proven, err := receipt.Verify(h.receiptOf(t, id), keys); err != nil || proven.Index != int64(i) || proven.Kind != receipt.Sealed {
			t.Errorf("completion %d: %v, %v", i, proven, err)
		}
	}
	if _, err := h.GetReceipt(h.ctx, &fieldsyncv1.GetReceiptRequest{CompletionId: waiting}); fault.CodeOf(err) != "completion_unknown" {
		t.Errorf("one that was claimed before there was a log: %v", err)
	}
	h.arrive(t, "waiting")
	h.claim(t, "after")
	if _, err := Open(t.Context(), h.store); err != nil {
		t.Fatal(err)
	}
	if checkpoint, _ := h.newest(t, 0); checkpoint.Size != 9 {
		t.Errorf("the log has %d leaves: 5 adopted, 1 of them delivered, 1 sealed, 1 claimed and sealed are expected", checkpoint.Size)
	}
	if err := Audit(h.ctx, h.store); err != nil {
		t.Error(err)
	}
}

// Protects the verdict on the deadline: sure where the bounds allow it, open where the target lies between them.
func TestDeadlineVerdict(t *testing.T) {
	at := func(minute int) *timestamppb.Timestamp {
		return timestamppb.New(time.Date(2025, 11, 24, 9, minute, 0, 0, time.UTC))
	}
	between := &fieldsyncv1.TimeInterval{Earliest: at(10), Latest: at(20)}
	for _, c := range []struct {
		at   *fieldsyncv1.TimeInterval
		due  *timestamppb.Timestamp
		want fieldsyncv1.DeadlineVerdict
	}{
		{between, nil, fieldsyncv1.DeadlineVerdict_DEADLINE_VERDICT_UNSPECIFIED},
		{nil, at(5), fieldsyncv1.DeadlineVerdict_DEADLINE_VERDICT_UNSPECIFIED},
		{between, at(9), fieldsyncv1.DeadlineVerdict_DEADLINE_VERDICT_MISSED},
		{between, at(10), fieldsyncv1.DeadlineVerdict_DEADLINE_VERDICT_OPEN},
		{between, at(19), fieldsyncv1.DeadlineVerdict_DEADLINE_VERDICT_OPEN},
		{between, at(20), fieldsyncv1.DeadlineVerdict_DEADLINE_VERDICT_MET},
		{&fieldsyncv1.TimeInterval{Latest: at(20)}, at(9), fieldsyncv1.DeadlineVerdict_DEADLINE_VERDICT_OPEN},
	} {
		if got := judgeDeadline(c.at, c.due); got != c.want {
			t.Errorf("%v, due %v: %v, want %v", c.at, c.due, got, c.want)
		}
	}
}

// Protects a rotation of the log's key: for 90 days a new checkpoint verifies with the old key and with the new one, then only
// with the new one; what was signed before verifies for good, with the old key and with the published file.
func TestLogKeyRotation(t *testing.T) {
	h := newHouse(t)
	id := h.claim(t, "t")
	oldFile, oldKeys := h.published(t)
	before := h.receiptOf(t, id)
	h.now = h.now.Add(time.Hour)
	rotated, err := h.RotateLogKey(h.ctx, &fieldsyncv1.RotateLogKeyRequest{})
	if err != nil {
		t.Fatal(err)
	}
	bothFile, _ := h.published(t)
	if string(bothFile) != rotated.GetKeys() {
		t.Errorf("published is\n%s, the answer was\n%s", bothFile, rotated.GetKeys())
	}
	newKeys, err := receipt.ParseKeys(bytes.TrimPrefix(bothFile, oldFile))
	if err != nil {
		t.Fatalf("%v\n%s", err, bothFile)
	}
	verifies := func(name string, text []byte, keys receipt.Keys, want string) {
		t.Helper()
		if _, err := receipt.Verify(text, keys); fault.CodeOf(err) != want || (want == "") != (err == nil) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
	during := h.receiptOf(t, id)
	verifies("during, old key", during, oldKeys, "")
	verifies("during, new key", during, newKeys, "")
	h.now = h.now.Add(logKeyOverlap)
	after := h.receiptOf(t, id)
	verifies("after, old key", after, oldKeys, "checkpoint_unsigned")
	verifies("after, new key", after, newKeys, "")
	verifies("before, old key", before, oldKeys, "")
	verifies("before, new key", before, newKeys, "checkpoint_unsigned")
	_, bothKeys := h.published(t)
	verifies("before, published keys", before, bothKeys, "")
	verifies("after, published keys", after, bothKeys, "")
}

// Protects the audit: a store in which a leaf, a completion or the link between them was changed does not pass.
func TestAuditFindsWhatWasChanged(t *testing.T) {
	for name, spoil := range map[string]func(tx *store.Tx, completion *storagev1.Completion) error{
		"a record": func(tx *store.Tx, c *storagev1.Completion) error {
			c.Record[len(c.GetRecord())-1] ^= 1
			return store.Put(tx, store.CompletionKey(c.GetId()), c)
		},
		"a claim": func(tx *store.Tx, c *storagev1.Completion) error {
			c.ClaimedRecord = append(c.ClaimedRecord, c.GetClaimedRecord()...)
			return store.Put(tx, store.CompletionKey(c.GetId()), c)
		},
		"a leaf is not named": func(tx *store.Tx, c *storagev1.Completion) error {
			c.SealedLeaf = 0
			return store.Put(tx, store.CompletionKey(c.GetId()), c)
		},
		"a completion is gone": func(tx *store.Tx, c *storagev1.Completion) error {
			return store.Delete(tx, store.CompletionKey(c.GetId()))
		},
		"a hash of the tree": func(tx *store.Tx, c *storagev1.Completion) error {
			entry, err := store.Get(tx, store.LogLeafKey(c.GetSealedLeaf()))
			if err != nil {
				return err
			}
			entry.Hashes[len(entry.GetHashes())-1] ^= 1
			return store.Put(tx, store.LogLeafKey(c.GetSealedLeaf()), entry)
		},
		"the history": func(tx *store.Tx, c *storagev1.Completion) error {
			entry, err := store.Get(tx, store.LogLeafKey(c.GetSealedLeaf()))
			if err != nil {
				return err
			}
			entry.Previous = 0
			return store.Put(tx, store.LogLeafKey(c.GetSealedLeaf()), entry)
		},
		"a leaf is gone": func(tx *store.Tx, c *storagev1.Completion) error {
			return store.Delete(tx, store.LogLeafKey(c.GetSealedLeaf()))
		},
		"the end is cut": func(tx *store.Tx, _ *storagev1.Completion) error {
			return store.Put(tx, store.LogHeadKey(), &storagev1.LogHead{Size: 5, Whole: true})
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			h.claim(t, "a")
			id := h.claim(t, "b", verified)
			h.claim(t, "c")
			if err := Audit(h.ctx, h.store); err != nil {
				t.Fatal(err)
			}
			completion := h.completion(t, id)
			h.update(t, func(tx *store.Tx) error { return spoil(tx, proto.CloneOf(completion)) })
			if err := Audit(h.ctx, h.store); !errors.Is(err, ErrAudit) {
				t.Errorf("the audit says %v", err)
			}
		})
	}
}

var writeVectors = flag.Bool("write-vectors", false, "write proof/testdata anew")

// Protects what others build on: receipts, checkpoints and the consistency proof in testdata, made from fixed keys, are written
// byte for byte as they were. A verifier in another language reads the same files (testdata/README.md).
func TestVectors(t *testing.T) {
	files := vectors(t)
	if *writeVectors {
		for name, content := range files {
			if err := os.WriteFile(filepath.Join("testdata", name), content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, want := range files {
		if got, err := os.ReadFile(filepath.Join("testdata", name)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("testdata/%s is not what would be written: %v", name, err)
		}
	}
}

// verdicts says for each receipt what it proves, and for each of its bytes, with one bit flipped, why it no longer does.
func verdicts(t *testing.T, files map[string][]byte) []byte {
	t.Helper()
	keys, err := receipt.ParseKeys(files["log.pub"])
	if err != nil {
		t.Fatal(err)
	}
	letters := map[string]byte{"receipt_malformed": 'R', "receipt_unproven": 'U', "checkpoint_malformed": 'C', "checkpoint_unsigned": 'S', "": '='}
	var b []byte
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if !strings.HasSuffix(name, ".tlog-proof") {
			continue
		}
		p, err := receipt.Verify(files[name], keys)
		if strings.HasPrefix(name, "forged-") {
			if fault.CodeOf(err) != "claim_unproven" {
				t.Fatalf("%s: %v", name, err)
			}
			b = fmt.Appendf(b, "%s\tclaim_unproven\t\n", name)
			continue
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var photos []string
		for _, photo := range p.Record.GetPhotos() {
			photos = append(photos, hex.EncodeToString(photo.GetSha256()))
		}
		b = fmt.Appendf(b, "%s\t%v %d %d %s %x %s %s %s %t %x %x\t", name, p.Kind, p.Index, p.Checkpoint.Size, p.Checkpoint.Origin,
			p.Checkpoint.Root[:], p.Record.GetTicketId(), p.Record.GetHotlineId(), strings.Join(photos, ","), p.Claim != nil,
			p.Leaf[:], p.Record.GetCorrects().GetLeaf())
		for i := range files[name] {
			changed := bytes.Clone(files[name])
			changed[i] ^= 1 << (i % 8)
			_, err := receipt.Verify(changed, keys)
			b = append(b, letters[fault.CodeOf(err)])
		}
		b = append(b, '\n')
	}
	return b
}

// Protects the hotline that checks in TypeScript: that verifier comes to the same as this one over the same vectors.
func TestTypeScript(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: the TypeScript verifier is not built (npm)")
	}
	toolserver.NeedNode(t)
	for _, args := range [][]string{{"ci", "--ignore-scripts", "--loglevel=error"}, {"test", "--silent"}} {
		npm := exec.CommandContext(t.Context(), "npm", args...)
		npm.Dir = "typescript"
		if out, err := npm.CombinedOutput(); err != nil {
			t.Fatalf("npm %v: %v\n%s", args, err, out)
		}
	}
}

// vectors are the files of testdata, from a store whose clock, ids and keys are fixed.
func vectors(t *testing.T) map[string][]byte {
	t.Helper()
	now := time.Date(2025, 11, 24, 9, 0, 0, 0, time.UTC)
	st, err := store.Open(t.Context(), new(memory.Disk).Open(), store.Options{
		Clock: func() time.Time { return now }, Random: &counter{},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	h := &house{ctx: auth.WithPrincipal(t.Context(), hotline), now: now}
	if h.Sealer, err = Open(t.Context(), st); err != nil {
		t.Fatal(err)
	}
	files := make(map[string][]byte)
	earlier, _ := h.newest(t, 0)
	for i := range 7 {
		id := h.claim(t, fmt.Sprint("task-", i), verified, verified)
		if i == 2 {
			signed, err := h.GetCheckpoint(h.ctx, &fieldsyncv1.GetCheckpointRequest{})
			if err != nil {
				t.Fatal(err)
			}
			files["earlier.checkpoint"] = []byte(signed.GetCheckpoint())
			earlier, _ = h.newest(t, 0)
		}
		if i%3 == 0 {
			files[fmt.Sprintf("sealed-%d.tlog-proof", i)] = h.receiptOf(t, id)
		}
	}
	files["claimed.tlog-proof"] = h.receiptOf(t, h.claim(t, "waiting", onPhone))
	for name, id := range h.claimSigned(t) {
		files[name+".tlog-proof"] = h.receiptOf(t, id)
	}
	later, err := h.GetCheckpoint(h.ctx, &fieldsyncv1.GetCheckpointRequest{SinceSize: uint64(earlier.Size)})
	if err != nil {
		t.Fatal(err)
	}
	files["later.checkpoint"] = []byte(later.GetCheckpoint())
	for _, hash := range later.GetConsistency() {
		files["earlier-later.consistency"] = fmt.Appendf(files["earlier-later.consistency"], "%s\n", tlog.Hash(hash))
	}
	file, _ := h.published(t)
	files["log.pub"] = file
	files["reopened.tlog-proof"], files["replacing.tlog-proof"] = h.reopenSigned(t)
	files["verdicts.txt"] = verdicts(t, files)

	// The same checkpoint, cosigned by a witness.
	witness := newWitness("witness.example/w1", 7)
	files["witness.pub"] = []byte(witness.text + "\n")
	opened, err := note.Open([]byte(later.GetCheckpoint()), note.VerifierList(mustVerifier(t, string(bytes.TrimSpace(file)))))
	if err != nil {
		t.Fatal(err)
	}
	if files["cosigned.checkpoint"], err = note.Sign(opened, witness); err != nil {
		t.Fatal(err)
	}
	return files
}

func mustVerifier(t *testing.T, text string) note.Verifier {
	t.Helper()
	verifier, err := note.NewVerifier(text)
	if err != nil {
		t.Fatal(err)
	}
	return verifier
}

// counter is a source of bytes that are the same in each run.
type counter struct{ next byte }

// Read implements io.Reader.
func (c *counter) Read(b []byte) (int, error) {
	for i := range b {
		c.next++
		b[i] = c.next
	}
	return len(b), nil
}

// witness cosigns as C2SP tlog-cosignature has it, written here a second time.
type witness struct {
	name, text string
	hash       uint32
	key        ed25519.PrivateKey
}

// Protects: what is stored of a completion is bounded: a claim without its notes, however many there are.
func TestClaimLeavesNotesOut(t *testing.T) {
	h := newHouse(t)
	id := h.claim(t, "t", onPhone)
	record := &fieldsyncv1.CompletionRecord{}
	if err := proto.Unmarshal(h.completion(t, id).GetClaimedRecord(), record); err != nil {
		t.Fatal(err)
	}
	if len(record.GetNotes()) != 0 || record.GetNote() != "xong" {
		t.Errorf("the claim is %v", record)
	}
}
