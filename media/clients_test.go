package media_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// Protects: tus-android-client where the platform's HttpURLConnection knows no PATCH: a POST with X-HTTP-Method-Override, a chunked
// body and Expect: 100-continue, as tus-java-client writes it.
func TestMethodOverride(t *testing.T) {
	h := newHouse(t, newFolder(t))
	photo := newPhoto(t)
	h.task("t1", photo)
	phone := h.as("phone-1")
	upload := phone.declare("t1", "p0")
	phone.mustPatch(upload.GetUploadPath(), 0, photo[:1000])
	connection, err := new(net.Dialer).DialContext(t.Context(), "tcp", h.server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	answers := bufio.NewReader(connection)
	fmt.Fprintf(connection, "POST %s HTTP/1.1\r\nHost: fieldsync\r\nAuthorization: Bearer phone-1\r\nTus-Resumable: 1.0.0\r\n"+
		"X-HTTP-Method-Override: PATCH\r\nUpload-Offset: 1000\r\nContent-Type: application/offset+octet-stream\r\n"+
		"Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n", upload.GetUploadPath())
	if line, err := answers.ReadString('\n'); err != nil || !strings.HasPrefix(line, "HTTP/1.1 100") {
		t.Fatalf("%q, %v; want 100 Continue", line, err)
	}
	if _, err := answers.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	for rest := photo[1000:]; len(rest) > 0; {
		part := rest[:min(4096, len(rest))]
		fmt.Fprintf(connection, "%x\r\n%s\r\n", len(part), part)
		rest = rest[len(part):]
	}
	fmt.Fprint(connection, "0\r\n\r\n")
	answer, err := http.ReadResponse(answers, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusNoContent || answer.Header.Get("Upload-Offset") != strconv.Itoa(len(photo)) {
		t.Fatalf("%d, offset %q", answer.StatusCode, answer.Header.Get("Upload-Offset"))
	}
	phone.commit(upload.GetUploadId())
	download(t, h, "t1", photo)
}

// Protects: a HEAD that comes as a POST is answered as one on the wire: the length of the upload would be taken for that of a body, which
// does not come, and the client would wait for it.
func TestHeadAsPost(t *testing.T) {
	h := newHouse(t, newFolder(t))
	photo := newPhoto(t)
	h.task("t1", photo)
	phone := h.as("phone-1")
	upload := phone.declare("t1", "p0")
	phone.mustPatch(upload.GetUploadPath(), 0, photo[:1000])
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, h.server.URL+upload.GetUploadPath(), http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer phone-1")
	request.Header.Set("Tus-Resumable", "1.0.0")
	request.Header.Set("X-Http-Method-Override", "HEAD")
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if _, err := io.ReadAll(answer.Body); err != nil || answer.StatusCode != http.StatusOK || answer.Header.Get("Upload-Offset") != "1000" ||
		answer.Header.Get("Upload-Length") != strconv.Itoa(len(photo)) {
		t.Errorf("%d %v, %v", answer.StatusCode, answer.Header, err)
	}
}

// Protects: TUSKit, which begins with the creation extension: a POST to the declared upload names that upload, resets nothing, and
// is for its device alone.
func TestCreationOfADeclaredUpload(t *testing.T) {
	h := newHouse(t, newFolder(t))
	photo := newPhoto(t)
	h.task("t1", photo)
	phone := h.as("phone-1")
	upload := phone.declare("t1", "p0")
	phone.mustPatch(upload.GetUploadPath(), 0, photo[:1000])
	create := func(c caller, version, length string, more ...string) answer {
		return c.do(http.MethodPost, upload.GetUploadPath(), nil, append([]string{
			"Tus-Resumable", version, "Upload-Length", length, "Upload-Extension", "creation", "Upload-Metadata", "filename cC5qcGc=",
		}, more...)...)
	}
	size := strconv.Itoa(len(photo))
	got := create(phone, "1.0.0", size)
	if want := h.server.URL + upload.GetUploadPath(); got.status != http.StatusCreated || got.header.Get("Location") != want {
		t.Fatalf("%d, Location %q; want 201 and %q", got.status, got.header.Get("Location"), want)
	}
	if got := create(phone, "1.0.0", "5"); got.status != http.StatusBadRequest || codeOf(t, got) != "upload_length_differs" {
		t.Errorf("another length: %d %s", got.status, got.body)
	}
	if got := create(phone, "0.2.2", size); got.status != http.StatusPreconditionFailed {
		t.Errorf("another version: %d", got.status)
	}
	if got := create(h.as("phone-2"), "1.0.0", size); got.status != http.StatusNotFound {
		t.Errorf("another device: %d %s", got.status, got.body)
	}
	phone.mustStandAt(upload.GetUploadPath(), 1000, len(photo))
	phone.mustPatch(upload.GetUploadPath(), 1000, photo[1000:])
	phone.commit(upload.GetUploadId())
	download(t, h, "t1", photo)
}
