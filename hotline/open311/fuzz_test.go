package open311

import (
	"encoding/xml"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// Protects the bodies of GeoReport in all their encodings, parts of multipart included, and the headers that are read beside them.
func FuzzForm(f *testing.F) {
	const parts = "--x\r\nContent-Disposition: form-data; name=\"service_code\"\r\n\r\nfallen-tree\r\n--x\r\nContent-Disposition: form-data; name=\"media\"; filename=\"../a.jpg\"\r\nContent-Type: image/jpeg\r\n\r\n\xff\xd8\r\n--x--\r\n"
	f.Add("multipart/form-data; boundary=x", "", "vi", parts)
	f.Add("multipart/form-data; boundary=x; charset=utf-16", "key-1", "en", parts[:90])
	f.Add("multipart/form-data", "", "", "--\r\n\r\n----")
	f.Add("application/x-www-form-urlencoded; charset=utf-8", strings.Repeat("k", 300), "en-GB", report().Encode())
	f.Add("application/xml", "", "", "<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>")
	f.Add(";;", "\x00", "\xff", "a=%zz")
	h := newHouse(f)
	f.Fuzz(func(t *testing.T, contentType, key, language, body string) {
		for _, route := range []string{"requests.xml", "servicerequestupdates.xml"} {
			r := httptest.NewRequestWithContext(hotlineContext(t.Context()), http.MethodPost, basePath+route, strings.NewReader(body))
			r.Header.Set("Content-Type", contentType)
			r.Header.Set("Idempotency-Key", key)
			r.Header.Set("Accept-Language", language)
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code >= 500 {
				t.Fatalf("%q %q %q: %d %s", contentType, key, body, w.Code, w.Body)
			}
			if err := xml.Unmarshal(w.Body.Bytes(), new(struct{})); err != nil {
				t.Fatalf("not XML: %v %s", err, w.Body)
			}
		}
	})
}
