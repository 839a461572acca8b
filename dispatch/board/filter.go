package board

import (
	"slices"
	"time"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
)

// newFilter makes of a filter what decides on a row. Invalid "box_invalid", "due_before_invalid".
func newFilter(f *fieldsyncv1.BoardFilter, now time.Time) (keep func(*row) bool, err error) {
	box := f.GetBox()
	if box != nil && (box.GetSouth() > box.GetNorth() || box.GetWest() > box.GetEast()) {
		return nil, fault.New(fault.Invalid, "box_invalid",
			"Khung bản đồ không hợp lệ: nam phải dưới bắc, tây phải trước đông.",
			"The map box is wrong: south must be below north, and west before east.")
	}
	if f.GetDueBefore() != nil && !f.GetDueBefore().IsValid() {
		return nil, fault.New(fault.Invalid, "due_before_invalid", "Thời điểm đến hạn không hợp lệ.", "due_before is not a valid time.")
	}
	search := newQuery(f.GetText())
	return func(r *row) bool {
		switch {
		case len(f.GetStates()) > 0 && !slices.Contains(f.GetStates(), r.GetState()),
			len(f.GetStates()) == 0 && !underWay(r.GetState()) && r.GetState() != fieldsyncv1.TaskState_TASK_STATE_DONE,
			len(f.GetUrgencies()) > 0 && !slices.Contains(f.GetUrgencies(), r.GetUrgency()),
			!among(f.GetUnitIds(), r.GetUnitId()), !among(f.GetCrewIds(), r.GetCrewId()), !among(f.GetCategories(), r.GetCategory()),
			f.GetDueBefore() != nil && (r.GetDueAt() == nil || !r.GetDueAt().AsTime().Before(f.GetDueBefore().AsTime())),
			f.GetOverdue() && !r.overdue(now), f.GetUnseen() && !r.GetUnseen(), f.GetReview() && !r.GetReview(),
			box != nil && !within(box, r.GetPosition()):
			return false
		}
		return search.finds(r)
	}, nil
}

func among(wanted []string, value string) bool {
	return len(wanted) == 0 || slices.Contains(wanted, value)
}

func within(box *fieldsyncv1.MapBox, at *fieldsyncv1.Position) bool {
	return at != nil && at.GetLatitude() >= box.GetSouth() && at.GetLatitude() <= box.GetNorth() &&
		at.GetLongitude() >= box.GetWest() && at.GetLongitude() <= box.GetEast()
}
