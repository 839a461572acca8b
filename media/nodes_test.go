package media_test

import (
	"bytes"
	"io"
	"net/http"
	"path/filepath"
	"sync"
	"testing"

	"github.com/cong1022/fieldsync/internal/miniotest"
	"github.com/cong1022/fieldsync/internal/toolserver"
	"github.com/cong1022/fieldsync/internal/versitytest"
)

// node is another server over the same records and the same bucket.
func (h *house) node() *house {
	h.t.Helper()
	other := &house{
		t: h.t, store: h.store, blobs: h.blobs, bucket: h.bucket, now: h.now, idle: true,
		spool: filepath.Join(h.t.TempDir(), "spool"),
	}
	other.start()
	h.t.Cleanup(func() {
		other.server.Close()
		other.stop()
	})
	return other
}

// Protects: several nodes over one bucket: an upload that was cut on one resumes and ends on any other, and of two nodes that
// get bytes for one offset, one has its way and the photo is whole.
func TestUploadOverSeveralNodes(t *testing.T) {
	for name, start := range map[string]func(testing.TB) toolserver.Server{"MinIO": miniotest.Start, "versitygw": versitytest.Start} {
		t.Run(name, func(t *testing.T) {
			blobs := openBucket(t, start)
			first := newHouseOver(t, blobs, spoolIn(t, blobs))
			second := first.node()
			t.Run("cut", func(t *testing.T) { cutOnOneNode(t, first, second) })
			t.Run("hanging", func(t *testing.T) { hangingOnOneNode(t, first, second) })
			t.Run("rivals", func(t *testing.T) { rivalsOnTwoNodes(t, first, second) })
			first.mustHaveNoBytes()
		})
	}
}

func cutOnOneNode(t *testing.T, first, second *house) {
	t.Helper()
	photo := sceneJPEG(t, 11, 2600, 95) // Of several pieces.
	first.task("cut", photo)
	here, there := first.as("phone-1"), second.as("phone-1")
	upload := here.declare("cut", "p0")
	cutOff(t, here, upload.GetUploadPath(), photo, 0, len(photo)/3)
	there.mustStandAt(upload.GetUploadPath(), len(photo)/3, len(photo))
	cutOff(t, there, upload.GetUploadPath(), photo, len(photo)/3, len(photo)/2)
	if again := here.declare("cut", "p0"); again.GetUploadId() != upload.GetUploadId() || again.GetOffset() != uint64(len(photo)/2) {
		t.Fatalf("declared on the first node: %v, want the same upload at %d", again, len(photo)/2)
	}
	here.mustPatch(upload.GetUploadPath(), len(photo)/2, photo[len(photo)/2:])
	there.commit(upload.GetUploadId())
	download(t, first, "cut", photo)
	here.mustStandAt(upload.GetUploadPath(), len(photo), len(photo))
}

// The first node holds a connection that has brought some bytes and then hangs; the phone has gone to the second.
func hangingOnOneNode(t *testing.T, first, second *house) {
	t.Helper()
	photo := newPhoto(t)
	first.task("hang", photo)
	upload := first.as("phone-1").declare("hang", "p0")
	hanging := first.as("phone-1").begin(upload.GetUploadPath(), photo, 0, 5000)
	defer hanging.Close()
	second.as("phone-1").mustPatch(upload.GetUploadPath(), 0, photo)
	// The first node takes over from the hanging connection, whose bytes come too late.
	first.as("phone-1").mustStandAt(upload.GetUploadPath(), len(photo), len(photo))
	first.as("phone-1").commit(upload.GetUploadId())
	download(t, second, "hang", photo)
}

func rivalsOnTwoNodes(t *testing.T, first, second *house) {
	t.Helper()
	for range 5 {
		photo := newPhoto(t)
		first.task("rivals", photo)
		upload := first.as("phone-1").declare("rivals", "p0")
		var both sync.WaitGroup
		var answers [2]answer
		for i, node := range []*house{first, second} {
			both.Go(func() { answers[i] = node.as("phone-1").patch(upload.GetUploadPath(), 0, bytes.NewReader(photo)) })
		}
		both.Wait()
		for _, got := range answers {
			if got.status != http.StatusNoContent && got.status != http.StatusConflict {
				t.Errorf("a rival got %d %s, want 204 or 409", got.status, got.body)
			}
		}
		if answers[0].status == http.StatusConflict && answers[1].status == http.StatusConflict {
			t.Error("neither had its way")
		}
		first.as("phone-1").mustStandAt(upload.GetUploadPath(), len(photo), len(photo))
		second.as("phone-1").commit(upload.GetUploadId())
		download(t, first, "rivals", photo)
	}
}

// Protects: the seam's contract in a bucket: a chain of pieces that reads as one content from any place.
func TestBucketSpool(t *testing.T) {
	blobs := openBucket(t, miniotest.Start)
	spool := spoolIn(t, blobs)
	const id = "0123456789abcdef0123456789abcdef"
	content := bytes.Repeat(newPhoto(t), 5)
	for at := 0; at < len(content); {
		end := min(at+len(content)/3+1, len(content))
		n, err := spool.Append(t.Context(), id, int64(at), bytes.NewReader(content[at:end]))
		if err != nil || int(n) != end-at {
			t.Fatalf("appended %d of %d, %v", n, end-at, err)
		}
		at = end
	}
	kept, size, err := spool.Open(t.Context(), id)
	if err != nil || size != int64(len(content)) {
		t.Fatalf("opened %d bytes, %v", size, err)
	}
	defer kept.Close()
	for _, from := range []int{0, 1, 256<<10 - 1, 256 << 10, len(content) - 1, len(content)} {
		if _, err := kept.Seek(int64(from), io.SeekStart); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(kept); err != nil || !bytes.Equal(got, content[from:]) {
			t.Errorf("from %d: %d bytes, %v", from, len(got), err)
		}
	}
	if changed, err := spool.Changed(t.Context(), id); err != nil || changed.IsZero() {
		t.Errorf("changed %v, %v", changed, err)
	}
	for range 2 {
		if err := spool.Remove(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	if left, err := spool.List(t.Context()); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}
