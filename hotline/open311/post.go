package open311

import (
	"cmp"
	"crypto/sha256"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cong1022/fieldsync/auth/audit"
	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/store"
)

// sameWindow is for how long the same content, without a name of its own, is the same thing: a sender that lost the answer tries
// again within hours, and a citizen may well report the same lamp again next week.
const sameWindow = 24 * time.Hour

// post is a POST with what tells it from others.
type post struct {
	// name tells which POSTs are one: by the caller's id for it, by the Idempotency-Key, or by the content.
	name [sha256.Size]byte
	// content is the hash of all parameters but the key.
	content [sha256.Size]byte
	// own is the caller's own id, empty where there is none.
	own string
	// keyed: named by an Idempotency-Key. passing: named by its content, for a day.
	keyed, passing bool
}

// identify reads what names a POST: the first of the parameters that has a value, else the header Idempotency-Key, else what it
// says.
func (r *request) identify(kind string, parameters ...string) post {
	h := sha256.New()
	names := make([]string, 0, len(r.form))
	for name := range r.form {
		if name != "api_key" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		for _, value := range r.form[name] {
			fmt.Fprintf(h, "%q=%q\n", name, value)
		}
	}
	p := post{content: [sha256.Size]byte(h.Sum(nil))}
	named := func(how, value string) [sha256.Size]byte {
		return sha256.Sum256(fmt.Appendf(nil, "%q %q %q %q", kind, r.by.MemberID, how, value))
	}
	for _, parameter := range parameters {
		if value := strings.TrimSpace(r.form.Get(parameter)); value != "" {
			p.own, p.name = value, named(parameter, value)
			return p
		}
	}
	if key := r.Header.Get("Idempotency-Key"); key != "" {
		p.keyed, p.name = true, named("Idempotency-Key", key)
		return p
	}
	p.passing, p.name = true, named("content", string(p.content[:]))
	return p
}

// before returns what an earlier POST of the same thing came to, nil where there was none. changed: it said something else.
func (p post) before(tx *store.Tx) (earlier *storagev1.Posted, changed bool, err error) {
	earlier, err = store.Get(tx, store.PostedKey(p.name))
	if err != nil || earlier == nil || (p.passing && tx.Now().Sub(earlier.GetAt().AsTime()) >= sameWindow) {
		return nil, false, err
	}
	changed = string(earlier.GetContentSha256()) != string(p.content[:])
	if changed && p.keyed {
		return nil, false, fault.New(fault.Invalid, "idempotency_key_reused",
			"Idempotency-Key này đã dùng cho một nội dung khác: hãy dùng khóa mới.",
			"This Idempotency-Key was used for something else: use a new one.")
	}
	return earlier, changed, nil
}

func (p post) remember(tx *store.Tx, id string) error {
	return store.Put(tx, store.PostedKey(p.name), &storagev1.Posted{Id: id, At: tx.Timestamp(), ContentSha256: p.content[:]})
}

type receipt struct {
	ID     string `json:"service_request_id" xml:"service_request_id"`
	Notice string `json:"service_notice"     xml:"service_notice"`
}

// postRequest takes a request in: 201 where it is new, 200 where the same was posted before.
func (f *Face) postRequest(r *request) (answer, error) {
	in, err := f.readTicket(r)
	if err != nil {
		return answer{}, err
	}
	p := r.identify("request", "attribute[external_id]", "attribute[fixmystreet_id]")
	if p.own != "" {
		in.HotlineId = r.by.MemberID + ":" + p.own
		if err := checkRules(in); err != nil {
			return answer{}, err
		}
	}
	var id string
	status := http.StatusOK
	err = f.o.Store.Update(r.Context(), func(tx *store.Tx) error {
		status = http.StatusOK
		earlier, changed, err := p.before(tx)
		if err != nil {
			return err
		}
		if id = earlier.GetId(); id != "" && !changed {
			return nil
		}
		if id == "" {
			status = http.StatusCreated
			if id = in.GetHotlineId(); p.own == "" {
				if id, err = tx.NewID(); err != nil {
					return err
				}
				id = "gr-" + id
			}
		}
		in.HotlineId = id
		if _, err := f.o.Hotline.TakeIn(tx, in); err != nil {
			return err
		}
		audit.About(r.Context(), "ticket", id)
		return p.remember(tx, id)
	})
	if err != nil {
		return answer{}, err
	}
	f.o.Log.InfoContext(r.Context(), "request taken in by GeoReport", "by", r.by.MemberID, "new", status == http.StatusCreated)
	list := []receipt{{ID: id, Notice: r.say(sentences[wordOpen][0], sentences[wordOpen][1])}}
	return answer{status, struct {
		XMLName  xml.Name  `xml:"service_requests"`
		Requests []receipt `xml:"request"`
	}{Requests: list}, list}, nil
}

// readTicket makes a ticket of the parameters. The e-mail address of whoever reports is not kept: nothing here writes to anybody.
func (f *Face) readTicket(r *request) (*fieldsyncv1.TicketIntake, error) {
	get := func(name string) string { return strings.TrimSpace(r.form.Get(name)) }
	code := get("service_code")
	if code == "" {
		return nil, parameter("service_code", "là bắt buộc", "is required")
	}
	if s, ok := f.services[code]; !ok || s.Retired {
		return nil, serviceUnknown()
	}
	photos, err := r.photos()
	if err != nil {
		return nil, err
	}
	in := &fieldsyncv1.TicketIntake{
		HotlineId: "new", Category: code, Description: strings.TrimSpace(get("description") + photos), Address: get("address_string"),
		Title: strings.Join(strings.Fields(cmp.Or(get("attribute[title]"), get("title"), f.services[code].Vi)), " "),
	}
	if in.Position, err = readPosition(get("lat"), get("long")); err != nil {
		return nil, err
	}
	if in.GetPosition() == nil && in.GetAddress() == "" {
		return nil, parameter("lat, long, address_string", "thiếu: cần tọa độ hoặc địa chỉ", "are missing: a point or an address is needed")
	}
	if name, phone := strings.TrimSpace(get("first_name")+" "+get("last_name")), get("phone"); name != "" || phone != "" {
		in.Reporter = &fieldsyncv1.Reporter{Name: name, Phone: phone}
	}
	at, err := r.time("requested_datetime")
	if err != nil {
		return nil, err
	}
	if !at.IsZero() {
		in.ReportedAt = timestamppb.New(at)
	}
	return in, checkRules(in)
}

func readPosition(lat, long string) (*fieldsyncv1.Position, error) {
	if lat == "" && long == "" {
		return nil, nil //nolint:nilnil // Absent, which is no error.
	}
	north, northErr := strconv.ParseFloat(lat, 64)
	east, eastErr := strconv.ParseFloat(long, 64)
	if northErr != nil || eastErr != nil {
		return nil, parameter("lat, long", "phải là hai số thập phân", "must be two decimal numbers")
	}
	if north == 0 && east == 0 {
		return nil, nil //nolint:nilnil // What clients write that know no position.
	}
	return &fieldsyncv1.Position{Latitude: north, Longitude: east}, nil
}

// rules are the fields of a ticket as GeoReport names them, and what SubmitTickets asks of them.
var rules = map[string]struct{ name, vi, en string }{
	"hotline_id":  {"attribute[external_id], attribute[fixmystreet_id]", "quá dài hoặc có ký tự điều khiển", "is too long or has control characters"},
	"title":       {"title", "không được quá 300 ký tự", "must have at most 300 characters"},
	"description": {"description", "không được quá 8.000 ký tự", "must have at most 8,000 characters"},
	"address":     {"address_string", "không được quá 500 ký tự", "must have at most 500 characters"},
	"latitude":    {"lat", "phải từ -90 đến 90", "must be between -90 and 90"},
	"longitude":   {"long", "phải từ -180 đến 180", "must be between -180 and 180"},
	"name":        {"first_name, last_name", "không được quá 200 ký tự", "must have at most 200 characters"},
	"phone":       {"phone", "không được quá 40 ký tự", "must have at most 40 characters"},
}

func checkRules(in *fieldsyncv1.TicketIntake) error {
	err := protovalidate.Validate(in)
	if invalid, ok := errors.AsType[*protovalidate.ValidationError](err); ok && len(invalid.Violations) > 0 {
		if field := invalid.Violations[0].FieldDescriptor; field != nil {
			if rule, ok := rules[string(field.Name())]; ok {
				return parameter(rule.name, rule.vi, rule.en)
			}
		}
	}
	return err
}
