package calendar

import (
	"iter"
	"slices"
	"time"
)

// dayLength is what a working day counts. Vietnam has no summer time.
const dayLength = 24 * time.Hour

// horizon ends the search for a moment that never comes.
const horizon = 10 * 366

// Span is a time from a moment to another, the second not included.
type Span struct{ From, Until time.Time }

// Clock is the time that a task has: so many working days from its start, not counting its pauses.
type Clock struct {
	// Start sets it off. The day in which it lies does not count.
	Start time.Time
	// Days are the working days that it has.
	Days int
	// Pauses do not count. They may overlap and stand in any order.
	Pauses []Span
}

// Total is the working time that the clock has.
func (k Clock) Total() time.Duration { return time.Duration(k.Days) * dayLength }

// Counted is a day as a clock has counted it.
type Counted struct {
	Day     Day
	Verdict Verdict
	// Worked is what counts of it, by the pauses alone: whoever asks cuts it at the moment that matters.
	Worked []Span
	// First is set for the day that set the clock off, of which nothing counts.
	First bool
}

// Counts is how much of the day counts before a moment.
func (d Counted) Counts(before time.Time) (sum time.Duration) {
	for _, span := range d.Worked {
		if until := earlier(span.Until, before); until.After(span.From) {
			sum += until.Sub(span.From)
		}
	}
	return sum
}

// Each yields every day from the one that set the clock off, for ten years.
func (c *Calendar) Each(k Clock) iter.Seq[Counted] {
	return func(yield func(Counted) bool) {
		day := DayOf(k.Start)
		for i := range horizon {
			d := Counted{Day: day, Verdict: c.On(day), First: i == 0}
			if d.Verdict.Working && !d.First {
				d.Worked = without(Span{day.Start(), day.End()}, k.Pauses)
			}
			if !yield(d) {
				return
			}
			day = day.Add(1)
		}
	}
}

// Used is the working time that has passed at a moment, at most the clock's total.
func (c *Calendar) Used(k Clock, at time.Time) (used time.Duration) {
	for d := range c.Each(k) {
		if used += d.Counts(at); used >= k.Total() || !d.Day.Start().Before(at) {
			break
		}
	}
	return min(used, k.Total())
}

// Moment is when the working time that has passed reaches used. False where it does not within ten years.
func (c *Calendar) Moment(k Clock, used time.Duration) (time.Time, bool) {
	for d := range c.Each(k) {
		for _, span := range d.Worked {
			length := span.Until.Sub(span.From)
			if length >= used {
				return span.From.Add(used), true
			}
			used -= length
		}
	}
	return time.Time{}, false
}

// Due is when the clock's time is over: at 24:00 of its last day, later by what was paused. False where that is more than ten
// years away.
func (c *Calendar) Due(k Clock) (time.Time, bool) { return c.Moment(k, k.Total()) }

// without is what the pauses leave of a span, in order.
func without(span Span, pauses []Span) (left []Span) {
	sorted := slices.SortedFunc(slices.Values(pauses), func(a, b Span) int { return a.From.Compare(b.From) })
	for _, pause := range sorted {
		if !pause.Until.After(span.From) || !pause.Until.After(pause.From) {
			continue
		}
		if !pause.From.Before(span.Until) {
			break
		}
		if pause.From.After(span.From) {
			left = append(left, Span{span.From, pause.From})
		}
		if span.From = pause.Until; !span.From.Before(span.Until) {
			return left
		}
	}
	return append(left, span)
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
