package media_test

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"connectrpc.com/connect"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
)

// Protects: an upload of which nothing is heard for 30 days goes, with its bytes; the photo is still on the phone, is declared
// anew and arrives. One that got a byte meanwhile stays.
func TestUploadsExpire(t *testing.T) {
	h := newHouse(t, newFolder(t))
	idle, alive := newPhoto(t), newPhoto(t)
	h.task("t1", idle, alive)
	phone := h.as("phone-1")
	first, second := phone.declare("t1", "p0"), phone.declare("t1", "p1")
	phone.mustPatch(first.GetUploadPath(), 0, idle[:1000])
	phone.mustPatch(second.GetUploadPath(), 0, alive[:1000])
	h.server.Close()
	h.stop()
	for upload, changed := range map[string]time.Time{first.GetUploadId(): h.now.read(), second.GetUploadId(): h.now.read().AddDate(0, 0, 20)} {
		if err := os.Chtimes(filepath.Join(h.spool, upload), changed, changed); err != nil {
			t.Fatal(err)
		}
	}
	h.now.set(h.now.read().AddDate(0, 0, 31))
	h.start()
	eventually(t, "the idle upload has expired", func() bool {
		files := h.spoolFiles()
		return len(files) == 1 && files[0] == second.GetUploadId()
	})
	phone = h.as("phone-1")
	if got := phone.head(first.GetUploadPath()); got.status != http.StatusNotFound {
		t.Errorf("HEAD of an expired upload: %d", got.status)
	}
	phone.mustStandAt(second.GetUploadPath(), 1000, len(alive))
	h.mustBe("t1", onPhone)
	again := phone.declare("t1", "p0")
	if again.GetUploadId() == first.GetUploadId() || again.GetOffset() != 0 {
		t.Fatalf("declared anew: %v", again)
	}
	phone.send(again.GetUploadPath(), idle)
	phone.commit(again.GetUploadId())
	h.mustBe("t1", verified)
}

// Protects: the spool takes no more than its bound, says so with a time to wait, loses nothing of what it has, and takes more
// when room was made.
func TestSpoolIsBounded(t *testing.T) {
	h := newHouse(t, newFolder(t))
	photos := [][]byte{newPhoto(t), newPhoto(t), newPhoto(t)}
	h.task("t1", photos...)
	h.spoolBytes = int64(len(photos[0]) + 60_000)
	h.restart()
	phone := h.as("phone-1")
	first, second := phone.declare("t1", "p0"), phone.declare("t1", "p1")
	phone.send(first.GetUploadPath(), photos[0])
	got := phone.patch(second.GetUploadPath(), 0, bytes.NewReader(photos[1]))
	if got.status != http.StatusServiceUnavailable {
		t.Fatalf("over the bound: %d %s, want 503", got.status, got.body)
	}
	_, err := phone.rpc().Declare(t.Context(), &fieldsyncv1.DeclareRequest{TaskId: "t1", PhotoId: "p2"})
	if info := infoOf(err); connect.CodeOf(err) != connect.CodeUnavailable || info.GetCode() != "photo_spool_full" || info.GetRetryAfter().AsDuration() <= 0 {
		t.Fatalf("declared over the bound: %v", err)
	}
	h.restart() // The bound counts what a process before has left.
	phone = h.as("phone-1")
	if got := phone.patch(second.GetUploadPath(), int(phone.declare("t1", "p1").GetOffset()), bytes.NewReader(photos[1][100_000:])); got.status == http.StatusNoContent {
		t.Fatalf("over the bound after a restart: %d", got.status)
	}
	phone.commit(first.GetUploadId())
	at := int(phone.declare("t1", "p1").GetOffset())
	phone.mustPatch(second.GetUploadPath(), at, photos[1][at:])
	phone.commit(second.GetUploadId())
	third := phone.declare("t1", "p2")
	phone.send(third.GetUploadPath(), photos[2])
	phone.commit(third.GetUploadId())
	for _, photo := range h.load("t1").GetTask().GetPhotos() {
		if photo.GetState() != verified {
			t.Errorf("%v", photo)
		}
	}
}
