package dispatch

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/cong1022/fieldsync/auth"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/geo"
	"github.com/cong1022/fieldsync/store"
)

const (
	defaultSuggestions = 5
	// What a crew can score in each respect; together 100.
	unitPoints, skillPoints, shiftPoints, loadPoints, distancePoints, phonePoints = 30, 25, 15, 10, 10, 10
	// anyPoints are those of a crew of which no skills are told: it can do the task, but one that is trained for it goes before.
	anyPoints = 15
	// fullLoad is from how many open tasks on a crew gets no points for its load.
	fullLoad = 20
	// farAway is from how many metres on it gets none for its distance.
	farAway = 5000.0
	// consideredTasks bounds how many of a crew's tasks are looked at to tell where it is.
	consideredTasks = 50
	// phoneFresh is how recently a crew's phone must have been heard of to count as in reach.
	phoneFresh = time.Hour
)

// SuggestCrews proposes crews for a task. Errors: NotFound "task_unknown", Precondition "task_ended".
func (s *Service) SuggestCrews(ctx context.Context, request *fieldsyncv1.SuggestCrewsRequest) (*fieldsyncv1.SuggestCrewsResponse, error) {
	p, err := dispatcher(ctx)
	if err != nil {
		return nil, err
	}
	response := &fieldsyncv1.SuggestCrewsResponse{}
	err = s.store.View(ctx, func(tx *store.Tx) error {
		record, err := p.LoadTask(tx, request.GetTaskId())
		if err != nil {
			return err
		}
		if _, err := (order{}).admit(record.GetTask(), false); err != nil {
			return err
		}
		response.Suggestions, err = suggest(tx, p, record.GetTask())
		return err
	})
	limit := int(request.GetLimit())
	if limit == 0 {
		limit = defaultSuggestions
	}
	response.Suggestions = response.GetSuggestions()[:min(limit, len(response.GetSuggestions()))]
	return response, err
}

func suggest(tx *store.Tx, p auth.Principal, task *fieldsyncv1.Task) ([]*fieldsyncv1.Suggestion, error) {
	var suggestions []*fieldsyncv1.Suggestion
	for crew, err := range store.Scan(tx, store.Crews(), nil) {
		if err != nil {
			return nil, err
		}
		if !p.SeesUnit(crew.GetUnitId()) || !takes(crew, tx.Now()) || crew.GetId() == task.GetAssignment().GetCrewId() {
			continue
		}
		rated, err := rate(tx, crew, task)
		if err != nil {
			return nil, err
		}
		suggestions = append(suggestions, rated)
	}
	slices.SortStableFunc(suggestions, func(a, b *fieldsyncv1.Suggestion) int { return cmp.Compare(b.GetScore(), a.GetScore()) })
	return suggestions, nil
}

// rating collects what speaks for a crew and against it.
type rating struct {
	points  float64
	reasons []*fieldsyncv1.Finding
}

func (r *rating) say(points float64, code, vi, en string, figures ...*fieldsyncv1.Figure) {
	r.points += points
	r.reasons = append(r.reasons, &fieldsyncv1.Finding{Code: code, Sentence: &fieldsyncv1.Sentence{Vi: vi, En: en}, Figures: figures})
}

func rate(tx *store.Tx, crew *fieldsyncv1.Crew, task *fieldsyncv1.Task) (*fieldsyncv1.Suggestion, error) {
	var r rating
	if crew.GetUnitId() == task.GetTicket().GetUnitId() {
		r.say(unitPoints, "unit_own", "Thuộc đơn vị của phiếu.", "Belongs to the ticket's unit.")
	} else {
		r.say(0, "unit_other", "Thuộc đơn vị khác.", "Belongs to another unit.")
	}
	work, err := store.Get(tx, store.CrewWorkKey(crew.GetId()))
	if err != nil {
		return nil, err
	}
	if err := r.skill(tx, work, task.GetTicket().GetCategory()); err != nil {
		return nil, err
	}
	r.shift(work, tx.Now())
	head, err := store.Head(tx, store.CrewScope(crew.GetId()))
	if err != nil {
		return nil, err
	}
	load := float64(head.GetTasks())
	r.say(loadPoints*(1-min(load, fullLoad)/fullLoad), "load",
		fmt.Sprintf("Đang có %.0f việc.", load), fmt.Sprintf("Tasks that it has: %.0f.", load), &fieldsyncv1.Figure{Name: "tasks", Value: load})
	if err := r.distance(tx, crew, task); err != nil {
		return nil, err
	}
	if err := r.phones(tx, crew); err != nil {
		return nil, err
	}
	return &fieldsyncv1.Suggestion{Crew: crew, Score: uint32(math.Round(r.points)), Reasons: r.reasons}, nil
}

// skill tells whether the crew can do this kind of work.
func (r *rating) skill(tx *store.Tx, work *fieldsyncv1.CrewWork, id string) error {
	category, err := Category(tx, id)
	if err != nil {
		return err
	}
	vi, en := id, id
	if category != nil {
		vi, en = category.GetName().GetVi(), category.GetName().GetEn()
	}
	switch {
	case len(work.GetSkills()) == 0:
		r.say(anyPoints, "skill_any", "Tổ nhận mọi loại việc.", "Takes all kinds of work.")
	case canDo(work, id):
		r.say(skillPoints, "skill_fits", fmt.Sprintf("Chuyên về loại việc này: %s.", vi), fmt.Sprintf("Is trained for this kind of work: %s.", en))
	default:
		r.say(0, "skill_missing", fmt.Sprintf("Không chuyên về loại việc này: %s.", vi), fmt.Sprintf("Is not trained for this kind of work: %s.", en))
	}
	return nil
}

// shift tells whether the crew is at work now.
func (r *rating) shift(work *fieldsyncv1.CrewWork, now time.Time) {
	switch {
	case len(work.GetShifts()) == 0:
		r.say(shiftPoints, "shift_any", "Tổ không có ca cố định.", "Has no fixed shifts.")
	case onShift(work, now):
		r.say(shiftPoints, "shift_on", "Đang trong ca.", "Is on shift.")
	default:
		r.say(0, "shift_off", "Đang ngoài ca.", "Is off shift.")
	}
}

// distance tells how far the crew has to go: from the task that it is at, or else from the nearest of those that it has.
func (r *rating) distance(tx *store.Tx, crew *fieldsyncv1.Crew, task *fieldsyncv1.Task) error {
	to := task.GetTicket().GetPosition()
	if to == nil {
		return nil
	}
	nearest, at := math.Inf(1), false
	looked := 0
	for entry, err := range store.ScanLog(tx, store.CrewScope(crew.GetId()), 0) {
		if err != nil {
			return err
		}
		if entry.GetRemoved() {
			continue
		}
		if looked++; looked > consideredTasks {
			break
		}
		other, err := store.Get(tx, store.TaskKey(entry.GetTaskId()))
		if err != nil {
			return err
		}
		from := other.GetTask().GetTicket().GetPosition()
		if from == nil {
			continue
		}
		metres := geo.Metres(from, to)
		switch started := other.GetTask().GetStatus().GetState() == fieldsyncv1.TaskState_TASK_STATE_STARTED; {
		case started && !at:
			nearest, at = metres, true
		case started == at:
			nearest = min(nearest, metres)
		}
	}
	if math.IsInf(nearest, 1) {
		return nil
	}
	vi, en := "Việc gần nhất của tổ cách %.0f m.", "The crew's nearest task is %.0f m away."
	if at {
		vi, en = "Đang làm việc cách %.0f m.", "At work %.0f m away."
	}
	r.say(distancePoints*(1-min(nearest, farAway)/farAway), "distance", fmt.Sprintf(vi, nearest), fmt.Sprintf(en, nearest),
		&fieldsyncv1.Figure{Name: "distance_m", Value: math.Round(nearest)})
	return nil
}

// phones tells whether the crew has a phone in reach.
func (r *rating) phones(tx *store.Tx, crew *fieldsyncv1.Crew) error {
	var newest time.Time
	phones := 0
	for device, err := range crewDevices(tx, crew.GetId()) {
		if err != nil {
			return err
		}
		phones++
		status, err := store.Get(tx, store.DeviceStatusKey(device.GetId()))
		if err != nil {
			return err
		}
		if seen := status.GetSeenAt(); seen != nil && seen.AsTime().After(newest) {
			newest = seen.AsTime()
		}
	}
	silent := tx.Now().Sub(newest)
	switch {
	case phones == 0:
		r.say(0, "phone_none", "Tổ chưa có máy nào.", "The crew has no phone.")
	case newest.IsZero():
		r.say(0, "phone_silent", "Máy của tổ chưa từng đồng bộ.", "The crew's phones have never synced.")
	case silent < phoneFresh:
		r.say(phonePoints, "phone_fresh", "Máy của tổ vừa đồng bộ.", "The crew's phone has synced within the hour.")
	default:
		r.say(0, "phone_silent", fmt.Sprintf("Máy của tổ im lặng %.0f giờ.", silent.Hours()),
			fmt.Sprintf("The crew's phones have been silent for %.0f hours.", silent.Hours()),
			&fieldsyncv1.Figure{Name: "silent_s", Value: math.Round(silent.Seconds())})
	}
	return nil
}
