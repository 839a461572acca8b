package media_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/media"
	"github.com/cong1022/fieldsync/store"
)

const (
	onPhone  = fieldsyncv1.PhotoState_PHOTO_STATE_ON_PHONE
	verified = fieldsyncv1.PhotoState_PHOTO_STATE_VERIFIED
)

// Protects: the whole way of a photo, on every store of originals.
func TestFlow(t *testing.T) {
	onEachStore(t, map[string]func(*house){
		"a cut upload is resumed":     (*house).cutAndResumed,
		"camera photos":               (*house).cameraPhotos,
		"wrong bytes":                 (*house).wrongBytes,
		"a crash before the records":  (*house).crashBeforeRecords,
		"one photo for several tasks": (*house).severalTasks,
		"commits at once":             (*house).commitsAtOnce,
		"a photo that is kept":        (*house).keptAlready,
		"damaged photos":              (*house).damagedPhotos,
		"reused photos":               (*house).reusedPhotos,
		"more than can be looked at":  (*house).manyAtOnce,
	})
}

// Protects: a phone that loses its connection goes on where the server stands, through a restart of the server; what
// arrives is what was taken; and every step may be repeated.
func (h *house) cutAndResumed() {
	t := h.t
	photo := newPhoto(t)
	size := len(photo)
	h.task("t1", photo)
	phone := h.as("phone-1")

	declared := phone.declare("t1", "p0")
	if declared.GetState() != onPhone || declared.GetOffset() != 0 ||
		declared.GetUploadPath() != "/v1/uploads/"+declared.GetUploadId() || len(declared.GetUploadId()) != 32 {
		t.Fatalf("declared: %v", declared)
	}
	path := declared.GetUploadPath()
	phone.mustStandAt(path, 0, size)
	phone.mustPatch(path, 0, photo[:1000])
	phone.refused(declared.GetUploadId(), "upload_incomplete")

	cutOff(t, phone, path, photo, 1000, size/2)
	h.restart()
	phone = h.as("phone-1")
	phone.mustStandAt(path, size/2, size)
	if again := phone.declare("t1", "p0"); again.GetUploadId() != declared.GetUploadId() || again.GetOffset() != uint64(size/2) {
		t.Fatalf("declared again: %v, want the same upload at %d", again, size/2)
	}
	phone.mustPatch(path, size/2, photo[size/2:])

	before := h.load("t1")
	sum := sha256.Sum256(photo)
	for range 2 {
		committed := phone.commit(declared.GetUploadId())
		if committed.GetState() != verified || !bytes.Equal(committed.GetSha256(), sum[:]) {
			t.Fatalf("committed: %v", committed)
		}
	}
	after := h.load("t1")
	if got, want := after.GetTask().GetRevision(), before.GetTask().GetRevision()+1; got != want {
		t.Errorf("the task's revision is %d, want %d", got, want)
	}
	if got := after.GetTask().GetPhotos()[0]; got.GetState() != verified || got.GetRevision() != after.GetTask().GetRevision() {
		t.Errorf("the photo is %v", got)
	}
	if sealed := h.sealed.Load(); sealed != 1 {
		t.Errorf("PhotosChanged took effect %d times, want 1", sealed)
	}
	if head := logHead(t, h, store.CrewScope("crew-1")); head != 2 {
		t.Errorf("the crew's log stands at %d, want 2: the task and its verified photo", head)
	}
	h.mustHaveNoBytes()

	// An answer that was lost is asked for again: the finished upload still says so, and takes nothing.
	phone.mustStandAt(path, size, size)
	phone.mustPatch(path, size, nil)
	if got := phone.patch(path, 0, bytes.NewReader(photo)); got.status != http.StatusConflict {
		t.Errorf("sending a finished upload from its start: %d, want 409", got.status)
	}
	if again := phone.declare("t1", "p0"); again.GetState() != verified || again.GetOffset() != uint64(size) {
		t.Errorf("declared when verified: %v", again)
	}
	h.mustHaveNoBytes()
	download(t, h, "t1", photo)
}

// cutOff begins to send the rest of a photo and closes the connection where the photo's byte until would be next.
func cutOff(tb testing.TB, phone caller, path string, photo []byte, offset, until int) {
	tb.Helper()
	connection := phone.begin(path, photo, offset, until)
	if err := connection.Close(); err != nil {
		tb.Fatal(err)
	}
	// The bytes may still be on their way through the socket, and a HEAD would end the request before they are read.
	phone.h.spooled(path, until)
}

// Protects: originals as cameras write them, broken EXIF included, come back byte for byte.
func (h *house) cameraPhotos() {
	t := h.t
	names, err := filepath.Glob("../../shared/data/photos/*.jpg")
	if err != nil {
		t.Fatal(err)
	}
	if len(names) == 0 {
		t.Skip("no camera photos: ../shared/data/photos beside the project is absent; generated photos are tested all the same")
	}
	for i, name := range names {
		photo, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		task := fmt.Sprintf("t%d", i)
		h.task(task, photo)
		upload := h.as("phone-1").declare(task, "p0")
		for offset := 0; offset < len(photo); offset += 64 << 10 {
			h.as("phone-1").mustPatch(upload.GetUploadPath(), offset, photo[offset:min(offset+64<<10, len(photo))])
		}
		h.as("phone-1").commit(upload.GetUploadId())
		h.mustBe(task, verified)
		download(t, h, task, photo)
	}
}

// Protects: bytes that are not what was declared are never kept or sealed, and the phone can send the photo anew.
func (h *house) wrongBytes() {
	t := h.t
	photo := newPhoto(t)
	wrong := bytes.Clone(photo)
	wrong[len(wrong)/2] ^= 1
	h.task("t1", photo)
	phone := h.as("phone-1")
	upload := phone.declare("t1", "p0")
	phone.send(upload.GetUploadPath(), wrong)
	phone.refused(upload.GetUploadId(), "photo_hash_mismatch")
	h.mustBe("t1", onPhone)
	phone.refused(upload.GetUploadId(), "upload_unknown")
	if got := phone.head(upload.GetUploadPath()); got.status != http.StatusNotFound {
		t.Fatalf("HEAD of a dropped upload: %d, want 404", got.status)
	}
	h.mustHaveNoBytes()

	again := phone.declare("t1", "p0")
	if again.GetUploadId() == upload.GetUploadId() || again.GetOffset() != 0 {
		t.Fatalf("declared anew: %v", again)
	}
	phone.send(again.GetUploadPath(), photo)
	phone.commit(again.GetUploadId())
	h.mustBe("t1", verified)
	download(t, h, "t1", photo)
}

// Protects: when the server stops after the original was kept and before the records say so, the phone commits again.
func (h *house) crashBeforeRecords() {
	t := h.t
	photo := newPhoto(t)
	h.task("t1", photo)
	upload := h.as("phone-1").declare("t1", "p0")
	h.as("phone-1").send(upload.GetUploadPath(), photo)
	h.verified = func(*storagev1.TaskRecord) error { return errors.New("the power goes") }
	h.as("phone-1").refused(upload.GetUploadId(), "internal")
	content, _, err := h.blobs.Open(t.Context(), sha256.Sum256(photo))
	if err != nil {
		t.Fatalf("the original after the crash: %v", err)
	}
	content.Close()
	h.mustBe("t1", onPhone)

	h.verified = nil
	h.restart()
	h.as("phone-1").commit(upload.GetUploadId())
	h.mustBe("t1", verified)
	h.mustHaveNoBytes()
	download(t, h, "t1", photo)
}

// Protects: a photo that stands in several tasks is sent once and verified in all of them.
func (h *house) severalTasks() {
	t := h.t
	photo := newPhoto(t)
	h.task("t1", photo)
	h.task("t2", photo, photo) // One task may hold it twice.
	h.task("t3", photo)
	phone := h.as("phone-1")
	upload := phone.declare("t1", "p0")
	for _, id := range []string{"p0", "p1"} {
		if other := phone.declare("t2", id); other.GetUploadId() != upload.GetUploadId() {
			t.Fatalf("the second task's upload is %v, want the first one's", other)
		}
	}
	phone.send(upload.GetUploadPath(), photo)
	phone.commit(upload.GetUploadId())
	h.mustBe("t1", verified)
	for _, got := range h.load("t2").GetTask().GetPhotos() {
		if got.GetState() != verified || got.GetRevision() != 2 {
			t.Errorf("a photo of the second task is %v", got)
		}
	}
	if sealed := h.sealed.Load(); sealed != 2 {
		t.Errorf("PhotosChanged took effect %d times, want once for each of two tasks", sealed)
	}
	h.mustBe("t3", onPhone)
	if third := phone.declare("t3", "p0"); third.GetState() != verified {
		t.Errorf("declared for a third task: %v, want it verified at once", third)
	}
	h.mustBe("t3", verified)
	download(t, h, "t3", photo)
}

// Protects: a phone that repeats its commit while the first is still at work gets the same answer, and it counts once.
func (h *house) commitsAtOnce() {
	t := h.t
	photo := newPhoto(t)
	counted := &counting{Blobs: h.blobs, sum: sha256.Sum256(photo)}
	h.blobs = counted
	h.restart()
	h.task("t1", photo)
	upload := h.as("phone-1").declare("t1", "p0")
	h.as("phone-1").send(upload.GetUploadPath(), photo)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			request := &fieldsyncv1.CommitRequest{UploadId: upload.GetUploadId()}
			if _, err := h.as("phone-1").rpc().Commit(t.Context(), request); err != nil {
				t.Errorf("one of several commits: %v", err)
			}
		})
	}
	all.Wait()
	if puts, sealed := counted.puts.Load(), h.sealed.Load(); puts != 1 || sealed != 1 {
		t.Errorf("the original was put %d times and PhotosChanged took effect %d times, want 1 and 1", puts, sealed)
	}
	h.mustHaveNoBytes()
}

// counting is a store of originals that counts how often one is put.
type counting struct {
	media.Blobs

	sum  [sha256.Size]byte
	puts atomic.Int32
}

func (c *counting) Put(ctx context.Context, sum [sha256.Size]byte, content io.ReadSeeker) error {
	if sum == c.sum {
		c.puts.Add(1)
	}
	return c.Blobs.Put(ctx, sum, content)
}

// Protects: two devices that send the same bytes each have their own upload, and the original is kept once.
func (h *house) keptAlready() {
	t := h.t
	photo := newPhoto(t)
	h.task("t1", photo)
	h.task("t2", photo)
	h.update(func(tx *store.Tx) error {
		record, err := store.Get(tx, store.TaskKey("t2"))
		if err != nil {
			return err
		}
		record.GetTask().GetPhotos()[0].DeviceId = "phone-2"
		store.NextRevision(record)
		return store.SaveTask(tx, record, 0)
	})
	for task, device := range map[string]string{"t1": "phone-1", "t2": "phone-2"} {
		upload := h.as(device).declare(task, "p0")
		if upload.GetState() != onPhone || upload.GetOffset() != 0 {
			t.Fatalf("%s declared: %v; a hash alone must not pass for a photo", device, upload)
		}
		h.as(device).send(upload.GetUploadPath(), photo)
		h.as(device).commit(upload.GetUploadId())
		h.mustBe(task, verified)
	}
}

// download checks what a dispatcher gets of a task's first photo.
func download(tb testing.TB, h *house, task string, photo []byte) {
	tb.Helper()
	desk, path := h.as("desk-1"), "/v1/tasks/"+task+"/photos/p0"
	whole := desk.do(http.MethodGet, path, nil)
	if whole.status != http.StatusOK || whole.body != string(photo) {
		tb.Fatalf("GET %s: %d with %d bytes, want %d", path, whole.status, len(whole.body), len(photo))
	}
	sum := sha256.Sum256(photo)
	tag := `"` + hex.EncodeToString(sum[:]) + `"`
	for name, want := range map[string]string{
		"ETag": tag, "Content-Type": "image/jpeg", "X-Content-Type-Options": "nosniff",
		"Cache-Control": "private, max-age=31536000, immutable", "Accept-Ranges": "bytes",
		"Content-Disposition": "inline; filename=" + task + "-p0.jpeg",
	} {
		if got := whole.header.Get(name); got != want {
			tb.Errorf("GET %s: %s is %q, want %q", path, name, got, want)
		}
	}
	for _, test := range []struct {
		name, header, value string
		status              int
		want                []byte
	}{
		{"a range", "Range", "bytes=1000-1999", http.StatusPartialContent, photo[1000:2000]},
		{"its end", "Range", "bytes=-10", http.StatusPartialContent, photo[len(photo)-10:]},
		{"past its end", "Range", "bytes=99999999-", http.StatusRequestedRangeNotSatisfiable, nil},
		{"when it is known", "If-None-Match", tag, http.StatusNotModified, nil},
	} {
		got := desk.do(http.MethodGet, path, nil, test.header, test.value)
		if got.status != test.status || test.want != nil && got.body != string(test.want) {
			tb.Errorf("GET %s, %s: %d with %d bytes", path, test.name, got.status, len(got.body))
		}
	}
	for condition, status := range map[string]int{tag: http.StatusPartialContent, `"another"`: http.StatusOK} {
		got := desk.do(http.MethodGet, path, nil, "Range", "bytes=1000-1999", "If-Range", condition)
		if got.status != status || status == http.StatusOK && len(got.body) != len(photo) {
			tb.Errorf("GET %s, a range if it is %s: %d with %d bytes", path, condition, got.status, len(got.body))
		}
	}
	if got := desk.do(http.MethodHead, path, nil); got.status != http.StatusOK || got.header.Get("Content-Length") != fmt.Sprint(len(photo)) {
		tb.Errorf("HEAD %s: %d, length %s", path, got.status, got.header.Get("Content-Length"))
	}
}

// Protects: a photo still reaches the city when its task has left the crew: evidence is never lost to an order.
func TestTaskLeftTheCrew(t *testing.T) {
	h := newHouse(t, newFolder(t))
	photo := newPhoto(t)
	h.task("t1", photo)
	h.update(func(tx *store.Tx) error {
		record, err := store.Get(tx, store.TaskKey("t1"))
		if err != nil {
			return err
		}
		record.Task.Assignment = &fieldsyncv1.AssignmentFacet{CrewId: "crew-2"}
		record.Scopes = []string{string(store.CrewScope("crew-2")), string(store.UnitScope("unit-1"))}
		store.NextRevision(record)
		return store.SaveTask(tx, record, fieldsyncv1.RemovalReason_REMOVAL_REASON_UNSPECIFIED)
	})
	phone := h.as("phone-1")
	upload := phone.declare("t1", "p0")
	phone.send(upload.GetUploadPath(), photo)
	phone.commit(upload.GetUploadId())
	h.mustBe("t1", verified)
	if got := phone.do(http.MethodGet, "/v1/tasks/t1/photos/p0", nil); got.status != http.StatusNotFound {
		t.Errorf("download by the crew that had it: %d, want 404", got.status)
	}
	if got := h.as("phone-3").do(http.MethodGet, "/v1/tasks/t1/photos/p0", nil); got.status != http.StatusOK {
		t.Errorf("download by the crew that has it: %d, want 200", got.status)
	}
}

// Protects: a start removes what nobody needs any more from the spool, and nothing else.
func TestStartSweepsTheSpool(t *testing.T) {
	h := newHouse(t, newFolder(t))
	done, open := newPhoto(t), newPhoto(t)
	h.task("t1", done, open)
	phone := h.as("phone-1")
	finished, unfinished := phone.declare("t1", "p0"), phone.declare("t1", "p1")
	phone.send(finished.GetUploadPath(), done)
	phone.commit(finished.GetUploadId())
	phone.mustPatch(unfinished.GetUploadPath(), 0, open[:5000])
	for _, leftover := range []string{finished.GetUploadId(), strings.Repeat("0", 32)} {
		if err := os.WriteFile(filepath.Join(h.spool, leftover), done, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	h.restart()
	left, err := os.ReadDir(h.spool)
	if err != nil || len(left) != 1 || left[0].Name() != unfinished.GetUploadId() {
		t.Fatalf("after a start the spool holds %v, %v; want the open upload only", left, err)
	}
	h.as("phone-1").mustStandAt(unfinished.GetUploadPath(), 5000, len(open))
}

func logHead(tb testing.TB, h *house, scope store.Scope) uint64 {
	tb.Helper()
	var head *storagev1.ScopeHead
	err := h.store.View(tb.Context(), func(tx *store.Tx) (err error) {
		head, err = store.Head(tx, scope)
		head = proto.CloneOf(head)
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	return head.GetSequence()
}

func mustBeEmpty(tb testing.TB, dir string) {
	tb.Helper()
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		tb.Fatalf("%s holds %v, %v; want nothing", dir, left, err)
	}
}

// eventually waits for what another goroutine or the network brings about.
func eventually(tb testing.TB, what string, held func() bool) {
	tb.Helper()
	for deadline := time.Now().Add(20 * time.Second); !held(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			tb.Fatalf("never: %s", what)
		}
	}
}
