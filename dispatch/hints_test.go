package dispatch

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cong1022/fieldsync/auth"
	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/store"
)

var market = &fieldsyncv1.Position{Latitude: 10.7721, Longitude: 106.6983}

// reported is a ticket as the hotline's room stores it, with its indexes: so many metres north of the market, so long before start.
func (h *house) reported(unit string, metres float64, before time.Duration, change func(*storagev1.Ticket)) string {
	h.t.Helper()
	id := h.ticket(unit)
	h.update(func(tx *store.Tx) error {
		ticket, err := store.Get(tx, store.TicketKey(id))
		if err != nil {
			return err
		}
		ticket.ReporterMark = "aaaaaaaaaaaaaaaa"
		ticket.Facts.Position = &fieldsyncv1.Position{Latitude: market.GetLatitude() + metres/111_195, Longitude: market.GetLongitude()}
		ticket.Facts.ReportedAt = timestamppb.New(start.Add(-before))
		if change != nil {
			change(ticket)
		}
		at := ticket.GetFacts().GetReportedAt().AsTime()
		if err := store.Put(tx, store.TicketPlaceKey(store.CellOf(ticket.GetFacts().GetPosition()), at, id), &storagev1.Ticket{Id: id}); err != nil {
			return err
		}
		if err := store.Put(tx, store.ReporterTicketKey(ticket.GetReporterMark(), at, id), &storagev1.Ticket{Id: id}); err != nil {
			return err
		}
		return store.Put(tx, store.TicketKey(id), ticket)
	})
	return id
}

// ended gives a ticket a task that a crew has ended so.
func (h *house) ended(ticket string, outcome fieldsyncv1.Outcome) {
	h.t.Helper()
	created, err := h.CreateTask(h.as(admin), &fieldsyncv1.CreateTaskRequest{TicketId: ticket})
	wantCode(h.t, err, "")
	h.update(func(tx *store.Tx) error {
		record, err := store.Get(tx, store.TaskKey(created.GetTask().GetId()))
		if err != nil {
			return err
		}
		record.Task.Status.State, record.Task.Completion = fieldsyncv1.TaskState_TASK_STATE_DONE, &fieldsyncv1.CompletionFacet{Outcome: outcome}
		return store.Put(tx, store.TaskKey(record.GetTask().GetId()), record)
	})
}

func (h *house) hinted(p auth.Principal, ticket string) (codes []string, response *fieldsyncv1.GetHintsResponse) {
	h.t.Helper()
	response, err := h.GetHints(h.as(p), &fieldsyncv1.GetHintsRequest{TicketId: ticket})
	wantCode(h.t, err, "")
	for _, hint := range response.GetHints() {
		codes = append(codes, hint.GetFinding().GetCode())
		if s := hint.GetFinding().GetSentence(); s.GetVi() == "" || s.GetEn() == "" || s.GetVi() == s.GetEn() || len(hint.GetFinding().GetFigures()) == 0 {
			h.t.Errorf("a hint without its sentences or figures: %v", hint)
		}
	}
	return codes, response
}

// Protects the advice: what is the same is named, what is only near is counted, and neither what has ended, lies elsewhere or long ago,
// is known to be a duplicate, nor what the caller does not see is spoken of.
func TestHintsOfNearTickets(t *testing.T) {
	day := 24 * time.Hour
	otherKind := func(ticket *storagev1.Ticket) {
		ticket.Facts.Category, ticket.Facts.Title = "tieng-on", "Karaoke ồn ào"
	}
	words := func(title string) func(*storagev1.Ticket) {
		return func(ticket *storagev1.Ticket) { ticket.Facts.Category, ticket.Facts.Title = "ngap", title }
	}
	for name, test := range map[string]struct {
		unit   string
		metres float64
		before time.Duration
		change func(*storagev1.Ticket)
		want   []string
	}{
		"the same a few metres on":                    {"p-sai-gon", 30, day, nil, []string{"duplicate_likely"}},
		"the same in other marks and kind":            {"p-sai-gon", 5, 0, words("CAY DO CHAN DUONG"), []string{"duplicate_likely"}},
		"another thing at the same door":              {"p-sai-gon", 5, day, otherKind, []string{"nearby_open"}},
		"another thing at the border of what is near": {"p-sai-gon", 190, day, otherKind, []string{"nearby_open"}},
		"too far":                 {"p-sai-gon", 210, day, nil, nil},
		"too long ago":            {"p-sai-gon", 5, 91 * day, nil, nil},
		"closed":                  {"p-sai-gon", 5, day, func(ticket *storagev1.Ticket) { ticket.ClosedAt = timestamppb.New(start) }, nil},
		"withdrawn":               {"p-sai-gon", 5, day, func(ticket *storagev1.Ticket) { ticket.WithdrawnAt = timestamppb.New(start) }, nil},
		"known to be a duplicate": {"p-sai-gon", 5, day, func(ticket *storagev1.Ticket) { ticket.ParentId = "x" }, nil},
		"another unit's":          {"p-cho-lon", 5, day, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			mine := h.reported("p-sai-gon", 0, 0, nil)
			other := h.reported(test.unit, test.metres, test.before, func(ticket *storagev1.Ticket) {
				ticket.ReporterMark = "bbbbbbbbbbbbbbbb"
				if test.change != nil {
					test.change(ticket)
				}
			})
			codes, response := h.hinted(saigonDesk, mine)
			if !slices.Equal(codes, test.want) {
				t.Fatalf("hints %v, want %v", response, test.want)
			}
			for _, hint := range response.GetHints() {
				if len(hint.GetTickets()) != 1 || hint.GetTickets()[0].GetTicketId() != other {
					t.Errorf("it names %v", hint.GetTickets())
				}
			}
			_, err := h.GetHints(h.as(choLonDesk), &fieldsyncv1.GetHintsRequest{TicketId: mine})
			wantCode(t, err, "ticket_unknown")
		})
	}
}

// Protects a citizen from being judged by more than is so, and from being known: nothing found at the place, and the reporter's past in
// counts that go back a year and not forward, without name, number, mark or ticket.
func TestHintsOfThePast(t *testing.T) {
	day := 24 * time.Hour
	h := newHouse(t)
	mine := h.reported("p-sai-gon", 0, 10*day, nil)
	if codes, _ := h.hinted(saigonDesk, mine); len(codes) != 0 {
		t.Fatalf("a first report has the hints %v", codes)
	}
	h.ended(h.reported("p-sai-gon", 20, 15*day, nil), fieldsyncv1.Outcome_OUTCOME_NOTHING_FOUND)
	h.ended(h.reported("p-sai-gon", 40, 12*day, nil), fieldsyncv1.Outcome_OUTCOME_NOTHING_FOUND)
	h.ended(h.reported("p-sai-gon", 40, 11*day, nil), fieldsyncv1.Outcome_OUTCOME_REPAIRED)
	h.ended(h.reported("p-sai-gon", 40, 9*day, nil), fieldsyncv1.Outcome_OUTCOME_NOTHING_FOUND)     // Later than mine.
	h.ended(h.reported("p-sai-gon", 9000, 400*day, nil), fieldsyncv1.Outcome_OUTCOME_NOTHING_FOUND) // More than a year ago.
	lied := h.reported("p-cho-lon", 9000, 300*day, nil)                                             // Another unit's, and counted.
	h.ended(lied, fieldsyncv1.Outcome_OUTCOME_NOTHING_FOUND)
	decide := func(confirmed bool) {
		h.update(func(tx *store.Tx) error {
			return store.Put(tx, store.FalseReportKey(lied), &storagev1.FalseReport{TicketId: lied, Decided: []*storagev1.FalseReport_Decided{
				{Decision: &fieldsyncv1.FalseReportDecision{Confirmed: true}}, {Decision: &fieldsyncv1.FalseReportDecision{Confirmed: confirmed}},
			}})
		})
	}
	decide(true)
	want := func(nothing, lies float64) {
		t.Helper()
		codes, response := h.hinted(saigonDesk, mine)
		if !slices.Equal(codes, []string{"nothing_found_here", "reporter_past"}) {
			t.Fatalf("hints %v", response)
		}
		here, past := response.GetHints()[0], response.GetHints()[1]
		if f := here.GetFinding().GetFigures(); f[0].GetValue() != 2 || f[1].GetValue() != 2 || len(here.GetTickets()) != 2 {
			t.Errorf("nothing found: %v, want twice, the latest two days before", here)
		}
		if f := past.GetFinding().GetFigures(); f[0].GetValue() != 4 || f[1].GetValue() != nothing || f[2].GetValue() != lies || len(past.GetTickets()) != 0 {
			t.Errorf("the reporter's past: %v, want 4 reports, nothing found %v times, %v false ones", past, nothing, lies)
		}
		for _, secret := range []string{"Hoa", "900000000", "aaaaaaaa"} {
			if text := protojson.Format(response); strings.Contains(text, secret) {
				t.Errorf("the hints tell %q: %s", secret, text)
			}
		}
	}
	want(2, 1)
	decide(false) // Taken back.
	want(3, 0)
}

// Protects the server from a crossing that everybody calls about: a call looks at a bounded number of tickets, the newest, and says so.
func TestHintsAreBounded(t *testing.T) {
	h := newHouse(t)
	mine := h.reported("p-sai-gon", 0, 0, nil)
	for i := range hintsPerCell + 10 {
		h.reported("p-sai-gon", 1, time.Duration(i+1)*time.Minute, func(ticket *storagev1.Ticket) { ticket.Facts.HotlineId = fmt.Sprint(i) })
	}
	codes, response := h.hinted(saigonDesk, mine)
	if !response.GetPartial() || !slices.Equal(codes, append(slices.Repeat([]string{"duplicate_likely"}, hintedTickets), "nearby_open", "reporter_past")) {
		t.Fatalf("partial %v, hints %v", response.GetPartial(), codes)
	}
	if first := response.GetHints()[0].GetTickets()[0].GetHotlineId(); first != "0" {
		t.Errorf("the first one named is %s, want the newest", first)
	}
}
