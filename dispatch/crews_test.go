package dispatch

import (
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
)

// dated puts the crew cay-xanh with these dates, nil for none.
func (h *house) dated(from, until *time.Time) (*fieldsyncv1.PutCrewResponse, error) {
	crew := &fieldsyncv1.Crew{Id: "cay-xanh", UnitId: "p-sai-gon", Name: "Cây xanh"}
	if from != nil {
		crew.ValidFrom = timestamppb.New(*from)
	}
	if until != nil {
		crew.ValidUntil = timestamppb.New(*until)
	}
	return h.PutCrew(h.as(saigonDesk), &fieldsyncv1.PutCrewRequest{Crew: crew})
}

func (h *house) give(task, crew string) error {
	_, err := h.AssignTask(h.as(saigonDesk), &fieldsyncv1.AssignTaskRequest{TaskId: task, CrewId: crew})
	return err
}

func (h *house) suggested(task string) (crews []string) {
	h.t.Helper()
	got, err := h.SuggestCrews(h.as(saigonDesk), &fieldsyncv1.SuggestCrewsRequest{TaskId: task})
	wantCode(h.t, err, "")
	for _, s := range got.GetSuggestions() {
		crews = append(crews, s.GetCrew().GetId())
	}
	return crews
}

// Protects the closing of a crew: from its last moment on nobody can give it a task or a member, one by one, in a batch or by a
// suggestion; what it holds is named and stays with it until it is given to others; a repeat of what was ordered before is no error; and
// it can be opened again.
func TestClosedCrew(t *testing.T) {
	h := newHouse(t)
	held, free := h.assigned("p-sai-gon", "cay-xanh").GetId(), h.task("p-sai-gon").GetId()
	called := h.assigned("p-sai-gon", "cay-xanh").GetId()
	must(t)(h.CancelTask(h.as(saigonDesk), &fieldsyncv1.CancelTaskRequest{TaskId: called, Reason: "trùng"}))
	h.device("phone-a", "minh", "cay-xanh", nil)

	tomorrow, yesterday := h.now.Add(24*time.Hour), h.now.Add(-24*time.Hour)
	for _, dates := range [][2]*time.Time{{&tomorrow, &yesterday}, {&tomorrow, &tomorrow}} {
		_, err := h.dated(dates[0], dates[1])
		wantCode(t, err, "crew_validity")
	}
	closing, err := h.dated(nil, &tomorrow)
	wantCode(t, err, "")
	if !slices.Equal(closing.GetHeldTaskIds(), []string{held}) {
		t.Errorf("it is said to hold %v, want %s", closing.GetHeldTaskIds(), held)
	}
	if !slices.Contains(h.suggested(free), "cay-xanh") {
		t.Error("it is not suggested on its last day")
	}

	h.now = tomorrow
	if crews := h.suggested(free); slices.Contains(crews, "cay-xanh") || !slices.Contains(crews, "chieu-sang") {
		t.Errorf("suggested are %v", crews)
	}
	before := h.record(free)
	wantCode(t, h.give(free, "cay-xanh"), "crew_closed")
	batch, err := h.AssignTasks(h.as(saigonDesk), &fieldsyncv1.AssignTasksRequest{Assignments: []*fieldsyncv1.AssignTaskRequest{
		{TaskId: free, CrewId: "cay-xanh"}, {TaskId: h.task("p-sai-gon").GetId(), CrewId: "chieu-sang"},
	}})
	wantCode(t, err, "")
	if r := batch.GetResults(); r[0].GetError().GetCode() != "crew_closed" || r[1].GetTask() == nil {
		t.Errorf("the batch became %v", r)
	}
	wantEqual(t, "the task that was refused", h.record(free), before)
	wantCode(t, h.give(held, "cay-xanh"), "") // A repeat of the order that it has.
	_, err = h.AssignTask(h.as(saigonDesk), &fieldsyncv1.AssignTaskRequest{TaskId: held, CrewId: "cay-xanh", Instruction: "khác"})
	wantCode(t, err, "crew_closed")
	_, err = h.AssignTask(h.as(choLonDesk), &fieldsyncv1.AssignTaskRequest{TaskId: h.task("p-cho-lon").GetId(), CrewId: "cay-xanh"})
	wantCode(t, err, "crew_unknown") // Another unit hears nothing of its dates.
	join := func(member, crew string) error {
		_, err := h.PutMember(h.as(saigonDesk), &fieldsyncv1.PutMemberRequest{Member: &fieldsyncv1.Member{
			Id: member, Name: "Tên mới", Role: fieldsyncv1.Role_ROLE_CREW, CrewId: crew,
		}})
		return err
	}
	wantCode(t, join("moi", "cay-xanh"), "crew_closed")
	wantCode(t, join("minh", "cay-xanh"), "") // Who is in it may be renamed, and may leave.

	h.wantState(held, assigned, "cay-xanh", 1)
	wantCode(t, h.give(held, "chieu-sang"), "")
	wantCode(t, join("minh", "chieu-sang"), "")
	if closing, err = h.dated(nil, &tomorrow); err != nil || len(closing.GetHeldTaskIds()) != 0 {
		t.Errorf("after all was given away: %v, %v", closing, err)
	}
	later := h.now.Add(time.Hour)
	_, err = h.dated(&later, nil)
	wantCode(t, err, "")
	wantCode(t, h.give(free, "cay-xanh"), "crew_closed")
	_, err = h.dated(nil, nil)
	wantCode(t, err, "")
	wantCode(t, h.give(free, "cay-xanh"), "")
}
