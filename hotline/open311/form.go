package open311

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/cong1022/fieldsync/internal/fault"
)

// maxFormBytes bounds a POST: 8,000 characters of description, three bytes each and percent-encoded, are 72 KB.
const maxFormBytes = 256 << 10

const (
	// smallFormBytes is what a form may have before it takes one of the places for larger ones: most have less than 2 KiB, and a
	// description of 1,800 Vietnamese letters fits in.
	smallFormBytes = 16 << 10
	// largeFormsAtOnce is how many larger ones are in memory at once. Whose they are is known only when all of a form is there, since the
	// key is in it: so they are bounded for all together.
	largeFormsAtOnce = 256
)

// boundedForm is the body of a form.
type boundedForm struct {
	io.ReadCloser

	places chan struct{}
	read   int
	large  bool
}

// Read implements io.Reader.
func (b *boundedForm) Read(p []byte) (int, error) {
	if !b.large && b.read >= smallFormBytes {
		select {
		case b.places <- struct{}{}:
			b.large = true
		default:
			return 0, errFormsBusy()
		}
	}
	n, err := b.ReadCloser.Read(p)
	b.read += n
	return n, err
}

// over gives the place back.
func (b *boundedForm) over() {
	if b.large {
		<-b.places
		b.large = false
	}
}

// single are the parameters that mean one thing; in a POST, those of singlePosted too, which are lists in a GET.
var (
	single = []string{
		"api_key", "jurisdiction_id", "lat", "long", "address_string", "description", "title", "attribute[title]",
		"attribute[external_id]", "attribute[fixmystreet_id]", "first_name", "last_name", "phone", "requested_datetime",
		"update_id", "update_id_ext", "start_date", "end_date", "updated_after", "updated_before", "page", "page_size", "extensions",
	}
	singlePosted = []string{"service_code", "service_request_id"}
)

// readForm reads the parameters of the address and of the body. A body is a form or is refused: XML and JSON are never parsed, so
// nothing in them can unfold.
func (r *request) readForm(w http.ResponseWriter) error {
	r.Body = http.MaxBytesReader(w, r.body, maxFormBytes)
	kind, with, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	multipart := kind == "multipart/form-data"
	if r.Method == http.MethodPost && r.ContentLength != 0 && (err != nil || (!multipart && kind != "application/x-www-form-urlencoded")) {
		return notAForm()
	}
	if charset := strings.ToLower(with["charset"]); charset != "" && charset != "utf-8" && charset != "us-ascii" {
		return notUTF8()
	}
	if multipart {
		err = r.ParseMultipartForm(maxFormBytes)
	} else {
		err = r.ParseForm()
	}
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return parameter("body", "dài quá 256 KiB", "is longer than 256 KiB")
	}
	if busy := asFault(err); busy != nil {
		return busy
	}
	if err != nil {
		return notAForm()
	}
	r.form = r.Form
	for name, values := range r.form {
		for _, value := range values {
			if !utf8.ValidString(name) || !utf8.ValidString(value) {
				return notUTF8()
			}
		}
	}
	return r.unambiguous()
}

// unambiguous refuses a parameter that is given twice with different values: whichever were taken, another part of the caller's
// system may have meant the other.
func (r *request) unambiguous() error {
	names := single
	if r.Method == http.MethodPost {
		names = slices.Concat(single, singlePosted)
	}
	for _, name := range names {
		values := r.form[name]
		if slices.ContainsFunc(values, func(value string) bool { return value != values[0] }) {
			return parameter(name, "được ghi nhiều lần với giá trị khác nhau", "is given more than once, with different values")
		}
	}
	return nil
}

// photos are the addresses of a citizen's photos, a line each; a sender may repeat media_url.
func (r *request) photos() (lines string, err error) {
	for _, photo := range r.form["media_url"] {
		if photo = strings.TrimSpace(photo); photo == "" {
			continue
		}
		if u, err := url.Parse(photo); err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
			return "", parameter("media_url", "không phải là địa chỉ http(s)", "is no http(s) address")
		}
		lines += "\nẢnh: " + photo
	}
	return lines, nil
}

func notAForm() error {
	return parameter("body", "không phải là biểu mẫu (application/x-www-form-urlencoded hoặc multipart/form-data)",
		"is not a form (application/x-www-form-urlencoded or multipart/form-data)")
}

func errFormsBusy() error {
	f := fault.New(fault.Unavailable, "forms_busy",
		"Máy chủ đang nhận quá nhiều biểu mẫu lớn cùng lúc: hãy thử lại sau ít giây.",
		"The server is taking in too many large forms at once: try again in a few seconds.")
	f.RetryAfter = 5 * time.Second
	return f
}

func notUTF8() error { return parameter("body", "không phải là UTF-8", "is not UTF-8") }
