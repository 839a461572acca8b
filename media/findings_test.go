package media

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
)

var noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

// honest is a photo against which nothing speaks: taken at the site by the app at noon, with EXIF that agrees.
func honest() evidence {
	site := func(accuracy float32) *fieldsyncv1.Position {
		return &fieldsyncv1.Position{Latitude: 10.7769, Longitude: 106.7009, AccuracyM: accuracy}
	}
	return evidence{
		photo: &fieldsyncv1.Photo{
			Id: "p", ContentType: "image/jpeg", Kind: fieldsyncv1.PhotoKind_PHOTO_KIND_AFTER, Position: site(8),
			Captured: &fieldsyncv1.TimeInterval{
				Earliest: timestamppb.New(noon.Add(-time.Minute)), Latest: timestamppb.New(noon.Add(time.Minute)), Wall: timestamppb.New(noon),
			},
		},
		look: &storagev1.Look{Look: &fieldsyncv1.PhotoLook{
			ContentType: "image/jpeg", TakenAt: timestamppb.New(noon), Position: site(5),
		}},
		ticket: &fieldsyncv1.TicketFacet{Position: site(0)},
	}
}

// Protects: each kind of doubt gives its finding and nothing else, and honest work gives none. A degree of latitude has 111.2 km.
func TestJudge(t *testing.T) {
	hash := func(v uint64) *uint64 { return &v }
	north := func(p *fieldsyncv1.Position, metres float64) { p.Latitude += metres / 111_195 }
	for _, test := range []struct {
		name   string
		change func(e *evidence)
		want   string // codes; a "!" before those that want review
	}{
		{"honest", func(*evidence) {}, ""},
		{"no EXIF", func(e *evidence) { e.look.Look.TakenAt, e.look.Look.Position = nil, nil }, ""},
		{"no position at all", func(e *evidence) { e.photo.Position, e.look.Look.Position = nil, nil }, ""},
		{"a ticket without a point", func(e *evidence) { e.ticket.Position = nil }, ""},
		{"another type", func(e *evidence) { e.photo.ContentType = "image/png" }, "photo_type_differs"},
		{"heic is heif", func(e *evidence) {
			e.photo.ContentType, e.look.Look.ContentType = "image/heic", "image/heif-sequence"
		}, ""},
		{"a camera three minutes off", func(e *evidence) { e.look.Look.TakenAt = timestamppb.New(noon.Add(3 * time.Minute)) }, ""},
		{"re-dated", func(e *evidence) { e.look.Look.TakenAt = timestamppb.New(noon.AddDate(0, 0, -3)) }, "!photo_time_differs"},
		{"EXIF later than the server heard of it", func(e *evidence) {
			e.photo.Captured.Wall = nil
			e.look.Look.TakenAt = timestamppb.New(noon.Add(time.Hour))
		}, "!photo_time_differs"},
		{"a phone whose clock is wrong, and its camera's with it", func(e *evidence) {
			e.photo.Captured.Wall = timestamppb.New(noon.Add(26 * time.Hour))
			e.look.Look.TakenAt = e.photo.GetCaptured().GetWall()
		}, "photo_clock_off"},
		{"no clock told", func(e *evidence) { e.photo.Captured = nil; e.look.Look.TakenAt = nil }, ""},
		{"camera elsewhere", func(e *evidence) { north(e.look.GetLook().GetPosition(), 200) }, "!photo_place_differs"},
		{"camera elsewhere within its accuracy", func(e *evidence) {
			north(e.look.GetLook().GetPosition(), 200)
			e.look.Look.Position.AccuracyM = 100
		}, ""},
		{"100 m away", func(e *evidence) { north(e.photo.GetPosition(), 100); e.look.Look.Position = nil }, ""},
		{"on the edge", func(e *evidence) { north(e.photo.GetPosition(), 155); e.look.Look.Position = nil }, "photo_place_uncertain"},
		{"vague", func(e *evidence) { e.photo.Position.AccuracyM = 500; e.look.Look.Position = nil }, "photo_place_uncertain"},
		{"unknown accuracy", func(e *evidence) { e.photo.Position.AccuracyM = 0 }, "photo_place_uncertain"},
		{"another place", func(e *evidence) { north(e.photo.GetPosition(), 1000); e.look.Look.Position = nil }, "!photo_elsewhere"},
		{"another place by EXIF alone", func(e *evidence) { north(e.look.GetLook().GetPosition(), 1000); e.photo.Position = nil }, "!photo_elsewhere"},
		{"another place, a vague ticket", func(e *evidence) {
			north(e.photo.GetPosition(), 1000)
			e.look.Look.Position, e.ticket.Position.AccuracyM = nil, 600
		}, "photo_place_uncertain"},
		{"mock", func(e *evidence) { e.photo.Position.Mock = true }, "!photo_mock_position"},
		{"gallery", func(e *evidence) { e.photo.FromGallery = true }, "!photo_from_gallery"},
		{"reused", func(e *evidence) { e.reused = 1 }, "!photo_reused"},
		{"near copy", func(e *evidence) { e.near, e.bits = 2, 3 }, "!photo_near_copy"},
		{"before and after alike", func(e *evidence) {
			e.look.PerceptualHash = hash(0xff00)
			e.partners = []partner{{&fieldsyncv1.Photo{Id: "b"}, &storagev1.Look{PerceptualHash: hash(0xff01)}}}
		}, "!photo_before_after_alike"},
		{"before and after as they should be", func(e *evidence) {
			e.look.PerceptualHash = hash(0xff00)
			e.partners = []partner{{&fieldsyncv1.Photo{Id: "b", Position: e.photo.GetPosition()}, &storagev1.Look{PerceptualHash: hash(0x00ff)}}}
		}, ""},
		{"before somewhere else", func(e *evidence) {
			away := &fieldsyncv1.Position{Latitude: 10.80, Longitude: 106.7009, AccuracyM: 5}
			e.partners = []partner{{&fieldsyncv1.Photo{Id: "b", Position: away}, &storagev1.Look{}}}
		}, "!photo_before_after_apart"},
		{"damage outweighs all", func(e *evidence) {
			e.photo.FromGallery = true
			e.look.Damage = finding("photo_damaged", true, "hỏng", "damaged")
		}, "!photo_damaged"},
	} {
		e := honest()
		test.change(&e)
		var got []string
		for _, f := range judge(e) {
			code := f.GetCode()
			if f.GetReview() {
				code = "!" + code
			}
			got = append(got, code)
			if f.GetSentence().GetVi() == "" || f.GetSentence().GetEn() == "" {
				t.Errorf("%s: %s without a sentence in both languages", test.name, code)
			}
			if slices.ContainsFunc(f.GetFigures(), func(f *fieldsyncv1.Figure) bool { return f.GetName() == "" }) {
				t.Errorf("%s: %s has a figure without a name", test.name, code)
			}
		}
		if strings.Join(got, " ") != test.want {
			t.Errorf("%s: %v, want %q", test.name, got, test.want)
		}
	}
}

// Protects: figures tell what the sentence does, so that a reviewer need not trust it.
func TestFigures(t *testing.T) {
	e := honest()
	e.photo.Position.Latitude += 1000.0 / 111_195
	e.look.Look.Position = nil
	found := judge(e)
	if len(found) != 1 || found[0].GetSentence().GetEn() != "Taken 1000 m from the place of the task (give or take 16 m)." {
		t.Fatalf("%v", found)
	}
	figures := map[string]float64{}
	for _, f := range found[0].GetFigures() {
		figures[f.GetName()] = f.GetValue()
	}
	if figures["accuracy_m"] != 16 || figures["limit_m"] != siteRadiusM || figures["distance_m"] < 999 || figures["distance_m"] > 1001 {
		t.Errorf("%v", figures)
	}
}

// Protects: what a category wants is asked of work that was done, and of nothing else.
func TestMissingPhotos(t *testing.T) {
	rules := ReviewRules{Photos: PhotoRule{After: 1}, Categories: map[string]PhotoRule{"fallen-tree": {Before: 1, After: 2}}}
	task := func(category string, outcome fieldsyncv1.Outcome, kinds ...fieldsyncv1.PhotoKind) *fieldsyncv1.Task {
		made := &fieldsyncv1.Task{Ticket: &fieldsyncv1.TicketFacet{Category: category}, Completion: &fieldsyncv1.CompletionFacet{Outcome: outcome}}
		for _, kind := range kinds {
			made.Photos = append(made.Photos, &fieldsyncv1.Photo{Kind: kind})
		}
		return made
	}
	const (
		before, after    = fieldsyncv1.PhotoKind_PHOTO_KIND_BEFORE, fieldsyncv1.PhotoKind_PHOTO_KIND_AFTER
		repaired, access = fieldsyncv1.Outcome_OUTCOME_REPAIRED, fieldsyncv1.Outcome_OUTCOME_NO_ACCESS
	)
	for name, test := range map[string]struct {
		task     *fieldsyncv1.Task
		category *fieldsyncv1.Category
		want     int
	}{
		"other category, one after":            {task("noise", repaired, after), nil, 0},
		"other category, none":                 {task("noise", repaired, before), nil, 1},
		"other category that says nothing":     {task("noise", repaired, before), &fieldsyncv1.Category{}, 1},
		"other category that wants none":       {task("noise", repaired), &fieldsyncv1.Category{Photos: &fieldsyncv1.PhotoRule{}}, 0},
		"other category that wants one before": {task("noise", repaired, after), &fieldsyncv1.Category{Photos: &fieldsyncv1.PhotoRule{Before: 1}}, 1},
		"tree, all":                            {task("fallen-tree", repaired, before, after, after), nil, 0},
		"tree, one after":                      {task("fallen-tree", repaired, before, after), nil, 1},
		"tree, none":                           {task("fallen-tree", repaired), nil, 2},
		"tree, whatever its category says":     {task("fallen-tree", repaired), &fieldsyncv1.Category{Photos: &fieldsyncv1.PhotoRule{}}, 2},
		"tree that nobody could reach":         {task("fallen-tree", access), nil, 0},
	} {
		if got := rules.missing(test.task, test.category); len(got) != test.want {
			t.Errorf("%s: %v, want %d findings", name, got, test.want)
		}
	}
}

// Protects: an outcome that a category does not list is noticed, and one that it lists, or of an unknown category, is not.
func TestUnusualOutcome(t *testing.T) {
	task := &fieldsyncv1.Task{Completion: &fieldsyncv1.CompletionFacet{Outcome: fieldsyncv1.Outcome_OUTCOME_WEATHER}}
	listing := func(outcome fieldsyncv1.Outcome) *fieldsyncv1.Category {
		return &fieldsyncv1.Category{Outcomes: []fieldsyncv1.Outcome{outcome}}
	}
	if got := unusual(task, listing(fieldsyncv1.Outcome_OUTCOME_REPAIRED)); len(got) != 1 || !got[0].GetReview() {
		t.Errorf("not listed: %v", got)
	}
	if got := unusual(task, listing(fieldsyncv1.Outcome_OUTCOME_WEATHER)); len(got) != 0 {
		t.Errorf("listed: %v", got)
	}
	if got := unusual(task, nil); len(got) != 0 {
		t.Errorf("unknown category: %v", got)
	}
}

// Protects: docs/protocol.md lists every finding, with whether it wants review, and no other.
func TestProtocolListsEveryFinding(t *testing.T) {
	doc, err := os.ReadFile("../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	made := regexp.MustCompile(`finding\("([a-z_]+)", (true|false)`)
	used := map[string]bool{}
	for _, file := range []string{"findings.go", "review.go"} {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range made.FindAllStringSubmatch(string(source), -1) {
			used[match[1]] = match[2] == "true"
		}
	}
	if len(used) < 15 {
		t.Errorf("only %d findings found: how are they made now?", len(used))
	}
	_, table, _ := strings.Cut(string(doc), "| code | review |")
	table, _, _ = strings.Cut(table, "\n\n")
	listed := map[string]bool{}
	for line := range strings.Lines(table) {
		for _, code := range regexp.MustCompile("`((?:photos?|outcome)_[a-z_]+)`").FindAllStringSubmatch(strings.Join(strings.Split(line, "|")[:2], ""), -1) {
			listed[code[1]] = true
			review, ok := used[code[1]]
			if !ok || strings.Contains(line, "| yes |") != review {
				t.Errorf("docs/protocol.md says of %s: %s", code[1], line)
			}
		}
	}
	for code := range used {
		if !listed[code] {
			t.Errorf("docs/protocol.md does not list %s", code)
		}
	}
}
