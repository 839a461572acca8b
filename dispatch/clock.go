package dispatch

import (
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cong1022/fieldsync/dispatch/calendar"
	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/store"
)

// defaultWorkingDays is what a task has whose category nobody knows.
const defaultWorkingDays = 5

// shares of the working time, in per cent, at which is warned.
var shares = []uint32{50, 75, 90, 100}

// reading is how a task's clock stands by one account of its history.
type reading struct {
	calendar *calendar.Calendar
	clock    calendar.Clock
	// due is when its time is over; dated is false where that is more than ten years away.
	due   time.Time
	dated bool
	// ended is when the work ended, zero while it has not; done is false where it was called off.
	ended time.Time
	done  bool
}

// account tells when a change of state happened.
type account func(*storagev1.StatusChange) time.Time

// byArrival goes by when the server accepted what led there. This one counts.
func byArrival(change *storagev1.StatusChange) time.Time { return change.GetAt().AsTime() }

// byAccount goes by when the crew did it, at the latest, as far as the phone's clocks and the server's bound it.
func byAccount(change *storagev1.StatusChange) time.Time {
	if latest := change.GetHappened().GetLatest(); latest != nil && latest.AsTime().Before(change.GetAt().AsTime()) {
		return latest.AsTime()
	}
	return change.GetAt().AsTime()
}

// read works out how the task's clock stands. It is pure.
func read(c *calendar.Calendar, record *storagev1.TaskRecord, when account) reading {
	r := reading{calendar: c, clock: calendar.Clock{
		Start: record.GetClock().GetStartedAt().AsTime(), Days: int(record.GetClock().GetWorkingDays()),
	}}
	for _, pause := range record.GetClock().GetPauses() {
		r.clock.Pauses = append(r.clock.Pauses, pausedFor(pause, record.GetHistory(), when))
	}
	// What lies between an end and a reopening does not count either.
	for _, change := range record.GetHistory() {
		switch state := change.GetState(); {
		case isEnd(state):
			if r.ended.IsZero() {
				r.ended, r.done = when(change), state != fieldsyncv1.TaskState_TASK_STATE_CANCELLED
			}
		case !r.ended.IsZero():
			r.clock.Pauses = append(r.clock.Pauses, calendar.Span{From: r.ended, Until: when(change)})
			r.ended, r.done = time.Time{}, false
		}
	}
	if r.clock.Days > 0 {
		r.due, r.dated = c.Due(r.clock)
	}
	return r
}

// pausedFor is how long an approved pause held: until its end, until somebody let the clock run, or until the work went on.
func pausedFor(pause *fieldsyncv1.DeadlinePause, history []*storagev1.StatusChange, when account) calendar.Span {
	span := calendar.Span{From: pause.GetFrom().AsTime(), Until: pause.GetUntil().AsTime()}
	if ended := pause.GetEndedAt(); ended != nil && ended.AsTime().Before(span.Until) {
		span.Until = ended.AsTime()
	}
	began := span.From
	for _, change := range history {
		at := change.GetAt().AsTime()
		if at.Equal(began) && change.GetState() == fieldsyncv1.TaskState_TASK_STATE_PAUSED {
			span.From = when(change)
		}
		if at.After(began) && (change.GetState() == fieldsyncv1.TaskState_TASK_STATE_STARTED || isEnd(change.GetState())) {
			if went := when(change); went.Before(span.Until) {
				span.Until = went
			}
			break
		}
	}
	if span.Until.Before(span.From) {
		span.Until = span.From
	}
	return span
}

func isEnd(state fieldsyncv1.TaskState) bool {
	return state == fieldsyncv1.TaskState_TASK_STATE_DONE || state == fieldsyncv1.TaskState_TASK_STATE_CLOSED ||
		state == fieldsyncv1.TaskState_TASK_STATE_CANCELLED
}

// at is the moment by which the reading is judged: the end, or now.
func (r reading) at(now time.Time) time.Time {
	if r.ended.IsZero() {
		return now
	}
	return r.ended
}

// late tells whether the end, or now, is after the due time. What was called off is never late.
func (r reading) late(now time.Time) bool {
	switch {
	case !r.dated:
		return false
	case r.ended.IsZero():
		return !now.Before(r.due)
	default:
		return r.done && r.ended.After(r.due)
	}
}

// startClock gives a task that has none the clock of its category, by the newest calendar: both are pinned to it from then on.
func (s *Service) startClock(tx *store.Tx, record *storagev1.TaskRecord) error {
	if record.GetClock() != nil {
		return nil
	}
	ticket := record.GetTask().GetTicket()
	category, err := Category(tx, ticket.GetCategory())
	if err != nil {
		return err
	}
	version, err := newestCalendar(tx)
	if err != nil {
		return err
	}
	record.Clock = &storagev1.TaskClock{StartedAt: tx.Timestamp(), WorkingDays: defaultWorkingDays, CalendarVersion: version}
	if category != nil {
		record.Clock.WorkingDays = category.GetDeadlineWorkingDays()
	}
	if reported := ticket.GetReportedAt(); reported != nil {
		record.Clock.StartedAt = reported
	}
	return s.judge(tx, record)
}

// judge brings what is stored of a task's deadline up to date with its history, and sets the timer of the next warning. The
// caller saves the record.
func (s *Service) judge(tx *store.Tx, record *storagev1.TaskRecord) error {
	clock := record.GetClock()
	if clock == nil || clock.GetWorkingDays() == 0 {
		return nil
	}
	c, err := s.calendars.load(tx, clock.GetCalendarVersion())
	if err != nil {
		return err
	}
	store.NoteState(record, nil)
	arrival, account := read(c, record, byArrival), read(c, record, byAccount)
	before := clock.GetDueAt()
	clock.DueAt, clock.EndedAt = nil, nil
	if arrival.dated {
		clock.DueAt = timestamppb.New(arrival.due)
	}
	if !arrival.ended.IsZero() {
		clock.EndedAt = timestamppb.New(arrival.ended)
	}
	clock.Late = arrival.late(tx.Now())
	clock.InTimeByAccount = clock.GetLate() && arrival.done && !account.late(tx.Now())
	if a := record.GetTask().GetAssignment(); a.GetDueAt() != nil && proto.Equal(a.GetDueAt(), before) && !proto.Equal(before, clock.GetDueAt()) {
		// The crew was told when the task is due, and nobody has told it another time.
		a.DueAt, a.Revision = clock.GetDueAt(), store.NextRevision(record)
	}
	return setWarning(tx, clock, record.GetTask().GetId(), arrival)
}

// setWarning sets the timer of the next share at which is to be warned. One that was set for another time is void.
func setWarning(tx *store.Tx, clock *storagev1.TaskClock, task string, r reading) error {
	for _, share := range shares {
		if share <= clock.GetWarnedPercent() || !r.ended.IsZero() {
			continue
		}
		moment, ok := r.calendar.Moment(r.clock, r.clock.Total()*time.Duration(share)/100)
		if !ok {
			break
		}
		if clock.GetTimerId() != "" && clock.GetTimerAt().AsTime().Equal(moment) {
			return nil
		}
		timer := &storagev1.Timer{TaskId: task, Work: &storagev1.Timer_Deadline{Deadline: &storagev1.DeadlineCheck{}}}
		if err := store.SetTimer(tx, timer, moment); err != nil {
			return err
		}
		clock.TimerId, clock.TimerAt = timer.GetId(), timestamppb.New(moment)
		return nil
	}
	clock.TimerId, clock.TimerAt = "", nil
	return nil
}

// warn looks whether a share of the working time has passed that nobody was warned of, and warns the unit's dispatchers, from
// three quarters on also the crew, and its head once all of it is gone. Each share is warned of once, and of several that have
// passed only the last.
func (s *Service) warn(tx *store.Tx, timer *storagev1.Timer, record *storagev1.TaskRecord) error {
	clock := record.GetClock()
	if clock.GetTimerId() != timer.GetId() {
		return nil
	}
	clock.TimerId, clock.TimerAt = "", nil
	c, err := s.calendars.load(tx, clock.GetCalendarVersion())
	if err != nil {
		return err
	}
	r := read(c, record, byArrival)
	used, passed := c.Used(r.clock, tx.Now()), uint32(0)
	for _, share := range shares {
		if used >= r.clock.Total()*time.Duration(share)/100 {
			passed = share
		}
	}
	if r.ended.IsZero() && passed > clock.GetWarnedPercent() {
		clock.WarnedPercent = passed
		unit := record.GetTask().GetTicket().GetUnitId()
		if _, err := wakeMembers(tx, func(m *fieldsyncv1.Member) bool {
			return dispatchesFor(m, unit) || passed >= 100 && headOf(m, unit)
		}); err != nil {
			return err
		}
		if passed >= 75 {
			if _, err := wakeCrew(tx, record.GetTask(), nil); err != nil {
				return err
			}
		}
	}
	if err := s.judge(tx, record); err != nil {
		return err
	}
	return store.Put(tx, store.TaskKey(record.GetTask().GetId()), record)
}
