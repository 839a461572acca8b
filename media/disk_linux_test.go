package media_test

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Protects: a disk that is full while bytes arrive is said to be so, with a time to wait; nothing of what has arrived is lost,
// and the upload goes on when there is room. /dev/full is the kernel's own: every write to it fails with ENOSPC.
func TestFullDisk(t *testing.T) {
	h := newHouse(t, newFolder(t))
	photo := newPhoto(t)
	h.task("t1", photo)
	phone := h.as("phone-1")
	upload := phone.declare("t1", "p0")
	name := filepath.Join(h.spool, upload.GetUploadId())
	if err := os.Symlink("/dev/full", name); err != nil {
		t.Fatal(err)
	}
	got := phone.patch(upload.GetUploadPath(), 0, bytes.NewReader(photo))
	if got.status != http.StatusServiceUnavailable || !strings.HasPrefix(got.body, "photo_spool_full:") || got.header.Get("Retry-After") == "" {
		t.Errorf("%d %q, Retry-After %q; want 503, photo_spool_full and a time", got.status, got.body, got.header.Get("Retry-After"))
	}
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	phone.mustStandAt(upload.GetUploadPath(), 0, len(photo))
	phone.send(upload.GetUploadPath(), photo)
	phone.commit(upload.GetUploadId())
	h.mustBe("t1", verified)
}
