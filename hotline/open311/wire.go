package open311

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"math"
	"net/http"
	"strconv"

	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/internal/faultwire"
)

type format int

const (
	formatXML format = iota
	formatJSON
)

// write answers in the format. XML is written whole before a byte leaves, so an answer is never cut by its own error.
func write(w http.ResponseWriter, f format, a answer) error {
	var body []byte
	var err error
	contentType := "application/json; charset=utf-8"
	if f == formatJSON {
		body, err = json.Marshal(a.json)
	} else {
		contentType = "text/xml; charset=utf-8"
		body, err = xml.Marshal(a.xml)
		body = append([]byte(xml.Header), body...)
	}
	if err != nil {
		http.Error(w, "internal", http.StatusInternalServerError)
		return err
	}
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(a.status)
	_, err = w.Write(body)
	return err
}

// problem is an error as GeoReport has it. Code is the HTTP status; the description ends with the stable code of docs/protocol.md.
type problem struct {
	Code        int    `json:"code"        xml:"code"`
	Description string `json:"description" xml:"description"`
}

type problems struct {
	XMLName  xml.Name  `xml:"errors"`
	Problems []problem `xml:"error"`
}

// refusal turns an error into what the caller is told. GeoReport knows 404 for what is not there, 403 for the key, and 400; 429 and 503, which
// say when to come again, are HTTP's.
func (f *Face) refusal(header http.Header, r *request, err error) answer {
	if shown := asFault(err); shown != nil {
		err = faultwire.Judged(r.Context(), shown)
	}
	status := http.StatusInternalServerError
	switch fault.KindOf(err) {
	case fault.NotFound:
		status = http.StatusNotFound
	case fault.Denied, fault.Unauthenticated:
		status = http.StatusForbidden
	case fault.Invalid, fault.Precondition, fault.OutOfRange:
		status = http.StatusBadRequest
	case fault.Exhausted:
		status = http.StatusTooManyRequests
	case fault.Unavailable:
		status = http.StatusServiceUnavailable
	case fault.Internal, fault.DataLoss:
	}
	shown := asFault(err)
	if shown == nil {
		if r.Context().Err() == nil { // Else the caller has gone.
			f.o.Log.ErrorContext(r.Context(), "internal error", "error", err)
		}
		shown = fault.New(fault.Internal, "internal",
			"Lỗi bên trong máy chủ; yêu cầu có thể đã hoặc chưa được thực hiện. Hãy thử lại.",
			"An error inside the server; the request may or may not have taken effect. Try again.")
	}
	if shown.RetryAfter > 0 {
		header.Set("Retry-After", strconv.Itoa(int(math.Ceil(shown.RetryAfter.Seconds()))))
	}
	list := []problem{{Code: status, Description: r.say(shown.Vi, shown.En) + " [" + shown.Code + "]"}}
	return answer{status: status, xml: problems{Problems: list}, json: list}
}

func asFault(err error) *fault.Error {
	f, _ := errors.AsType[*fault.Error](err)
	return f
}
