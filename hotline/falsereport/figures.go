package falsereport

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/cong1022/fieldsync/auth"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/store"
)

// maxMonths bounds a request for figures.
const maxMonths = 24

// vietnam is the zone of its months.
var vietnam = time.FixedZone("+07", 7*60*60)

// ListFalseReportFigures implements the RPC of that name. It reads all changes of the months asked for.
func (s *Service) ListFalseReportFigures(ctx context.Context, request *fieldsyncv1.ListFalseReportFiguresRequest) (*fieldsyncv1.ListFalseReportFiguresResponse, error) {
	p, err := auth.PrincipalFrom(ctx)
	if err != nil {
		return nil, err
	}
	from, fromErr := time.ParseInLocation("2006-01", request.GetFromMonth(), vietnam)
	last, lastErr := time.ParseInLocation("2006-01", request.GetToMonth(), vietnam)
	end := last.AddDate(0, 1, 0)
	if fromErr != nil || lastErr != nil || last.Before(from) || end.After(from.AddDate(0, maxMonths, 0)) {
		return nil, fault.New(fault.Invalid, "months_invalid",
			"Hãy ghi hai tháng như 2026-10 và 2026-11, theo thứ tự, không quá 24 tháng.",
			"Name two months such as 2026-10 and 2026-11, in order, at most 24 months.")
	}
	c := counting{figures: make(map[[2]string]*fieldsyncv1.ListFalseReportFiguresResponse_Figure), from: from, end: end, by: p}
	err = s.o.Store.View(ctx, func(tx *store.Tx) error {
		if err := c.decisions(tx); err != nil {
			return err
		}
		return c.nothingFound(tx)
	})
	if err != nil {
		return nil, err
	}
	response := &fieldsyncv1.ListFalseReportFiguresResponse{}
	for _, figure := range c.figures {
		response.Figures = append(response.Figures, figure)
	}
	slices.SortFunc(response.GetFigures(), func(a, b *fieldsyncv1.ListFalseReportFiguresResponse_Figure) int {
		return cmp.Or(cmp.Compare(a.GetMonth(), b.GetMonth()), cmp.Compare(a.GetCategory(), b.GetCategory()))
	})
	return response, nil
}

// counting is one run of ListFalseReportFigures.
type counting struct {
	figures   map[[2]string]*fieldsyncv1.ListFalseReportFiguresResponse_Figure
	from, end time.Time
	by        auth.Principal
}

func (c counting) figure(at time.Time, category string) *fieldsyncv1.ListFalseReportFiguresResponse_Figure {
	month := at.In(vietnam).Format("2006-01")
	figure := c.figures[[2]string{month, category}]
	if figure == nil {
		figure = &fieldsyncv1.ListFalseReportFiguresResponse_Figure{Month: month, Category: category}
		c.figures[[2]string{month, category}] = figure
	}
	return figure
}

func (c counting) decisions(tx *store.Tx) error {
	for mark, err := range store.Scan(tx, store.FalseReportMarks(), store.FalseReportMarkKey(c.from.Add(-time.Nanosecond), "\xff")) {
		if err != nil {
			return err
		}
		at := time.Unix(0, mark.GetAtNs())
		if !at.Before(c.end) {
			return nil
		}
		if !c.by.SeesUnit(mark.GetUnitId()) {
			continue
		}
		if figure := c.figure(at, mark.GetCategory()); mark.GetConfirmed() {
			figure.Confirmed++
		} else {
			figure.Reversed++
		}
	}
	return nil
}

func (c counting) nothingFound(tx *store.Tx) error {
	for stub, err := range store.Scan(tx, store.TicketChangesAt(), store.TicketChangeAtKey(c.from, 0)) {
		if err != nil {
			return err
		}
		change, err := store.Get(tx, store.TicketChangeKey(stub.GetSequence()))
		if err != nil {
			return err
		}
		if !change.GetAt().AsTime().Before(c.end) {
			return nil
		}
		if change.GetKind() != fieldsyncv1.TicketChangeKind_TICKET_CHANGE_KIND_STATUS || change.GetOutcome() != fieldsyncv1.Outcome_OUTCOME_NOTHING_FOUND ||
			change.GetState() != fieldsyncv1.TaskState_TASK_STATE_DONE || change.GetProofState() != fieldsyncv1.ProofState_PROOF_STATE_SEALED {
			continue
		}
		ticket, err := store.Get(tx, store.TicketKey(change.GetTicketId()))
		if err != nil {
			return err
		}
		if facts := ticket.GetFacts(); c.by.SeesUnit(facts.GetUnitId()) {
			c.figure(change.GetAt().AsTime(), facts.GetCategory()).NothingFound++
		}
	}
	return nil
}
