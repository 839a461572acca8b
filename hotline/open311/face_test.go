package open311

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/store"
)

// Protects the shapes that readers of GeoReport expect of every route: in XML a root with an element each, in JSON the bare
// list, dates and numbers as the standard has them.
func TestShapes(t *testing.T) {
	h := newHouse(t)
	id := h.post("attribute[external_id]", "R1", "media_url", "https://fms.example/1.jpg")
	h.move(id, complete(repaired, sealed, start, "a", "b"))
	one := h.post("attribute[external_id]", "R2")
	h.move(one, complete(repaired, sealed, start, "a"))
	task := regexp.QuoteMeta(h.ticket(id).GetTaskId())
	for _, c := range []struct{ path, xml, json string }{
		{
			"discovery", `^<discovery><changeset>.*<endpoints><endpoint><specification>http://wiki.open311.org/GeoReport_v2</specification><url>http://example.com/open311/v2</url>.*<type>production</type><formats><format>text/xml</format><format>application/json</format></formats></endpoint></endpoints></discovery>$`,
			`^\{"changeset":.*"endpoints":\[\{.*"formats":\["text/xml","application/json"\]\}\]\}$`,
		},
		{
			"services", `^<services><service><service_code>fallen-tree</service_code><service_name>Cây ngã đổ</service_name><description>.*</description><metadata>false</metadata><type>realtime</type><keywords>.*</keywords><group></group></service>.*</services>$`,
			`^\[\{"service_code":"fallen-tree","service_name":"Cây ngã đổ",.*"metadata":false,"type":"realtime",.*\}\]$`,
		},
		{
			"services/graffiti", `^<service_definition><service_code>graffiti</service_code><attributes></attributes></service_definition>$`,
			`^\{"service_code":"graffiti","attributes":\[\]\}$`,
		},
		{
			"requests/" + url.PathEscape(id), `^<service_requests><request><service_request_id>fms:R1</service_request_id><status>closed</status>.*<description>Cây me ngã &lt;ngang&gt; đường &amp; chắn xe&#xA;.*https://fms.example/1.jpg</description>.*<requested_datetime>2026-11-23T08:00:00Z</requested_datetime><updated_datetime>2026-11-23T08:00:01Z</updated_datetime>.*<lat>10.7797</lat><long>106.706</long><media_url><media_url>http://example.com/p/` + task + `/a\?a=1&amp;b=2</media_url><media_url>.*/b.*</media_url></media_url></request></service_requests>$`,
			`^\[\{"service_request_id":"fms:R1","status":"closed",.*"lat":10.7797,"long":106.706,"media_url":\["http://example.com/p/` + task + `/a.*","http.*"\]\}\]$`,
		},
		{
			"requests/fms:R2", `<media_url>http://example.com/p/[^<]*/a\?a=1&amp;b=2</media_url></request></service_requests>$`,
			`"media_url":"http://example.com/p/[^"]*"\}\]$`,
		},
		{
			"requests", `^<service_requests><request>.*</request><request>.*</request></service_requests>$`,
			`^\[\{.*\},\{.*\}\]$`,
		},
		{
			"requests?service_code=noise", `^<service_requests></service_requests>$`, `^\[\]$`,
		},
		{
			"requests?service_request_id=fms:R2&extensions=true", `<extended_attributes><detailed_status>fixed</detailed_status><ticket_id>\w+</ticket_id><title>Cây ngã đổ</title><completion_id>completion-\w+</completion_id></extended_attributes></request>`,
			`"extended_attributes":\{"detailed_status":"fixed",`,
		},
		{
			"tokens/fms:R1", `^<service_requests><request><service_request_id>fms:R1</service_request_id><token>fms:R1</token></request></service_requests>$`,
			`^\[\{"service_request_id":"fms:R1","token":"fms:R1"\}\]$`,
		},
		{
			"servicerequestupdates", `^<service_request_updates><request_update><update_id>completion-` + task + `</update_id><service_request_id>fms:R1</service_request_id><status>fixed</status><updated_datetime>2026-11-23T08:00:01Z</updated_datetime><description>Đã xử lý xong.</description><media_url><media_url>http.*</media_url></media_url><extras><completed_datetime>2026-11-23T08:00:00Z</completed_datetime></extras></request_update><request_update>.*</request_update></service_request_updates>$`,
			`^\[\{"update_id":"completion-` + task + `","service_request_id":"fms:R1","status":"fixed",.*\},\{.*\}\]$`,
		},
	} {
		path, query, _ := strings.Cut(c.path, "?")
		for format, want := range map[string]string{"xml": c.xml, "json": c.json} {
			w := h.call(path+"."+format+"?"+query, nil)
			body := strings.TrimPrefix(w.Body.String(), xml.Header)
			if w.Code != http.StatusOK || !regexp.MustCompile(`(?s)`+want).MatchString(strings.NewReplacer(`\u0026`, "&", `\u003c`, "<", `\u003e`, ">").Replace(body)) {
				t.Errorf("%s in %s: %d\n%s\nwant\n%s", c.path, format, w.Code, body, want)
			}
			if got := w.Header().Get("Content-Type"); !strings.Contains(got, format) || !strings.HasSuffix(got, "; charset=utf-8") {
				t.Errorf("%s in %s has the type %s", c.path, format, got)
			}
			for _, personal := range []string{"Hoa", "0900", "hoa@"} {
				if strings.Contains(body, personal) {
					t.Errorf("%s in %s tells who reported: %s", c.path, format, body)
				}
			}
		}
	}
}

// Protects those who read errors: every refusal has the status of the standard and its list of code and description, in the
// format that was asked for and in both languages, and leaves nothing behind.
func TestRefusals(t *testing.T) {
	h := newHouse(t)
	known := h.post()
	before := h.tickets()
	long := strings.Repeat("ự", 8001)
	for _, c := range []struct {
		name, path string
		form       url.Values
		status     int
		code       string
	}{
		{"no such resource", "wishes", nil, 404, "resource_unknown"},
		{"a resource below one that has none", "services/a/b", nil, 404, "service_unknown"},
		{"an id of tokens missing", "tokens", nil, 404, "resource_unknown"},
		{"POST to a list", "services", report(), 400, "method_unknown"},
		{"a foreign jurisdiction", "requests?jurisdiction_id=hanoi.gov.vn", nil, 404, "jurisdiction_unknown"},
		{"a foreign jurisdiction's POST", "requests", report("jurisdiction_id", "hanoi.gov.vn"), 404, "jurisdiction_unknown"},
		{"a foreign jurisdiction's services", "services?jurisdiction_id=hanoi.gov.vn", nil, 404, "jurisdiction_unknown"},
		{"no key", "requests?api_key=", nil, 403, "api_key_invalid"},
		{"a wrong key", "requests?api_key=fsk_0", nil, 403, "api_key_invalid"},
		{"a wrong key's POST", "requests", report("api_key", "x"), 403, "api_key_invalid"},
		{"a wrong key's updates", "servicerequestupdates?api_key=x", nil, 403, "api_key_invalid"},
		{"a wrong key's update", "servicerequestupdates", url.Values{"api_key": {"x"}, "service_request_id": {known}, "description": {"a"}}, 403, "api_key_invalid"},
		{"a wrong key before the rest", "requests?api_key=x&start_date=x", nil, 403, "api_key_invalid"},
		{"no such request", "requests/none", nil, 404, "service_request_unknown"},
		{"no such token", "tokens/none", nil, 404, "service_request_unknown"},
		{"no such service", "services/none", nil, 404, "service_unknown"},
		{"a time that is none", "requests?start_date=yesterday", nil, 400, "parameter_invalid"},
		{"a time without an offset", "requests?end_date=2026-11-23T08:00:00", nil, 400, "parameter_invalid"},
		{"times the wrong way round", "requests?start_date=2026-11-23T08:00:00Z&end_date=2026-11-22T08:00:00Z", nil, 400, "parameter_invalid"},
		{"half a year", "requests?start_date=2026-01-23T08:00:00Z&end_date=2026-11-22T08:00:00Z", nil, 400, "parameter_invalid"},
		{"half a year of changes", "requests?updated_after=2026-01-23T08:00:00Z&updated_before=2026-11-22T08:00:00Z", nil, 400, "parameter_invalid"},
		{"half a year of updates", "servicerequestupdates?start_date=2026-01-23T08:00:00Z&end_date=2026-11-22T08:00:00Z", nil, 400, "parameter_invalid"},
		{"an unknown status", "requests?status=lost", nil, 400, "parameter_invalid"},
		{"page 0", "requests?page=0", nil, 400, "parameter_invalid"},
		{"a page too large", "requests?page_size=1001", nil, 400, "parameter_invalid"},
		{"no UTF-8", "requests?status=%ff", nil, 400, "parameter_invalid"},
		{"a bad escape", "requests?status=%zz", nil, 400, "parameter_invalid"},
		{"no service", "requests", report("service_code", ""), 400, "parameter_invalid"},
		{"an unknown service", "requests", report("service_code", "ufo"), 404, "service_unknown"},
		{"no place", "requests", report("lat", "", "long", ""), 400, "parameter_invalid"},
		{"0/0 for want of a place", "requests", report("lat", "0", "long", "0.0"), 400, "parameter_invalid"},
		{"half a place", "requests", report("lat", ""), 400, "parameter_invalid"},
		{"a place that is none", "requests", report("lat", "ten"), 400, "parameter_invalid"},
		{"a place off the Earth", "requests", report("lat", "91"), 400, "parameter_invalid"},
		{"no number for a place", "requests", report("long", "NaN"), 400, "parameter_invalid"},
		{"a long description", "requests", report("description", long), 400, "parameter_invalid"},
		{"a long phone", "requests", report("phone", long[:126]), 400, "parameter_invalid"},
		{"a long name", "requests", report("last_name", long[:1500]), 400, "parameter_invalid"},
		{"an id that is none", "requests", report("attribute[fixmystreet_id]", "a\nb"), 400, "parameter_invalid"},
		{"a photo that is no address", "requests", report("media_url", "javascript:alert(1)"), 400, "parameter_invalid"},
		{"a time of report that is none", "requests", report("requested_datetime", "20/11/2026"), 400, "parameter_invalid"},
		{"a body without end", "requests", report("description", strings.Repeat("a", maxFormBytes)), 400, "parameter_invalid"},
		{"no request named", "servicerequestupdates", url.Values{"description": {"a"}}, 400, "parameter_invalid"},
		{"nothing said", "servicerequestupdates", url.Values{"service_request_id": {known}, "update_id": {"1"}}, 400, "parameter_invalid"},
		{"an update of nothing", "servicerequestupdates", url.Values{"service_request_id": {"none"}, "description": {"a"}}, 404, "service_request_unknown"},
		{"an update too long", "servicerequestupdates", url.Values{"service_request_id": {known}, "description": {long[:3*7990]}}, 400, "comment_too_long"},
	} {
		for _, format := range []string{"xml", "json"} {
			path, query, _ := strings.Cut(c.path, "?")
			if c.form != nil {
				c.form = clone(c.form)
			}
			english := h.call(path+"."+format+"?"+query, c.form, "Accept-Language", "en")
			got := problem{}
			if format == "xml" {
				var list problems
				if err := xml.Unmarshal(english.Body.Bytes(), &list); err == nil && len(list.Problems) == 1 {
					got = list.Problems[0]
				}
			} else {
				var list []problem
				if err := json.Unmarshal(english.Body.Bytes(), &list); err == nil && len(list) == 1 {
					got = list[0]
				}
			}
			if english.Code != c.status || got.Code != c.status || !strings.HasSuffix(got.Description, " ["+c.code+"]") {
				t.Errorf("%s in %s: %d %s", c.name, format, english.Code, english.Body)
			}
			if vietnamese := h.call(path+"."+format+"?"+query, c.form); vietnamese.Code != c.status || vietnamese.Body.String() == english.Body.String() {
				t.Errorf("%s in %s: the same in both languages: %s", c.name, format, vietnamese.Body)
			}
		}
	}
	if n := h.tickets(); n != before || h.ticket(known).GetFacts().GetRevision() != 1 {
		t.Errorf("%d tickets, %d before; the known one at revision %d", n, before, h.ticket(known).GetFacts().GetRevision())
	}
	for _, path := range []string{"/open311/v2/requests", "/open311/v2/requests.csv", "/open311/", "/open311/v2/.xml", "/open311/v2/requests/%ff.xml"} {
		w := httptest.NewRecorder()
		h.mux.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
		if w.Code != http.StatusNotFound || !strings.Contains(w.Body.String(), "<errors><error><code>404</code>") {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
}

func clone(form url.Values) url.Values {
	return maps.Clone(form)
}

// Protects the hotline from double tickets: the same thing posted twice is one ticket, by the caller's own id for ever, by an
// Idempotency-Key for ever, by its content for a day; and what is another thing is another ticket.
func TestSecondPost(t *testing.T) {
	h := newHouse(t)
	status := func(form url.Values, headers ...string) (int, string) {
		t.Helper()
		w := h.call("requests.json", form, headers...)
		var list []receipt
		if err := json.Unmarshal(w.Body.Bytes(), &list); err != nil || len(list) != 1 || w.Code > 201 {
			return w.Code, w.Body.String()
		}
		return w.Code, list[0].ID
	}
	first := func(name string, form url.Values, headers ...string) string {
		t.Helper()
		before := h.tickets()
		code, id := status(form, headers...)
		if code != http.StatusCreated || h.tickets() != before+1 {
			t.Fatalf("%s: %d %s, %d tickets after %d", name, code, id, h.tickets(), before)
		}
		return id
	}
	again := func(name, want string, form url.Values, headers ...string) {
		t.Helper()
		before := h.tickets()
		if code, id := status(form, headers...); code != http.StatusOK || id != want || h.tickets() != before {
			t.Errorf("%s: %d %s, want %s; %d tickets after %d", name, code, id, want, h.tickets(), before)
		}
	}
	a := first("by content", report())
	again("by content", a, report())
	again("with the key elsewhere", a, report("api_key", h.key))
	b := first("another place", report("lat", "10.78"))
	h.later(23 * time.Hour)
	again("a day later", a, report())
	h.later(2 * time.Hour)
	c := first("after the window", report())
	again("after the window", c, report())

	d := first("by Idempotency-Key", report(), "Idempotency-Key", "k1")
	h.later(100 * 24 * time.Hour)
	again("by Idempotency-Key", d, report(), "Idempotency-Key", "k1")
	if code, body := status(report("lat", "1"), "Idempotency-Key", "k1"); code != http.StatusBadRequest || !strings.Contains(body, "idempotency_key_reused") {
		t.Errorf("the key of another thing: %d %s", code, body)
	}
	e := first("by own id", report("attribute[fixmystreet_id]", "77"))
	again("by own id", e, report("attribute[fixmystreet_id]", "77"))
	w := h.call("servicerequestupdates.xml", url.Values{"service_request_id": {e}, "update_id": {"1"}, "description": {"vẫn còn"}})
	if w.Code != http.StatusCreated {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	again("by own id, commented meanwhile", e, report("attribute[fixmystreet_id]", "77"))
	if said := h.ticket(e).GetFacts().GetDescription(); !strings.Contains(said, "vẫn còn") {
		t.Errorf("the repeat took the comment away: %s", said)
	}
	again("by own id, with other facts", e, report("attribute[fixmystreet_id]", "77", "description", "hai cây"))
	if said := h.ticket(e).GetFacts().GetDescription(); said != "hai cây" {
		t.Errorf("the update did not arrive: %s", said)
	}
	if len(map[string]bool{a: true, b: true, c: true, d: true, e: true}) != 5 {
		t.Errorf("two tickets share an id: %s %s %s %s %s", a, b, c, d, e)
	}
}

// Protects both directions of FixMyStreet's updates: a comment reaches the ticket and the task of the crew once, however often
// it is sent, changes no state, and does not come back as an update of ours.
func TestPostedUpdate(t *testing.T) {
	h := newHouse(t)
	id := h.post()
	h.move(id, state(started))
	said := url.Values{"service_request_id": {id}, "update_id": {"42"}, "status": {"CLOSED"}, "description": {"Đã hết ngập"}, "updated_datetime": {"2026-11-23T08:00:00Z"}}
	first, second := h.call("servicerequestupdates.xml", said), h.call("servicerequestupdates.xml", said)
	if first.Code != http.StatusCreated || second.Code != http.StatusOK || first.Body.String() != second.Body.String() {
		t.Fatalf("%d %s\n%d %s", first.Code, first.Body, second.Code, second.Body)
	}
	if !regexp.MustCompile(`<service_request_updates><request_update><update_id>\w{20}</update_id></request_update></service_request_updates>$`).MatchString(first.Body.String()) {
		t.Errorf("the answer is %s", first.Body)
	}
	h.update(func(tx *store.Tx) error {
		record, err := store.Get(tx, store.TaskKey(h.ticketIn(tx, id).GetTaskId()))
		if got := record.GetTask().GetTicket().GetDescription(); strings.Count(got, "[23/11/2026 15:00, người dân] Đã hết ngập") != 1 {
			t.Errorf("the crew reads %q", got)
		}
		if record.GetTask().GetStatus().GetState() != started {
			t.Error("a citizen changed the state")
		}
		return err
	})
	if got := words(h.updates("")); got != "in_progress" {
		t.Errorf("our updates are %q", got)
	}
}

// Protects lists: every filter of the standard and of its extension selects what it says, pages join without gap or overlap, and
// the newest come first.
func TestFilters(t *testing.T) {
	h := newHouse(t)
	for i := range 6 {
		h.later(time.Second)
		code := []string{"fallen-tree", "noise"}[i%2]
		h.post("attribute[external_id]", fmt.Sprint(i), "service_code", code, "requested_datetime", start.Add(time.Duration(i)*time.Hour).Format(time.RFC3339))
	}
	h.later(24 * time.Hour)
	h.move("fms:1", complete(repaired, sealed, start))
	h.move("fms:2", complete(fieldsyncv1.Outcome_OUTCOME_NOTHING_FOUND, sealed, start))
	h.move("fms:3", complete(fieldsyncv1.Outcome_OUTCOME_MADE_SAFE, sealed, start))
	h.move("fms:4", complete(repaired, claimed, start))
	at := func(hours int) string { return start.Add(time.Duration(hours) * time.Hour).Format(time.RFC3339) }
	for _, c := range []struct{ query, want string }{
		{"", "5 4 3 2 1 0"},
		{"service_code=noise", "5 3 1"},
		{"service_code=noise,fallen-tree", "5 4 3 2 1 0"},
		{"status=closed", "2 1"},
		{"status=open", "5 4 3 0"},
		{"status=open,closed", "5 4 3 2 1 0"},
		{"start_date=" + at(2) + "&end_date=" + at(4), "4 3 2"},
		{"start_date=" + at(4), "5 4"},
		{"end_date=" + at(1), "1 0"},
		{"start_date=2026-11-23T17:00:00+07:00&end_date=" + at(3), "3 2"},
		{"updated_after=" + at(20), "4 3 2 1"},
		{"updated_before=" + at(20), "5 0"},
		{"updated_after=" + at(20) + "&service_code=noise", "3 1"},
		{"updated_after=" + at(20) + "&start_date=" + at(3), "4 3"},
		{"page_size=4", "5 4 3 2"},
		{"page_size=4&page=2", "1 0"},
		{"page_size=4&page=3", ""},
		{"page_size=1&page=2&status=closed", "1"},
		{"service_request_id=fms:1,fms:5,none&status=open", "5 1"},
	} {
		w := h.call("requests.json?"+strings.ReplaceAll(c.query, "+07", "%2B07"), nil)
		var list []shownRequest
		_ = json.Unmarshal(w.Body.Bytes(), &list)
		var got []string
		for _, r := range list {
			got = append(got, strings.TrimPrefix(r.ID, "fms:"))
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %q, want %q (%d %s)", c.query, strings.Join(got, " "), c.want, w.Code, w.Body.String()[:min(200, w.Body.Len())])
		}
	}
}
