// Package rows collects what is wrong with the rows of a file that is imported as a whole or not at all: every bad row with its
// number, so that one look at the file mends all of them.
package rows

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"strings"

	"github.com/cong1022/fieldsync/internal/fault"
)

// shown bounds the rows that a fault's sentence names. A command line prints all of them.
const shown = 20

// Error is a row that cannot be.
type Error struct {
	// Line of the file, or the number of the row or feature where the file has no lines; from 1.
	Line int
	// Vi and En say what is wrong with it, without a full stop.
	Vi, En string
}

// Errors are the bad rows of one file, in its order. The zero value is ready.
type Errors struct{ Rows []Error }

// Add notes a bad row.
func (e *Errors) Add(line int, vi, en string) { e.Rows = append(e.Rows, Error{line, vi, en}) }

// Err is nil where no row is bad, else an Invalid fault "rows_invalid" that names the first of them and wraps all.
func (e *Errors) Err() error {
	if len(e.Rows) == 0 {
		return nil
	}
	var vi, en strings.Builder
	for i, row := range e.Rows {
		if i == shown {
			vi.WriteString("; …")
			en.WriteString("; …")
			break
		}
		if i > 0 {
			vi.WriteString("; ")
			en.WriteString("; ")
		}
		fmt.Fprintf(&vi, "dòng %d: %s", row.Line, row.Vi)
		fmt.Fprintf(&en, "row %d: %s", row.Line, row.En)
	}
	return errors.Join(fault.New(fault.Invalid, "rows_invalid",
		fmt.Sprintf("%d dòng lỗi, không có gì được lưu: %s.", len(e.Rows), vi.String()),
		fmt.Sprintf("%d bad rows, nothing was stored: %s.", len(e.Rows), en.String())), listed{e})
}

// Of returns the bad rows that an error of Err holds, nil where it holds none.
func Of(err error) []Error {
	if l, ok := errors.AsType[listed](err); ok {
		return l.Rows
	}
	return nil
}

type listed struct{ *Errors }

// Error implements error.
func (l listed) Error() string { return fmt.Sprintf("%d bad rows", len(l.Rows)) }

// CSV reads the rows of a file as office programs write it: with a byte order mark or without, separated by commas, semicolons or
// tabs, whichever the first line has most of. Rows may differ in their number of cells.
func CSV(text []byte) *csv.Reader {
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	first, _, _ := bytes.Cut(text, []byte("\n"))
	reader := csv.NewReader(bytes.NewReader(text))
	reader.FieldsPerRecord = -1
	for _, separator := range ";\t" {
		if bytes.Count(first, []byte(string(separator))) > bytes.Count(first, []byte(string(reader.Comma))) {
			reader.Comma = separator
		}
	}
	return reader
}
