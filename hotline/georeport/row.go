package georeport

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"buf.build/go/protovalidate"
	"golang.org/x/text/unicode/norm"
	"google.golang.org/protobuf/types/known/timestamppb"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
)

// request is a service request as GeoReport v2 has it: what a ticket is made of, without the rest.
type request struct {
	ID          text `json:"service_request_id"`
	Name        text `json:"service_name"`
	Code        text `json:"service_code"`
	Description text `json:"description"`
	StatusNotes text `json:"status_notes"`
	Address     text `json:"address"`
	Lat         text `json:"lat"`
	Long        text `json:"long"`
	Requested   text `json:"requested_datetime"`
	Status      text `json:"status"`
	// What GeoReport does not give to just anybody, and the hotline's own exports have.
	ReporterName  text `json:"reporter_name"`
	ReporterPhone text `json:"reporter_phone"`
	Parent        text `json:"parent_id"`
	// Notes is Chicago's extension; elsewhere the word may stand for anything.
	Notes json.RawMessage `json:"notes"`
}

// text is a string, a number as it is written (ids and coordinates come as either), or empty for null. White space around
// it is not part of it.
type text string

var errNoText = errors.New("neither a string nor a number")

// UnmarshalJSON implements json.Unmarshaler.
func (t *text) UnmarshalJSON(b []byte) error {
	switch {
	case b[0] == '"':
		var s string
		err := json.Unmarshal(b, &s)
		*t = text(strings.TrimSpace(s))
		return err
	case b[0] == '-' || (b[0] >= '0' && b[0] <= '9'):
		*t = text(b)
	case !bytes.Equal(b, []byte("null")):
		return errNoText
	}
	return nil
}

// parse reads a row. wrong is nil where it could be read; the id is there as far as it can be told.
func parse(r row) (in request, wrong *defect) {
	text := bytes.TrimSpace(r.text)
	switch {
	case r.long:
		return in, &defect{"", "hàng dài hơn 1 MiB: hãy rút gọn", "the row is longer than 1 MiB: shorten it"}
	case len(text) == 0:
		return in, &defect{"", "không có gì giữa hai dấu phẩy: hãy bỏ một dấu", "there is nothing between two commas: remove one"}
	case !utf8.Valid(text):
		return in, notUTF8()
	case text[0] != '{':
		return in, &defect{"", "hàng không phải là một đối tượng JSON: hãy viết trong {}", "the row is not a JSON object: write it in {}"}
	}
	if err := json.Unmarshal(text, &in); err != nil {
		return in, undecodable(text, err)
	}
	return in, nil
}

func notUTF8() *defect {
	return &defect{"", "hàng không phải là UTF-8: hãy lưu tệp thành UTF-8", "the row is not UTF-8: save the file as UTF-8"}
}

func undecodable(row []byte, err error) *defect {
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return &defect{
			"", fmt.Sprintf("JSON sai cú pháp ở byte thứ %d của hàng: hãy sửa ở đó", syntax.Offset),
			fmt.Sprintf("JSON syntax error at byte %d of the row, mend it there: %s", syntax.Offset, syntax),
		}
	}
	field := noText(row)
	return &defect{
		field, cmp.Or(field, "một trường của GeoReport") + " không phải là chuỗi hay số: hãy đặt trong ngoặc kép",
		cmp.Or(field, "a field of GeoReport") + " is neither a string nor a number: put it in quotation marks",
	}
}

// noText names the field of a row that is no text, the first by its name where several are not.
func noText(row []byte) string {
	var members map[string]json.RawMessage
	if json.Unmarshal(row, &members) != nil {
		return ""
	}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		if json.Unmarshal([]byte("{\""+name+"\":"+string(members[name])+"}"), new(request)) != nil {
			return name
		}
	}
	return ""
}

func (in request) ticket(kinds Kinds) (*fieldsyncv1.TicketIntake, *defect) {
	if in.ID == "" {
		return nil, &defect{"service_request_id", "thiếu service_request_id: hãy ghi mã phiếu của tổng đài", "service_request_id is missing: write the hotline's id of the ticket"}
	}
	title := oneLine(string(cmp.Or(in.Name, in.Code)))
	if title == "" {
		return nil, &defect{"service_name", "thiếu service_name và service_code: hãy ghi loại việc", "service_name and service_code are missing: write what kind of thing it is"}
	}
	ticket := &fieldsyncv1.TicketIntake{
		HotlineId:   string(in.ID),
		Category:    kinds.of(slug(string(in.Code)), slug(string(in.Name)), title),
		Title:       title,
		Description: in.description(),
		Address:     oneLine(string(in.Address)),

		ParentHotlineId: string(in.Parent),
	}
	if in.ReporterName != "" || in.ReporterPhone != "" {
		ticket.Reporter = &fieldsyncv1.Reporter{Name: oneLine(string(in.ReporterName)), Phone: oneLine(string(in.ReporterPhone))}
	}
	var wrong *defect
	if ticket.Position, wrong = in.position(); wrong != nil {
		return nil, wrong
	}
	if in.Requested != "" {
		at, err := time.Parse(time.RFC3339, string(in.Requested))
		ticket.ReportedAt = timestamppb.New(at)
		if err != nil || !ticket.GetReportedAt().IsValid() {
			return nil, &defect{
				"requested_datetime",
				fmt.Sprintf("requested_datetime %q không phải là thời điểm RFC 3339 có múi giờ: hãy ghi như 2026-11-20T08:00:00+07:00", in.Requested),
				fmt.Sprintf("requested_datetime %q is not an RFC 3339 time with an offset: write it like 2026-11-20T08:00:00+07:00", in.Requested),
			}
		}
	}
	return ticket, nil
}

// description is what the citizen said. Where the file does not tell, what the city noted is the next best thing.
func (in request) description() string {
	if said := cmp.Or(in.Description, in.StatusNotes); said != "" {
		return string(said)
	}
	var notes []struct {
		Summary text `json:"summary"`
	}
	if json.Unmarshal(in.Notes, &notes) != nil {
		return ""
	}
	var summaries []string
	for _, note := range notes {
		if note.Summary != "" {
			summaries = append(summaries, string(note.Summary))
		}
	}
	return strings.Join(summaries, "\n")
}

// position is absent where both coordinates are.
func (in request) position() (*fieldsyncv1.Position, *defect) {
	if in.Lat == "" && in.Long == "" {
		return nil, nil
	}
	lat, latErr := strconv.ParseFloat(string(in.Lat), 64)
	long, longErr := strconv.ParseFloat(string(in.Long), 64)
	if latErr != nil || longErr != nil {
		field := "lat"
		if latErr == nil {
			field = "long"
		}
		return nil, &defect{
			field, fmt.Sprintf("tọa độ lat %q, long %q không phải là hai số: hãy ghi như 10.7769 và 106.7009, hoặc để trống cả hai", in.Lat, in.Long),
			fmt.Sprintf("lat %q and long %q are not two numbers: write them like 10.7769 and 106.7009, or leave both empty", in.Lat, in.Long),
		}
	}
	return &fieldsyncv1.Position{Latitude: lat, Longitude: long}, nil
}

// rules are the fields of a ticket as a GeoReport file names them, and what SubmitTickets asks of them.
var rules = map[string]struct{ name, vi, en string }{
	"hotline_id":  {"service_request_id", "phải có 1 đến 100 ký tự in được", "must have 1 to 100 printable characters"},
	"category":    {"service_name", "phải có 1 đến 100 ký tự", "must have 1 to 100 characters"},
	"title":       {"service_name", "phải có 1 đến 300 ký tự", "must have 1 to 300 characters"},
	"description": {"description", "không được quá 8.000 ký tự", "must have at most 8,000 characters"},
	"address":     {"address", "không được quá 500 ký tự", "must have at most 500 characters"},
	"latitude":    {"lat", "phải từ -90 đến 90", "must be between -90 and 90"},
	"name":        {"reporter_name", "không được quá 200 ký tự", "must have at most 200 characters"},
	"phone":       {"reporter_phone", "không được quá 40 ký tự", "must have at most 40 characters"},

	"parent_hotline_id": {"parent_id", "không được quá 100 ký tự", "must have at most 100 characters"},

	"longitude": {"long", "phải từ -180 đến 180", "must be between -180 and 180"},
}

// broken names the rule of SubmitTickets that a ticket breaks, nil where it keeps them all.
func broken(ticket *fieldsyncv1.TicketIntake) *defect {
	err := protovalidate.Validate(ticket)
	if err == nil {
		return nil
	}
	var invalid *protovalidate.ValidationError
	if errors.As(err, &invalid) && len(invalid.Violations) > 0 {
		if field := invalid.Violations[0].FieldDescriptor; field != nil {
			if rule, ok := rules[string(field.Name())]; ok {
				return &defect{rule.name, rule.name + " " + rule.vi, rule.name + " " + rule.en}
			}
		}
	}
	return &defect{"", "phiếu không hợp lệ: " + err.Error(), "the ticket is not valid: " + err.Error()}
}

// Kinds are the categories by the words that a file may use for them, as slug writes them: their ids, and their names in both languages.
type Kinds map[string]string

// NewKinds returns the kinds of a server's categories. An id goes before a name.
func NewKinds(categories []*fieldsyncv1.Category) Kinds {
	kinds := make(Kinds)
	for _, category := range categories {
		kinds[slug(category.GetName().GetVi())], kinds[slug(category.GetName().GetEn())] = category.GetId(), category.GetId()
	}
	for _, category := range categories {
		kinds[slug(category.GetId())] = category.GetId()
	}
	delete(kinds, "") // A name without a Latin letter.
	return kinds
}

// of returns the category that a service's code or name stands for, or makes one of the name: codes of other cities are numbers.
func (k Kinds) of(code, name, title string) string {
	return cmp.Or(k[code], k[name], name, code, title)
}

// slug turns the name of a service into a category: "Cây đổ" into "cay-do". Empty where no Latin letter or digit is in it.
func slug(name string) string {
	var b strings.Builder
	for _, c := range norm.NFD.String(strings.ToLower(name)) {
		switch {
		case c == 'đ': // The one letter of Vietnamese that is no Latin letter with marks.
			b.WriteByte('d')
		case (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'):
			b.WriteRune(c)
		case unicode.Is(unicode.Mn, c):
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
	}
	return strings.TrimSuffix(b.String(), "-")
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
