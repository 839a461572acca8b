package phone

import (
	"bytes"
	"context"
	"errors"
	"image"
	"image/jpeg"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
)

// A small picture of each photo goes before any original, once, however often the network fails; what needs none or has none
// goes without.
func TestPreviewsGoFirst(t *testing.T) {
	r := newRig(t)
	r.assign("t1")
	r.sync()
	var large [2]string
	for i := range large {
		id, err := r.Photo("t1", noisyFile(t, uint64(i)), PhotoFacts{})
		must(t, err)
		large[i] = id
	}
	r.attach(t, 3, 900)                           // Small enough itself.
	broken := jpegFile(t, t.TempDir(), 4, 40<<10) // A tiny picture with much behind it.
	must(t, os.Truncate(broken, 300))             // And one that cannot be decoded.
	must(t, appendBytes(broken, make([]byte, 40<<10)))
	_, err := r.Photo("t1", broken, PhotoFacts{})
	must(t, err)
	r.sync()
	r.server.expect(none, lostRequest)
	must(t, r.Upload(t.Context(), nil))
	r.server.do(func() {
		if len(r.server.kept) != 4 {
			t.Errorf("%d originals arrived, want 4", len(r.server.kept))
		}
		if len(r.server.previews) == 0 {
			t.Error("no preview arrived")
		}
		for id, content := range r.server.previews {
			small, err := jpeg.Decode(bytes.NewReader(content))
			if err != nil || small.Bounds().Dx() != 160 || small.Bounds().Dy() != 120 || len(content) > 16<<10 || id != large[0] && id != large[1] {
				t.Errorf("the preview of %s: %d bytes, %v", id, len(content), err)
			}
		}
	})
}

// An app that is stopped while a preview is on its way sends it with the next upload: what was broken off has not been refused.
func TestPreviewBrokenOffGoesLater(t *testing.T) {
	r := newRig(t)
	r.assign("t1")
	r.sync()
	id, err := r.Photo("t1", noisyFile(t, 1), PhotoFacts{})
	must(t, err)
	r.sync()
	must(t, r.Close())
	ctx, stop := context.WithCancel(t.Context())
	r.o.HTTPClient = &http.Client{Transport: roundTrip(func(request *http.Request) (*http.Response, error) {
		if request.Method == http.MethodPut {
			stop()
		}
		return http.DefaultTransport.RoundTrip(request)
	})}
	r.open()
	if err := r.Upload(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Fatalf("an upload that is broken off: %v", err)
	}
	r.o.HTTPClient = nil
	r.restart()
	must(t, r.Upload(t.Context(), nil))
	r.server.do(func() {
		if r.server.previews[id] == nil || len(r.server.kept) != 1 {
			t.Errorf("%d previews and %d originals arrived, want 1 and 1", len(r.server.previews), len(r.server.kept))
		}
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// noisyFile is a photo over the size from which on a preview is sent.
func noisyFile(t *testing.T, seed uint64) string {
	t.Helper()
	picture := image.NewGray(image.Rect(0, 0, 800, 600))
	source := rand.New(rand.NewPCG(seed, 7))
	for i := range picture.Pix {
		picture.Pix[i] = byte(source.Uint32())
	}
	var encoded bytes.Buffer
	must(t, jpeg.Encode(&encoded, picture, nil))
	file := filepath.Join(t.TempDir(), "large.jpg")
	must(t, os.WriteFile(file, encoded.Bytes(), 0o600))
	return file
}

func appendBytes(file string, more []byte) error {
	content, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(content, more...), 0o600)
}

// A photo that the server finds damaged is asked for again until another was taken in its place, and only a damaged one can be
// replaced.
func TestDamagedPhotoIsTakenAgain(t *testing.T) {
	r := newRig(t)
	r.assign("t1")
	r.sync()
	_, id := r.attach(t, 1, 900)
	r.sync()
	must(t, r.Upload(t.Context(), nil))
	device := r.status().DeviceID // It asks the server's clock, which is locked below.
	r.server.do(func() {
		r.server.put("t1", func(task *fieldsyncv1.Task, revision uint64) {
			photo := task.GetPhotos()[0]
			photo.Revision, photo.State = revision, fieldsyncv1.PhotoState_PHOTO_STATE_DAMAGED
			photo.DeviceId = device
			photo.Findings = []*fieldsyncv1.Finding{{Code: "photo_damaged", Sentence: &fieldsyncv1.Sentence{Vi: "hỏng", En: "corrupt"}}}
		})
	})
	r.sync()
	damaged, err := r.Damaged()
	must(t, err)
	if len(damaged) != 1 || damaged[0].PhotoID != id || damaged[0].TaskID != "t1" || damaged[0].Why.GetEn() != "corrupt" || r.status().PhotosDamaged != 1 {
		t.Fatalf("damaged: %+v, status %+v", damaged, r.status())
	}
	again := jpegFile(t, t.TempDir(), 2, 900)
	_, err = r.Photo("t1", again, PhotoFacts{Replaces: "none"})
	wantCode(t, err, "photo_unknown")
	_, err = r.Photo("t1", again, PhotoFacts{Replaces: id})
	must(t, err)
	held, err := r.Task("t1")
	must(t, err)
	if got := held.Pending[0].GetAttachPhoto().GetPhoto().GetReplacesPhotoId(); got != id {
		t.Errorf("it replaces %q", got)
	}
	if damaged, err = r.Damaged(); err != nil || len(damaged) != 0 || r.status().PhotosDamaged != 0 {
		t.Errorf("asked for once more: %+v, %v", damaged, err)
	}
}
