// Package calendar counts working days as Vietnam's law does, over dated rows: which days are holidays, compensatory days off,
// and Saturdays that are worked. It is pure: no store, no clock, no time zone but Vietnam's.
//
// A period of working days begins with the day after the one in which it was set off, and ends when its last day does, at
// 24:00 (Civil Code 2015, articles 147 and 148). Each working day counts 24 hours, so that a pause can be counted to the second.
package calendar
