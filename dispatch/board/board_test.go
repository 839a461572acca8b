package board

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cong1022/fieldsync/auth"
	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/store"
	"github.com/cong1022/fieldsync/store/embedded"
)

var (
	start = time.Date(2026, 11, 23, 1, 0, 0, 0, time.UTC)
	city  = auth.Principal{MemberID: "sep", Role: fieldsyncv1.Role_ROLE_ADMIN}
	ward  = auth.Principal{MemberID: "lan", Role: fieldsyncv1.Role_ROLE_DISPATCHER, UnitID: "a"}
)

// house is a board over a real store with the units a and b.
type house struct {
	*Service

	t   *testing.T
	now time.Time
}

func newHouse(t *testing.T) *house {
	t.Helper()
	engine, err := embedded.Open(t.TempDir(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	h := &house{t: t, now: start}
	st, err := store.Open(t.Context(), engine, store.Options{Clock: func() time.Time { return h.now }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	h.Service = New(Options{Store: st})
	h.update(func(tx *store.Tx) error {
		for _, id := range []string{"a", "b"} {
			if err := store.Put(tx, store.UnitKey(id), &fieldsyncv1.Unit{Id: id, Name: "Phường " + id}); err != nil {
				return err
			}
		}
		return nil
	})
	return h
}

func (h *house) update(fn func(*store.Tx) error) {
	h.t.Helper()
	if err := h.store.Update(h.t.Context(), fn); err != nil {
		h.t.Fatal(err)
	}
}

// task stores a task of the unit with what change makes of it.
func (h *house) task(id, unit string, change func(*fieldsyncv1.Task)) {
	h.t.Helper()
	h.update(func(tx *store.Tx) error {
		record := &storagev1.TaskRecord{Task: &fieldsyncv1.Task{
			Id: id, Ticket: &fieldsyncv1.TicketFacet{TicketId: "ticket-" + id, HotlineId: "1022-" + id, UnitId: unit, ReportedAt: timestamppb.New(h.now)},
			Status: &fieldsyncv1.StatusFacet{State: fieldsyncv1.TaskState_TASK_STATE_OPEN, Since: timestamppb.New(h.now)}, Assignment: &fieldsyncv1.AssignmentFacet{},
		}}
		if change != nil {
			change(record.GetTask())
		}
		record.Scopes = []string{string(store.UnitScope(record.GetTask().GetTicket().GetUnitId()))}
		store.NextRevision(record)
		ticket := record.GetTask().GetTicket()
		if err := store.Put(tx, store.TicketKey(ticket.GetTicketId()), &storagev1.Ticket{Id: ticket.GetTicketId(), TaskId: id, Facts: ticket}); err != nil {
			return err
		}
		stub := &storagev1.Ticket{Id: ticket.GetTicketId(), Facts: &fieldsyncv1.TicketFacet{ReportedAt: ticket.GetReportedAt()}}
		if err := store.Put(tx, store.TicketReportedKey(ticket.GetReportedAt().AsTime(), ticket.GetTicketId()), stub); err != nil {
			return err
		}
		return store.SaveTask(tx, record, fieldsyncv1.RemovalReason_REMOVAL_REASON_REASSIGNED)
	})
}

// change lets a stored task become another, as a later commit does.
func (h *house) change(id string, change func(*fieldsyncv1.Task)) {
	h.t.Helper()
	h.update(func(tx *store.Tx) error {
		record, err := store.Get(tx, store.TaskKey(id))
		if err != nil {
			return err
		}
		change(record.GetTask())
		record.Scopes = []string{string(store.UnitScope(record.GetTask().GetTicket().GetUnitId()))}
		store.NextRevision(record)
		return store.SaveTask(tx, record, fieldsyncv1.RemovalReason_REMOVAL_REASON_REASSIGNED)
	})
}

func (h *house) as(p auth.Principal) context.Context { return auth.WithPrincipal(h.t.Context(), p) }

// ids lists the whole board of the caller by pages of the size.
func (h *house) ids(p auth.Principal, f *fieldsyncv1.BoardFilter, order fieldsyncv1.BoardOrder, size uint32) (ids []string) {
	h.t.Helper()
	for token := ""; ; {
		resp, err := h.ListBoard(h.as(p), &fieldsyncv1.ListBoardRequest{Filter: f, Order: order, PageSize: size, PageToken: token})
		if err != nil {
			h.t.Fatal(err)
		}
		for _, r := range resp.GetRows() {
			ids = append(ids, r.GetTaskId())
		}
		if token = resp.GetNextToken(); token == "" {
			return ids
		}
	}
}

func state(s fieldsyncv1.TaskState) func(*fieldsyncv1.Task) {
	return func(t *fieldsyncv1.Task) { t.Status.State = s }
}

// Protects what nobody has assigned: it is due by its clock, and shown as overdue like the rest.
func TestUnassignedIsDueByItsClock(t *testing.T) {
	h := newHouse(t)
	h.task("waits", "a", nil)
	h.update(func(tx *store.Tx) error {
		record, err := store.Get(tx, store.TaskKey("waits"))
		if err != nil {
			return err
		}
		record.Clock = &storagev1.TaskClock{DueAt: timestamppb.New(start.Add(-time.Hour))}
		store.NextRevision(record)
		return store.SaveTask(tx, record, 0)
	})
	if got := h.ids(city, &fieldsyncv1.BoardFilter{Overdue: true}, 0, 10); !slices.Equal(got, []string{"waits"}) {
		t.Errorf("overdue: %v", got)
	}
}

// Protects the filters: each alone, and several at once.
func TestFilters(t *testing.T) {
	h := newHouse(t)
	h.task("assigned", "a", func(t *fieldsyncv1.Task) {
		state(fieldsyncv1.TaskState_TASK_STATE_ASSIGNED)(t)
		t.Assignment = &fieldsyncv1.AssignmentFacet{CrewId: "to-1", DueAt: timestamppb.New(start.Add(-time.Hour))}
		t.Ticket.Urgency, t.Ticket.Category = fieldsyncv1.Urgency_URGENCY_HIGH, "fallen-tree"
		t.Ticket.Position = &fieldsyncv1.Position{Latitude: 10.8, Longitude: 106.7}
	})
	h.task("seen", "b", func(t *fieldsyncv1.Task) {
		state(fieldsyncv1.TaskState_TASK_STATE_ASSIGNED)(t)
		t.Assignment = &fieldsyncv1.AssignmentFacet{CrewId: "to-2", SeenAt: timestamppb.New(start), DueAt: timestamppb.New(start.Add(time.Hour))}
		t.Ticket.Position = &fieldsyncv1.Position{Latitude: 21, Longitude: 105.8}
	})
	h.task("done", "a", func(t *fieldsyncv1.Task) {
		state(fieldsyncv1.TaskState_TASK_STATE_DONE)(t)
		t.Status.Review = true
		t.Assignment.DueAt = timestamppb.New(start.Add(-time.Hour))
	})
	h.task("closed", "a", state(fieldsyncv1.TaskState_TASK_STATE_CLOSED))
	h.task("open", "a", nil)
	for name, tt := range map[string]struct {
		filter *fieldsyncv1.BoardFilter
		want   []string
	}{
		"none":         {nil, []string{"assigned", "done", "open", "seen"}},
		"states":       {&fieldsyncv1.BoardFilter{States: []fieldsyncv1.TaskState{fieldsyncv1.TaskState_TASK_STATE_CLOSED, fieldsyncv1.TaskState_TASK_STATE_OPEN}}, []string{"closed", "open"}},
		"urgencies":    {&fieldsyncv1.BoardFilter{Urgencies: []fieldsyncv1.Urgency{fieldsyncv1.Urgency_URGENCY_HIGH}}, []string{"assigned"}},
		"units":        {&fieldsyncv1.BoardFilter{UnitIds: []string{"b"}}, []string{"seen"}},
		"crews":        {&fieldsyncv1.BoardFilter{CrewIds: []string{"to-1", "to-2"}}, []string{"assigned", "seen"}},
		"categories":   {&fieldsyncv1.BoardFilter{Categories: []string{"fallen-tree"}}, []string{"assigned"}},
		"due before":   {&fieldsyncv1.BoardFilter{DueBefore: timestamppb.New(start)}, []string{"assigned", "done"}},
		"overdue":      {&fieldsyncv1.BoardFilter{Overdue: true}, []string{"assigned"}},
		"unseen":       {&fieldsyncv1.BoardFilter{Unseen: true}, []string{"assigned"}},
		"review":       {&fieldsyncv1.BoardFilter{Review: true}, []string{"done"}},
		"box":          {&fieldsyncv1.BoardFilter{Box: &fieldsyncv1.MapBox{South: 10, North: 11, West: 106, East: 107}}, []string{"assigned"}},
		"box and crew": {&fieldsyncv1.BoardFilter{Box: &fieldsyncv1.MapBox{South: 10, North: 11, West: 106, East: 107}, CrewIds: []string{"to-2"}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got := h.ids(city, tt.filter, 0, 0)
			slices.Sort(got)
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
	for name, filter := range map[string]*fieldsyncv1.BoardFilter{
		"box_invalid":        {Box: &fieldsyncv1.MapBox{South: 11, North: 10}},
		"due_before_invalid": {DueBefore: &timestamppb.Timestamp{Nanos: -1}},
	} {
		if _, err := h.ListBoard(h.as(city), &fieldsyncv1.ListBoardRequest{Filter: filter}); fault.CodeOf(err) != name {
			t.Errorf("%v: %v", filter, err)
		}
	}
}

// Protects the search of people who type without diacritics, and of those who type with them, wherever they put the tone.
func TestSearch(t *testing.T) {
	h := newHouse(t)
	h.task("tree", "a", func(t *fieldsyncv1.Task) {
		t.Ticket.Title, t.Ticket.Address = "Cây đổ chắn đường", "12 Nguyễn Thị Minh Khai, phường Hòa Hưng"
	})
	h.task("red", "a", func(t *fieldsyncv1.Task) { t.Ticket.Title = "Cây đỏ lá" })
	h.task("lamp", "a", func(t *fieldsyncv1.Task) {
		t.Ticket.Title, t.Ticket.Description = "Đèn hỏng", "Tối om, cạnh cây xăng"
	})
	for text, want := range map[string][]string{
		"cay do": {"red", "tree"}, "cây đổ": {"tree"}, "CÂY ĐỔ": {"tree"}, "ca\u0302y d\u0309o\u0302\u0309": nil, "cay đỏ": {"red"}, "do cay": {"red", "tree"},
		"hoa hung": {"tree"}, "Hoà Hưng": {"tree"}, "Hòa Hưng": {"tree"}, "Hóa": nil, "den": {"lamp"}, "1022-lamp": {"lamp"}, "ay": nil, "nguy": {"tree"}, "xăng": {"lamp"},
		"phườn": {"tree"}, "nguyễ": {"tree"}, "đườ": {"tree"}, "đươ": {"tree"}, "hỏ": {"lamp"}, "hò hư": {"tree"}, "hó": nil, "nguyề": nil, "đo": {"red"}, "đô": {"tree"},
		"": {"lamp", "red", "tree"}, " - ": {"lamp", "red", "tree"}, "cay\x00do": {"red", "tree"},
	} {
		got := h.ids(city, &fieldsyncv1.BoardFilter{Text: text}, 0, 0)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%q finds %v, want %v", text, got, want)
		}
	}
}

// Protects pages: in each order all rows come once, whatever the size of a page, and a change between two pages loses none of
// those that did not change.
func TestOrdersAndPages(t *testing.T) {
	h := newHouse(t)
	for i := range 30 {
		h.now = h.now.Add(time.Second)
		h.task(fmt.Sprintf("t%02d", i), []string{"a", "b"}[i%2], func(t *fieldsyncv1.Task) {
			t.Ticket.Urgency = fieldsyncv1.Urgency(i % 4)
			if i%5 > 0 {
				t.Assignment.DueAt = timestamppb.New(start.Add(time.Duration(i%7) * time.Hour))
			}
		})
	}
	for order, by := range orders {
		whole := h.ids(city, nil, order, 500)
		if len(whole) != 30 {
			t.Fatalf("%v: %d rows", order, len(whole))
		}
		if !slices.IsSortedFunc(whole, func(a, b string) int { return by.place(h.city.rows[a]).compare(by.place(h.city.rows[b])) }) {
			t.Errorf("%v: %v", order, whole)
		}
		for _, size := range []uint32{1, 7, 30} {
			if got := h.ids(city, nil, order, size); !slices.Equal(got, whole) {
				t.Errorf("%v by %d: %v, want %v", order, size, got, whole)
			}
		}
	}
	if got := h.ids(ward, nil, 0, 4); len(got) != 15 {
		t.Errorf("the ward sees %d tasks, want its 15", len(got))
	}
	first, err := h.ListBoard(h.as(city), &fieldsyncv1.ListBoardRequest{PageSize: 10})
	if err != nil {
		t.Fatal(err)
	}
	for _, token := range []string{"x", first.GetNextToken() + "\n", first.GetNextToken()[:4], "AQA"} {
		_, err := h.ListBoard(h.as(city), &fieldsyncv1.ListBoardRequest{PageToken: token, Order: fieldsyncv1.BoardOrder_BOARD_ORDER_CHANGED})
		if fault.CodeOf(err) != "page_token_invalid" {
			t.Errorf("token %q: %v", token, err)
		}
	}
}

// Protects the picture: what was committed shows at the next look, also where a task goes to another unit, whichever log is read
// first; and what ended long ago is gone.
func TestBoardFollows(t *testing.T) {
	for _, first := range []auth.Principal{city, ward} {
		h := newHouse(t)
		h.task("x", "a", nil)
		h.task("y", "a", nil)
		h.ids(first, nil, 0, 0)
		h.change("x", func(t *fieldsyncv1.Task) { t.Ticket.UnitId = "b" })
		h.change("y", state(fieldsyncv1.TaskState_TASK_STATE_CANCELLED))
		if got := h.ids(ward, nil, 0, 0); len(got) != 0 {
			t.Errorf("the ward still sees %v", got)
		}
		if got := h.ids(city, nil, 0, 0); !slices.Equal(got, []string{"x"}) {
			t.Errorf("the city sees %v", got)
		}
		h.change("x", func(t *fieldsyncv1.Task) { t.Ticket.UnitId = "a" })
		if got := h.ids(city, nil, 0, 0); !slices.Equal(got, []string{"x"}) {
			t.Errorf("the city sees %v after the way back", got)
		}
		h.now = h.now.Add(kept + time.Hour)
		h.change("x", func(t *fieldsyncv1.Task) { t.Ticket.Title = "later" })
		if got := h.ids(city, &fieldsyncv1.BoardFilter{States: []fieldsyncv1.TaskState{fieldsyncv1.TaskState_TASK_STATE_CANCELLED}}, 0, 0); len(got) != 0 {
			t.Errorf("%v was called off long ago", got)
		}
		if len(h.city.rows) != 1 || len(h.units["a"].rows) != 1 {
			t.Errorf("%d rows are held in the city, %d in the unit", len(h.city.rows), len(h.units["a"].rows))
		}
	}
}

// Protects those who watch: each change comes once, also as one of the filter, and what leaves is said to be gone.
func TestChangesSince(t *testing.T) {
	h := newHouse(t)
	h.task("x", "a", nil)
	h.ids(city, nil, 0, 0)
	seen := h.version
	open := &fieldsyncv1.BoardFilter{States: []fieldsyncv1.TaskState{fieldsyncv1.TaskState_TASK_STATE_OPEN}}
	want := func(step string, rows, gone []string) {
		t.Helper()
		resp, err := h.since(h.as(ward), ward, open, &seen)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, r := range resp.GetRows() {
			got = append(got, r.GetTaskId())
		}
		if !slices.Equal(got, rows) || !slices.Equal(resp.GetGone(), gone) || resp.GetLost() {
			t.Errorf("%s: %v", step, resp)
		}
	}
	want("nothing", nil, nil)
	h.task("y", "a", nil)
	h.task("z", "b", nil)
	want("a task of the ward", []string{"y"}, nil)
	h.change("y", state(fieldsyncv1.TaskState_TASK_STATE_STARTED))
	want("out of the filter", nil, []string{"y"})
	h.change("x", func(t *fieldsyncv1.Task) { t.Ticket.UnitId = "b" })
	want("out of the ward", nil, []string{"x"})
	want("nothing again", nil, nil)
}

// Protects the figures by which units are ranked: each ticket is counted in the month it came in, each task in the month it was
// done, by the server's time, and a month ends at noon of the 25th in Vietnam.
func TestMonthlyReport(t *testing.T) {
	h := newHouse(t)
	noon := time.Date(2026, 11, 25, 5, 0, 0, 0, time.UTC)
	h.now = noon.Add(-2 * time.Hour)
	done := func(in time.Duration) func(*fieldsyncv1.Task) {
		return func(t *fieldsyncv1.Task) {
			t.Status.State = fieldsyncv1.TaskState_TASK_STATE_DONE
			t.Completion = &fieldsyncv1.CompletionFacet{CompletionId: "c-" + t.GetId(), Outcome: fieldsyncv1.Outcome_OUTCOME_NOTHING_FOUND}
			t.Assignment.DueAt = timestamppb.New(h.now.Add(in))
		}
	}
	for _, id := range []string{"early", "late", "next", "off"} {
		h.task(id, "a", nil)
	}
	h.task("foreign", "b", nil)
	h.now = noon.Add(-time.Hour)
	h.change("early", done(time.Hour))
	h.change("late", done(-time.Hour))
	h.change("off", state(fieldsyncv1.TaskState_TASK_STATE_CANCELLED))
	h.now = noon
	h.change("next", done(time.Hour))
	h.task("new", "a", nil)

	report, err := h.GetMonthlyReport(h.as(ward), &fieldsyncv1.GetMonthlyReportRequest{Month: "2026-11"})
	if err != nil {
		t.Fatal(err)
	}
	if !report.GetUntil().AsTime().Equal(noon) || !report.GetFrom().AsTime().Equal(noon.AddDate(0, -1, 0)) || len(report.GetUnits()) != 1 {
		t.Fatalf("got %v", report)
	}
	got := report.GetUnits()[0]
	want := &fieldsyncv1.UnitReport{
		UnitId: "a", UnitName: "Phường a", Received: 4, Done: 2, DoneInTime: 1, DoneLate: 1, NothingFound: 2, Cancelled: 1, MedianHours: 1,
	}
	if got.String() != want.String() {
		t.Errorf("got %v, want %v", got, want)
	}
	running, err := h.GetMonthlyReport(h.as(city), &fieldsyncv1.GetMonthlyReportRequest{})
	if err != nil || len(running.GetUnits()) != 1 || running.GetUnits()[0].GetDone() != 1 || running.GetUnits()[0].GetReceivedOpen() != 1 {
		t.Errorf("the running month: %v %v", running, err)
	}
	if _, err := h.GetMonthlyReport(h.as(city), &fieldsyncv1.GetMonthlyReportRequest{Month: "2026-13"}); fault.CodeOf(err) != "month_invalid" {
		t.Errorf("a thirteenth month: %v", err)
	}
}

// Protects the report from counting as open what a unit has nothing to do with any more: a ticket that the hotline took back before
// it was a task, and a duplicate that was closed with its parent.
func TestReportWithoutTasks(t *testing.T) {
	h := newHouse(t)
	for _, id := range []string{"waits", "withdrawn", "duplicate"} {
		h.task(id, "a", nil)
		h.update(func(tx *store.Tx) error {
			ticket, err := store.Get(tx, store.TicketKey("ticket-"+id))
			if err != nil {
				return err
			}
			ticket.TaskId = ""
			switch id {
			case "withdrawn":
				ticket.WithdrawnAt = tx.Timestamp()
			case "duplicate":
				ticket.ClosedAt = tx.Timestamp()
			}
			return store.Put(tx, store.TicketKey(ticket.GetId()), ticket)
		})
	}
	report, err := h.GetMonthlyReport(h.as(ward), &fieldsyncv1.GetMonthlyReportRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if got := report.GetUnits()[0]; got.GetReceived() != 3 || got.GetReceivedOpen() != 1 {
		t.Errorf("got %v", got)
	}
}

// Protects the report from units that close early: what was opened again is not done, and what is then done late is late.
func TestReportAfterReopening(t *testing.T) {
	h := newHouse(t)
	done := func(t *fieldsyncv1.Task) {
		t.Status.State = fieldsyncv1.TaskState_TASK_STATE_DONE
		t.Assignment.DueAt = timestamppb.New(start.Add(2 * time.Hour))
	}
	for _, id := range []string{"open", "late"} {
		h.task(id, "a", nil)
		h.change(id, done)
		h.change(id, state(fieldsyncv1.TaskState_TASK_STATE_OPEN))
	}
	h.now = h.now.Add(3 * time.Hour)
	h.change("late", done)
	report, err := h.GetMonthlyReport(h.as(ward), &fieldsyncv1.GetMonthlyReportRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if got := report.GetUnits()[0]; got.GetReceivedOpen() != 1 || got.GetDone() != 1 || got.GetDoneInTime() != 0 || got.GetDoneLate() != 1 {
		t.Errorf("got %v", got)
	}
}

// Protects the board from everybody else.
func TestBoardIsTheDispatchers(t *testing.T) {
	h := newHouse(t)
	for _, p := range []auth.Principal{{Role: fieldsyncv1.Role_ROLE_CREW, CrewID: "to-1", UnitID: "a"}, {Role: fieldsyncv1.Role_ROLE_HOTLINE}, {}} {
		if _, err := h.ListBoard(h.as(p), &fieldsyncv1.ListBoardRequest{}); fault.CodeOf(err) != "role_denied" {
			t.Errorf("%v: %v", p, err)
		}
	}
}

// Protects what the workload adds up.
func TestWorkload(t *testing.T) {
	h := newHouse(t)
	for i, s := range []fieldsyncv1.TaskState{1, 2, 3, 4, 5, 6, 2} {
		h.task(fmt.Sprint(i), "a", func(t *fieldsyncv1.Task) {
			state(s)(t)
			if s != fieldsyncv1.TaskState_TASK_STATE_OPEN {
				t.Assignment = &fieldsyncv1.AssignmentFacet{CrewId: fmt.Sprint("to-", i%2), DueAt: timestamppb.New(start.Add(-time.Hour))}
			}
		})
	}
	resp, err := h.GetWorkload(h.as(ward), &fieldsyncv1.GetWorkloadRequest{})
	if err != nil {
		t.Fatal(err)
	}
	want := &fieldsyncv1.Workload{Open: 1, Assigned: 2, Accepted: 1, Started: 1, Paused: 1, Done: 1, Overdue: 5, Unseen: 2}
	if resp.GetTotal().String() != want.String() || len(resp.GetCrews()) != 3 || resp.GetCrews()[0].GetCrewId() != "to-0" {
		t.Errorf("got %v", resp)
	}
}
