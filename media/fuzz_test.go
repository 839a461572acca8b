package media_test

import (
	"io"
	"net/http"
	"net/url"
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

// Protects the plain routes of photos: whatever path, range or condition is asked for, nothing of another crew's comes back, no public
// copy without its link, and no error of the server's own.
func FuzzRoutes(f *testing.F) {
	photo := newPhoto(f)
	h := newHouse(f, newFolder(f))
	h.task("t1", photo)
	h.arrive("t1", "p0", photo)
	for _, seed := range [][4]string{
		{"/v1/tasks/t1/photos/p0", "bytes=0-9,20-", "", ""},
		{"/v1/tasks/t1/photos/p0/thumbnail", "bytes=-5", `W/"x"`, ""},
		{"/v1/tasks/t1/evidence.zip", "", "*", ""},
		{"/v1/public/t1/p0/AAAAAAAAAAAAAAAAAAAAAA", "", "", ""},
		{"/v1/public/t1/p0/%00", "", "", ""},
		{"/v1/tasks/..%2Ft1/photos/p0", "bytes=9-1", "", ""},
		{"/v1/uploads/", "", "", "filename d29ybGQ=,is_confidential"},
		{"/v1/uploads/..%2F..%2Fx", "", "", "\xff"},
		{"/v1/tasks/t1/photos/p0/preview", "", "", ""},
	} {
		f.Add(byte(0), seed[0], seed[1], seed[2], seed[3])
		f.Add(byte(1), seed[0], seed[1], seed[2], seed[3])
		f.Add(byte(2), seed[0], seed[1], seed[2], seed[3])
	}
	f.Fuzz(func(t *testing.T, method byte, path, span, condition, metadata string) {
		for _, token := range []string{"phone-3", "desk-2", ""} { // Another crew, another unit, nobody.
			r, err := http.NewRequestWithContext(t.Context(), []string{http.MethodGet, http.MethodPut, http.MethodPost}[method%3], h.server.URL, strings.NewReader("x"))
			if err != nil {
				t.Fatal(err)
			}
			target, err := url.Parse(h.server.URL + "/" + strings.TrimLeft(path, "/"))
			if err != nil || "http://"+target.Host != h.server.URL {
				return
			}
			r.URL = target
			for name, value := range map[string]string{
				"Range": span, "If-None-Match": condition, "If-Range": condition, "Upload-Metadata": metadata, "Upload-Length": "1", "Tus-Resumable": "1.0.0",
			} {
				if value != "" {
					r.Header.Set(name, value)
				}
			}
			do := http.DefaultClient.Do
			if token != "" {
				do = authorized(token).Do
			}
			answer, err := do(r)
			if err != nil {
				return // No client can send it.
			}
			_, _ = io.Copy(io.Discard, answer.Body)
			answer.Body.Close()
			public, _ := url.PathUnescape(h.service.PublicPath("t1", "p0"))
			if answer.StatusCode >= 500 || answer.StatusCode < 300 && target.Path != public {
				t.Errorf("%q %s %q: %d", token, r.Method, path, answer.StatusCode)
			}
		}
	})
}
