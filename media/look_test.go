package media_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"io"
	"math"
	"net/http"
	"strings"
	"sync"
	"testing"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/media"
	"github.com/cong1022/fieldsync/store"
)

const (
	received = fieldsyncv1.PhotoState_PHOTO_STATE_RECEIVED
	damaged  = fieldsyncv1.PhotoState_PHOTO_STATE_DAMAGED
)

// Protects: what is no whole image is kept byte for byte, flagged, and never verified; HEIC is evidence without a thumbnail.
func (h *house) damagedPhotos() {
	t := h.t
	whole := newPhoto(t)
	heic := []byte("\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic\x00\x00\x00\x0cmeta\x00\x00\x00\x00\x00\x00\x00\x10mdatpicture!")
	for i, test := range []struct {
		name    string
		content []byte
		state   fieldsyncv1.PhotoState
		code    string
	}{
		{"truncated", whole[:len(whole)*2/3], damaged, "photo_damaged"},
		{"corrupt", append(append(bytes.Clone(whole[:3000]), bytes.Repeat([]byte{0xff, 0xd0}, 4500)...), whole[12000:]...), damaged, "photo_damaged"},
		{"text", []byte("a photo, I promise"), damaged, "photo_no_image"},
		{"HEIC", heic, verified, "photo_type_differs"},
		{"HEIC cut off", heic[:len(heic)-3], damaged, "photo_damaged"},
	} {
		task := fmt.Sprintf("d%d", i)
		h.task(task, test.content)
		phone := h.as("phone-1")
		upload := phone.declare(task, "p0")
		phone.send(upload.GetUploadPath(), test.content)
		if got := phone.commit(upload.GetUploadId()); got.GetState() != test.state {
			t.Errorf("%s: committed as %v, want %v", test.name, got.GetState(), test.state)
		}
		photo := h.load(task).GetTask().GetPhotos()[0]
		if photo.GetState() != test.state || len(photo.GetFindings()) != 1 || photo.GetFindings()[0].GetCode() != test.code {
			t.Errorf("%s: %v, want %s", test.name, photo, test.code)
		}
		if again := phone.declare(task, "p0"); again.GetState() != test.state || again.GetOffset() != uint64(len(test.content)) {
			t.Errorf("%s: declared again: %v", test.name, again)
		}
		if got := h.as("desk-1").do(http.MethodGet, "/v1/tasks/"+task+"/photos/p0", nil); got.status != http.StatusOK || got.body != string(test.content) {
			t.Errorf("%s: download: %d with %d bytes", test.name, got.status, len(got.body))
		}
		if got := h.as("desk-1").do(http.MethodGet, "/v1/tasks/"+task+"/photos/p0/thumbnail", nil); got.status != http.StatusNotFound || codeOf(t, got) != "photo_no_thumbnail" {
			t.Errorf("%s: thumbnail: %d with %d bytes", test.name, got.status, len(got.body))
		}
	}
	h.mustHaveNoBytes()
}

// Protects: one photo for two tickets is found, be it the same bytes, sent once or by another device, or a copy made anew.
func (h *house) reusedPhotos() {
	t := h.t
	original, copied, other := sceneJPEG(t, 1, 800, 95), sceneJPEG(t, 1, 500, 70), sceneJPEG(t, 2, 800, 95)
	for i, test := range []struct {
		photo []byte
		want  string
	}{{original, ""}, {original, "photo_reused"}, {copied, "photo_near_copy"}, {other, ""}} {
		task := fmt.Sprintf("r%d", i)
		h.task(task, test.photo)
		phone := h.as("phone-1")
		upload := phone.declare(task, "p0")
		if upload.GetState() == onPhone {
			phone.send(upload.GetUploadPath(), test.photo)
			phone.commit(upload.GetUploadId())
		}
		photo := h.load(task).GetTask().GetPhotos()[0]
		codes := ""
		for _, finding := range photo.GetFindings() {
			codes += finding.GetCode()
		}
		if photo.GetState() != verified || codes != test.want {
			t.Errorf("%s: %v with %q, want it verified with %q", task, photo.GetState(), codes, test.want)
		}
		if review := h.load(task).GetTask().GetStatus().GetReview(); review != (test.want != "") {
			t.Errorf("%s: review is %t", task, review)
		}
	}
}

// Protects: when more photos arrive than can be looked into at once, all are kept and acknowledged at once, none counts
// as verified before it was looked into, and all are in the end, over a restart too.
func (h *house) manyAtOnce() {
	t := h.t
	h.idle = true
	h.restart()
	const count = 8
	var uploads [count]*fieldsyncv1.DeclareResponse
	for i := range count {
		photo, task := sceneJPEG(t, uint64(100+i), 320, 90), fmt.Sprintf("m%d", i)
		h.task(task, photo)
		uploads[i] = h.as("phone-1").declare(task, "p0")
		h.as("phone-1").send(uploads[i].GetUploadPath(), photo)
	}
	var all sync.WaitGroup
	for _, upload := range uploads {
		all.Go(func() { h.as("phone-1").commit(upload.GetUploadId()) })
	}
	all.Wait()
	states := map[fieldsyncv1.PhotoState]int{}
	for i := range count {
		photo := h.load(fmt.Sprintf("m%d", i)).GetTask().GetPhotos()[0]
		states[photo.GetState()]++
		if (photo.GetState() == verified) != (photo.GetLook() != nil) {
			t.Errorf("%v", photo)
		}
		if again := h.as("phone-1").commit(uploads[i].GetUploadId()); again.GetState() != photo.GetState() {
			t.Errorf("committed again: %v, want %v", again, photo.GetState())
		}
	}
	if states[verified]+states[received] != count {
		t.Fatalf("states: %v", states)
	}
	h.idle = false
	h.restart()
	eventually(t, "all are verified", func() bool {
		for i := range count {
			if h.load(fmt.Sprintf("m%d", i)).GetTask().GetPhotos()[0].GetState() != verified {
				return false
			}
		}
		return true
	})
	eventually(t, "the spool is empty", func() bool { return len(h.spoolFiles()) == 0 })
}

// noThumbnails is a store of originals that takes nothing but one original.
type noThumbnails struct {
	media.Blobs

	sum  [sha256.Size]byte
	down bool
}

func (n *noThumbnails) Put(ctx context.Context, sum [sha256.Size]byte, content io.ReadSeeker) error {
	if n.down && sum != n.sum {
		return errors.New("no room")
	}
	return n.Blobs.Put(ctx, sum, content)
}

// Protects: an original that is kept is acknowledged even when it cannot be looked into now; the worker does it later.
func TestLookFails(t *testing.T) {
	photo := newPhoto(t)
	blobs := &noThumbnails{Blobs: newFolder(t), sum: sha256.Sum256(photo), down: true}
	h := newHouse(t, blobs)
	h.task("t1", photo)
	phone := h.as("phone-1")
	upload := phone.declare("t1", "p0")
	phone.send(upload.GetUploadPath(), photo)
	if got := phone.commit(upload.GetUploadId()); got.GetState() != received {
		t.Fatalf("committed: %v", got)
	}
	h.task("t2", photo)
	if got := phone.declare("t2", "p0"); got.GetState() != received || got.GetOffset() != uint64(len(photo)) {
		t.Fatalf("declared for another task: %v", got)
	}
	if got := h.as("desk-1").do(http.MethodGet, "/v1/tasks/t1/photos/p0", nil); got.status != http.StatusOK {
		t.Errorf("download: %d", got.status)
	}
	h.stop()
	blobs.down = false
	h.restart()
	for _, task := range []string{"t1", "t2"} {
		eventually(t, "it is verified", func() bool { return h.load(task).GetTask().GetPhotos()[0].GetState() == verified })
	}
}

// Protects: a phone does not wait for a large photo to be decoded, and the photo is verified right after.
func TestLargePhoto(t *testing.T) {
	h := newHouse(t, newFolder(t))
	photo := append(sceneJPEG(t, 8, 1600, 90), make([]byte, 1<<20)...)
	h.task("t1", photo)
	phone := h.as("phone-1")
	upload := phone.declare("t1", "p0")
	phone.send(upload.GetUploadPath(), photo)
	if got := phone.commit(upload.GetUploadId()); got.GetState() != received {
		t.Errorf("committed: %v", got)
	}
	eventually(t, "it is verified", func() bool { return h.load("t1").GetTask().GetPhotos()[0].GetState() == verified })
	if again := phone.commit(upload.GetUploadId()); again.GetState() != verified {
		t.Errorf("committed again: %v", again)
	}
	if sealed := h.sealed.Load(); sealed != 2 {
		t.Errorf("PhotosChanged took effect %d times, want once for each of two states", sealed)
	}
}

// Protects: thumbnails are small JPEGs without metadata for whoever may see the task, and the facts of a look stand on the photo.
func TestThumbnail(t *testing.T) {
	h := newHouse(t, newFolder(t))
	photo := sceneJPEG(t, 3, 1200, 90)
	h.task("t1", photo)
	phone := h.as("phone-1")
	upload := phone.declare("t1", "p0")
	const path = "/v1/tasks/t1/photos/p0/thumbnail"
	if got := h.as("desk-1").do(http.MethodGet, path, nil); codeOf(t, got) != "photo_on_phone" {
		t.Errorf("before it has come: %d %s", got.status, got.body)
	}
	phone.send(upload.GetUploadPath(), photo)
	phone.commit(upload.GetUploadId())
	got := h.as("desk-1").do(http.MethodGet, path, nil)
	config, err := jpeg.DecodeConfig(strings.NewReader(got.body))
	if got.status != http.StatusOK || err != nil || config.Width != 320 || config.Height != 240 || got.header.Get("Content-Type") != "image/jpeg" {
		t.Errorf("%d, %d by %d, %v, %v", got.status, config.Width, config.Height, err, got.header)
	}
	if again := h.as("desk-1").do(http.MethodGet, path, nil, "If-None-Match", got.header.Get("ETag")); again.status != http.StatusNotModified {
		t.Errorf("known: %d", again.status)
	}
	for token, want := range map[string]int{"phone-1": http.StatusOK, "phone-3": http.StatusNotFound, "desk-2": http.StatusNotFound, "": http.StatusUnauthorized} {
		if got := h.as(token).do(http.MethodGet, path, nil); got.status != want {
			t.Errorf("as %q: %d, want %d", token, got.status, want)
		}
	}
	look := h.load("t1").GetTask().GetPhotos()[0].GetLook()
	if look.GetWidth() != 1200 || look.GetHeight() != 900 || look.GetContentType() != "image/jpeg" || look.GetBlurhash() == "" || !look.GetThumbnail() {
		t.Errorf("look: %v", look)
	}
}

// Protects: before and after that are one picture are flagged, whichever comes last.
func TestBeforeAndAfterAlike(t *testing.T) {
	h := newHouse(t, newFolder(t))
	before, after := sceneJPEG(t, 2, 800, 90), sceneJPEG(t, 2, 640, 80)
	h.task("t1", before, after)
	h.update(func(tx *store.Tx) error {
		record, err := store.Get(tx, store.TaskKey("t1"))
		if err != nil {
			return err
		}
		record.Task.Photos[0].Kind = fieldsyncv1.PhotoKind_PHOTO_KIND_BEFORE
		record.Task.Photos[1].Kind = fieldsyncv1.PhotoKind_PHOTO_KIND_AFTER
		store.NextRevision(record)
		return store.SaveTask(tx, record, 0)
	})
	phone := h.as("phone-1")
	for i, photo := range [][]byte{before, after} {
		upload := phone.declare("t1", fmt.Sprintf("p%d", i))
		phone.send(upload.GetUploadPath(), photo)
		phone.commit(upload.GetUploadId())
	}
	photos := h.load("t1").GetTask().GetPhotos()
	if len(photos[0].GetFindings()) != 0 || len(photos[1].GetFindings()) != 1 || photos[1].GetFindings()[0].GetCode() != "photo_before_after_alike" {
		t.Errorf("before: %v; after: %v", photos[0].GetFindings(), photos[1].GetFindings())
	}
}

// sceneJPEG is a picture of soft shapes, four by three, another one for each seed. The same seed at another width is a copy.
func sceneJPEG(tb testing.TB, seed uint64, width, quality int) []byte {
	tb.Helper()
	picture := image.NewRGBA(image.Rect(0, 0, width, width*3/4))
	a, b, c := float64(seed%7)+2, float64(seed%11)*1.7+1, float64(seed%13)*2.3
	for y := range width * 3 / 4 {
		for x := range width {
			u, v := float64(x)/float64(width), float64(y)/float64(width)
			grey := uint8(128 + 60*math.Sin(a*u*6+c) + 60*math.Cos(b*v*5+a*u*v*9))
			picture.SetRGBA(x, y, color.RGBA{grey, 255 - grey, grey / 2, 255})
		}
	}
	var photo bytes.Buffer
	if err := jpeg.Encode(&photo, picture, &jpeg.Options{Quality: quality}); err != nil {
		tb.Fatal(err)
	}
	return photo.Bytes()
}
