package phone

import (
	"bytes"
	"image"
	"image/jpeg"
	"math/rand/v2"
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
		picture := image.NewGray(image.Rect(0, 0, 800, 600))
		source := rand.New(rand.NewPCG(uint64(i), 7))
		for j := range picture.Pix {
			picture.Pix[j] = byte(source.Uint32())
		}
		var encoded bytes.Buffer
		must(t, jpeg.Encode(&encoded, picture, nil))
		file := filepath.Join(t.TempDir(), "large.jpg")
		must(t, os.WriteFile(file, encoded.Bytes(), 0o600))
		id, err := r.Photo("t1", file, PhotoFacts{})
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
