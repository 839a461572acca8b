package dispatch

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/cong1022/fieldsync/auth"
	"github.com/cong1022/fieldsync/dispatch/calendar"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
)

func (h *house) categories() []*fieldsyncv1.Category {
	h.t.Helper()
	response, err := h.ListCategories(h.as(hotline), &fieldsyncv1.ListCategoriesRequest{})
	wantCode(h.t, err, "")
	return response.GetCategories()
}

// Protects the seed: all that the city's hotline takes is there in both languages, keeps every rule of a category, can be read
// and put again as it is listed, and does not come back once an admin has changed it.
func TestSeed(t *testing.T) {
	h := newHouse(t)
	for range 2 {
		if err := h.Seed(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	all := h.categories()
	for _, id := range []string{"traffic", "fallen-tree", "flooding", "manhole-cover", "lighting", "noise", "pavement", "animal-waste", "suggestion"} {
		if !slices.ContainsFunc(all, func(c *fieldsyncv1.Category) bool { return c.GetId() == id && len(c.GetOutcomes()) > 0 }) {
			t.Errorf("no category %s", id)
		}
	}
	response, err := h.PutCategories(h.as(admin), &fieldsyncv1.PutCategoriesRequest{Categories: all})
	wantCode(t, err, "")
	if response.GetCreated()+response.GetChanged() != 0 {
		t.Errorf("putting what was listed: %v", response)
	}
	all[0].Retired = true
	must(t)(h.PutCategories(h.as(admin), &fieldsyncv1.PutCategoriesRequest{Categories: all[:1]}))
	if err := h.Seed(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !h.categories()[0].GetRetired() {
		t.Error("the seed has undone what an admin did")
	}
}

// Protects against categories that no task could live by, and against half of a file: one bad category and nothing is stored.
func TestBadCategories(t *testing.T) {
	h := newHouse(t)
	good := &fieldsyncv1.Category{
		Id: "tot", Name: &fieldsyncv1.Sentence{Vi: "Tốt", En: "Good"}, Outcomes: []fieldsyncv1.Outcome{fieldsyncv1.Outcome_OUTCOME_REPAIRED},
	}
	step := &fieldsyncv1.EscalationStep{
		Urgency: fieldsyncv1.Urgency_URGENCY_HIGH, After: durationpb.New(time.Minute), Action: fieldsyncv1.EscalationAction_ESCALATION_ACTION_AGAIN,
	}
	for name, spoil := range map[string]func(*fieldsyncv1.Category){
		"no outcome":      func(c *fieldsyncv1.Category) { c.Outcomes = nil },
		"outcome twice":   func(c *fieldsyncv1.Category) { c.Outcomes = append(c.Outcomes, c.GetOutcomes()[0]) },
		"no English name": func(c *fieldsyncv1.Category) { c.Name.En = "" },
		"step twice":      func(c *fieldsyncv1.Category) { c.Escalation = []*fieldsyncv1.EscalationStep{step, proto.CloneOf(step)} },
		"checklist twice": func(c *fieldsyncv1.Category) {
			c.Checklist = []*fieldsyncv1.ChecklistTemplate{{Id: "a"}, {Id: "a"}}
		},
		"id twice": func(c *fieldsyncv1.Category) { c.Id = good.GetId() },
	} {
		bad := proto.CloneOf(good)
		bad.Id = "xau"
		spoil(bad)
		_, err := h.PutCategories(h.as(admin), &fieldsyncv1.PutCategoriesRequest{Categories: []*fieldsyncv1.Category{good, bad}})
		t.Log(name, err)
		wantCode(t, err, "category_invalid")
		if all := h.categories(); len(all) != 0 {
			t.Fatalf("%s: half of the call was stored: %v", name, all)
		}
	}
	for _, p := range []auth.Principal{saigonDesk, cityDesk, crewMember, hotline} {
		_, err := h.PutCategories(h.as(p), &fieldsyncv1.PutCategoriesRequest{Categories: []*fieldsyncv1.Category{good}})
		wantCode(t, err, "role_denied")
	}
	_, err := ReadCategories([]byte(`[{"id": "a", "deadline": 5}]`))
	wantCode(t, err, "categories_malformed")
}

// Protects the way of categories through a file: what is printed, one a line, is taken back as it is, as are one alone and an array.
func TestReadCategories(t *testing.T) {
	seed, err := ReadCategories(seedCategories)
	if err != nil {
		t.Fatal(err)
	}
	var lines [][]byte
	for _, category := range seed {
		line, err := protojson.Marshal(category)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, line)
	}
	for name, test := range map[string]struct {
		text []byte
		want []*fieldsyncv1.Category
	}{
		"lines":              {bytes.Join(lines, []byte("\n")), seed},
		"lines from Windows": {slices.Concat([]byte("\ufeff"), bytes.Join(lines, []byte("\r\n"))), seed},
		"an array":           {slices.Concat([]byte(" [\n"), bytes.Join(lines, []byte(",\n")), []byte("]\n")), seed},
		"one":                {lines[0], seed[:1]},
	} {
		got, err := ReadCategories(test.text)
		if err != nil || !slices.EqualFunc(got, test.want, func(a, b *fieldsyncv1.Category) bool { return proto.Equal(a, b) }) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	for text, number := range map[string]string{
		"{\"id\":\"a\"}\n{\"id\":\"b\",\"foo\":1}": "Category 2", `[{"id":"a"},{"id":"b"},{"deadlineWorkingDays":-1}]`: "Category 3", `[{"id":"a"},`: "JSON", "": "JSON",
	} {
		_, err := ReadCategories([]byte(text))
		wantCode(t, err, "categories_malformed")
		if err == nil || !strings.Contains(err.Error(), number) {
			t.Errorf("%s: %v does not say %s", text, err, number)
		}
	}
}

// Protects the checklist of a category: a task gets it, unless whoever creates the task says another one.
func TestChecklistOfCategory(t *testing.T) {
	h := newHouse(t)
	label := &fieldsyncv1.Sentence{Vi: "Rào chắn", En: "Cordon off"}
	must(t)(h.PutCategories(h.as(admin), &fieldsyncv1.PutCategoriesRequest{Categories: []*fieldsyncv1.Category{{
		Id: "cay-do", Name: &fieldsyncv1.Sentence{Vi: "Cây đổ", En: "Fallen tree"}, Outcomes: []fieldsyncv1.Outcome{fieldsyncv1.Outcome_OUTCOME_REPAIRED},
		Checklist: []*fieldsyncv1.ChecklistTemplate{{Id: "rao-chan", Label: label}},
	}}}))
	if items := h.task("p-sai-gon").GetChecklist(); len(items) != 1 || items[0].GetId() != "rao-chan" {
		t.Errorf("the category's checklist: %v", items)
	}
	response, err := h.CreateTask(h.as(admin), &fieldsyncv1.CreateTaskRequest{
		TicketId: h.ticket("p-sai-gon"), Checklist: []*fieldsyncv1.ChecklistTemplate{{Id: "khac", Label: label}},
	})
	wantCode(t, err, "")
	if items := response.GetTask().GetChecklist(); len(items) != 1 || items[0].GetId() != "khac" {
		t.Errorf("the request's checklist: %v", items)
	}
}

// Protects what suggestions are made of: whose crew it is, which skills exist, and who is at work, over midnight too.
func TestCrewWork(t *testing.T) {
	h := newHouse(t)
	if err := h.Seed(t.Context()); err != nil {
		t.Fatal(err)
	}
	put := func(p auth.Principal, work *fieldsyncv1.CrewWork) error {
		_, err := h.PutCrewWork(h.as(p), &fieldsyncv1.PutCrewWorkRequest{Work: work})
		return err
	}
	night := &fieldsyncv1.Shift{Weekdays: []uint32{5}, From: "22:00", To: "06:00", FirstDay: "2026-01-05"}
	wantCode(t, put(saigonDesk, &fieldsyncv1.CrewWork{CrewId: "thoat-nuoc"}), "crew_unknown")
	wantCode(t, put(saigonDesk, &fieldsyncv1.CrewWork{CrewId: "cay-xanh", Skills: []string{"bay"}}), "category_unknown")
	wantCode(t, put(saigonDesk, &fieldsyncv1.CrewWork{CrewId: "cay-xanh", Shifts: []*fieldsyncv1.Shift{{FirstDay: "2026-02-30"}}}), "shift_invalid")
	wantCode(t, put(saigonDesk, &fieldsyncv1.CrewWork{CrewId: "cay-xanh", Shifts: []*fieldsyncv1.Shift{{FirstDay: "2026-02-03", LastDay: "2026-02-02"}}}), "shift_invalid")
	work := &fieldsyncv1.CrewWork{CrewId: "cay-xanh", Skills: []string{"fallen-tree"}, Shifts: []*fieldsyncv1.Shift{night}}
	wantCode(t, put(saigonDesk, work), "")
	got, err := h.GetCrewWork(h.as(saigonDesk), &fieldsyncv1.GetCrewWorkRequest{CrewId: "cay-xanh"})
	wantCode(t, err, "")
	wantEqual(t, "the crew's work", got.GetWork(), work)
	_, err = h.GetCrewWork(h.as(choLonDesk), &fieldsyncv1.GetCrewWorkRequest{CrewId: "cay-xanh"})
	wantCode(t, err, "crew_unknown")
	if !canDo(work, "fallen-tree") || canDo(work, "flooding") || !canDo(nil, "flooding") {
		t.Error("skills")
	}
	for text, want := range map[string]bool{
		"2026-01-02 23:00": false, // A Friday, but before the shift's first day.
		"2026-01-09 21:59": false,
		"2026-01-09 22:00": true,
		"2026-01-10 05:59": true,
		"2026-01-10 06:00": false,
		"2026-01-10 23:00": false, // A Saturday.
	} {
		at, err := time.ParseInLocation("2006-01-02 15:04", text, calendar.Zone)
		if err != nil {
			t.Fatal(err)
		}
		if onShift(work, at.UTC()) != want {
			t.Errorf("%s: on shift %v", text, !want)
		}
	}
	if !onShift(nil, start) {
		t.Error("a crew without shifts always works")
	}
}
