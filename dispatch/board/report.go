package board

import (
	"cmp"
	"context"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cong1022/fieldsync/auth"
	"github.com/cong1022/fieldsync/dispatch/calendar"
	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/store"
)

// cutoff is when a reporting month ends.
type cutoff struct{ day, hour int }

// month returns the time that the report of a month covers: from the cutoff in the month before it to that in its own.
func (c cutoff) month(year int, month time.Month) (from, until time.Time) {
	return time.Date(year, month-1, c.day, c.hour, 0, 0, 0, calendar.Zone), time.Date(year, month, c.day, c.hour, 0, 0, 0, calendar.Zone)
}

// running returns the month that a moment belongs to.
func (c cutoff) running(now time.Time) (year int, month time.Month) {
	year, month, _ = now.In(calendar.Zone).Date()
	if _, until := c.month(year, month); !now.Before(until) {
		month++
	}
	return year, month
}

// GetMonthlyReport implements the RPC of that name.
func (s *Service) GetMonthlyReport(ctx context.Context, req *fieldsyncv1.GetMonthlyReportRequest) (*fieldsyncv1.GetMonthlyReportResponse, error) {
	p, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	year, month := s.cutoff.running(s.store.Now())
	if req.GetMonth() != "" {
		t, err := time.Parse("2006-01", req.GetMonth())
		if err != nil {
			return nil, fault.New(fault.Invalid, "month_invalid",
				"Tháng không hợp lệ: viết như 2026-11.", "No such month: write it as 2026-11.")
		}
		year, month = t.Year(), t.Month()
	}
	from, until := s.cutoff.month(year, month)
	resp := &fieldsyncv1.GetMonthlyReportResponse{From: timestamppb.New(from), Until: timestamppb.New(until)}
	return resp, s.store.View(ctx, func(tx *store.Tx) error {
		r := report{tx: tx, caller: p, from: from, until: until, units: make(map[string]*unitReport)}
		if err := r.received(); err != nil {
			return err
		}
		if err := r.ended(); err != nil {
			return err
		}
		resp.Units, err = r.shown()
		return err
	})
}

// report is one report in the making, from one snapshot.
type report struct {
	tx          *store.Tx
	caller      auth.Principal
	from, until time.Time
	units       map[string]*unitReport
}

type unitReport struct {
	*fieldsyncv1.UnitReport

	hours []float64
}

// unit is the unit's part, nil where the caller may not see it.
func (r *report) unit(id string) *unitReport {
	if !r.caller.SeesUnit(id) {
		return nil
	}
	u := r.units[id]
	if u == nil {
		u = &unitReport{UnitReport: &fieldsyncv1.UnitReport{UnitId: id}}
		r.units[id] = u
	}
	return u
}

// received counts the tickets that were reported within the time.
func (r *report) received() error {
	for stub, err := range store.Scan(r.tx, store.TicketsReported(), store.TicketReportedKey(r.from.Add(-1), "\x7f")) {
		if err != nil {
			return err
		}
		if !stub.GetFacts().GetReportedAt().AsTime().Before(r.until) {
			return nil
		}
		ticket, err := store.Get(r.tx, store.TicketKey(stub.GetId()))
		if err != nil {
			return err
		}
		u := r.unit(ticket.GetFacts().GetUnitId())
		if u == nil {
			continue
		}
		u.Received++
		task, err := r.task(ticket)
		if err != nil {
			return err
		}
		switch {
		case task != nil && !underWay(task.GetStatus().GetState()):
		case task == nil && (ticket.GetClosedAt() != nil || ticket.GetWithdrawnAt() != nil): // A duplicate, or taken back.
		default:
			u.ReceivedOpen++
		}
	}
	return nil
}

func (r *report) task(ticket *storagev1.Ticket) (*fieldsyncv1.Task, error) {
	if ticket.GetTaskId() == "" {
		return nil, nil //nolint:nilnil // A ticket may have no task.
	}
	record, err := store.Get(r.tx, store.TaskKey(ticket.GetTaskId()))
	return record.GetTask(), err
}

// ended counts the tasks that came to their end within the time, each once, as the server accepted it. An end from which the task was
// opened again is none: else closing early would pay.
func (r *report) ended() error {
	ends := make(map[string]*fieldsyncv1.TicketChange)
	for stub, err := range store.Scan(r.tx, store.TicketChangesAt(), store.TicketChangeAtKey(r.from.Add(-1), ^uint64(0))) {
		if err != nil {
			return err
		}
		change, err := store.Get(r.tx, store.TicketChangeKey(stub.GetSequence()))
		if err != nil {
			return err
		}
		if !change.GetAt().AsTime().Before(r.until) {
			break
		}
		if change.GetKind() != fieldsyncv1.TicketChangeKind_TICKET_CHANGE_KIND_STATUS || change.GetState() == change.GetFromState() {
			continue
		}
		switch state := change.GetState(); {
		case state == fieldsyncv1.TaskState_TASK_STATE_DONE, state == fieldsyncv1.TaskState_TASK_STATE_CANCELLED:
			ends[change.GetTicketId()] = change
		case underWay(state):
			delete(ends, change.GetTicketId())
		}
	}
	for _, change := range ends {
		if err := r.end(change, change.GetState() == fieldsyncv1.TaskState_TASK_STATE_DONE); err != nil {
			return err
		}
	}
	return nil
}

func (r *report) end(change *fieldsyncv1.TicketChange, done bool) error {
	ticket, err := store.Get(r.tx, store.TicketKey(change.GetTicketId()))
	if err != nil {
		return err
	}
	u := r.unit(ticket.GetFacts().GetUnitId())
	if u == nil {
		return nil
	}
	if !done {
		u.Cancelled++
		return nil
	}
	task, err := r.task(ticket)
	if err != nil {
		return err
	}
	u.Done++
	due, at := task.GetAssignment().GetDueAt(), change.GetAt().AsTime()
	if due == nil || !at.After(due.AsTime()) {
		u.DoneInTime++
	} else {
		u.DoneLate++
	}
	if change.GetOutcome() == fieldsyncv1.Outcome_OUTCOME_NOTHING_FOUND {
		u.NothingFound++
	}
	if reported := ticket.GetFacts().GetReportedAt(); reported != nil {
		u.hours = append(u.hours, at.Sub(reported.AsTime()).Hours())
	}
	return nil
}

func (r *report) shown() ([]*fieldsyncv1.UnitReport, error) {
	var reports []*fieldsyncv1.UnitReport
	for _, u := range r.units {
		unit, err := store.Get(r.tx, store.UnitKey(u.GetUnitId()))
		if err != nil {
			return nil, err
		}
		u.UnitName = unit.GetName()
		if slices.Sort(u.hours); len(u.hours) > 0 {
			u.MedianHours = (u.hours[(len(u.hours)-1)/2] + u.hours[len(u.hours)/2]) / 2
		}
		reports = append(reports, u.UnitReport)
	}
	slices.SortFunc(reports, func(a, b *fieldsyncv1.UnitReport) int { return cmp.Compare(a.GetUnitId(), b.GetUnitId()) })
	return reports, nil
}
