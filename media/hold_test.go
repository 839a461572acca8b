package media_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"connectrpc.com/connect"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/media"
	"github.com/cong1022/fieldsync/media/folder"
	"github.com/cong1022/fieldsync/store"
)

// ticket makes the task's ticket, by fieldsync's id k-<task> and the hotline's id 1022-<task>.
func (h *house) ticket(task string) {
	h.t.Helper()
	h.update(func(tx *store.Tx) error {
		id := "k-" + task
		record, err := store.Get(tx, store.TaskKey(task))
		if err != nil {
			return err
		}
		record.Task.Ticket.TicketId = id
		store.NextRevision(record)
		ticket := &storagev1.Ticket{Id: id, TaskId: task, Facts: &fieldsyncv1.TicketFacet{TicketId: id, HotlineId: "1022-" + task, UnitId: "unit-1"}}
		return errors.Join(
			store.Put(tx, store.TicketKey(id), ticket),
			store.Put(tx, store.TicketByHotlineKey("1022-"+task), &storagev1.Ticket{Id: id}),
			store.SaveTask(tx, record, 0),
		)
	})
}

// arrive brings a photo of phone-1 to the server.
func (h *house) arrive(task, photo string, content []byte) { //nolint:unparam // It reads better with the task.
	h.t.Helper()
	upload := h.as("phone-1").declare(task, photo)
	h.as("phone-1").send(upload.GetUploadPath(), content)
	h.as("phone-1").commit(upload.GetUploadId())
}

// marks are a store's own holds.
type marks struct {
	media.Blobs

	down bool
	on   map[[sha256.Size]byte]bool
}

func (m *marks) Hold(_ context.Context, sum [sha256.Size]byte, on bool) error {
	if m.down {
		return errors.New("the store is away")
	}
	m.on[sum] = on
	return nil
}

// Protects: a hold reaches every original of its ticket, those that come later and those that another held ticket shares
// included; the store's marks follow, also when it was away; lifting ends just what no other hold keeps.
func TestLegalHold(t *testing.T) {
	blobs := &marks{Blobs: newFolder(t), on: map[[sha256.Size]byte]bool{}, down: true}
	h := newHouse(t, blobs)
	early, late, shared := newPhoto(t), newPhoto(t), newPhoto(t)
	h.task("t1", early, late, shared)
	h.task("t2", shared)
	h.ticket("t1")
	h.ticket("t2")
	h.arrive("t1", "p0", early)
	h.arrive("t1", "p2", shared)
	h.as("phone-1").declare("t2", "p0") // The bytes are here already.

	put, err := h.as("desk-1").holds().PutLegalHold(t.Context(), &fieldsyncv1.PutLegalHoldRequest{TicketId: "1022-t1", Reason: "Công văn 118"})
	if err != nil {
		t.Fatal(err)
	}
	if hold := put.GetHold(); hold.GetTicketId() != "k-t1" || hold.GetOriginals() != 2 || hold.GetPending() != 2 || hold.GetMemberId() != "dung" {
		t.Errorf("put: %v", hold)
	}
	again, err := h.as("city").holds().PutLegalHold(t.Context(), &fieldsyncv1.PutLegalHoldRequest{TicketId: "k-t1", Reason: "another"})
	if err != nil || again.GetHold().GetReason() != "Công văn 118" {
		t.Errorf("put again: %v, %v; want the first reason", again, err)
	}
	if _, err := h.as("admin").holds().PutLegalHold(t.Context(), &fieldsyncv1.PutLegalHoldRequest{TicketId: "k-t2", Reason: "x"}); err != nil {
		t.Fatal(err)
	}
	h.arrive("t1", "p1", late)

	blobs.down = false
	h.restart() // As the timer would, half a minute later.
	eventually(t, "the store has all marks", func() bool { return h.holdOf("k-t1").GetPending() == 0 })
	for name, photo := range map[string][]byte{"early": early, "late": late, "shared": shared} {
		if !blobs.on[sha256.Sum256(photo)] {
			t.Errorf("the %s photo is not held in the store", name)
		}
	}
	if hold := h.holdOf("k-t1"); hold.GetOriginals() != 3 {
		t.Errorf("held: %v", hold)
	}

	lifted, err := h.as("desk-1").holds().LiftLegalHold(t.Context(), &fieldsyncv1.LiftLegalHoldRequest{TicketId: "1022-t1", Reason: "Bản án"})
	if err != nil || lifted.GetHold().GetLiftedAt() == nil || lifted.GetHold().GetLiftReason() != "Bản án" {
		t.Fatalf("lifted: %v, %v", lifted, err)
	}
	eventually(t, "the store has dropped the marks", func() bool { return h.holdOf("k-t1").GetPending() == 0 })
	if blobs.on[sha256.Sum256(early)] || blobs.on[sha256.Sum256(late)] || !blobs.on[sha256.Sum256(shared)] {
		t.Errorf("after lifting: %v; want only the shared photo held", blobs.on)
	}
}

// holdOf returns the hold on a ticket, lifted or not.
func (h *house) holdOf(ticket string) *fieldsyncv1.LegalHold {
	h.t.Helper()
	for request := (&fieldsyncv1.ListLegalHoldsRequest{Lifted: true, Limit: 1}); ; {
		page, err := h.as("admin").holds().ListLegalHolds(h.t.Context(), request)
		if err != nil {
			h.t.Fatal(err)
		}
		for _, hold := range page.GetHolds() {
			if hold.GetTicketId() == ticket {
				return hold
			}
		}
		if request.PageToken = page.GetNextToken(); request.GetPageToken() == "" {
			h.t.Fatalf("there is no hold on %s", ticket)
		}
	}
}

// Protects: whose tickets one may hold, and that another unit's looks like none.
func TestLegalHoldRefused(t *testing.T) {
	h := newHouse(t, newFolder(t))
	h.task("t1", newPhoto(t))
	h.ticket("t1")
	for _, test := range []struct{ token, ticket, code string }{
		{"desk-2", "k-t1", "ticket_unknown"},
		{"desk-2", "1022-t1", "ticket_unknown"},
		{"desk-1", "none", "ticket_unknown"},
		{"desk-1", "../k-t1", "ticket_unknown"},
		{"", "k-t1", "token_missing"},
	} {
		_, err := h.as(test.token).holds().PutLegalHold(t.Context(), &fieldsyncv1.PutLegalHoldRequest{TicketId: test.ticket, Reason: "x"})
		if infoOf(err).GetCode() != test.code {
			t.Errorf("as %q, %q: %v, want %s", test.token, test.ticket, err, test.code)
		}
	}
	_, err := h.as("desk-1").holds().LiftLegalHold(t.Context(), &fieldsyncv1.LiftLegalHoldRequest{TicketId: "k-t1", Reason: "x"})
	if infoOf(err).GetCode() != "hold_unknown" {
		t.Errorf("lifting what never was: %v", err)
	}
	_, err = h.as("desk-1").holds().PutLegalHold(t.Context(), &fieldsyncv1.PutLegalHoldRequest{TicketId: "k-t1"})
	if connect.CodeOf(err) != connect.CodeInvalidArgument {
		t.Errorf("without a reason: %v", err)
	}
	page, err := h.as("desk-2").holds().ListLegalHolds(t.Context(), &fieldsyncv1.ListLegalHoldsRequest{Lifted: true})
	if err != nil || len(page.GetHolds()) > 0 {
		t.Errorf("another unit's holds: %v, %v", page, err)
	}
}

// Protects: orphans go and evidence never does: not originals in whatever state, previews, thumbnails, public copies, nor what is
// on its way; nor what is younger than the limit.
func TestOrphansAreCollected(t *testing.T) {
	root := t.TempDir()
	blobs, err := folder.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	h := newHouse(t, blobs)
	good, damaged, unsent := newPhoto(t), []byte("no photo at all"), newPhoto(t)
	h.task("t1", good, damaged, unsent)
	h.arrive("t1", "p0", good)
	h.arrive("t1", "p1", damaged)
	if got := h.as("phone-1").do("PUT", "/v1/tasks/t1/photos/p2/preview", bytes.NewReader(sceneJPEG(t, 3, 64, 60))); got.status != 204 {
		t.Fatalf("preview: %d %s", got.status, got.body)
	}
	if got := h.as("").do("GET", h.service.PublicPath("t1", "p0"), nil); got.status != 200 {
		t.Fatalf("public copy: %d %s", got.status, got.body)
	}
	// On its way: declared, and Put has happened before a crash.
	h.as("phone-1").declare("t1", "p2")
	put := func(content []byte) [sha256.Size]byte {
		sum := sha256.Sum256(content)
		if err := blobs.Put(t.Context(), sum, bytes.NewReader(content)); err != nil {
			t.Fatal(err)
		}
		return sum
	}
	put(unsent)
	before := fileCount(t, root)
	orphan, young := put([]byte("nobody knows me")), put([]byte("nobody knows me yet"))

	h.now.set(time.Now().AddDate(0, 0, 31))
	recent := h.now.read().AddDate(0, 0, -29)
	name := hex.EncodeToString(young[:])
	if err := os.Chtimes(filepath.Join(root, name[:2], name[2:4], name), recent, recent); err != nil {
		t.Fatal(err)
	}
	removed, err := h.service.CollectOrphans(t.Context())
	if err != nil || removed != 1 {
		t.Fatalf("removed %d, %v; want 1", removed, err)
	}
	if _, _, err := blobs.Open(t.Context(), orphan); !errors.Is(err, media.ErrBlobNotFound) {
		t.Errorf("the orphan is still there: %v", err)
	}
	if got := fileCount(t, root); got != before+1 {
		t.Errorf("%d files, want %d and the young orphan", got, before)
	}
	if removed, err := h.service.CollectOrphans(t.Context()); err != nil || removed != 0 {
		t.Errorf("again: %d, %v", removed, err)
	}
}

// slow is a store whose removals wait, and which may die before one.
type slow struct {
	media.Blobs

	before func()
	fails  error
}

func (s *slow) Remove(ctx context.Context, sum [sha256.Size]byte) error {
	if s.before != nil {
		s.before()
	}
	if s.fails != nil {
		return s.fails
	}
	return s.Blobs.Remove(ctx, sum)
}

// Protects: bytes that are committed while they are being collected as an orphan are not lost: the commit waits until they are
// gone, and puts them again; a collection that a crash has cut is finished by the next start.
func TestCommitBesideCollection(t *testing.T) {
	blobs := &slow{Blobs: newFolder(t), fails: errors.New("cut")}
	h := newHouse(t, blobs)
	photo := newPhoto(t)
	sum := sha256.Sum256(photo)
	if err := blobs.Put(t.Context(), sum, bytes.NewReader(photo)); err != nil {
		t.Fatal(err)
	}
	h.now.set(time.Now().AddDate(0, 0, 31))
	if _, err := h.service.CollectOrphans(t.Context()); err == nil {
		t.Fatal("the removal did not fail")
	}
	h.task("t1", photo)
	upload := h.as("phone-1").declare("t1", "p0")
	h.as("phone-1").send(upload.GetUploadPath(), photo)
	h.as("phone-1").refused(upload.GetUploadId(), "photo_store_unavailable")
	h.mustBe("t1", onPhone)
	blobs.fails = nil
	h.restart()
	// Declared meanwhile, it is spared; had nobody declared it, it would be removed and put again.
	eventually(t, "the collection has ended", func() bool {
		_, err := h.as("phone-1").rpc().Commit(t.Context(), &fieldsyncv1.CommitRequest{UploadId: upload.GetUploadId()})
		return err == nil
	})
	h.mustBe("t1", verified)
	download(t, h, "t1", photo)
}

func fileCount(tb testing.TB, root string) (count int) {
	tb.Helper()
	err := filepath.WalkDir(root, func(_ string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			count++
		}
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	return count
}
