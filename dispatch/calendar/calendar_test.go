package calendar

import (
	"errors"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/cong1022/fieldsync/dispatch/rows"
	"github.com/cong1022/fieldsync/internal/fault"
)

func at(tb testing.TB, text string) time.Time {
	tb.Helper()
	t, err := time.ParseInLocation("2006-01-02 15:04:05", text, Zone)
	if err != nil {
		tb.Fatal(err)
	}
	return t.UTC() // Whatever zone the caller's times are in.
}

func vietnamese(tb testing.TB) *Calendar {
	tb.Helper()
	list, err := Vietnam()
	if err != nil {
		tb.Fatal(err)
	}
	c, err := New(list)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

// Protects the deadlines that the city is held to: counted from the next day, in working days, over Tết, days off in exchange,
// make-up Saturdays and compensatory days, to 24:00 of the last day (here the midnight after it), whatever the hour of the report.
func TestDue(t *testing.T) {
	c := vietnamese(t)
	for name, test := range map[string]struct {
		start string
		days  int
		want  string
	}{
		"a plain week":                            {"2025-06-09 09:00:00", 5, "2025-06-17 00:00:00"},
		"the last second of a day":                {"2025-06-09 23:59:59", 1, "2025-06-11 00:00:00"},
		"the first second of the next":            {"2025-06-10 00:00:00", 1, "2025-06-12 00:00:00"},
		"set off on a Saturday":                   {"2025-06-14 10:00:00", 1, "2025-06-17 00:00:00"},
		"set off on a Sunday at midnight":         {"2025-06-15 00:00:00", 1, "2025-06-17 00:00:00"},
		"over Tết 2025":                           {"2025-01-23 15:00:00", 5, "2025-02-07 00:00:00"},
		"set off within Tết 2025":                 {"2025-01-29 00:30:00", 1, "2025-02-04 00:00:00"},
		"over Tết 2026":                           {"2026-02-12 08:00:00", 2, "2026-02-24 00:00:00"},
		"over a make-up Saturday, 2025":           {"2025-04-24 08:00:00", 2, "2025-04-27 00:00:00"},
		"set off on a make-up Saturday":           {"2025-04-26 08:00:00", 2, "2025-04-30 00:00:00"},
		"over the days off of April 2025":         {"2025-04-29 08:00:00", 1, "2025-05-06 00:00:00"},
		"over New Year 2026 and its Saturday":     {"2025-12-31 08:00:00", 6, "2026-01-11 00:00:00"},
		"over the compensatory Monday of 2026":    {"2026-04-24 08:00:00", 3, "2026-05-05 00:00:00"},
		"over the make-up Saturday of August":     {"2026-08-20 08:00:00", 2, "2026-08-23 00:00:00"},
		"over National Day 2026":                  {"2026-08-28 08:00:00", 1, "2026-09-04 00:00:00"},
		"over National Day 2025":                  {"2025-08-29 08:00:00", 1, "2025-09-04 00:00:00"},
		"on 24 November 2026, which is not known": {"2026-11-23 07:40:00", 5, "2026-12-01 00:00:00"},
	} {
		due, ok := c.Due(Clock{Start: at(t, test.start), Days: test.days})
		if want := at(t, test.want); !ok || !due.Equal(want) {
			t.Errorf("%s: %d days from %s are due %s, want %s", name, test.days, test.start, due.In(Zone), want.In(Zone))
		}
	}
}

// Protects pauses: counted to the second, over weekends and midnight, in any order and overlapping, and of no effect where no
// time runs.
func TestPauses(t *testing.T) {
	c := vietnamese(t)
	span := func(from, until string) Span { return Span{at(t, from), at(t, until)} }
	for name, test := range map[string]struct {
		pauses []Span
		want   string
	}{
		"none":                           {nil, "2025-06-14 00:00:00"},
		"an hour":                        {[]Span{span("2025-06-10 09:00:00", "2025-06-10 10:00:00")}, "2025-06-16 01:00:00"},
		"a day, midnight to midnight":    {[]Span{span("2025-06-10 00:00:00", "2025-06-11 00:00:00")}, "2025-06-17 00:00:00"},
		"over midnight":                  {[]Span{span("2025-06-10 23:59:59", "2025-06-11 00:00:01")}, "2025-06-16 00:00:02"},
		"Friday noon to Monday noon":     {[]Span{span("2025-06-13 12:00:00", "2025-06-16 12:00:00")}, "2025-06-17 00:00:00"},
		"a weekend only":                 {[]Span{span("2025-06-14 00:00:00", "2025-06-16 00:00:00")}, "2025-06-14 00:00:00"},
		"within the day that set it off": {[]Span{span("2025-06-09 10:00:00", "2025-06-09 11:00:00")}, "2025-06-14 00:00:00"},
		"from before the start":          {[]Span{span("2025-06-01 00:00:00", "2025-06-11 00:00:00")}, "2025-06-17 00:00:00"},
		"overlapping, in no order": {[]Span{
			span("2025-06-11 06:00:00", "2025-06-11 12:00:00"), span("2025-06-10 12:00:00", "2025-06-11 08:00:00"), span("2025-06-10 13:00:00", "2025-06-10 14:00:00"),
		}, "2025-06-17 00:00:00"},
		"empty and backwards": {[]Span{span("2025-06-10 09:00:00", "2025-06-10 09:00:00"), span("2025-06-11 09:00:00", "2025-06-10 09:00:00")}, "2025-06-14 00:00:00"},
	} {
		due, ok := c.Due(Clock{Start: at(t, "2025-06-09 09:30:00"), Days: 4, Pauses: test.pauses})
		if want := at(t, test.want); !ok || !due.Equal(want) {
			t.Errorf("%s: due %s, want %s", name, due.In(Zone), want.In(Zone))
		}
	}
	forever := Clock{Start: at(t, "2025-06-09 09:30:00"), Days: 1, Pauses: []Span{span("2025-06-09 10:00:00", "2125-06-09 10:00:00")}}
	if due, ok := c.Due(forever); ok {
		t.Errorf("a pause of a hundred years: due %s", due)
	}
}

func clocks(t *rapid.T) Clock {
	begin := time.Date(2024, 12, 1, 0, 0, 0, 0, time.UTC)
	moment := rapid.Custom(func(t *rapid.T) time.Time {
		return begin.Add(time.Duration(rapid.Int64Range(0, 700*24*3600).Draw(t, "second")) * time.Second)
	})
	k := Clock{Start: moment.Draw(t, "start"), Days: rapid.IntRange(1, 20).Draw(t, "days")}
	for range rapid.IntRange(0, 4).Draw(t, "pauses") {
		from := moment.Draw(t, "from")
		k.Pauses = append(k.Pauses, Span{from, from.Add(time.Duration(rapid.Int64Range(0, 20*24*3600).Draw(t, "length")) * time.Second)})
	}
	return k
}

// Protects crews from losing time: whatever was paused before, one pause more never brings the due time nearer, and what remains
// when it ends is what remained when it began.
func TestPauseNeverShortens(t *testing.T) {
	c := vietnamese(t)
	rapid.Check(t, func(t *rapid.T) {
		k := clocks(t)
		from := k.Start.Add(time.Duration(rapid.Int64Range(0, 60*24*3600).Draw(t, "pause after")) * time.Second)
		pause := Span{from, from.Add(time.Duration(rapid.Int64Range(0, 30*24*3600).Draw(t, "pause for")) * time.Second)}
		paused := k
		paused.Pauses = append(append([]Span(nil), k.Pauses...), pause)
		before, ok1 := c.Due(k)
		after, ok2 := c.Due(paused)
		if !ok1 || !ok2 || after.Before(before) {
			t.Fatalf("a pause brought the due time from %s to %s", before, after)
		}
		if c.Used(paused, pause.From) != c.Used(paused, pause.Until) {
			t.Fatalf("time ran in the pause: %s, %s", c.Used(paused, pause.From), c.Used(paused, pause.Until))
		}
		if c.Used(paused, pause.From) != c.Used(k, pause.From) {
			t.Fatal("the pause changed what had passed before it")
		}
	})
}

// Protects the shares at which is warned: a moment and the time used at it say the same, and later is never less.
func TestMomentAndUsedAgree(t *testing.T) {
	c := vietnamese(t)
	rapid.Check(t, func(t *rapid.T) {
		k := clocks(t)
		used := time.Duration(rapid.Int64Range(1, int64(k.Total()/time.Second)).Draw(t, "used")) * time.Second
		when, ok := c.Moment(k, used)
		if !ok || c.Used(k, when) != used || c.Used(k, when.Add(-time.Second)) != used-time.Second {
			t.Fatalf("at %s are used %s and a second before %s, want %s", when, c.Used(k, when), c.Used(k, when.Add(-time.Second)), used)
		}
		if later := c.Used(k, when.Add(time.Hour)); later < used {
			t.Fatalf("an hour later less is used: %s", later)
		}
	})
}

// Protects tasks from a calendar that changes under them: each keeps what its own calendar says.
func TestOtherCalendar(t *testing.T) {
	list, err := Vietnam()
	if err != nil {
		t.Fatal(err)
	}
	culture := Row{Day: Day{2026, 11, 24}, Kind: Holiday, Vi: "Ngày Văn hóa Việt Nam", En: "Culture Day", Source: "test"}
	second, err := New(append(list, culture))
	if err != nil {
		t.Fatal(err)
	}
	k := Clock{Start: at(t, "2026-11-23 07:40:00"), Days: 5}
	first, _ := vietnamese(t).Due(k)
	other, _ := second.Due(k)
	if !first.Equal(at(t, "2026-12-01 00:00:00")) || !other.Equal(at(t, "2026-12-02 00:00:00")) {
		t.Errorf("due %s by the first and %s by the second", first.In(Zone), other.In(Zone))
	}
	if v := second.On(Day{2027, 1, 1}); v.Known || !v.Working {
		t.Errorf("a year without rows: %+v", v)
	}
}

// Protects the import: every bad row is named with its line, in CSV and JSON, and a good file is taken whatever its line ends.
func TestRead(t *testing.T) {
	const head = "date,kind,vi,en,source\n"
	for name, test := range map[string]struct {
		text  string
		lines []int
	}{
		"good":                {head + "2027-01-01,holiday,Tết,New Year,luật\n", nil},
		"good, of a PC":       {"\ufeff" + strings.ReplaceAll(head+"2027-01-01,holiday,Tết,New Year,luật\n", "\n", "\r\n"), nil},
		"good, semicolons":    {"\ufeff" + strings.ReplaceAll(head, ",", ";") + "2027-01-01;holiday;Tết;New Year;luật, điều 112\r\n", nil},
		"good, JSON":          {`[{"date":"2027-01-01","kind":"holiday","vi":"Tết","en":"New Year","source":"luật"}]`, nil},
		"two verdicts":        {head + "2027-01-01,holiday,a,b,c\n2027-01-04,holiday,a,b,c\n2027-01-01,day-off,a,b,c\n", []int{4}},
		"the same twice":      {head + "2027-01-01,holiday,a,b,c\n2027-01-01,holiday,a,b,c\n", []int{3}},
		"make-up on a Monday": {head + "2027-01-04,make-up,a,b,c\n", []int{2}},
		"off on a Sunday":     {head + "2027-01-03,day-off,a,b,c\n", []int{2}},
		"no such day":         {head + "2027-02-29,holiday,a,b,c\n", []int{2}},
		"several":             {head + "2027-01-01,feast,a,b,c\n2027-01-04,holiday,a,b,c\n2027-01-05,holiday,,b,c\n2027-01-06,holiday,a,b,\n2027-01-07,holiday\n", []int{2, 4, 5, 6}},
		"no header":           {"2027-01-01,holiday,a,b,c\n", []int{1}},
		"nothing":             {"", []int{1}},
		"open quote":          {head + "\"2027-01-01,holiday,a,b,c\n", []int{2}},
		"JSON cut off":        {`[{"date":"2027-01-01"`, []int{1}},
		"JSON of others":      {`[{"date":"2027-01-01","kind":"holiday","vi":"a","en":"b","source":"c","year":"1"}, 7]`, []int{1, 2}},
	} {
		_, err := Read([]byte(test.text))
		var lines []int
		for _, row := range rows.Of(err) {
			lines = append(lines, row.Line)
		}
		if len(lines) != len(test.lines) || (err != nil) != (test.lines != nil) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for i := range lines {
			if lines[i] != test.lines[i] {
				t.Errorf("%s: lines %v, want %v", name, lines, test.lines)
			}
		}
		if err != nil && fault.CodeOf(err) != "rows_invalid" {
			t.Errorf("%s: %v is no fault", name, err)
		}
	}
}

// Protects the reader of calendars from whatever file comes: it answers, and what it takes makes a calendar.
func FuzzRead(f *testing.F) {
	f.Add([]byte("date,kind,vi,en,source\n2027-01-01,holiday,a,b,c\n"))
	f.Add([]byte(`[{"date":"2027-01-01","kind":"holiday","vi":"Tết","en":"New Year","source":"luật"}]`))
	f.Fuzz(func(t *testing.T, text []byte) {
		list, err := Read(text)
		if err != nil {
			if _, ok := errors.AsType[*fault.Error](err); !ok {
				t.Fatalf("no fault: %v", err)
			}
			return
		}
		if _, err := New(list); err != nil || len(list) == 0 {
			t.Fatalf("%d rows that make no calendar: %v", len(list), err)
		}
	})
}
