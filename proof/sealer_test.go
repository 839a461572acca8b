package proof

import (
	"bytes"
	"crypto/ed25519"
	"log/slog"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/cong1022/fieldsync/auth"
	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/store"
	"github.com/cong1022/fieldsync/store/embedded"
)

func open(t *testing.T, dir string) (*store.Store, *Sealer) {
	t.Helper()
	kv, err := embedded.Open(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	st, err := store.Open(t.Context(), kv, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	sealer, err := Open(t.Context(), st)
	if err != nil {
		t.Fatal(err)
	}
	return st, sealer
}

// completed is a task that a crew has just completed, with photos in the given states.
func completed(id string, photos ...fieldsyncv1.PhotoState) *storagev1.TaskRecord {
	task := &fieldsyncv1.Task{
		Id: id, Revision: 5,
		Ticket: &fieldsyncv1.TicketFacet{
			TicketId: "ticket", HotlineId: "1022-1", Reporter: &fieldsyncv1.Reporter{Name: "Trần Thị Mai", Phone: "0900 000 001"},
		},
		Notes: []*fieldsyncv1.Note{{Id: "n", Text: "Đã rào chắn"}},
		Completion: &fieldsyncv1.CompletionFacet{
			Outcome: fieldsyncv1.Outcome_OUTCOME_REPAIRED, Note: "xong", MemberId: "an",
			ProofState: fieldsyncv1.ProofState_PROOF_STATE_CLAIMED,
		},
	}
	for i, state := range photos {
		photo := &fieldsyncv1.Photo{Id: string(rune('a' + i)), Sha256: bytes.Repeat([]byte{byte(i)}, 32), State: state}
		task.Photos = append(task.Photos, photo)
		task.Completion.PhotoIds = append(task.Completion.PhotoIds, photo.GetId())
	}
	// A photo that came after the completion is no part of it.
	task.Photos = append(task.Photos, &fieldsyncv1.Photo{Id: "later", State: fieldsyncv1.PhotoState_PHOTO_STATE_ON_PHONE})
	return &storagev1.TaskRecord{Task: task}
}

const (
	onPhone  = fieldsyncv1.PhotoState_PHOTO_STATE_ON_PHONE
	verified = fieldsyncv1.PhotoState_PHOTO_STATE_VERIFIED
)

// Protects "sealed when all its evidence is verified": never before, exactly once, in the feed in the order of sealing, and
// what is missing is said until then.
func TestSealFollowsThePhotos(t *testing.T) {
	dir := t.TempDir()
	st, sealer := open(t, dir)
	record := completed("t", verified, onPhone)
	by := auth.Principal{MemberID: "an", DeviceID: "d", CrewID: "crew"}
	update := func(f func(tx *store.Tx) error) {
		t.Helper()
		if err := st.Update(t.Context(), f); err != nil {
			t.Fatal(err)
		}
	}
	update(func(tx *store.Tx) error { return sealer.Claim(tx, record, by, 6, nil) })
	facet := record.GetTask().GetCompletion()
	if facet.GetProofState() != fieldsyncv1.ProofState_PROOF_STATE_CLAIMED || facet.GetWaiting().GetEn() != "1 of 2 photos still on the phone" ||
		facet.GetPhotosVerified() != 1 || facet.GetCompletionId() == "" {
		t.Fatalf("claimed: %v", facet)
	}
	// Another completion, without photos, overtakes it.
	other := completed("u")
	update(func(tx *store.Tx) error { return sealer.Claim(tx, other, by, 6, nil) })

	record.Task.Photos[1].State = verified
	update(func(tx *store.Tx) error { return sealer.Advance(tx, record, 7) })
	if facet.GetProofState() != fieldsyncv1.ProofState_PROOF_STATE_SEALED || facet.GetWaiting() != nil || facet.GetRevision() != 7 {
		t.Fatalf("sealed: %v", facet)
	}
	// A photo that is verified afterwards changes nothing any more.
	before := proto.CloneOf(record)
	update(func(tx *store.Tx) error { return sealer.Advance(tx, record, 8) })
	if !proto.Equal(record, before) {
		t.Error("a sealed completion was touched")
	}

	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	st, again := open(t, dir)
	if again.kid != sealer.kid {
		t.Error("the key changed over a restart")
	}
	var feed []string
	var sealed *storagev1.Completion
	err := st.View(t.Context(), func(tx *store.Tx) error {
		for entry, err := range store.Scan(tx, store.Feed(), nil) {
			if err != nil {
				return err
			}
			feed = append(feed, entry.GetId())
		}
		var err error
		sealed, err = store.Get(tx, store.CompletionKey(facet.GetCompletionId()))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(feed) != 2 || feed[0] != other.GetTask().GetCompletion().GetCompletionId() || feed[1] != facet.GetCompletionId() || sealed.GetFeedSequence() != 2 {
		t.Errorf("feed %v, sequence %d", feed, sealed.GetFeedSequence())
	}
	checkSignature(t, ed25519.PublicKey(sealer.key[ed25519.SeedSize:]), sealed)
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
}

// checkSignature protects the proof itself: it says what was done, any changed bit is found, and no citizen stands in it.
func checkSignature(t *testing.T, key ed25519.PublicKey, sealed *storagev1.Completion) {
	t.Helper()
	completion := &fieldsyncv1.Completion{Record: sealed.GetRecord(), Signature: sealed.GetSignature()}
	record, err := Verify(key, completion)
	if err != nil {
		t.Fatal(err)
	}
	if record.GetTaskId() != "t" || record.GetDeviceId() != "d" || len(record.GetPhotos()) != 2 || len(record.GetNotes()) != 1 {
		t.Errorf("record %v", record)
	}
	if bytes.Contains(sealed.GetRecord(), []byte("Mai")) || bytes.Contains(sealed.GetRecord(), []byte("0900")) {
		t.Error("the record names the citizen")
	}
	for i := range sealed.GetRecord() {
		for bit := range 8 {
			completion.Record = bytes.Clone(sealed.GetRecord())
			completion.Record[i] ^= 1 << bit
			if _, err := Verify(key, completion); err == nil {
				t.Fatalf("bit %d of byte %d was changed and nobody noticed", bit, i)
			}
		}
	}
	if _, err := Verify(nil, completion); err == nil {
		t.Error("no key, and it verifies")
	}
}
