package open311

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

const (
	// longestSpan is how far a list reaches back where the caller does not say, and at the most: as the standard has it.
	longestSpan = 90 * 24 * time.Hour
	// maxPage is the largest page of requests, and the page where the caller names none: as the standard has it.
	maxPage = 1000
)

// span is a stretch of time, both ends included, in whole seconds.
type span struct{ from, to time.Time }

func (s span) has(t time.Time) bool { return !t.Before(s.from) && !t.After(s.to) }

// time reads a parameter with a time: RFC 3339 (W3CDTF with seconds and an offset), zero where it is absent. A "+" that the
// caller forgot to encode has become a blank.
func (r *request) time(name string) (time.Time, error) {
	text := r.form.Get(name)
	if text == "" {
		return time.Time{}, nil
	}
	at, err := time.Parse(time.RFC3339, strings.Replace(text, " ", "+", 1))
	if err != nil || at.Year() < 1970 || at.Year() > 2200 {
		return time.Time{}, parameter(name,
			fmt.Sprintf("%q không phải là thời điểm như 2026-11-23T08:00:00+07:00", text),
			fmt.Sprintf("%q is no time such as 2026-11-23T08:00:00+07:00", text))
	}
	return at, nil
}

// span reads a pair of parameters. Where one is absent the span reaches over 90 days, or to now.
func (r *request) span(fromName, toName string, now time.Time) (s span, given bool, err error) {
	if s.from, err = r.time(fromName); err != nil {
		return s, false, err
	}
	if s.to, err = r.time(toName); err != nil {
		return s, false, err
	}
	given = !s.from.IsZero() || !s.to.IsZero()
	switch {
	case s.from.IsZero() && s.to.IsZero():
		s.to = now.Add(24 * time.Hour) // A change's time may be seconds ahead, and the hotline's clock minutes.
		s.from = now.Add(-longestSpan)
	case s.from.IsZero():
		s.from = s.to.Add(-longestSpan)
	case s.to.IsZero():
		s.to = s.from.Add(longestSpan)
	}
	if s.to.Before(s.from) || s.to.Sub(s.from) > longestSpan+24*time.Hour {
		return s, given, parameter(fromName+", "+toName,
			"phải theo thứ tự và cách nhau không quá 90 ngày", "must be in order and at most 90 days apart")
	}
	return s, given, nil
}

// page says which part of a list is wanted. given: the caller said so.
type page struct {
	skip, size int
	given      bool
}

func (r *request) page() (page, error) {
	number, err := r.number("page", 1, 1_000_000)
	if err != nil {
		return page{}, err
	}
	size, err := r.number("page_size", maxPage, maxPage)
	return page{skip: (number - 1) * size, size: size, given: r.form.Has("page") || r.form.Has("page_size")}, err
}

func (r *request) number(name string, otherwise, most int) (int, error) {
	text := r.form.Get(name)
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > most {
		return 0, parameter(name, fmt.Sprintf("phải là số từ 1 đến %d", most), fmt.Sprintf("must be a number from 1 to %d", most))
	}
	return n, nil
}

// list reads a parameter with values between commas; nil where there are none.
func (r *request) list(name string) map[string]bool {
	var set map[string]bool
	for _, value := range r.form[name] {
		for part := range strings.SplitSeq(value, ",") {
			if part = strings.TrimSpace(part); part != "" {
				if set == nil {
					set = make(map[string]bool)
				}
				set[part] = true
			}
		}
	}
	return set
}

// shownTime is a time as GeoReport has it.
func shownTime(t time.Time) string { return t.UTC().Format(time.RFC3339) }
