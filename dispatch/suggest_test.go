package dispatch

import (
	"testing"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
)

// Protects the advice: of two crews of the ticket's unit, the one that is trained for the work goes before one that takes any, that
// before one that is trained for other work; one off its shift falls back; and each says why in both languages.
func TestSuggestionsKnowSkillsAndShifts(t *testing.T) {
	h := seeded(t, "2026-01-09 21:00") // A Friday.
	must(t)(h.PutCrew(h.as(admin), &fieldsyncv1.PutCrewRequest{Crew: &fieldsyncv1.Crew{Id: "moi-viec", UnitId: "p-sai-gon", Name: "Tổ mọi việc"}}))
	task := h.taskOf("fallen-tree", 0)
	day := []*fieldsyncv1.Shift{{Weekdays: []uint32{1, 2, 3, 4, 5}, From: "07:30", To: "17:00"}}
	night := []*fieldsyncv1.Shift{{Weekdays: []uint32{5}, From: "20:00", To: "04:00"}}
	put := func(crew, skill string, shifts []*fieldsyncv1.Shift) {
		t.Helper()
		must(t)(h.PutCrewWork(h.as(admin), &fieldsyncv1.PutCrewWorkRequest{Work: &fieldsyncv1.CrewWork{CrewId: crew, Skills: []string{skill}, Shifts: shifts}}))
	}
	for name, test := range map[string]struct {
		trees, lights []*fieldsyncv1.Shift
		order         []string
		codes         map[string][2]string
	}{
		"all at work": {night, nil, []string{"cay-xanh", "moi-viec", "chieu-sang"}, map[string][2]string{
			"cay-xanh": {"skill_fits", "shift_on"}, "moi-viec": {"skill_any", "shift_any"}, "chieu-sang": {"skill_missing", "shift_any"},
		}},
		"the trained one at home": {day, night, []string{"moi-viec", "cay-xanh", "chieu-sang"}, map[string][2]string{
			"cay-xanh": {"skill_fits", "shift_off"}, "moi-viec": {"skill_any", "shift_any"}, "chieu-sang": {"skill_missing", "shift_on"},
		}},
	} {
		put("cay-xanh", "fallen-tree", test.trees)
		put("chieu-sang", "lighting", test.lights)
		got, err := h.SuggestCrews(h.as(saigonDesk), &fieldsyncv1.SuggestCrewsRequest{TaskId: task})
		wantCode(t, err, "")
		if len(got.GetSuggestions()) != len(test.order) {
			t.Fatalf("%s: %v", name, got)
		}
		for i, suggestion := range got.GetSuggestions() {
			crew := suggestion.GetCrew().GetId()
			if crew != test.order[i] {
				t.Errorf("%s: number %d is %s with %d points, want %s", name, i+1, crew, suggestion.GetScore(), test.order[i])
			}
			codes := map[string]bool{}
			for _, reason := range suggestion.GetReasons() {
				codes[reason.GetCode()] = reason.GetSentence().GetVi() != "" && reason.GetSentence().GetEn() != ""
			}
			for _, code := range test.codes[crew] {
				if !codes[code] {
					t.Errorf("%s: %s gives the reasons %v, want %s in both languages", name, crew, codes, code)
				}
			}
		}
	}
}
