// Package georeport reads service requests as Open311 GeoReport v2 gives them in JSON (https://wiki.open311.org/GeoReport_v2,
// "GET Service Requests"): an array of objects; and as CSV with columns of the same names. Each row becomes a ticket to be handed over, or an error that names its
// line; a bad row never stops those behind it.
package georeport

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

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
	// Field is the column that is wrong, by GeoReport's name of it. Empty where the row as a whole is.
	Field string
	// Reason says what is wrong with it and what to do, in Vietnamese and English.
	Reason *fieldsyncv1.Sentence
}

// defect is what is wrong with a row, as RowError tells it.
type defect struct{ field, vi, en string }

func (d defect) at(line int, id text) *RowError {
	return &RowError{Line: line, ID: string(id), Field: d.field, Reason: &fieldsyncv1.Sentence{Vi: d.vi, En: d.en}}
}

// Error returns the line, the id and the English reason.
func (e *RowError) Error() string {
	if e.ID == "" {
		return fmt.Sprintf("line %d: %s", e.Line, e.Reason.GetEn())
	}
	return fmt.Sprintf("line %d (%s): %s", e.Line, e.ID, e.Reason.GetEn())
}

// Read calls yield for each row of the file in its order, with a ticket that keeps the rules of SubmitTickets or with what is
// wrong with the row, and with the line on which it begins, from 1, until yield returns false. It holds one row in memory at a time. A file that begins with "[" is GeoReport JSON,
// any other CSV, whose first line names the columns. kinds are the categories that tickets are given where their service is one.
//
// An error means that the rest of the file could not be read: Invalid "georeport_invalid" when it is neither or ends in the
// middle, otherwise the reader's. What was yielded before it stands.
func Read(r io.Reader, kinds Kinds, yield func(ticket *fieldsyncv1.TicketIntake, line int, bad *RowError) bool) error {
	return each(r, func(in request, line int, wrong *defect) bool {
		var ticket *fieldsyncv1.TicketIntake
		if wrong == nil {
			if ticket, wrong = in.ticket(kinds); wrong == nil {
				wrong = broken(ticket)
			}
		}
		if wrong != nil {
			return yield(nil, line, wrong.at(line, in.ID))
		}
		return yield(ticket, line, nil)
	})
}

// State is what a list of tickets says of one.
type State struct {
	// Line is where it stands in the file, from 1.
	Line int
	// HotlineID is its service_request_id.
	HotlineID string
	// Closed: its status says so.
	Closed bool
}

// closedWords are the statuses that say open or closed, as slug writes them: GeoReport's, FixMyStreet's, and the hotline's.
var closedWords = map[string]bool{
	"open": false, "new": false, "investigating": false, "in-progress": false, "action-scheduled": false, "reopen": false, "internal-referral": false,
	"mo": false, "moi": false, "dang-mo": false, "dang-xu-ly": false, "chua-xu-ly": false, "cho-xu-ly": false, "tiep-nhan": false, "da-tiep-nhan": false,
	"closed": true, "fixed": true, "resolved": true, "duplicate": true, "no-further-action": true, "not-councils-responsibility": true,
	"dong": true, "da-dong": true, "da-xu-ly": true, "xong": true, "da-xong": true, "hoan-thanh": true, "da-hoan-thanh": true,
}

// ReadStates calls yield for each row of a list of tickets with their statuses, of the same forms as Read takes. Errors: as Read.
func ReadStates(r io.Reader, yield func(state State, bad *RowError) bool) error {
	return each(r, func(in request, line int, wrong *defect) bool {
		closed, known := closedWords[slug(string(in.Status))]
		switch {
		case wrong != nil:
		case in.ID == "":
			wrong = &defect{"service_request_id", "thiếu service_request_id", "service_request_id is missing"}
		case !known:
			wrong = &defect{
				"status", fmt.Sprintf("trạng thái %q không cho biết mở hay đóng", in.Status), fmt.Sprintf("the status %q says neither open nor closed", in.Status),
			}
		}
		if wrong != nil {
			return yield(State{}, wrong.at(line, in.ID))
		}
		return yield(State{Line: line, HotlineID: string(in.ID), Closed: closed}, nil)
	})
}

// each calls yield for each row of a file, with what is wrong with it where it cannot be read.
func each(r io.Reader, yield func(in request, line int, wrong *defect) bool) error {
	buffered := bufio.NewReader(r)
	if isJSON(buffered) {
		return eachElement(buffered, yield)
	}
	t, err := newTable(buffered)
	if err != nil {
		return malformed(err)
	}
	for {
		in, line, wrong, err := t.next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, errRowTooLong):
			return malformed(&fileError{line, "hàng dài hơn 1 MiB, có lẽ thiếu dấu ngoặc kép", "a row is longer than 1 MiB; a quotation mark may be missing"})
		case err != nil:
			return err
		}
		if !yield(in, line, wrong) {
			return nil
		}
	}
}

// isJSON tells by the first byte that is no white space. An empty file, and one of XML, is JSON that is wrong.
func isJSON(r *bufio.Reader) bool {
	head, _ := r.Peek(512) // What there is of it.
	head = bytes.TrimLeft(bytes.TrimPrefix(head, []byte("\xef\xbb\xbf")), " \t\r\n")
	return len(head) == 0 || strings.IndexByte("[{<", head[0]) >= 0
}

func eachElement(r *bufio.Reader, yield func(in request, line int, wrong *defect) bool) error {
	s := &splitter{r: r, line: 1}
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
		in, wrong := parse(row)
		if !yield(in, row.line, wrong) {
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
		fmt.Sprintf("Tệp phiếu (GeoReport JSON hoặc CSV) hỏng ở dòng %d: %s.", bad.line, bad.vi),
		fmt.Sprintf("The file of tickets (GeoReport JSON or CSV) is broken at line %d: %s.", bad.line, bad.en))
}
