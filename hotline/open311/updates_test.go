package open311

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
)

// Protects citizens from being told what is not so: what each way of a task means in public, step by step, and that nothing is
// said twice. A false report, or nothing found, is never called fixed or closed.
func TestWords(t *testing.T) {
	by := func(outcome fieldsyncv1.Outcome) []func(*fieldsyncv1.Task) {
		return []func(*fieldsyncv1.Task){state(assigned), complete(outcome, sealed, start)}
	}
	refer := func(task *fieldsyncv1.Task) { task.Ticket.UnitId = "p-sai-gon" }
	accepted, paused := state(fieldsyncv1.TaskState_TASK_STATE_ACCEPTED), state(fieldsyncv1.TaskState_TASK_STATE_PAUSED)
	acknowledged := func(task *fieldsyncv1.Task) {
		complete(repaired, delivered, start)(task)
		state(closed)(task)
	}
	for _, c := range []struct {
		name, category, want, status string
		steps                        []func(*fieldsyncv1.Task)
	}{
		{"a task is made", "", "", "open", []func(*fieldsyncv1.Task){state(open)}},
		{"the usual way", "", "action_scheduled in_progress fixed", "closed", []func(*fieldsyncv1.Task){state(open), state(assigned), accepted, state(started), paused, state(started), complete(repaired, claimed, start), complete(repaired, sealed, start), acknowledged}},
		{"closed on the claim", "graffiti", "action_scheduled in_progress fixed", "closed", []func(*fieldsyncv1.Task){state(assigned), state(started), complete(repaired, claimed, start), complete(repaired, sealed, start), acknowledged}},
		{"claimed only", "", "action_scheduled in_progress", "open", []func(*fieldsyncv1.Task){state(assigned), complete(repaired, claimed, start)}},
		{"claimed, closed on the claim", "graffiti", "action_scheduled fixed", "closed", []func(*fieldsyncv1.Task){state(assigned), complete(repaired, claimed, start)}},
		{"declined", "", "action_scheduled open", "open", []func(*fieldsyncv1.Task){state(assigned), state(open)}},
		{"cancelled", "", "no_further_action", "no_further_action", []func(*fieldsyncv1.Task){state(cancelled)}},
		{"passed on", "", "action_scheduled internal_referral", "open", []func(*fieldsyncv1.Task){state(assigned), refer}},
		{"reopened", "", "fixed reopen", "open", []func(*fieldsyncv1.Task){complete(repaired, sealed, start), state(assigned)}},
		{"repaired", "", "action_scheduled fixed", "closed", by(repaired)},
		{"made safe", "", "action_scheduled action_scheduled", "open", by(fieldsyncv1.Outcome_OUTCOME_MADE_SAFE)},
		{"nothing found", "", "action_scheduled no_further_action", "no_further_action", by(fieldsyncv1.Outcome_OUTCOME_NOTHING_FOUND)},
		{"duplicate", "", "action_scheduled duplicate", "duplicate", by(fieldsyncv1.Outcome_OUTCOME_DUPLICATE)},
		{"other agency", "", "action_scheduled not_councils_responsibility", "not_councils_responsibility", by(fieldsyncv1.Outcome_OUTCOME_OTHER_AGENCY)},
		{"no access", "", "action_scheduled action_scheduled", "open", by(fieldsyncv1.Outcome_OUTCOME_NO_ACCESS)},
		{"needs parts", "", "action_scheduled action_scheduled", "open", by(fieldsyncv1.Outcome_OUTCOME_NEEDS_PARTS)},
		{"weather", "", "action_scheduled action_scheduled", "open", by(fieldsyncv1.Outcome_OUTCOME_WEATHER)},
		{"an outcome of a later version", "", "action_scheduled action_scheduled", "open", by(99)},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHouse(t)
			id := h.post("service_code", max(c.category, "fallen-tree"))
			for _, step := range c.steps {
				h.later(time.Minute)
				h.move(id, step)
			}
			h.later(time.Minute)
			updates := h.updates(h.window(2 * time.Hour))
			if got := words(updates); got != c.want {
				t.Errorf("the public hears %q, want %q", got, c.want)
			}
			for _, u := range updates {
				if u.Description == "" || strings.Contains(u.Description, "bà Hoa") {
					t.Errorf("the description is %q", u.Description)
				}
			}
			var list []shownRequest
			if err := json.Unmarshal(h.call("requests/"+id+".json", nil).Body.Bytes(), &list); err != nil || list[0].Status != c.status {
				t.Errorf("the request's status is %v, want %s (%v)", list, c.status, err)
			}
		})
	}
}

// poller behaves as FixMyStreet's fetch of updates does: it asks for the last two hours, drops what lies outside of them by the
// update's own time, ignores ids that it knows, and lets an update change the state only if it is not older than the last.
type poller struct {
	h      *house
	known  map[string]bool
	last   map[string]time.Time
	states map[string]string
}

func (p *poller) poll(t *testing.T) {
	t.Helper()
	end := *p.h.now.Load()
	for _, u := range p.h.updates(p.h.window(2 * time.Hour)) {
		at, err := time.Parse(time.RFC3339, u.Updated)
		if err != nil {
			t.Fatal(err)
		}
		if at.Before(end.Add(-2*time.Hour)) || at.After(end) || p.known[u.UpdateID] || u.RequestID == "" {
			continue
		}
		p.known[u.UpdateID] = true
		if !at.Before(p.last[u.RequestID]) {
			p.states[u.RequestID] = u.Status
		}
		p.last[u.RequestID] = at
	}
}

// Protects offline work from a poller that looks back two hours: what was completed days ago on a phone and comes now is seen,
// each completion once, and of all that one sync brings for a ticket the last word stands.
func TestPollerSeesOfflineCompletions(t *testing.T) {
	h := newHouse(t)
	p := &poller{h: h, known: map[string]bool{}, last: map[string]time.Time{}, states: map[string]string{}}
	var ids []string
	for i := range 30 {
		ids = append(ids, h.post("attribute[external_id]", fmt.Sprint(i)))
		h.move(ids[i], state(assigned))
	}
	p.poll(t)
	for i, id := range ids { // Every hour some phones come home with work of the last days.
		if i%3 == 0 {
			h.later(55 * time.Minute)
			p.poll(t)
		}
		offline := h.now.Load().Add(-72 * time.Hour)
		h.later(time.Duration(i%2) * 300 * time.Millisecond)
		for _, step := range []func(*fieldsyncv1.Task){state(started), state(fieldsyncv1.TaskState_TASK_STATE_PAUSED), state(started), complete(repaired, sealed, offline)} {
			h.move(id, step) // One sync: all in one moment of the server's time.
		}
		p.poll(t)
	}
	h.later(time.Minute)
	p.poll(t)
	completions := 0
	for id := range p.known {
		if strings.HasPrefix(id, "completion-") {
			completions++
		}
	}
	if completions != len(ids) {
		t.Errorf("the poller saw %d completions of %d", completions, len(ids))
	}
	for _, id := range ids {
		if p.states[id] != "fixed" {
			t.Errorf("to the poller %s is %q", id, p.states[id])
		}
	}
	// Times rise per ticket, so the same holds for a poller that asks for newer ones only.
	last := map[string]string{}
	for _, u := range h.updates("") {
		if u.Updated <= last[u.RequestID] {
			t.Errorf("%s: %s after %s", u.RequestID, u.Updated, last[u.RequestID])
		}
		last[u.RequestID] = u.Updated
	}
}

// Protects a poller that names no page from a list that was cut without a word, and one that names pages from gaps.
func TestUpdatesInPages(t *testing.T) {
	h := newHouse(t)
	id := h.post()
	for i := range 25 {
		h.later(time.Second)
		h.move(id, state([]fieldsyncv1.TaskState{assigned, started}[i%2]))
	}
	all := h.updates("")
	if len(all) != 25 {
		t.Fatalf("%d updates of 25", len(all))
	}
	var paged []xmlUpdate
	for number := 1; ; number++ {
		got := h.updates(fmt.Sprintf("page_size=7&page=%d", number))
		paged = append(paged, got...)
		if len(got) < 7 {
			break
		}
	}
	if !slices.EqualFunc(all, paged, func(a, b xmlUpdate) bool { return a.UpdateID == b.UpdateID }) {
		t.Errorf("pages give %d updates", len(paged))
	}
	middle := all[10].Updated
	if got := h.updates("start_date=" + middle + "&end_date=" + middle); len(got) != 1 || got[0].UpdateID != all[10].UpdateID {
		t.Errorf("the window of one second gives %v", got)
	}
}

// Protects the server from whatever is posted: no panic, no 500, an answer that parses, and a ticket only where it says so.
func FuzzPost(f *testing.F) {
	f.Add("requests.xml", report().Encode())
	f.Add("requests.json", "service_code=noise&lat=1&long=1&api_key=x")
	f.Add("servicerequestupdates.xml", "service_request_id=a&description=b&update_id=%00")
	f.Add("tokens/%2e%2e.xml", "")
	f.Add("requests.xml?start_date=2026-11-23T08:00:00Z&page=2&page_size=3&status=open&updated_after=2026-11-23T08:00:00+07:00", "")
	h := newHouse(f)
	f.Fuzz(func(t *testing.T, path, body string) {
		target, err := url.Parse(basePath + strings.TrimPrefix(path, "/"))
		if err != nil || target.Host != "" {
			return
		}
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			r := httptest.NewRequestWithContext(t.Context(), method, "/", strings.NewReader(body))
			r.URL = target
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			r = r.WithContext(hotlineContext(t.Context()))
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code >= 500 {
				t.Fatalf("%s %q %q: %d %s", method, path, body, w.Code, w.Body)
			}
			if strings.HasPrefix(w.Header().Get("Content-Type"), "application/json") {
				if !json.Valid(w.Body.Bytes()) {
					t.Fatalf("not JSON: %s", w.Body)
				}
			} else if err := xml.Unmarshal(w.Body.Bytes(), new(struct{})); err != nil {
				t.Fatalf("not XML: %v %s", err, w.Body)
			}
		}
	})
}
