// Package georeport reads service requests as Open311 GeoReport v2 gives them in JSON (https://wiki.open311.org/GeoReport_v2,
// "GET Service Requests"): an array of objects. Each row becomes a ticket to be handed over, or an error that names its
// line; a bad row never stops those behind it.
package georeport

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
)

// MaxRowBytes bounds a row of the file. A longer one is reported and skipped without being held in memory.
const MaxRowBytes = 1 << 20

// RowError is a row that cannot become a ticket.
type RowError struct {
	// Line is where the row begins in the file, from 1.
	Line int
	// ID is the row's service_request_id, empty where it cannot be told.
	ID string
	// Reason says what is wrong with it, in Vietnamese and English.
	Reason *fieldsyncv1.Sentence
}

// Error returns the line, the id and the English reason.
func (e *RowError) Error() string {
	if e.ID == "" {
		return fmt.Sprintf("line %d: %s", e.Line, e.Reason.GetEn())
	}
	return fmt.Sprintf("line %d (%s): %s", e.Line, e.ID, e.Reason.GetEn())
}

// Read calls yield for each row of the file in its order, with a ticket that keeps the rules of SubmitTickets or with what is
// wrong with the row, until yield returns false. It holds one row in memory at a time.
//
// An error means that the rest of the file could not be read: Invalid "georeport_invalid" when it is not a GeoReport file or
// ends in the middle, otherwise the reader's. What was yielded before it stands.
func Read(r io.Reader, yield func(ticket *fieldsyncv1.TicketIntake, bad *RowError) bool) error {
	s := &splitter{r: bufio.NewReader(r), line: 1}
	if err := s.begin(); err != nil {
		return malformed(err)
	}
	for {
		row, err := s.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return malformed(err)
		}
		ticket, id, reason := parse(row)
		if reason != nil {
			if !yield(nil, &RowError{Line: row.line, ID: id, Reason: reason}) {
				return nil
			}
		} else if !yield(ticket, nil) {
			return nil
		}
	}
}

// malformed turns what the splitter found into what a person can act on.
func malformed(err error) error {
	var bad *fileError
	if !errors.As(err, &bad) {
		return err
	}
	return fault.New(fault.Invalid, "georeport_invalid",
		fmt.Sprintf("Tệp GeoReport hỏng ở dòng %d: %s.", bad.line, bad.vi),
		fmt.Sprintf("The GeoReport file is broken at line %d: %s.", bad.line, bad.en))
}
