package calendar

import (
	"time"
	_ "time/tzdata" // Vietnam's time, whatever the server's machine has or lacks.
)

// Zone is the time zone of all days: Asia/Ho_Chi_Minh, out of the database in the binary.
var Zone = mustLoad("Asia/Ho_Chi_Minh")

func mustLoad(name string) *time.Location {
	zone, err := time.LoadLocation(name)
	if err != nil {
		panic("calendar: " + err.Error()) // It is embedded.
	}
	return zone
}

// Day is a date of Vietnam's.
type Day struct {
	Year  int
	Month time.Month
	Day   int
}

// DayOf is the day in which a moment lies.
func DayOf(t time.Time) Day {
	year, month, day := t.In(Zone).Date()
	return Day{year, month, day}
}

// ParseDay reads a date such as 2026-02-17. A date that does not exist is an error.
func ParseDay(text string) (Day, error) {
	t, err := time.ParseInLocation(time.DateOnly, text, Zone)
	return DayOf(t), err
}

// Start is the midnight with which the day begins.
func (d Day) Start() time.Time { return time.Date(d.Year, d.Month, d.Day, 0, 0, 0, 0, Zone) }

// End is the midnight with which it ends and the next one begins.
func (d Day) End() time.Time { return d.Add(1).Start() }

// Add is so many days later.
func (d Day) Add(days int) Day {
	return DayOf(time.Date(d.Year, d.Month, d.Day+days, 12, 0, 0, 0, Zone))
}

// Before tells whether the day is earlier than the other.
func (d Day) Before(other Day) bool { return d.Start().Before(other.Start()) }

// Weekday is the day of the week.
func (d Day) Weekday() time.Weekday { return d.Start().Weekday() }

// String is the date as 2026-02-17.
func (d Day) String() string { return d.Start().Format(time.DateOnly) }
