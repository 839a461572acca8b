package media_test

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"image/jpeg"
	"io"
	"net/http"
	"strings"
	"testing"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/store"
)

// Protects: a preview shows a photo that is still on the phone, says so to everybody's sync, takes nothing that is no small
// picture, gives way to the original, and is its own device's alone.
func TestPreview(t *testing.T) {
	h := newHouse(t, newFolder(t))
	photo := sceneJPEG(t, 3, 1200, 90)
	h.task("t1", photo)
	phone := h.as("phone-1")
	const path, thumbnail = "/v1/tasks/t1/photos/p0/preview", "/v1/tasks/t1/photos/p0/thumbnail"
	preview := sceneJPEG(t, 3, 240, 60)
	for name, bad := range map[string][]byte{
		"text": []byte("look"), "nothing": nil, "cut off": preview[:len(preview)/2], "too many bytes": bytes.Repeat(preview, 1+(64<<10)/len(preview)),
		"too many pixels": sceneJPEG(t, 3, 1300, 1),
	} {
		if got := phone.do(http.MethodPut, path, bytes.NewReader(bad)); got.status != http.StatusBadRequest || codeOf(t, got) != "preview_invalid" {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
	for token, want := range map[string]int{"phone-2": http.StatusNotFound, "desk-1": http.StatusNotFound, "": http.StatusUnauthorized} {
		if got := h.as(token).do(http.MethodPut, path, bytes.NewReader(preview)); got.status != want {
			t.Errorf("as %q: %d, want %d", token, got.status, want)
		}
	}
	before := h.load("t1").GetTask().GetRevision()
	for range 2 {
		if got := phone.do(http.MethodPut, path, bytes.NewReader(preview)); got.status != http.StatusNoContent {
			t.Fatalf("%d %s", got.status, got.body)
		}
	}
	if after := h.load("t1").GetTask(); after.GetRevision() != before+1 || len(after.GetPhotos()[0].GetPreviewSha256()) != 32 {
		t.Errorf("revision %d, was %d; %v", after.GetRevision(), before, after.GetPhotos()[0])
	}
	got := h.as("desk-1").do(http.MethodGet, thumbnail, nil)
	if config, err := jpeg.DecodeConfig(strings.NewReader(got.body)); err != nil || config.Width != 240 || strings.Contains(got.header.Get("Cache-Control"), "immutable") {
		t.Errorf("the preview: %d, %d wide, %v, %v", got.status, config.Width, err, got.header)
	}
	h.mustBe("t1", onPhone)

	upload := phone.declare("t1", "p0")
	phone.send(upload.GetUploadPath(), photo)
	phone.commit(upload.GetUploadId())
	got = h.as("desk-1").do(http.MethodGet, thumbnail, nil)
	if config, err := jpeg.DecodeConfig(strings.NewReader(got.body)); err != nil || config.Width != 320 {
		t.Errorf("the thumbnail: %d, %d wide, %v", got.status, config.Width, err)
	}
}

// Protects: the public sees a smaller copy without metadata, through a link that cannot be guessed or bent to another photo, that
// needs no token and outlives a restart; and nothing of what is no verified photo.
func TestPublicCopy(t *testing.T) {
	h := newHouse(t, newFolder(t))
	photo := sceneJPEG(t, 6, 1800, 90)
	// A comment (COM, ITU-T T.81 B.2.4.5) stands for all that a camera writes beside the picture.
	photo = append([]byte("\xff\xd8\xff\xfe\x00\x0esecret place"), photo[2:]...)
	broken := photo[:len(photo)/2]
	h.task("t1", photo, broken)
	phone := h.as("phone-1")
	link := h.service.PublicPath("t1", "p0")
	public := h.as("")
	if got := public.do(http.MethodGet, link, nil); got.status != http.StatusNotFound {
		t.Errorf("before it has come: %d", got.status)
	}
	for i, content := range [][]byte{photo, broken} {
		upload := phone.declare("t1", []string{"p0", "p1"}[i])
		phone.send(upload.GetUploadPath(), content)
		phone.commit(upload.GetUploadId())
	}
	first := public.do(http.MethodGet, link, nil)
	config, err := jpeg.DecodeConfig(strings.NewReader(first.body))
	if first.status != http.StatusOK || err != nil || config.Width != 1600 || strings.Contains(first.body, "secret") ||
		first.header.Get("Cache-Control") != "public, max-age=31536000, immutable" {
		t.Errorf("%d, %d wide, %v, %v", first.status, config.Width, err, first.header)
	}
	h.restart()
	public = h.as("")
	if again := public.do(http.MethodGet, link, nil); again.body != first.body || h.service.PublicPath("t1", "p0") != link {
		t.Errorf("after a restart: %d with %d bytes, want %d", again.status, len(again.body), len(first.body))
	}
	var none string
	for _, bad := range []string{
		strings.Replace(link, "/p0/", "/p1/", 1), strings.Replace(link, "/t1/", "/t2/", 1), link[:len(link)-1], link + "A",
		h.service.PublicPath("t1", "p1"), h.service.PublicPath("t1", "p9"), h.service.PublicPath("t9", "p0"),
	} {
		got := public.do(http.MethodGet, bad, nil)
		if none == "" {
			none = got.body
		}
		if got.status != http.StatusNotFound || codeOf(t, got) != "photo_link_unknown" || got.body != none {
			t.Errorf("%s: %d %s", bad, got.status, got.body)
		}
	}
}

// Protects: a dossier holds every original that is here byte for byte, says what is missing, and names neither the citizen nor,
// to a crew, others' tasks; and it goes to whoever may see the task only.
func TestDossier(t *testing.T) {
	h := newHouse(t, newFolder(t))
	sent, unsent := newPhoto(t), newPhoto(t)
	h.task("t0", sent)
	h.task("t1", sent, unsent)
	h.update(func(tx *store.Tx) error {
		record, err := store.Get(tx, store.TaskKey("t1"))
		if err != nil {
			return err
		}
		record.Task.Ticket.Reporter = &fieldsyncv1.Reporter{Name: "Trần Thị Mai", Phone: "0900 000 001"}
		store.NextRevision(record)
		return store.SaveTask(tx, record, 0)
	})
	phone := h.as("phone-1")
	upload := phone.declare("t0", "p0")
	phone.declare("t1", "p0")
	phone.send(upload.GetUploadPath(), sent)
	phone.commit(upload.GetUploadId())
	for token, elsewhere := range map[string]int{"desk-1": 1, "phone-1": 0} {
		got := h.as(token).do(http.MethodGet, "/v1/tasks/t1/evidence.zip", nil)
		archive, err := zip.NewReader(strings.NewReader(got.body), int64(len(got.body)))
		if got.status != http.StatusOK || err != nil || len(archive.File) != 2 {
			t.Fatalf("as %s: %d, %v", token, got.status, err)
		}
		text, photo := unzip(t, archive.File[0]), unzip(t, archive.File[1])
		var facts struct {
			Task  map[string]any `json:"task"`
			Files []struct {
				Name string `json:"name"`
			} `json:"files"`
			Missing []string            `json:"missing"`
			Used    []map[string]string `json:"used_elsewhere"`
		}
		if err := json.Unmarshal(text, &facts); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(photo, sent) || archive.File[1].Name != "photos/p0.jpeg" || facts.Files[0].Name != "photos/p0.jpeg" ||
			len(facts.Missing) != 1 || facts.Missing[0] != "p1" || facts.Task["id"] != "t1" || len(facts.Used) != elsewhere {
			t.Errorf("as %s: %s", token, text)
		}
		if bytes.Contains(text, []byte("Mai")) || bytes.Contains(text, []byte("0900")) {
			t.Errorf("as %s: the dossier names the citizen: %s", token, text)
		}
	}
	for token, want := range map[string]int{"phone-3": http.StatusNotFound, "desk-2": http.StatusNotFound, "": http.StatusUnauthorized} {
		if got := h.as(token).do(http.MethodGet, "/v1/tasks/t1/evidence.zip", nil); got.status != want {
			t.Errorf("as %q: %d, want %d", token, got.status, want)
		}
	}
}

func unzip(tb testing.TB, file *zip.File) []byte {
	tb.Helper()
	reader, err := file.Open()
	if err != nil {
		tb.Fatal(err)
	}
	defer reader.Close()
	content, err := io.ReadAll(reader)
	if err != nil {
		tb.Fatal(err)
	}
	return content
}
