package open311

import (
	"encoding/json"
	"encoding/xml"
	"net/http"
	"slices"
	"strings"
	"time"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/hotline"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/store"
)

// shownRequest is a ticket as GeoReport shows it. Who reported it stands nowhere in it.
type shownRequest struct {
	ID          string    `json:"service_request_id"             xml:"service_request_id"`
	Status      string    `json:"status"                         xml:"status"`
	StatusNotes string    `json:"status_notes"                   xml:"status_notes"`
	Name        string    `json:"service_name"                   xml:"service_name"`
	Code        string    `json:"service_code"                   xml:"service_code"`
	Description string    `json:"description"                    xml:"description"`
	Agency      string    `json:"agency_responsible"             xml:"agency_responsible"`
	Requested   string    `json:"requested_datetime"             xml:"requested_datetime"`
	Updated     string    `json:"updated_datetime"               xml:"updated_datetime"`
	Expected    string    `json:"expected_datetime,omitempty"    xml:"expected_datetime,omitempty"`
	Address     string    `json:"address"                        xml:"address"`
	Lat         *float64  `json:"lat,omitempty"                  xml:"lat,omitempty"`
	Long        *float64  `json:"long,omitempty"                 xml:"long,omitempty"`
	Media       media     `json:"media_url,omitempty"            xml:"media_url,omitempty"`
	Extended    *extended `json:"extended_attributes,omitempty"  xml:"extended_attributes,omitempty"`
}

// extended is what extensions=true adds to a request.
type extended struct {
	StatusWord string `json:"detailed_status"         xml:"detailed_status"`
	TicketID   string `json:"ticket_id"               xml:"ticket_id"`
	Title      string `json:"title"                   xml:"title"`
	Completion string `json:"completion_id,omitempty" xml:"completion_id,omitempty"`
}

// media is a photo's address, or several, which XML nests as media_url in media_url.
type media []string

// MarshalXML implements xml.Marshaler.
func (m media) MarshalXML(e *xml.Encoder, start xml.StartElement) error {
	switch len(m) {
	case 0:
		return nil
	case 1:
		return e.EncodeElement(m[0], start)
	}
	return e.EncodeElement(struct {
		URLs []string `xml:"media_url"`
	}{m}, start)
}

// MarshalJSON implements json.Marshaler.
func (m media) MarshalJSON() ([]byte, error) {
	if len(m) == 1 {
		return json.Marshal(m[0])
	}
	return json.Marshal([]string(m))
}

// found is a ticket with what stands beside it.
type found struct {
	ticket *storagev1.Ticket
	task   *fieldsyncv1.Task // Nil while there is none.
	head   *storagev1.TicketHead
}

func load(tx *store.Tx, ticket *storagev1.Ticket) (found, error) {
	f := found{ticket: ticket}
	if id := ticket.GetTaskId(); id != "" {
		record, err := store.Get(tx, store.TaskKey(id))
		if err != nil {
			return f, err
		}
		f.task = record.GetTask()
	}
	var err error
	f.head, err = store.Get(tx, store.TicketHeadKey(ticket.GetId()))
	return f, err
}

// updated is when the public last heard of the ticket, in the server's time.
func (f found) updated() time.Time {
	if f.head != nil {
		return f.head.GetChangedAt().AsTime()
	}
	return f.ticket.GetReceivedAt().AsTime()
}

func (f *Face) word(of found) word {
	if of.task == nil {
		switch {
		case of.ticket.GetWithdrawnAt() != nil:
			return wordNoAction
		case of.ticket.GetParentId() != "":
			return wordDuplicate
		}
	}
	completion := of.task.GetCompletion()
	return standing(of.task.GetStatus().GetState(), completion.GetProofState(), completion.GetOutcome(),
		f.services[of.ticket.GetFacts().GetCategory()].CloseOnClaim)
}

// requestFilter is what a list of requests is asked for.
type requestFilter struct {
	ids, codes, statuses map[string]bool
	reported, changed    span
	byChange             bool
	page                 page
}

func (f *Face) readFilter(r *request) (requestFilter, error) {
	filter := requestFilter{ids: r.list("service_request_id"), codes: r.list("service_code"), statuses: r.list("status")}
	for status := range filter.statuses {
		if status != "open" && status != "closed" {
			return filter, parameter("status", "chỉ nhận open, closed", "takes open and closed")
		}
	}
	if len(filter.ids) > maxPage {
		return filter, parameter("service_request_id", "có tối đa 1.000 mã", "takes at most 1,000 ids")
	}
	now := f.o.Store.Now()
	var reportedGiven bool
	var err error
	if filter.reported, reportedGiven, err = r.span("start_date", "end_date", now); err != nil {
		return filter, err
	}
	if filter.changed, filter.byChange, err = r.span("updated_after", "updated_before", now); err != nil {
		return filter, err
	}
	if filter.byChange && !reportedGiven { // What was reported long ago and changed today is asked for, too.
		filter.reported = span{time.Unix(0, 0), filter.reported.to}
	}
	filter.page, err = r.page()
	return filter, err
}

func (f *Face) listRequests(r *request) (answer, error) {
	filter, err := f.readFilter(r)
	if err != nil {
		return answer{}, err
	}
	var list []shownRequest
	err = f.o.Store.View(r.Context(), func(tx *store.Tx) error {
		tickets, err := candidates(tx, filter)
		if err != nil {
			return err
		}
		skip := filter.page.skip
		for _, id := range tickets {
			ticket, err := store.Get(tx, store.TicketKey(id))
			if err != nil {
				return err
			}
			of, err := load(tx, ticket)
			if err != nil {
				return err
			}
			if filter.ids == nil && !f.passes(of, filter) {
				continue
			}
			if skip > 0 {
				skip--
				continue
			}
			if len(list) == filter.page.size {
				return nil
			}
			list = append(list, f.show(r, of))
		}
		return nil
	})
	if err != nil {
		return answer{}, err
	}
	return requestList(list), nil
}

func requestList(list []shownRequest) answer {
	if list == nil {
		list = []shownRequest{} // An empty list in JSON is [], not null.
	}
	return answer{http.StatusOK, struct {
		XMLName  xml.Name       `xml:"service_requests"`
		Requests []shownRequest `xml:"request"`
	}{Requests: list}, list}
}

// candidates are the ids of the tickets that may be meant: those that are named, else those that changed or were
// reported in the span, newest first.
func candidates(tx *store.Tx, filter requestFilter) (ids []string, err error) {
	switch {
	case filter.ids != nil:
		for id := range filter.ids {
			ticket, err := hotline.TicketByHotlineID(tx, id)
			if err != nil {
				return nil, err
			}
			if ticket != nil { // The standard leaves out what it does not know.
				ids = append(ids, ticket.GetId())
			}
		}
		slices.Sort(ids) // By age.
		slices.Reverse(ids)
	case filter.byChange:
		seen := make(map[string]bool)
		for stub, err := range store.Scan(tx, store.TicketChangesAt(), store.TicketChangeAtKey(filter.changed.from, 0)) {
			if err != nil {
				return nil, err
			}
			if !seen[stub.GetTicketId()] {
				seen[stub.GetTicketId()] = true
				ids = append(ids, stub.GetTicketId())
			}
		}
		slices.Reverse(ids)
	default:
		from := filter.reported.from.Add(-time.Nanosecond)
		for stub, err := range store.Scan(tx, store.TicketsReported(), store.TicketReportedKey(from, "\xff")) {
			if err != nil {
				return nil, err
			}
			facts := stub.GetFacts()
			if facts.GetReportedAt().AsTime().After(filter.reported.to) {
				break
			}
			if filter.codes == nil || filter.codes[facts.GetCategory()] {
				ids = append(ids, stub.GetId())
			}
		}
		slices.Reverse(ids)
	}
	return ids, nil
}

func (f *Face) passes(of found, filter requestFilter) bool {
	facts := of.ticket.GetFacts()
	status := "open"
	if f.word(of).ends() {
		status = "closed"
	}
	return filter.reported.has(facts.GetReportedAt().AsTime()) &&
		(!filter.byChange || filter.changed.has(of.updated())) &&
		(filter.codes == nil || filter.codes[facts.GetCategory()]) &&
		(filter.statuses == nil || filter.statuses[status])
}

func (f *Face) show(r *request, of found) shownRequest {
	facts, w := of.ticket.GetFacts(), f.word(of)
	shown := shownRequest{
		ID: facts.GetHotlineId(), Status: w.status(), StatusNotes: r.say(sentences[w][0], sentences[w][1]),
		Name: f.serviceName(r, facts.GetCategory()), Code: facts.GetCategory(),
		Description: facts.GetDescription(), Agency: facts.GetUnitId(), Address: facts.GetAddress(),
		Requested: shownTime(facts.GetReportedAt().AsTime()), Updated: shownTime(of.updated()),
	}
	if at := facts.GetPosition(); at != nil {
		shown.Lat, shown.Long = new(at.GetLatitude()), new(at.GetLongitude())
	}
	if due := of.task.GetAssignment().GetDueAt(); due != nil {
		shown.Expected = shownTime(due.AsTime())
	}
	if r.form.Get("extensions") == "true" {
		shown.Extended = &extended{
			StatusWord: string(w), TicketID: of.ticket.GetId(), Title: facts.GetTitle(), Completion: of.task.GetCompletion().GetCompletionId(),
		}
	}
	if w.ends() || w == wordScheduled {
		shown.Media = f.media(r, of.task)
	}
	return shown
}

// media are the addresses of the public copies of the verified photos on which the task's completion stands. HEIC has none: it is
// kept as evidence and not decoded.
func (f *Face) media(r *request, task *fieldsyncv1.Task) (urls media) {
	if f.o.PhotoPath == nil {
		return nil
	}
	for _, photo := range task.GetPhotos() {
		if photo.GetState() == fieldsyncv1.PhotoState_PHOTO_STATE_VERIFIED && !strings.HasPrefix(photo.GetContentType(), "image/hei") &&
			slices.Contains(task.GetCompletion().GetPhotoIds(), photo.GetId()) {
			urls = append(urls, f.root(r)+f.o.PhotoPath(task.GetId(), photo.GetId()))
		}
	}
	return urls
}

func (f *Face) getRequest(r *request) (answer, error) {
	var shown shownRequest
	err := f.o.Store.View(r.Context(), func(tx *store.Tx) error {
		ticket, err := knownTicket(tx, r.id)
		if err != nil {
			return err
		}
		of, err := load(tx, ticket)
		if err != nil {
			return err
		}
		shown = f.show(r, of)
		return nil
	})
	if err != nil {
		return answer{}, err
	}
	return requestList([]shownRequest{shown}), nil
}

func knownTicket(tx *store.Tx, id string) (*storagev1.Ticket, error) {
	ticket, err := hotline.TicketByHotlineID(tx, strings.TrimSpace(id))
	if err == nil && ticket == nil {
		err = fault.New(fault.NotFound, "service_request_unknown",
			"Không có yêu cầu mang service_request_id này.", "There is no request with this service_request_id.")
	}
	return ticket, err
}

type shownToken struct {
	ID    string `json:"service_request_id" xml:"service_request_id"`
	Token string `json:"token"              xml:"token"`
}

// getToken: a POST answers with the id at once, so an id is the only token that there is.
func (f *Face) getToken(r *request) (answer, error) {
	err := f.o.Store.View(r.Context(), func(tx *store.Tx) error {
		_, err := knownTicket(tx, r.id)
		return err
	})
	if err != nil {
		return answer{}, err
	}
	list := []shownToken{{r.id, r.id}}
	return answer{http.StatusOK, struct {
		XMLName  xml.Name     `xml:"service_requests"`
		Requests []shownToken `xml:"request"`
	}{Requests: list}, list}, nil
}
