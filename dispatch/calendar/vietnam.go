package calendar

import (
	_ "embed" // For the rows.
)

// vietnam is the calendar of state agencies in 2025 and 2026, each row with its source. Left out because it was not settled when the
// rows were read: 24 November 2026, which Resolution 80-NQ/TW of the Politburo names Vietnam's Culture Day and means to be a day
// off, once the Labour Code is amended. 2027 is not announced.
//
//go:embed vietnam.csv
var vietnam []byte

// Vietnam are the rows that a new server begins with: 2025 and 2026.
func Vietnam() ([]Row, error) { return Read(vietnam) }
