package dispatch

import (
	"context"
	"slices"
	"time"

	"github.com/cong1022/fieldsync/dispatch/calendar"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/store"
)

// PutCrewWork says what a crew can do and when it works. Errors: NotFound "crew_unknown", Invalid "shift_invalid",
// "category_unknown".
func (s *Service) PutCrewWork(ctx context.Context, request *fieldsyncv1.PutCrewWorkRequest) (*fieldsyncv1.PutCrewWorkResponse, error) {
	p, err := dispatcher(ctx)
	if err != nil {
		return nil, err
	}
	work := request.GetWork()
	for _, shift := range work.GetShifts() {
		if err := checkShift(shift); err != nil {
			return nil, err
		}
	}
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		if err := seenCrew(tx, p, work.GetCrewId()); err != nil {
			return err
		}
		for _, skill := range work.GetSkills() {
			category, err := Category(tx, skill)
			if err != nil {
				return err
			}
			if category == nil {
				return categoryUnknown(skill)
			}
		}
		return store.Put(tx, store.CrewWorkKey(work.GetCrewId()), work)
	})
	if err != nil {
		return nil, err
	}
	s.log.InfoContext(ctx, "crew's work put", "crew", work.GetCrewId(), "skills", len(work.GetSkills()), "shifts", len(work.GetShifts()), "by", p.MemberID)
	return &fieldsyncv1.PutCrewWorkResponse{Work: work}, nil
}

// GetCrewWork tells what a crew can do and when it works. Errors: NotFound "crew_unknown".
func (s *Service) GetCrewWork(ctx context.Context, request *fieldsyncv1.GetCrewWorkRequest) (*fieldsyncv1.GetCrewWorkResponse, error) {
	p, err := dispatcher(ctx)
	if err != nil {
		return nil, err
	}
	response := &fieldsyncv1.GetCrewWorkResponse{}
	return response, s.store.View(ctx, func(tx *store.Tx) error {
		if err := seenCrew(tx, p, request.GetCrewId()); err != nil {
			return err
		}
		work, err := store.Get(tx, store.CrewWorkKey(request.GetCrewId()))
		if work == nil {
			work = &fieldsyncv1.CrewWork{CrewId: request.GetCrewId()}
		}
		response.Work, response.OnShift = work, onShift(work, tx.Now())
		return err
	})
}

// canDo tells whether a crew has the skill for a category. One of which nothing was said can do all.
func canDo(work *fieldsyncv1.CrewWork, category string) bool {
	return len(work.GetSkills()) == 0 || slices.Contains(work.GetSkills(), category)
}

// onShift tells whether a crew works at a moment. One of which nothing was said always does.
func onShift(work *fieldsyncv1.CrewWork, at time.Time) bool {
	return len(work.GetShifts()) == 0 || slices.ContainsFunc(work.GetShifts(), func(shift *fieldsyncv1.Shift) bool {
		today := calendar.DayOf(at)
		return within(shift, today, at) || within(shift, today.Add(-1), at) // One that began yesterday may last until now.
	})
}

// within tells whether a moment lies in the shift that begins on a day.
func within(shift *fieldsyncv1.Shift, day calendar.Day, at time.Time) bool {
	isDay := func(weekday uint32) bool { return time.Weekday(weekday%7) == day.Weekday() } // 7 for Sunday.
	begins := day.String()
	if !slices.ContainsFunc(shift.GetWeekdays(), isDay) || begins < shift.GetFirstDay() || (shift.GetLastDay() != "" && begins > shift.GetLastDay()) {
		return false
	}
	from, to := day.Start().Add(clock(shift.GetFrom())), day.Start().Add(clock(shift.GetTo()))
	if !from.Before(to) {
		to = to.AddDate(0, 0, 1)
	}
	return !at.Before(from) && at.Before(to)
}

// clock is how long after midnight a time such as "07:30" is. The proto's rules have checked the form.
func clock(text string) time.Duration {
	t, err := time.Parse("15:04", text)
	if err != nil {
		return 0
	}
	return time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute
}

func checkShift(shift *fieldsyncv1.Shift) error {
	for _, day := range []string{shift.GetFirstDay(), shift.GetLastDay()} {
		if day == "" {
			continue
		}
		if _, err := calendar.ParseDay(day); err != nil {
			return shiftInvalid("ngày "+day+" không có thật", "the day "+day+" does not exist")
		}
	}
	if shift.GetLastDay() != "" && shift.GetLastDay() < shift.GetFirstDay() {
		return shiftInvalid("ngày cuối trước ngày đầu", "its last day comes before its first")
	}
	return nil
}

func shiftInvalid(vi, en string) error {
	return fault.New(fault.Invalid, "shift_invalid", "Ca làm việc không hợp lệ: "+vi+".", "The shift is not valid: "+en+".")
}

func categoryUnknown(id string) error {
	return fault.New(fault.Invalid, "category_unknown",
		"Không có loại việc "+id+": hãy xem danh sách loại việc.", "There is no category "+id+": see the list of categories.")
}
