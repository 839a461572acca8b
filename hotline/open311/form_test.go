package open311

import (
	"encoding/xml"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strconv"
	"strings"
	"testing"
)

// bomb is a "billion laughs": ten entities of ten each, which unfold to gigabytes where a parser follows them.
func bomb() string {
	var b strings.Builder
	b.WriteString(`<?xml version="1.0"?><!DOCTYPE r [<!ENTITY a0 "ha">`)
	for i := range 10 {
		b.WriteString(`<!ENTITY a` + string(rune('1'+i)) + ` "` + strings.Repeat("&a"+string(rune('0'+i))+";", 10) + `">`)
	}
	return b.String() + `]><r><service_code>noise</service_code><description>&a9;</description></r>`
}

// Protects the face from bodies that are made to hurt or to mislead: XML that unfolds, other charsets, forms without end, one
// parameter with two meanings, times beyond all calendars. Each is refused in the face's own shape, and no ticket is left behind.
func TestHostileBodies(t *testing.T) {
	const form = "application/x-www-form-urlencoded"
	h := newHouse(t)
	valid := func(and string) string { return report("api_key", h.key).Encode() + and }
	parts := "--b\r\nContent-Disposition: form-data; name=\"description\"\r\n\r\n"
	for _, c := range []struct {
		name, kind, body, says string
	}{
		{"an XML bomb", "text/xml", bomb(), "body is not a form"},
		{"an XML bomb that calls itself a form", form, bomb(), "parameter_invalid"},
		{"an outside entity", "application/xml", `<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]><r>&x;</r>`, "body is not a form"},
		{"JSON", "application/json", `{"service_code":"noise","description":"a","lat":1,"long":1}`, "body is not a form"},
		{"no type at all", "", valid(""), "body is not a form"},
		{"a type that is none", ";;", valid(""), "body is not a form"},
		{"Latin-1 that says so", form + "; charset=ISO-8859-1", valid(""), "body is not UTF-8"},
		{"Latin-1 that does not", form, valid("&address_string=Nguy%EAn"), "body is not UTF-8"},
		{"UTF-16", form, valid("&address_string=%ff%fea%00"), "body is not UTF-8"},
		{"a form too long", form, valid("&x=" + strings.Repeat("a", maxFormBytes)), "is longer than 256 KiB"},
		{"100,000 parameters too long", form, valid(strings.Repeat("&ab=", maxFormBytes/4)), "is longer than 256 KiB"},
		{"a part without end", "multipart/form-data; boundary=b", parts + strings.Repeat("a", maxFormBytes), "body is"},
		{"a part cut off", "multipart/form-data; boundary=b", parts + "a", "body is not a form"},
		{"parts without a boundary", "multipart/form-data", parts + "a\r\n--b--", "body is not a form"},
		{"5,000 parts", "multipart/form-data; boundary=b", strings.Repeat("--b\r\nContent-Disposition: form-data; name=a\r\n\r\n\r\n", 5000) + "--b--", "body is not a form"},
		{"two places", form, valid("&lat=21.03"), "lat is given more than once"},
		{"two services", form, valid("&service_code=noise"), "service_code is given more than once"},
		{"two ids", form, valid("&attribute%5Bexternal_id%5D=1&attribute%5Bexternal_id%5D=2"), "attribute[external_id] is given more than once"},
		{"two keys", form, valid("&api_key=x"), "api_key is given more than once"},
		{"a second photo that is no address", form, valid("&media_url=https://a.example/1.jpg&media_url=file:///etc/passwd"), "media_url is no http(s) address"},
		{"the year 0", form, valid("&requested_datetime=0000-01-01T00:00:00Z"), "requested_datetime"},
		{"the year 9999", form, valid("&requested_datetime=9999-12-31T23:59:59Z"), "requested_datetime"},
		{"the 30th of February", form, valid("&requested_datetime=2026-02-30T08:00:00Z"), "requested_datetime"},
		{"seconds since 1970", form, valid("&requested_datetime=1795000000"), "requested_datetime"},
		{"an endless time", form, valid("&requested_datetime=" + strings.Repeat("2026", 10_000)), "requested_datetime"},
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, basePath+"requests.xml?api_key="+h.key, strings.NewReader(c.body))
		r.Header.Set("Content-Type", c.kind)
		r.Header.Set("Accept-Language", "en")
		w := httptest.NewRecorder()
		h.mux.ServeHTTP(w, r)
		var list problems
		if err := xml.Unmarshal(w.Body.Bytes(), &list); err != nil || w.Code != http.StatusBadRequest || len(list.Problems) != 1 ||
			!strings.Contains(list.Problems[0].Description, c.says) || !strings.HasSuffix(list.Problems[0].Description, " [parameter_invalid]") {
			t.Errorf("%s: %d %.300s", c.name, w.Code, w.Body)
		}
	}
	if n := h.tickets(); n != 0 {
		t.Errorf("%d tickets were left behind", n)
	}
	for name, query := range map[string]string{
		"two beginnings": "start_date=2026-11-23T08:00:00Z&start_date=2026-11-22T08:00:00Z", "two pages": "page=1&page=2",
	} {
		if w := h.call("requests.json?"+query, nil); w.Code != http.StatusBadRequest {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
}

// Protects what well-meaning senders do: a parameter twice with one value, lists of services, forms of both kinds, all in the
// address, characters that XML cannot hold. The answer can be read by an XML parser.
func TestUnusualForms(t *testing.T) {
	h := newHouse(t)
	id := h.post("description", "a\x0b\x01]]>&b", "attribute[external_id]", "odd")
	if w := h.call("requests/"+id+".xml", nil); w.Code != http.StatusOK || xml.Unmarshal(w.Body.Bytes(), new(struct{})) != nil {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := h.call("requests.json?service_code=noise&service_code=fallen-tree", nil); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), id) {
		t.Errorf("two services in a list: %d %s", w.Code, w.Body)
	}
	multipart := "--b\r\nContent-Disposition: form-data; name=\"service_code\"\r\n\r\nnoise\r\n" +
		"--b\r\nContent-Disposition: form-data; name=\"lat\"\r\n\r\n10.8\r\n--b\r\nContent-Disposition: form-data; name=\"long\"\r\n\r\n106.7\r\n--b--\r\n"
	for name, c := range map[string]struct{ kind, query, body string }{
		"in the address":    {"", report("api_key", h.key).Encode(), ""},
		"twice the same":    {"application/x-www-form-urlencoded; charset=UTF-8", "lat=10.7797", report("api_key", h.key, "lat", "10.7797", "description", "hai lần").Encode()},
		"as multipart form": {"multipart/form-data; boundary=b", "api_key=" + h.key, multipart},
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, basePath+"requests.json?"+c.query, strings.NewReader(c.body))
		r.Header.Set("Content-Type", c.kind)
		w := httptest.NewRecorder()
		if h.mux.ServeHTTP(w, r); w.Code != http.StatusCreated {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
}

// Protects a citizen's photos: each that is sent with a report or with an update reaches the crew, not only the first.
func TestEveryPhotoIsPassedOn(t *testing.T) {
	h := newHouse(t)
	sent := report("attribute[external_id]", "photos")
	sent["media_url"] = []string{"https://fms.example/1.jpg", "https://fms.example/2.jpg"}
	if w := h.call("requests.json", sent); w.Code != http.StatusCreated {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	update := url.Values{"service_request_id": {"fms:photos"}, "update_id": {"1"}, "media_url": {"https://fms.example/3.jpg", "https://fms.example/4.jpg"}}
	if w := h.call("servicerequestupdates.xml", update); w.Code != http.StatusCreated {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	said := h.ticket("fms:photos").GetFacts().GetDescription()
	for _, photo := range []string{"/1.jpg", "/2.jpg", "/3.jpg", "/4.jpg"} {
		if strings.Count(said, "Ảnh: https://fms.example"+photo) != 1 {
			t.Errorf("%s is missing in %q", photo, said)
		}
	}
}

// Protects: forms whose end does not come take so much memory and no more; small ones pass beside them, and large ones once a place is free.
func TestManyLargeForms(t *testing.T) {
	h := newHouse(t)
	post := func(body io.Reader) *httptest.ResponseRecorder {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, basePath+"requests.json?api_key="+h.key, body)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		h.mux.ServeHTTP(w, r)
		return w
	}
	large := func(more string) string {
		return report("address_string", "Phố X").Encode() + "&x=" + strings.Repeat("a", smallFormBytes) + more
	}
	ends, end := io.Pipe()
	over := make(chan struct{})
	for i := range largeFormsAtOnce {
		go func() {
			post(io.MultiReader(strings.NewReader(large(strconv.Itoa(i))), ends))
			over <- struct{}{}
		}()
	}
	for len(h.largeForms) < largeFormsAtOnce {
		runtime.Gosched()
	}
	if w := post(strings.NewReader(large(""))); w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "forms_busy") || w.Header().Get("Retry-After") != "5" {
		t.Errorf("one more: %d %v %s", w.Code, w.Header(), w.Body)
	}
	if w := post(strings.NewReader(report().Encode())); w.Code != http.StatusCreated {
		t.Errorf("a small one: %d %s", w.Code, w.Body)
	}
	if err := end.Close(); err != nil {
		t.Error(err)
	}
	for range largeFormsAtOnce {
		<-over
	}
	if w := post(strings.NewReader(large("last"))); w.Code != http.StatusCreated || len(h.largeForms) != 0 {
		t.Errorf("afterwards: %d %s, %d places taken", w.Code, w.Body, len(h.largeForms))
	}
}
