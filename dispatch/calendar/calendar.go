package calendar

import (
	"fmt"
	"time"

	"github.com/cong1022/fieldsync/dispatch/rows"
)

// Kind is what a row says of its day.
type Kind int

// The kinds.
const (
	// Holiday is a day off by law.
	Holiday Kind = iota + 1
	// DayOff is a compensatory day off: for a holiday that fell on a rest day, or in exchange for a day that is worked.
	DayOff
	// MakeUp is a rest day that is worked.
	MakeUp
)

// kindNames are the kinds as files have them.
var kindNames = map[string]Kind{"holiday": Holiday, "day-off": DayOff, "make-up": MakeUp}

// String is the kind as a file has it.
func (k Kind) String() string {
	for name, kind := range kindNames {
		if kind == k {
			return name
		}
	}
	return fmt.Sprintf("kind %d", int(k))
}

// Row is what an authority has decided about a day.
type Row struct {
	Day  Day
	Kind Kind
	// Vi and En are what the day is called.
	Vi, En string
	// Source is where the decision stands.
	Source string
	// Line of the file that it came from, 0 where it came from none.
	Line int
}

// Calendar knows which days are worked. It does not change once made, and is safe for concurrent use.
type Calendar struct {
	rows  map[Day]Row
	years map[int]bool
}

// New makes a calendar of rows. An error of package rows where two speak of one day, or where one contradicts the week.
func New(list []Row) (*Calendar, error) {
	c := &Calendar{rows: make(map[Day]Row, len(list)), years: map[int]bool{}}
	var bad rows.Errors
	for i, row := range list {
		if row.Line == 0 {
			row.Line = i + 1
		}
		rest := row.Day.Weekday() == time.Saturday || row.Day.Weekday() == time.Sunday
		before, twice := c.rows[row.Day]
		switch {
		case twice:
			bad.Add(row.Line, fmt.Sprintf("ngày %s đã có ở dòng %d (%s), một ngày chỉ có một quyết định", row.Day, before.Line, before.Kind),
				fmt.Sprintf("%s stands in row %d already (%s), and a day has one verdict", row.Day, before.Line, before.Kind))
		case row.Kind == MakeUp && !rest:
			bad.Add(row.Line, fmt.Sprintf("ngày làm bù %s vốn là ngày làm việc", row.Day), fmt.Sprintf("the make-up day %s is worked anyway", row.Day))
		case row.Kind == DayOff && rest:
			bad.Add(row.Line, fmt.Sprintf("ngày nghỉ bù %s vốn là ngày nghỉ cuối tuần", row.Day), fmt.Sprintf("the day off %s is a rest day anyway", row.Day))
		}
		c.rows[row.Day], c.years[row.Day.Year] = row, true
	}
	return c, bad.Err()
}

// Verdict is whether a day is worked, and why.
type Verdict struct {
	Working bool
	// Row is what was decided about the day, nil where its weekday decides.
	Row *Row
	// Known tells whether the calendar has rows for the year at all. Where it has none, only the weekday was asked, and a holiday
	// that nobody has entered yet was taken for a working day.
	Known bool
}

// On tells whether a day is worked. Where no row speaks of it, Monday to Friday are.
func (c *Calendar) On(day Day) Verdict {
	v := Verdict{Known: c.years[day.Year]}
	if row, ok := c.rows[day]; ok {
		v.Row, v.Working = &row, row.Kind == MakeUp
		return v
	}
	v.Working = day.Weekday() != time.Saturday && day.Weekday() != time.Sunday
	return v
}
