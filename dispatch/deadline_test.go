package dispatch

import (
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cong1022/fieldsync/dispatch/calendar"
	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/store"
)

// vn is a time in Vietnam.
func vn(tb testing.TB, text string) time.Time {
	tb.Helper()
	t, err := time.ParseInLocation("2006-01-02 15:04", text, calendar.Zone)
	if err != nil {
		tb.Fatal(err)
	}
	return t.UTC()
}

// moves lets the crew bring a task into a state, as the sync engine would. account is when the phone says that it was, zero for now.
func (h *house) moves(task string, state fieldsyncv1.TaskState, account time.Time) {
	h.t.Helper()
	h.update(func(tx *store.Tx) error {
		record, err := store.Get(tx, store.TaskKey(task))
		if err != nil {
			return err
		}
		var happened *fieldsyncv1.TimeInterval
		if !account.IsZero() {
			happened = &fieldsyncv1.TimeInterval{Latest: timestamppb.New(account)}
		}
		record.Task.Status = &fieldsyncv1.StatusFacet{Revision: store.NextRevision(record), State: state, Since: tx.Timestamp()}
		store.NoteState(record, happened)
		if err := h.Moved(tx, record); err != nil {
			return err
		}
		return store.SaveTask(tx, record, 0)
	})
}

func (h *house) explained(task string) *fieldsyncv1.ExplainDeadlineResponse {
	h.t.Helper()
	x, err := h.ExplainDeadline(h.as(saigonDesk), &fieldsyncv1.ExplainDeadlineRequest{TaskId: task})
	wantCode(h.t, err, "")
	return x
}

func (h *house) fire() (taken int) {
	h.t.Helper()
	for {
		n, _, err := h.FireTimers(h.t.Context(), 100)
		wantCode(h.t, err, "")
		if n == 0 {
			return taken
		}
		taken += n
	}
}

func (h *house) wantDue(task, want string) {
	h.t.Helper()
	if due := h.record(task).GetClock().GetDueAt().AsTime(); !due.Equal(vn(h.t, want)) {
		h.t.Fatalf("due %s, want %s", due.In(calendar.Zone), want)
	}
}

// seeded is a house with the city's categories and calendar at a time in Vietnam; its tickets are reported an hour before.
func seeded(t *testing.T, now string) *house {
	t.Helper()
	h := newHouse(t)
	if err := h.Seed(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.now = vn(t, now)
	return h
}

func (h *house) taskOf(category string, urgency fieldsyncv1.Urgency) string {
	h.t.Helper()
	ticket := h.ticket("p-sai-gon")
	h.update(func(tx *store.Tx) error {
		stored, err := store.Get(tx, store.TicketKey(ticket))
		if err != nil {
			return err
		}
		stored.Facts.Category, stored.Facts.Urgency = category, urgency
		stored.Facts.ReportedAt = timestamppb.New(h.now.Add(-time.Hour))
		return store.Put(tx, store.TicketKey(ticket), stored)
	})
	response, err := h.CreateTask(h.as(saigonDesk), &fieldsyncv1.CreateTaskRequest{TicketId: ticket})
	wantCode(h.t, err, "")
	return response.GetTask().GetId()
}

func (h *house) assign(task, crew string) {
	h.t.Helper()
	must(h.t)(h.AssignTask(h.as(saigonDesk), &fieldsyncv1.AssignTaskRequest{TaskId: task, CrewId: crew}))
}

// Protects the explanation's words: a part of a day is told in hours and minutes, never as a whole day, and without fractions of seconds.
func TestSpoken(t *testing.T) {
	for d, want := range map[time.Duration][2]string{
		time.Nanosecond:                  {"dưới 1 phút", "less than 1 min"},
		time.Minute + 1:                  {"1 phút", "1 min"},
		2 * time.Hour:                    {"2 giờ", "2 h"},
		24*time.Hour - time.Nanosecond:   {"23 giờ 59 phút", "23 h 59 min"},
		3*time.Hour + 25*time.Minute + 7: {"3 giờ 25 phút", "3 h 25 min"},
	} {
		if got := spoken(d); got.GetVi() != want[0] || got.GetEn() != want[1] {
			t.Errorf("%v: %v", d, got)
		}
	}
}

// Protects the board's due time of a task that nobody was given: its clock stands still, and whoever follows the unit hears of it.
func TestPauseOfWhatNobodyHas(t *testing.T) {
	h := seeded(t, "2026-11-23 08:40")
	task := h.taskOf("fallen-tree", 0)
	before := h.entry(store.UnitScope("p-sai-gon"), task).GetRevision()
	_, err := h.PauseDeadline(h.as(saigonDesk), &fieldsyncv1.PauseDeadlineRequest{
		TaskId: task, Reason: "chờ", Until: timestamppb.New(vn(t, "2026-11-26 00:00")),
	})
	wantCode(t, err, "")
	if after := h.entry(store.UnitScope("p-sai-gon"), task).GetRevision(); after <= before {
		t.Errorf("revision %d, after the pause %d", before, after)
	}
}

// Protects the pinned calendar: a task keeps the version that it began with, the newest one is shown beside it, and a new task
// begins with the newest.
func TestCalendarIsPinned(t *testing.T) {
	h := seeded(t, "2026-11-23 08:40")
	task := h.taskOf("fallen-tree", 0)
	h.wantDue(task, "2026-12-01 00:00")
	culture := &fieldsyncv1.CalendarRow{
		Date: "2026-11-24", Kind: fieldsyncv1.DayKind_DAY_KIND_HOLIDAY, Name: &fieldsyncv1.Sentence{Vi: "Ngày Văn hóa", En: "Culture Day"}, Source: "luật",
	}
	newest, err := h.GetCalendar(h.as(saigonDesk), &fieldsyncv1.GetCalendarRequest{})
	wantCode(t, err, "")
	var rows2026 []*fieldsyncv1.CalendarRow
	for _, row := range newest.GetRows() {
		if row.GetDate() > "2026" {
			rows2026 = append(rows2026, row)
		}
	}
	put := func(rows ...*fieldsyncv1.CalendarRow) (*fieldsyncv1.PutCalendarResponse, error) {
		return h.PutCalendar(h.as(admin), &fieldsyncv1.PutCalendarRequest{Rows: rows})
	}
	_, err = put(append(rows2026, culture, culture)...)
	wantCode(t, err, "rows_invalid")
	_, err = h.PutCalendar(h.as(saigonDesk), &fieldsyncv1.PutCalendarRequest{Rows: rows2026})
	wantCode(t, err, "role_denied")
	same, err := put(rows2026...)
	if wantCode(t, err, ""); same.GetVersion() != 1 {
		t.Fatalf("the same rows made version %d", same.GetVersion())
	}
	changed, err := put(append(rows2026, culture)...)
	if wantCode(t, err, ""); changed.GetVersion() != 2 || int(changed.GetRows()) != len(newest.GetRows())+1 {
		t.Fatalf("version %d with %d rows: the year 2025 must stay", changed.GetVersion(), changed.GetRows())
	}
	x := h.explained(task)
	if x.GetCalendarVersion() != 1 || x.GetNewestCalendarVersion() != 2 || !x.GetDueAt().AsTime().Equal(vn(t, "2026-12-01 00:00")) ||
		!x.GetDueByNewest().AsTime().Equal(vn(t, "2026-12-02 00:00")) {
		t.Errorf("the pinned task: %v", x)
	}
	h.wantDue(h.taskOf("fallen-tree", 0), "2026-12-02 00:00")
}

// Protects the explanation: every day from the report to the due day, in both languages, with what was decided and where.
func TestExplainDeadline(t *testing.T) {
	h := seeded(t, "2026-04-23 09:00")
	x := h.explained(h.taskOf("noise", 0))
	want := []struct {
		date    string
		number  uint32
		vi, src string
	}{
		{"2026-04-23", 0, "thứ Năm: ngày tiếp nhận, không tính", ""},
		{"2026-04-24", 1, "thứ Sáu: ngày làm việc thứ 1", ""},
		{"2026-04-25", 0, "thứ Bảy: nghỉ cuối tuần, không tính", ""},
		{"2026-04-26", 0, "Chủ nhật, Giỗ Tổ Hùng Vương (10/3 âm lịch): ngày nghỉ, không tính", "điều 112"},
		{"2026-04-27", 0, "thứ Hai, Nghỉ bù Giỗ Tổ Hùng Vương: ngày nghỉ, không tính", "điều 111.3"},
		{"2026-04-28", 2, "thứ Ba: ngày làm việc thứ 2", ""},
		{"2026-04-29", 3, "thứ Tư: ngày làm việc thứ 3", ""},
		{"2026-04-30", 0, "thứ Năm, Ngày Chiến thắng: ngày nghỉ, không tính", "điều 112"},
		{"2026-05-01", 0, "thứ Sáu, Quốc tế Lao động: ngày nghỉ, không tính", "điều 112"},
		{"2026-05-02", 0, "thứ Bảy: nghỉ cuối tuần, không tính", ""},
		{"2026-05-03", 0, "Chủ nhật: nghỉ cuối tuần, không tính", ""},
		{"2026-05-04", 4, "thứ Hai: ngày làm việc thứ 4", ""},
		{"2026-05-05", 5, "thứ Ba: ngày làm việc thứ 5", ""},
	}
	if len(x.GetDays()) != len(want) {
		t.Fatalf("%d days, want %d", len(x.GetDays()), len(want))
	}
	for i, day := range x.GetDays() {
		if w := want[i]; day.GetDate() != w.date || day.GetNumber() != w.number || day.GetWhy().GetVi() != w.vi || day.GetWhy().GetEn() == "" ||
			(day.GetSource() != "") != (w.src != "") {
			t.Errorf("day %d: %v, want %v", i, day, w)
		}
	}
	if x.GetYearUnknown() || !x.GetDueAt().AsTime().Equal(vn(t, "2026-05-06 00:00")) {
		t.Errorf("due %v, year unknown %v", x.GetDueAt().AsTime(), x.GetYearUnknown())
	}
	h.now = vn(t, "2026-12-30 09:00")
	if x := h.explained(h.taskOf("noise", 0)); !x.GetYearUnknown() {
		t.Error("nobody is told that the holidays of 2027 are missing")
	}
	_, err := h.ExplainDeadline(h.as(choLonDesk), &fieldsyncv1.ExplainDeadlineRequest{TaskId: x.GetTaskId()})
	wantCode(t, err, "task_unknown")
	if x := h.explained(h.taskOf("chưa có loại này", 0)); x.GetWorkingDays() != defaultWorkingDays {
		t.Errorf("an unknown category has %d days", x.GetWorkingDays())
	}
}

// Protects approved pauses: from when the crew paused to the end approved or the work, whichever is first; a crew alone cannot stop
// the clock; and the phones hear of a due time that has moved.
func TestPauseDeadline(t *testing.T) {
	const started, paused = fieldsyncv1.TaskState_TASK_STATE_STARTED, fieldsyncv1.TaskState_TASK_STATE_PAUSED
	h := seeded(t, "2025-06-09 09:00") // A Monday.
	task := h.taskOf("lighting", 0)
	h.assign(task, "cay-xanh")
	h.now = vn(t, "2025-06-10 09:00")
	h.moves(task, started, time.Time{})
	h.now = vn(t, "2025-06-11 00:00")
	h.moves(task, paused, time.Time{})
	h.now = vn(t, "2025-06-11 15:00")
	h.wantDue(task, "2025-06-17 00:00") // Nobody has approved it yet.
	pause := func(until string) (*fieldsyncv1.PauseDeadlineResponse, error) {
		return h.PauseDeadline(h.as(saigonDesk), &fieldsyncv1.PauseDeadlineRequest{TaskId: task, Reason: "Chờ cắt điện", Until: timestamppb.New(vn(t, until))})
	}
	for _, until := range []string{"2025-06-11 15:00", "2025-12-01 00:00"} {
		_, err := pause(until)
		wantCode(t, err, "pause_invalid")
	}
	response, err := pause("2025-06-14 00:00")
	wantCode(t, err, "")
	if !response.GetPause().GetFrom().AsTime().Equal(vn(t, "2025-06-11 00:00")) {
		t.Errorf("the pause begins %v", response.GetPause())
	}
	h.wantDue(task, "2025-06-20 00:00")
	_, err = pause("2025-06-15 00:00")
	wantCode(t, err, "clock_paused")
	if due := h.record(task).GetTask().GetAssignment().GetDueAt().AsTime(); !due.Equal(vn(t, "2025-06-20 00:00")) {
		t.Errorf("the crew sees that it is due %v", due.In(calendar.Zone))
	}
	if x := h.explained(task); !x.GetByArrival().GetPaused() || len(x.GetPauses()) != 1 {
		t.Errorf("the explanation: %v", x)
	}
	h.now = vn(t, "2025-06-12 00:00")
	h.moves(task, started, time.Time{}) // Two days before the end that was approved.
	h.wantDue(task, "2025-06-18 00:00")
	if x := h.explained(task); x.GetPauses()[0].GetEndedAt() == nil || x.GetByArrival().GetPaused() {
		t.Errorf("after the work went on: %v", x)
	}
	h.now = vn(t, "2025-06-12 12:00")
	_, err = pause("2025-06-13 12:00")
	wantCode(t, err, "")
	h.now = vn(t, "2025-06-12 18:00")
	resumed, err := h.ResumeDeadline(h.as(saigonDesk), &fieldsyncv1.ResumeDeadlineRequest{TaskId: task})
	wantCode(t, err, "")
	if !resumed.GetDueAt().AsTime().Equal(vn(t, "2025-06-18 06:00")) {
		t.Errorf("after six hours: due %v", resumed.GetDueAt().AsTime().In(calendar.Zone))
	}
	_, err = h.PauseDeadline(h.as(choLonDesk), &fieldsyncv1.PauseDeadlineRequest{TaskId: task, Reason: "x", Until: timestamppb.New(h.now.Add(time.Hour))})
	wantCode(t, err, "task_unknown")
	none := h.taskOf("lighting", 0)
	h.update(func(tx *store.Tx) error {
		record, err := store.Get(tx, store.TaskKey(none))
		if err != nil {
			return err
		}
		record.Clock.WorkingDays = 0
		return store.Put(tx, store.TaskKey(none), record)
	})
	_, err = h.PauseDeadline(h.as(saigonDesk), &fieldsyncv1.PauseDeadlineRequest{TaskId: none, Reason: "x", Until: timestamppb.New(h.now.Add(time.Hour))})
	wantCode(t, err, "deadline_none")
}

// Protects crews from being called late for a missing signal, and the city from clocks: a completion that was done in time and
// arrived late is shown in both readings, and what counts says so; a reopened task has what was left.
func TestLateArrival(t *testing.T) {
	const done, open = fieldsyncv1.TaskState_TASK_STATE_DONE, fieldsyncv1.TaskState_TASK_STATE_ASSIGNED
	h := seeded(t, "2025-06-09 09:00")
	task := h.taskOf("lighting", 0)
	h.assign(task, "cay-xanh")
	h.now = vn(t, "2025-06-18 09:00")
	h.fire()
	h.moves(task, done, vn(t, "2025-06-16 15:00"))
	if clock := h.record(task).GetClock(); !clock.GetLate() || !clock.GetInTimeByAccount() {
		t.Errorf("the stored judgement: %v", clock)
	}
	x := h.explained(task)
	if !x.GetByArrival().GetLate() || x.GetByAccount() == nil || x.GetByAccount().GetLate() ||
		!x.GetByAccount().GetEndedAt().AsTime().Equal(vn(t, "2025-06-16 15:00")) {
		t.Errorf("both readings: %v, %v", x.GetByArrival(), x.GetByAccount())
	}
	prompt := h.taskOf("lighting", 0)
	h.moves(prompt, done, h.now)
	if x := h.explained(prompt); x.GetByAccount() != nil || x.GetByArrival().GetLate() {
		t.Errorf("where both are the same one is shown: %v", x)
	}
	h.now = vn(t, "2025-06-19 00:00") // Done on Wednesday at nine; reopened on Thursday.
	h.moves(prompt, open, time.Time{})
	h.wantDue(prompt, "2025-06-26 00:00") // 18 June is the first day and does not count, so nothing was lost.
	h.now = vn(t, "2025-06-20 00:00")
	h.moves(prompt, done, time.Time{})
	h.now = vn(t, "2025-06-21 00:00")
	h.moves(prompt, open, time.Time{})
	h.wantDue(prompt, "2025-06-27 00:00") // The Friday between does not count.
}

// Protects the warnings: at 50, 75, 90 and 100 per cent, each once and to the right phones, none of a task that has ended or
// stands still, and a server that was down warns of the last share only.
func TestWarnings(t *testing.T) {
	h := seeded(t, "2025-06-09 09:00")
	must(t)(h.PutMember(h.as(admin), &fieldsyncv1.PutMemberRequest{Member: &fieldsyncv1.Member{
		Id: "lan", Name: "Lan", Role: fieldsyncv1.Role_ROLE_DISPATCHER, UnitId: "p-sai-gon",
	}}))
	h.device("crew-phone", "minh", "cay-xanh", nil)
	h.update(func(tx *store.Tx) error {
		if err := store.Put(tx, store.MemberDeviceKey("lan", "desk"), &storagev1.Device{Id: "desk"}); err != nil {
			return err
		}
		return store.Put(tx, store.DeviceKey("desk"), &storagev1.Device{Id: "desk", MemberId: "lan", Push: &storagev1.PushAddress{Value: "x"}})
	})
	task := h.taskOf("suggestion", 0) // 15 days, and nothing escalates it: due 2025-07-01 00:00.
	h.assign(task, "cay-xanh")
	h.moves(task, fieldsyncv1.TaskState_TASK_STATE_STARTED, time.Time{})
	h.clearOutbox()
	for _, step := range []struct {
		at             string
		warned         uint32
		toDesk, toTeam bool
	}{
		{"2025-06-19 11:59", 0, false, false},
		{"2025-06-19 12:00", 50, true, false},
		{"2025-06-25 06:00", 75, true, true},
		{"2025-06-27 11:59", 75, false, false},
		{"2025-06-27 12:00", 90, true, true},
		{"2025-07-01 00:00", 100, true, true},
		{"2025-07-02 00:00", 100, false, false},
	} {
		h.now = vn(t, step.at)
		h.fire()
		hints := h.hints()
		if got := h.record(task).GetClock().GetWarnedPercent(); got != step.warned || hints["desk"] != step.toDesk || hints["crew-phone"] != step.toTeam {
			t.Errorf("%s: warned at %d, pushes %v; want %+v", step.at, got, hints, step)
		}
		for device, reminder := range h.reminders() {
			if !reminder {
				t.Errorf("%s: %s is told of a new task", step.at, device)
			}
		}
		h.clearOutbox()
	}
	if !h.record(task).GetClock().GetLate() {
		t.Error("a task whose time is over is not late")
	}
	// The server is down over two shares; another task ends, a third one stands still.
	down, ended, paused := h.taskOf("suggestion", 0), h.taskOf("suggestion", 0), h.taskOf("suggestion", 0)
	h.moves(ended, fieldsyncv1.TaskState_TASK_STATE_DONE, time.Time{})
	must(t)(h.PauseDeadline(h.as(saigonDesk), &fieldsyncv1.PauseDeadlineRequest{TaskId: paused, Reason: "x", Until: timestamppb.New(vn(t, "2025-08-01 00:00"))}))
	h.now = vn(t, "2025-07-18 00:00")
	h.fire()
	for id, want := range map[string]uint32{down: 75, ended: 0, paused: 0} {
		if got := h.record(id).GetClock().GetWarnedPercent(); got != want {
			t.Errorf("warned at %d, want %d", got, want)
		}
	}
}
