package media_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"buf.build/go/protovalidate"
	"connectrpc.com/connect"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/media"
)

// Protects: bytes land only where the upload stands, and never more than was declared.
func TestWrongPatches(t *testing.T) {
	h := newHouse(t, newFolder(t))
	photo := newPhoto(t)
	size := len(photo)
	h.task("t1", photo)
	phone := h.as("phone-1")
	path := phone.declare("t1", "p0").GetUploadPath()
	phone.mustPatch(path, 0, photo[:1000])
	tusd := []string{"Tus-Resumable", "1.0.0", "Content-Type", "application/offset+octet-stream", "Upload-Offset", "1000"}
	with := func(name, value string) []string {
		headers := append([]string(nil), tusd...)
		return append(headers, name, value)
	}
	for _, test := range []struct {
		name   string
		header []string
		body   io.Reader
		status int
	}{
		{"behind", with("Upload-Offset", "999"), bytes.NewReader(photo[999:2000]), http.StatusConflict},
		{"ahead", with("Upload-Offset", "1001"), bytes.NewReader(photo[1001:2000]), http.StatusConflict},
		{"from the start", with("Upload-Offset", "0"), bytes.NewReader(photo), http.StatusConflict},
		{"negative offset", with("Upload-Offset", "-1"), bytes.NewReader(photo), http.StatusBadRequest},
		{"no number", with("Upload-Offset", "x"), bytes.NewReader(photo), http.StatusBadRequest},
		{"another type", with("Content-Type", "image/jpeg"), bytes.NewReader(photo[1000:]), http.StatusBadRequest},
		{"another version", with("Tus-Resumable", "0.2.2"), bytes.NewReader(photo[1000:]), http.StatusPreconditionFailed},
		{"another length", with("Upload-Length", "5"), bytes.NewReader(photo[1000:]), http.StatusNotImplemented},
		{"one byte too many", tusd, bytes.NewReader(append(bytes.Clone(photo[1000:]), 0)), http.StatusRequestEntityTooLarge},
	} {
		got := phone.do(http.MethodPatch, path, test.body, test.header...)
		if got.status != test.status || got.header.Get("Tus-Resumable") != "1.0.0" {
			t.Errorf("%s: %d, Tus-Resumable %q; want %d: %s",
				test.name, got.status, got.header.Get("Tus-Resumable"), test.status, got.body)
		}
		phone.mustStandAt(path, 1000, size)
	}

	// A body of unknown length is taken up to the declared size, and the rest is refused.
	endless := struct{ io.Reader }{bytes.NewReader(append(bytes.Clone(photo[1000:]), 0, 0, 0))}
	if got := phone.do(http.MethodPatch, path, endless, tusd...); got.status != http.StatusRequestEntityTooLarge {
		t.Errorf("a body without an end: %d, want 413", got.status)
	}
	phone.mustStandAt(path, size, size)
}

// Protects: a phone whose old connection hangs takes its upload over with a new one, without losing what has arrived.
func TestStalledConnection(t *testing.T) {
	h := newHouse(t, newFolder(t))
	photo := newPhoto(t)
	h.task("t1", photo)
	phone := h.as("phone-1")
	upload := phone.declare("t1", "p0")
	stalled := phone.begin(upload.GetUploadPath(), photo, 0, 5000)
	defer stalled.Close()
	h.spooled(upload.GetUploadPath(), 5000)
	phone.mustStandAt(upload.GetUploadPath(), 5000, len(photo))
	phone.mustPatch(upload.GetUploadPath(), 5000, photo[5000:])
	phone.commit(upload.GetUploadId())
	if said, err := io.ReadAll(stalled); len(said) > 0 {
		t.Errorf("the old request was answered %q, %v; want its connection closed", said, err)
	}
}

// Protects: the takeover works at every moment of the old request, the one before it reads its first byte included.
func TestTakeoverAtAnyMoment(t *testing.T) {
	h := newHouse(t, newFolder(t))
	photo := newPhoto(t)
	h.task("t1", photo)
	phone := h.as("phone-1")
	upload := phone.declare("t1", "p0")
	for range 50 {
		stalled, ended := phone.begin(upload.GetUploadPath(), photo, 0, 0), make(chan struct{})
		go func() {
			defer close(ended)
			_, _ = io.Copy(io.Discard, stalled) // Until the server closes it, in whichever way.
		}()
		// The first HEAD may come before the PATCH, so that nothing is to be taken over yet.
		eventually(t, "the old request has ended", func() bool {
			phone.mustStandAt(upload.GetUploadPath(), 0, len(photo))
			select {
			case <-ended:
				return true
			default:
				return false
			}
		})
		stalled.Close()
	}
}

// Protects: an upload is its device's alone. To others, their own crew included, it looks the same as none at all.
func TestForeignUploads(t *testing.T) {
	h := newHouse(t, newFolder(t))
	photo := newPhoto(t)
	h.task("t1", photo)
	phone := h.as("phone-1")
	upload := phone.declare("t1", "p0")
	phone.mustPatch(upload.GetUploadPath(), 0, photo[:1000])
	none := "/v1/uploads/" + strings.Repeat("0", 32)

	for _, token := range []string{"phone-2", "phone-3", "desk-1", "admin", "hotline", ""} {
		stranger, want, code := h.as(token), http.StatusNotFound, "upload_unknown"
		if token == "" {
			want, code = http.StatusUnauthorized, "token_missing"
		}
		for _, call := range []func(path string) answer{
			stranger.head,
			func(path string) answer { return stranger.patch(path, 1000, bytes.NewReader(photo[1000:])) },
		} {
			foreign, missing := call(upload.GetUploadPath()), call(none)
			if foreign.status != want || missing.status != want || foreign.body != missing.body {
				t.Errorf("as %q: foreign: %d %s; missing: %d %s; want %d for both",
					token, foreign.status, foreign.body, missing.status, missing.body, want)
			}
		}
		stranger.refused(upload.GetUploadId(), code)
		if code == "upload_unknown" {
			code = "photo_unknown"
		}
		_, err := stranger.rpc().Declare(t.Context(), &fieldsyncv1.DeclareRequest{TaskId: "t1", PhotoId: "p0"})
		if infoOf(err).GetCode() != code {
			t.Errorf("as %q: declaring another's photo: %v, want %s", token, err, code)
		}
	}
	phone.mustStandAt(upload.GetUploadPath(), 1000, len(photo))
}

// Protects: an id that is none never becomes the name of a file.
func TestIDsThatAreNone(t *testing.T) {
	h := newHouse(t, newFolder(t))
	photo := newPhoto(t)
	h.task("t1", photo)
	id := h.as("phone-1").declare("t1", "p0").GetUploadId()
	outside := filepath.Join(filepath.Dir(h.spool), "outside")
	if err := os.WriteFile(outside, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{
		"..%2Foutside", "..%2f..%2fetc%2fpasswd", "%2e%2e%2foutside", "..%5Coutside", "x%2F.." + "%2F" + id, id + "%2F",
		id + "/", id + ".info", id + "%00", strings.ToUpper(id[:31]) + "G", id[:31], id + "0", "", "%20" + id, id + "%0A",
	} {
		for _, method := range []string{http.MethodHead, http.MethodPatch} {
			got := h.as("phone-1").do(method, "/v1/uploads/"+bad, strings.NewReader("overwritten"),
				"Tus-Resumable", "1.0.0", "Content-Type", "application/offset+octet-stream", "Upload-Offset", "0")
			if got.status != http.StatusNotFound {
				t.Errorf("%s %q: %d, want 404", method, bad, got.status)
			}
		}
	}
	if got, err := os.ReadFile(outside); err != nil || string(got) != "secret" {
		t.Errorf("a file outside the spool: %q, %v", got, err)
	}
	mustBeEmpty(t, h.spool)
}

// Protects: only Declare opens uploads, nothing resets or removes one, and discovery says what is offered.
func TestMethods(t *testing.T) {
	h := newHouse(t, newFolder(t))
	photo := newPhoto(t)
	h.task("t1", photo)
	phone := h.as("phone-1")
	path := phone.declare("t1", "p0").GetUploadPath()
	phone.mustPatch(path, 0, photo[:1000])
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodGet, http.MethodDelete} {
		for _, target := range []string{path, "/v1/uploads/"} {
			got := phone.do(method, target, nil, "Tus-Resumable", "1.0.0", "Upload-Length", "5", "X-HTTP-Method-Override", "DELETE")
			if got.status != http.StatusMethodNotAllowed || got.header.Get("Allow") != "HEAD, PATCH, POST, OPTIONS" {
				t.Errorf("%s %s: %d, allowed %q; want 405", method, target, got.status, got.header.Get("Allow"))
			}
		}
	}
	phone.mustStandAt(path, 1000, len(photo))
	got := phone.do(http.MethodOptions, path, nil)
	if got.status != http.StatusNoContent || got.header.Get("Tus-Version") != "1.0.0" ||
		got.header.Get("Tus-Max-Size") != "52428800" || got.header.Get("Tus-Extension") != "" {
		t.Errorf("OPTIONS: %d %v", got.status, got.header)
	}
}

// Protects: evidence goes to whoever may see the task, and a task that one may not see looks the same as none.
func TestWhoMayDownload(t *testing.T) {
	h := newHouse(t, newFolder(t))
	sent, unsent := newPhoto(t), newPhoto(t)
	h.task("t1", sent, unsent)
	upload := h.as("phone-1").declare("t1", "p0")
	h.as("phone-1").send(upload.GetUploadPath(), sent)
	h.as("phone-1").commit(upload.GetUploadId())
	for token, want := range map[string]int{
		"phone-1": http.StatusOK, "phone-2": http.StatusOK, "phone-3": http.StatusNotFound,
		"desk-1": http.StatusOK, "desk-2": http.StatusNotFound, "city": http.StatusOK, "admin": http.StatusOK,
		"hotline": http.StatusNotFound, "": http.StatusUnauthorized,
	} {
		got := h.as(token).do(http.MethodGet, "/v1/tasks/t1/photos/p0", nil)
		if got.status != want {
			t.Errorf("as %q: %d, want %d", token, got.status, want)
		}
		if want == http.StatusNotFound {
			if missing := h.as(token).do(http.MethodGet, "/v1/tasks/none/photos/p0", nil); missing.body != got.body {
				t.Errorf("as %q: a hidden task answers %s, a missing one %s", token, got.body, missing.body)
			}
		}
	}
	for path, want := range map[string]string{
		"/v1/tasks/t1/photos/p1":          "photo_on_phone",
		"/v1/tasks/t1/photos/p2":          "photo_unknown",
		"/v1/tasks/..%2Ft1/photos/p0":     "task_unknown",
		"/v1/tasks/t1/photos/..%2F..%2Fp": "photo_unknown",
	} {
		got := h.as("phone-1").do(http.MethodGet, path, nil)
		if code := codeOf(t, got); got.status != http.StatusNotFound || code != want {
			t.Errorf("%s: %d %s, want 404 %s", path, got.status, code, want)
		}
	}
}

// Protects: what one device can leave unfinished is bounded, and finishing makes room.
func TestOpenUploadsAreBounded(t *testing.T) {
	h := newHouse(t, newFolder(t))
	var photos [][]byte
	for i := range 201 {
		photos = append(photos, fmt.Appendf(nil, "photo %d", i))
	}
	h.task("t1", photos...)
	phone := h.as("phone-1")
	first := phone.declare("t1", "p0")
	for i := 1; i < 200; i++ {
		phone.declare("t1", fmt.Sprintf("p%d", i))
	}
	_, err := phone.rpc().Declare(t.Context(), &fieldsyncv1.DeclareRequest{TaskId: "t1", PhotoId: "p200"})
	if connect.CodeOf(err) != connect.CodeResourceExhausted || infoOf(err).GetCode() != "uploads_open" {
		t.Fatalf("the 201st: %v, want uploads_open", err)
	}
	phone.declare("t1", "p7") // What is open stays reachable.
	phone.send(first.GetUploadPath(), photos[0])
	phone.commit(first.GetUploadId())
	phone.declare("t1", "p200")
}

// Protects: the transaction that verifies a photo stays within what the store takes.
func TestTasksOfAnUploadAreBounded(t *testing.T) {
	h := newHouse(t, newFolder(t))
	photo := newPhoto(t)
	phone := h.as("phone-1")
	var upload *fieldsyncv1.DeclareResponse
	for i := range 9 {
		h.task(fmt.Sprintf("t%d", i), photo)
	}
	for i := range 8 {
		upload = phone.declare(fmt.Sprintf("t%d", i), "p0")
	}
	_, err := phone.rpc().Declare(t.Context(), &fieldsyncv1.DeclareRequest{TaskId: "t8", PhotoId: "p0"})
	if connect.CodeOf(err) != connect.CodeResourceExhausted || infoOf(err).GetCode() != "upload_tasks" {
		t.Fatalf("the ninth task: %v, want upload_tasks", err)
	}
	phone.send(upload.GetUploadPath(), photo)
	phone.commit(upload.GetUploadId())
	if got := phone.declare("t8", "p0"); got.GetState() != verified {
		t.Fatalf("the ninth task after the commit: %v, want verified", got)
	}
}

// outage is a store of originals that fails while down is set.
type outage struct {
	media.Blobs

	down error
}

func (o *outage) Put(ctx context.Context, sum [sha256.Size]byte, content io.ReadSeeker) error {
	if o.down != nil {
		return o.down
	}
	return o.Blobs.Put(ctx, sum, content)
}

// Protects: while originals cannot be kept, nothing is lost and nothing is acknowledged; the client learns when to come
// back, and nothing of the inside.
func TestStoreOfOriginalsDown(t *testing.T) {
	blobs := &outage{Blobs: newFolder(t), down: errors.New("dial tcp 10.0.0.7:9000: connection refused")}
	h := newHouse(t, blobs)
	photo := newPhoto(t)
	h.task("t1", photo)
	phone := h.as("phone-1")
	upload := phone.declare("t1", "p0")
	phone.send(upload.GetUploadPath(), photo)
	info := phone.refused(upload.GetUploadId(), "photo_store_unavailable")
	if info.GetRetryAfter().AsDuration() <= 0 || strings.Contains(info.String(), "10.0.0.7") {
		t.Errorf("the client is told %v", info)
	}
	h.mustBe("t1", onPhone)
	phone.mustStandAt(upload.GetUploadPath(), len(photo), len(photo))
	blobs.down = nil
	phone.commit(upload.GetUploadId())
	h.mustBe("t1", verified)
}

// Protects: when the spool fails, the phone is told to come back, and nothing of the server's folders.
func TestSpoolFails(t *testing.T) {
	h := newHouse(t, newFolder(t))
	photo := newPhoto(t)
	h.task("t1", photo)
	phone := h.as("phone-1")
	path := phone.declare("t1", "p0").GetUploadPath()
	if err := os.Remove(h.spool); err != nil {
		t.Fatal(err)
	}
	got := phone.patch(path, 0, bytes.NewReader(photo))
	if got.status != http.StatusServiceUnavailable || strings.Contains(got.body, h.spool) {
		t.Errorf("%d %s, want 503 without a path", got.status, got.body)
	}
	if err := os.Mkdir(h.spool, 0o700); err != nil {
		t.Fatal(err)
	}
	phone.send(path, photo)
}

// Protects: what was never attached, or not by this device, cannot be declared; and ids are checked before they are used.
func TestDeclareRefused(t *testing.T) {
	h := newHouse(t, newFolder(t))
	h.task("t1", newPhoto(t))
	for _, test := range []struct {
		task, photo string
		code        connect.Code
		info        string
	}{
		{"t1", "p1", connect.CodeNotFound, "photo_unknown"},
		{"t2", "p0", connect.CodeNotFound, "photo_unknown"},
		{"../t1", "p0", connect.CodeInvalidArgument, ""},
		{"t1", "", connect.CodeInvalidArgument, ""},
	} {
		_, err := h.as("phone-1").rpc().Declare(t.Context(), &fieldsyncv1.DeclareRequest{TaskId: test.task, PhotoId: test.photo})
		if connect.CodeOf(err) != test.code || infoOf(err).GetCode() != test.info {
			t.Errorf("declaring %q of %q: %v, want %v %s", test.photo, test.task, err, test.code, test.info)
		}
	}
	_, err := h.as("").rpc().Declare(t.Context(), &fieldsyncv1.DeclareRequest{TaskId: "t1", PhotoId: "p0"})
	if connect.CodeOf(err) != connect.CodeUnauthenticated {
		t.Errorf("declaring without a token: %v", err)
	}
}

// Protects: the bounds of a photo, which the rules of its declaration hold before this package sees it.
func TestDeclarationRules(t *testing.T) {
	sum := sha256.Sum256(nil)
	for _, test := range []struct {
		name   string
		change func(*fieldsyncv1.PhotoDeclaration)
		ok     bool
	}{
		{"as it should be", func(*fieldsyncv1.PhotoDeclaration) {}, true},
		{"50 MiB", func(p *fieldsyncv1.PhotoDeclaration) { p.SizeBytes = 50 << 20 }, true},
		{"50 MiB and a byte", func(p *fieldsyncv1.PhotoDeclaration) { p.SizeBytes = 50<<20 + 1 }, false},
		{"empty", func(p *fieldsyncv1.PhotoDeclaration) { p.SizeBytes = 0 }, false},
		{"a short hash", func(p *fieldsyncv1.PhotoDeclaration) { p.Sha256 = sum[:31] }, false},
		{"no image", func(p *fieldsyncv1.PhotoDeclaration) { p.ContentType = "text/html" }, false},
		{"a drawing", func(p *fieldsyncv1.PhotoDeclaration) { p.ContentType = "image/svg+xml" }, false},
		{"a path for an id", func(p *fieldsyncv1.PhotoDeclaration) { p.PhotoId = "../p" }, false},
	} {
		declaration := &fieldsyncv1.PhotoDeclaration{
			PhotoId: "p0", Sha256: sum[:], SizeBytes: 1, ContentType: "image/jpeg", Kind: fieldsyncv1.PhotoKind_PHOTO_KIND_AFTER,
		}
		test.change(declaration)
		if err := protovalidate.Validate(declaration); (err == nil) != test.ok {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}
