package dispatch

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cong1022/fieldsync/auth"
	"github.com/cong1022/fieldsync/dispatch/calendar"
	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/store"
)

const (
	maxPauses = 50
	maxPause  = 90 * 24 * time.Hour
	// maxDays bounds the days that an explanation tells of.
	maxDays = 400
)

// PauseDeadline approves that a task's clock stands still. Errors: NotFound "task_unknown", Precondition "task_ended",
// "clock_paused", "deadline_none", Invalid "pause_invalid", Exhausted "pauses_full".
func (s *Service) PauseDeadline(ctx context.Context, request *fieldsyncv1.PauseDeadlineRequest) (*fieldsyncv1.PauseDeadlineResponse, error) {
	response := &fieldsyncv1.PauseDeadlineResponse{}
	until := request.GetUntil()
	err := s.changeClock(ctx, request.GetTaskId(), func(tx *store.Tx, p auth.Principal, record *storagev1.TaskRecord, r reading) error {
		clock := record.GetClock()
		switch {
		case !until.IsValid() || !until.AsTime().After(tx.Now()) || until.AsTime().After(tx.Now().Add(maxPause)):
			return fault.New(fault.Invalid, "pause_invalid",
				"Thời điểm hết tạm dừng phải sau lúc này và không quá 90 ngày nữa.", "A pause ends after now and within 90 days.")
		case !r.ended.IsZero():
			return fault.New(fault.Precondition, "task_ended", "Công việc đã kết thúc.", "The task has ended.")
		case clock.GetWorkingDays() == 0:
			return fault.New(fault.Precondition, "deadline_none", "Công việc này không có hạn xử lý.", "The task has no deadline.")
		case stands(r, tx.Now()):
			return fault.New(fault.Precondition, "clock_paused",
				"Thời hạn đang được tạm dừng: hãy cho chạy lại trước.", "The clock stands still already: let it run first.")
		case len(clock.GetPauses()) >= maxPauses:
			return fault.New(fault.Exhausted, "pauses_full", "Công việc đã có 50 lần tạm dừng.", "The task has 50 pauses already.")
		}
		from := tx.Timestamp()
		if status := record.GetTask().GetStatus(); status.GetState() == fieldsyncv1.TaskState_TASK_STATE_PAUSED {
			from = status.GetSince()
		}
		response.Pause = &fieldsyncv1.DeadlinePause{
			From: from, Until: until, Reason: request.GetReason(), ByMemberId: p.MemberID, ApprovedAt: tx.Timestamp(),
		}
		clock.Pauses = append(clock.Pauses, response.GetPause())
		return nil
	}, &response.DueAt)
	if err != nil {
		return nil, err
	}
	return response, nil
}

// ResumeDeadline lets a task's clock run again. Errors: NotFound "task_unknown".
func (s *Service) ResumeDeadline(ctx context.Context, request *fieldsyncv1.ResumeDeadlineRequest) (*fieldsyncv1.ResumeDeadlineResponse, error) {
	response := &fieldsyncv1.ResumeDeadlineResponse{}
	err := s.changeClock(ctx, request.GetTaskId(), func(tx *store.Tx, _ auth.Principal, record *storagev1.TaskRecord, _ reading) error {
		for _, pause := range record.GetClock().GetPauses() {
			if pause.GetEndedAt() == nil && pause.GetUntil().AsTime().After(tx.Now()) {
				pause.EndedAt = tx.Timestamp()
			}
		}
		return nil
	}, &response.DueAt)
	if err != nil {
		return nil, err
	}
	return response, nil
}

// changeClock lets change work on the clock of a task that the caller dispatches, and stores what the deadline comes to.
func (s *Service) changeClock(ctx context.Context, id string,
	change func(*store.Tx, auth.Principal, *storagev1.TaskRecord, reading) error, due **timestamppb.Timestamp,
) error {
	p, err := dispatcher(ctx)
	if err != nil {
		return err
	}
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		record, err := p.LoadTask(tx, id)
		if err != nil {
			return err
		}
		if err := s.startClock(tx, record); err != nil {
			return err
		}
		c, err := s.calendars.load(tx, record.GetClock().GetCalendarVersion())
		if err != nil {
			return err
		}
		if err := change(tx, p, record, read(c, record, byArrival)); err != nil {
			return err
		}
		revision, before := record.GetTask().GetRevision(), record.GetClock().GetDueAt()
		if err := s.judge(tx, record); err != nil {
			return err
		}
		*due = record.GetClock().GetDueAt()
		if a := record.GetTask().GetAssignment(); a != nil && a.GetDueAt() == nil && !proto.Equal(before, *due) {
			a.Revision = store.NextRevision(record) // The board shows the clock's time where nobody was told one: it is to hear of this.
		}
		if record.GetTask().GetRevision() == revision { // The crew was told no due time that has moved.
			return store.Put(tx, store.TaskKey(id), record)
		}
		return store.SaveTask(tx, record, 0)
	})
	if err == nil {
		s.log.InfoContext(ctx, "deadline changed", "task", id, "due", (*due).AsTime(), "by", p.MemberID)
	}
	return err
}

// stands tells whether a clock stands still at a moment.
func stands(r reading, at time.Time) bool {
	for _, pause := range r.clock.Pauses {
		if !at.Before(pause.From) && at.Before(pause.Until) {
			return true
		}
	}
	return false
}

// ExplainDeadline tells how a task's deadline comes about. Errors: NotFound "task_unknown".
func (s *Service) ExplainDeadline(ctx context.Context, request *fieldsyncv1.ExplainDeadlineRequest) (*fieldsyncv1.ExplainDeadlineResponse, error) {
	p, err := dispatcher(ctx)
	if err != nil {
		return nil, err
	}
	var response *fieldsyncv1.ExplainDeadlineResponse
	// An Update, for a task that has no clock yet is given one as it would be by the next order; nothing of it is kept.
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		record, err := p.LoadTask(tx, request.GetTaskId())
		if err != nil {
			return err
		}
		if err := s.startClock(tx, record); err != nil {
			return err
		}
		if response, err = s.explain(tx, record); err != nil {
			return err
		}
		return errNotKept
	})
	if err != errNotKept { //nolint:errorlint // The store hands an error of the function back as it is.
		return nil, err
	}
	return response, nil
}

// errNotKept ends a transaction that was only to look.
var errNotKept = fmt.Errorf("dispatch: nothing is to be kept")

func (s *Service) explain(tx *store.Tx, record *storagev1.TaskRecord) (*fieldsyncv1.ExplainDeadlineResponse, error) {
	clock, ticket := record.GetClock(), record.GetTask().GetTicket()
	response := &fieldsyncv1.ExplainDeadlineResponse{
		TaskId: record.GetTask().GetId(), HotlineId: ticket.GetHotlineId(), Category: ticket.GetCategory(),
		WorkingDays: clock.GetWorkingDays(), StartedAt: clock.GetStartedAt(), CalendarVersion: clock.GetCalendarVersion(),
		WarnedPercent: clock.GetWarnedPercent(),
	}
	var err error
	if response.NewestCalendarVersion, err = newestCalendar(tx); err != nil {
		return nil, err
	}
	c, err := s.calendars.load(tx, clock.GetCalendarVersion())
	if err != nil {
		return nil, err
	}
	newest, err := s.calendars.load(tx, response.GetNewestCalendarVersion())
	if err != nil {
		return nil, err
	}
	arrival := read(c, record, byArrival)
	for i, pause := range clock.GetPauses() {
		shown := proto.CloneOf(pause)
		if ended := arrival.clock.Pauses[i].Until; ended.Before(pause.GetUntil().AsTime()) {
			shown.EndedAt = timestamppb.New(ended)
		}
		response.Pauses = append(response.Pauses, shown)
	}
	if clock.GetWorkingDays() == 0 {
		return response, nil
	}
	if arrival.dated {
		response.DueAt = timestamppb.New(arrival.due)
	}
	if other := read(newest, record, byArrival); other.dated != arrival.dated || !other.due.Equal(arrival.due) {
		response.DueByNewest = timestamppb.New(other.due)
	}
	now := tx.Now()
	response.ByArrival = showReading(arrival, now)
	if account := showReading(read(c, record, byAccount), now); !proto.Equal(account, response.GetByArrival()) {
		response.ByAccount = account
	}
	response.Days, response.YearUnknown = showDays(arrival, now)
	return response, nil
}

func showReading(r reading, now time.Time) *fieldsyncv1.DeadlineReading {
	shown := &fieldsyncv1.DeadlineReading{
		Used: durationpb.New(r.calendar.Used(r.clock, r.at(now))), Total: durationpb.New(r.clock.Total()),
		Late: r.late(now), Paused: r.ended.IsZero() && stands(r, now),
	}
	if r.dated {
		shown.DueAt = timestamppb.New(r.due)
	}
	if !r.ended.IsZero() {
		shown.EndedAt = timestamppb.New(r.ended)
	}
	return shown
}

// showDays tells of every day from the start to the due day.
func showDays(r reading, now time.Time) (days []*fieldsyncv1.DeadlineDay, unknown bool) {
	last := r.at(now)
	if r.dated {
		last = r.due
	}
	number := uint32(0)
	for d := range r.calendar.Each(r.clock) {
		if !d.First && !d.Day.Start().Before(last) || len(days) == maxDays {
			break
		}
		shown := &fieldsyncv1.DeadlineDay{Date: d.Day.String(), Working: d.Verdict.Working, Counted: durationpb.New(d.Counts(last))}
		if row := d.Verdict.Row; row != nil {
			shown.Kind, shown.Source = fieldsyncv1.DayKind(row.Kind), row.Source //nolint:gosec // One of three.
		}
		if shown.GetCounted().AsDuration() > 0 {
			number++
			shown.Number = number
		}
		unknown = unknown || !d.Verdict.Known
		shown.Why = why(d, shown)
		days = append(days, shown)
	}
	return days, unknown
}

var weekdaysVi = [...]string{"Chủ nhật", "thứ Hai", "thứ Ba", "thứ Tư", "thứ Năm", "thứ Sáu", "thứ Bảy"}

// why says for people what a day counts.
func why(d calendar.Counted, shown *fieldsyncv1.DeadlineDay) *fieldsyncv1.Sentence {
	vi, en := weekdaysVi[d.Day.Weekday()], d.Day.Weekday().String()
	if row := d.Verdict.Row; row != nil {
		vi, en = vi+", "+row.Vi, en+", "+row.En
	}
	counted := shown.GetCounted().AsDuration()
	switch {
	case d.First:
		return &fieldsyncv1.Sentence{Vi: vi + ": ngày tiếp nhận, không tính", En: en + ": the day of the report, not counted"}
	case !d.Verdict.Working && d.Verdict.Row == nil:
		return &fieldsyncv1.Sentence{Vi: vi + ": nghỉ cuối tuần, không tính", En: en + ": weekend, not counted"}
	case !d.Verdict.Working:
		return &fieldsyncv1.Sentence{Vi: vi + ": ngày nghỉ, không tính", En: en + ": a day off, not counted"}
	case counted == 24*time.Hour:
		return &fieldsyncv1.Sentence{
			Vi: fmt.Sprintf("%s: ngày làm việc thứ %d", vi, shown.GetNumber()), En: fmt.Sprintf("%s: working day %d", en, shown.GetNumber()),
		}
	case counted == 0:
		return &fieldsyncv1.Sentence{Vi: vi + ": tạm dừng, không tính", En: en + ": paused, not counted"}
	default:
		part := spoken(counted)
		return &fieldsyncv1.Sentence{Vi: vi + ": tính " + part.GetVi(), En: en + ": " + part.GetEn() + " counted"}
	}
}

// spoken says a part of a day for people, to the minute and never more than it is: what is left of a day is no whole one.
func spoken(d time.Duration) *fieldsyncv1.Sentence {
	hours, minutes := int(d/time.Hour), int(d%time.Hour/time.Minute)
	switch {
	case d < time.Minute:
		return &fieldsyncv1.Sentence{Vi: "dưới 1 phút", En: "less than 1 min"}
	case hours == 0:
		return &fieldsyncv1.Sentence{Vi: fmt.Sprintf("%d phút", minutes), En: fmt.Sprintf("%d min", minutes)}
	case minutes == 0:
		return &fieldsyncv1.Sentence{Vi: fmt.Sprintf("%d giờ", hours), En: fmt.Sprintf("%d h", hours)}
	default:
		return &fieldsyncv1.Sentence{Vi: fmt.Sprintf("%d giờ %d phút", hours, minutes), En: fmt.Sprintf("%d h %d min", hours, minutes)}
	}
}
