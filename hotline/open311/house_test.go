package open311

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cong1022/fieldsync/auth"
	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/hotline"
	"github.com/cong1022/fieldsync/store"
	"github.com/cong1022/fieldsync/store/embedded"
)

var start = time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC)

const city = "hochiminhcity.gov.vn"

// house is a face over a real store and real keys.
type house struct {
	*Face

	t   testing.TB
	now atomic.Pointer[time.Time]
	key string
	mux *http.ServeMux
}

func newHouse(tb testing.TB) *house {
	tb.Helper()
	h := &house{t: tb, mux: http.NewServeMux()}
	h.at(start)
	engine, err := embedded.Open(tb.TempDir(), slog.New(slog.DiscardHandler))
	if err != nil {
		tb.Fatal(err)
	}
	st, err := store.Open(tb.Context(), engine, store.Options{Clock: func() time.Time { return *h.now.Load() }})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = st.Close() })
	keys, err := auth.Open(tb.Context(), st, auth.Options{Issuer: "test", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		tb.Fatal(err)
	}
	h.Face = New(Options{
		Store: st, Log: slog.New(slog.DiscardHandler), Hotline: hotline.New(hotline.Options{Store: st, Log: slog.New(slog.DiscardHandler)}), ByAPIKey: keys.ByAPIKey, Jurisdiction: city,
		Services:  append(defaultServices(), Service{Code: "graffiti", Vi: "Vẽ bậy", En: "Graffiti", CloseOnClaim: true}),
		PhotoPath: func(task, photo string) string { return "/p/" + task + "/" + photo + "?a=1&b=2" },
	})
	h.Routes(h.mux)
	h.update(func(tx *store.Tx) error {
		for _, id := range []string{"fms", "other"} {
			if err := store.Put(tx, store.MemberKey(id), &fieldsyncv1.Member{Id: id, Name: id, Role: fieldsyncv1.Role_ROLE_HOTLINE}); err != nil {
				return err
			}
		}
		return nil
	})
	boss := auth.WithPrincipal(tb.Context(), auth.Principal{MemberID: "boss", Role: fieldsyncv1.Role_ROLE_ADMIN})
	issued, err := keys.IssueApiKey(boss, &fieldsyncv1.IssueApiKeyRequest{MemberId: "fms"})
	if err != nil {
		tb.Fatal(err)
	}
	h.key = issued.GetApiKey()
	return h
}

func (h *house) at(now time.Time) { h.now.Store(&now) }

func (h *house) later(d time.Duration) { h.at(h.now.Load().Add(d)) }

func (h *house) update(fn func(*store.Tx) error) {
	h.t.Helper()
	if err := h.o.Store.Update(h.t.Context(), fn); err != nil {
		h.t.Fatal(err)
	}
}

// call sends a request with the key; a form makes it a POST.
func (h *house) call(path string, form url.Values, headers ...string) *httptest.ResponseRecorder {
	h.t.Helper()
	r := httptest.NewRequestWithContext(h.t.Context(), http.MethodGet, basePath+path, nil)
	if form != nil {
		if !form.Has("api_key") {
			form.Set("api_key", h.key)
		}
		r = httptest.NewRequestWithContext(h.t.Context(), http.MethodPost, basePath+path, strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	} else if !r.URL.Query().Has("api_key") {
		r.URL.RawQuery += "&api_key=" + h.key
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.mux.ServeHTTP(w, r)
	return w
}

// report is a valid POST of a request, with changes.
func report(changes ...string) url.Values {
	form := url.Values{
		"jurisdiction_id": {city}, "service_code": {"fallen-tree"}, "lat": {"10.7797"}, "long": {"106.7060"},
		"description": {"Cây me ngã <ngang> đường & chắn xe"}, "first_name": {"Hoa"}, "last_name": {"Nguyễn Thị"},
		"phone": {"0900000000"}, "email": {"hoa@example.org"},
	}
	for i := 0; i < len(changes); i += 2 {
		form.Set(changes[i], changes[i+1])
	}
	return form
}

// post hands a report in and returns its service_request_id.
func (h *house) post(changes ...string) string {
	h.t.Helper()
	w := h.call("requests.json", report(changes...))
	var list []receipt
	if err := json.Unmarshal(w.Body.Bytes(), &list); err != nil || len(list) != 1 || list[0].ID == "" || w.Code > 201 {
		h.t.Fatalf("the POST answers %d %s", w.Code, w.Body)
	}
	return list[0].ID
}

func (h *house) tickets() (n int) {
	h.t.Helper()
	h.update(func(tx *store.Tx) error {
		n = 0
		for _, err := range store.Scan(tx, store.Tickets(), nil) {
			if err != nil {
				return err
			}
			n++
		}
		return nil
	})
	return n
}

func (h *house) ticket(id string) (ticket *storagev1.Ticket) {
	h.t.Helper()
	h.update(func(tx *store.Tx) (err error) {
		ticket, err = hotline.TicketByHotlineID(tx, id)
		return err
	})
	return ticket
}

// move changes the task of a request, which is made where there is none, and saves it as the rooms do.
func (h *house) move(id string, change func(*fieldsyncv1.Task)) {
	h.t.Helper()
	h.update(func(tx *store.Tx) error {
		ticket, err := hotline.TicketByHotlineID(tx, id)
		if err != nil {
			return err
		}
		record, err := store.Get(tx, store.TaskKey(ticket.GetTaskId()))
		if err != nil {
			return err
		}
		if record == nil {
			if ticket.TaskId, err = tx.NewID(); err != nil {
				return err
			}
			record = &storagev1.TaskRecord{
				Task: &fieldsyncv1.Task{
					Id: ticket.GetTaskId(), Ticket: proto.CloneOf(ticket.GetFacts()), Status: &fieldsyncv1.StatusFacet{State: open},
				},
				Scopes: []string{string(store.UnitScope(auth.CityUnit))},
			}
			if err := store.Put(tx, store.TicketKey(ticket.GetId()), ticket); err != nil {
				return err
			}
		}
		store.NextRevision(record)
		change(record.GetTask())
		return store.SaveTask(tx, record, 0)
	})
}

const (
	open      = fieldsyncv1.TaskState_TASK_STATE_OPEN
	assigned  = fieldsyncv1.TaskState_TASK_STATE_ASSIGNED
	started   = fieldsyncv1.TaskState_TASK_STATE_STARTED
	done      = fieldsyncv1.TaskState_TASK_STATE_DONE
	closed    = fieldsyncv1.TaskState_TASK_STATE_CLOSED
	cancelled = fieldsyncv1.TaskState_TASK_STATE_CANCELLED

	claimed   = fieldsyncv1.ProofState_PROOF_STATE_CLAIMED
	sealed    = fieldsyncv1.ProofState_PROOF_STATE_SEALED
	delivered = fieldsyncv1.ProofState_PROOF_STATE_DELIVERED

	repaired = fieldsyncv1.Outcome_OUTCOME_REPAIRED
)

func state(to fieldsyncv1.TaskState) func(*fieldsyncv1.Task) {
	return func(task *fieldsyncv1.Task) { task.Status = &fieldsyncv1.StatusFacet{State: to} }
}

// complete is what sync and proof make of a completion that was recorded on the phone at a time.
func complete(outcome fieldsyncv1.Outcome, proof fieldsyncv1.ProofState, wall time.Time, photos ...string) func(*fieldsyncv1.Task) {
	return func(task *fieldsyncv1.Task) {
		task.Status = &fieldsyncv1.StatusFacet{State: done}
		task.Completion = &fieldsyncv1.CompletionFacet{
			CompletionId: "completion-" + task.GetId(), Outcome: outcome, ProofState: proof, PhotoIds: photos,
			Note: "nhà bà Hoa số 12", Completed: &fieldsyncv1.TimeInterval{Wall: timestamppb.New(wall)},
		}
		task.Photos = []*fieldsyncv1.Photo{{Id: "unrelated", State: fieldsyncv1.PhotoState_PHOTO_STATE_VERIFIED}}
		for _, id := range photos {
			task.Photos = append(task.Photos, &fieldsyncv1.Photo{Id: id, State: fieldsyncv1.PhotoState_PHOTO_STATE_VERIFIED})
		}
	}
}

// xmlUpdate is an update as a reader of the XML sees it.
type xmlUpdate struct {
	UpdateID    string `xml:"update_id"`
	RequestID   string `xml:"service_request_id"`
	Status      string `xml:"status"`
	Updated     string `xml:"updated_datetime"`
	Description string `xml:"description"`
	Media       struct {
		Text string   `xml:",chardata"`
		URLs []string `xml:"media_url"`
	} `xml:"media_url"`
	Completed string `xml:"extras>completed_datetime"`
}

func (h *house) updates(query string) []xmlUpdate {
	h.t.Helper()
	w := h.call("servicerequestupdates.xml?"+query, nil)
	var list struct {
		XMLName xml.Name    `xml:"service_request_updates"`
		Updates []xmlUpdate `xml:"request_update"`
	}
	if err := xml.Unmarshal(w.Body.Bytes(), &list); err != nil || w.Code != http.StatusOK {
		h.t.Fatalf("%d %v %s", w.Code, err, w.Body)
	}
	return list.Updates
}

func words(updates []xmlUpdate) string {
	said := make([]string, 0, len(updates))
	for _, u := range updates {
		said = append(said, u.Status)
	}
	return strings.Join(said, " ")
}

// window is the query of a poller that looks back from now.
func (h *house) window(back time.Duration) string {
	now := *h.now.Load()
	return fmt.Sprintf("start_date=%s&end_date=%s", now.Add(-back).Format(time.RFC3339), now.Format(time.RFC3339))
}

func (h *house) ticketIn(tx *store.Tx, id string) *storagev1.Ticket {
	ticket, err := hotline.TicketByHotlineID(tx, id)
	if err != nil {
		h.t.Error(err)
	}
	return ticket
}

func hotlineContext(ctx context.Context) context.Context {
	return auth.WithPrincipal(ctx, auth.Principal{MemberID: "fms", Role: fieldsyncv1.Role_ROLE_HOTLINE})
}

// defaultServices are the categories of a city's hotline, all of them closed on the seal.
func defaultServices() []Service {
	return []Service{
		{Code: "fallen-tree", Vi: "Cây ngã đổ", En: "Fallen tree"},
		{Code: "flooding", Vi: "Ngập nước", En: "Flooding"},
		{Code: "manhole-cover", Vi: "Nắp hố ga hư", En: "Broken manhole cover"},
		{Code: "road", Vi: "Mặt đường hư hỏng", En: "Damaged road"},
		{Code: "pavement", Vi: "Lấn chiếm, hư hỏng vỉa hè", En: "Blocked or damaged pavement"},
		{Code: "lighting", Vi: "Đèn chiếu sáng", En: "Street light"},
		{Code: "traffic-light", Vi: "Đèn tín hiệu giao thông", En: "Traffic light"},
		{Code: "noise", Vi: "Tiếng ồn", En: "Noise"},
		{Code: "animal-waste", Vi: "Chất thải, xác động vật", En: "Animal waste"},
		{Code: "suggestion", Vi: "Góp ý, kiến nghị", En: "Suggestion"},
	}
}
