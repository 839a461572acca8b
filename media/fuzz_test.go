package media_test

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// Protects: whatever the headers of an upload say, the server answers without an error of its own, never holds more than was declared,
// and another device's upload stays unknown.
func FuzzTus(f *testing.F) {
	photo := newPhoto(f)
	f.Add(byte(0), "0", "", "1.0.0", "application/offset+octet-stream", "", "abc")
	f.Add(byte(1), "", "", "1.0.0", "", "", "")
	f.Add(byte(2), "-1", "10", "0.2.2", "text/plain", "PATCH", "abc")
	f.Add(byte(2), "9223372036854775807", strconv.Itoa(len(photo)), "1.0.0", "application/offset+octet-stream", "HEAD", "")
	f.Add(byte(3), "1e3", "0x10", "", "", "DELETE", "")
	h := newHouse(f, newFolder(f))
	h.task("t1", photo)
	mine := h.as("phone-1").declare("t1", "p0").GetUploadPath()
	f.Fuzz(func(t *testing.T, method byte, offset, length, version, contentType, override, body string) {
		methods := []string{http.MethodPatch, http.MethodHead, http.MethodPost, http.MethodDelete, http.MethodOptions}
		for _, token := range []string{"phone-1", "phone-2"} {
			r, err := http.NewRequestWithContext(t.Context(), methods[int(method)%len(methods)], h.server.URL+mine, strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			for name, value := range map[string]string{
				"Upload-Offset": offset, "Upload-Length": length, "Tus-Resumable": version, "Content-Type": contentType, "X-Http-Method-Override": override,
			} {
				r.Header.Set(name, value)
			}
			answer, err := authorized(token).Do(r)
			if err != nil {
				return // No client can send it, or the connection was ended.
			}
			_, _ = io.Copy(io.Discard, answer.Body)
			answer.Body.Close()
			if answer.StatusCode >= 500 {
				t.Errorf("%s: %d", r.Method, answer.StatusCode)
			}
			if token == "phone-2" && answer.Header.Get("Upload-Offset") != "" {
				t.Error("another device's upload is known")
			}
			if at, err := strconv.Atoi(answer.Header.Get("Upload-Offset")); err == nil && at > len(photo) {
				t.Errorf("%d bytes are there of %d", at, len(photo))
			}
		}
	})
}
