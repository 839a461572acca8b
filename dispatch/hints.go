package dispatch

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/cong1022/fieldsync/auth"
	"github.com/cong1022/fieldsync/dispatch/territory"
	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/geo"
	"github.com/cong1022/fieldsync/store"
)

const (
	// hintMetres is what counts as near: a point on a map stands for a house front or a crossing, and callers tell it roughly.
	hintMetres = 200
	// hintWithin is how long before a ticket another one may have been reported to be of interest, or after it.
	hintWithin = 90 * 24 * time.Hour
	// hintsPerCell bounds how many tickets of a cell are looked at: nine cells hold everything that is near.
	hintsPerCell = 50
	// hintedTickets bounds the tickets that a hint names.
	hintedTickets = 5
	// likely is from which likeness on an open ticket is said to be the same; see likeness.
	likely = 0.6
	// sameDays is from how many days apart on two reports get no likeness for their time.
	sameDays = 14.0
	// comparedRunes bounds what of a description is compared.
	comparedRunes = 500
	// pastWithin and maxPast bound a reporter's past.
	pastWithin = 365 * 24 * time.Hour
	maxPast    = 100
)

// GetHints tells what is worth knowing about a ticket before somebody is sent. Errors: NotFound "ticket_unknown".
func (s *Service) GetHints(ctx context.Context, request *fieldsyncv1.GetHintsRequest) (*fieldsyncv1.GetHintsResponse, error) {
	p, err := dispatcher(ctx)
	if err != nil {
		return nil, err
	}
	response := &fieldsyncv1.GetHintsResponse{}
	return response, s.store.View(ctx, func(tx *store.Tx) error {
		response.Reset()
		ticket, err := loadTicket(tx, p, request.GetTicketId())
		if err != nil {
			return err
		}
		around, partial, err := neighbours(tx, p, ticket)
		if err != nil {
			return err
		}
		response.Hints = append(duplicateHints(around), nothingFoundHint(around, ticket)...)
		past, partialPast, err := reporterPast(tx, ticket)
		if err != nil {
			return err
		}
		response.Hints = append(response.Hints, past.hint()...)
		response.Partial = partial || partialPast
		return nil
	})
}

// neighbour is another ticket near one, and how alike the two are.
type neighbour struct {
	ticket       *storagev1.Ticket
	metres       float64
	hours        float64
	sameCategory bool
	words        float64
	open         bool
	nothingFound bool
}

// neighbours are the tickets near one that the caller may see, nearest first. Duplicates that are known are left out.
func neighbours(tx *store.Tx, p auth.Principal, ticket *storagev1.Ticket) (around []neighbour, partial bool, err error) {
	facts := ticket.GetFacts()
	if facts.GetPosition() == nil {
		return nil, false, nil
	}
	reported, own := facts.GetReportedAt().AsTime(), wordsOf(facts)
	for _, cell := range store.CellsAround(facts.GetPosition(), hintMetres) {
		looked := 0
		for stub, err := range store.Scan(tx, store.TicketPlaces(cell), store.TicketPlaceKey(cell, reported.Add(hintWithin), "")) {
			if err != nil {
				return nil, false, err
			}
			if looked++; looked > hintsPerCell {
				partial = true
				break
			}
			other, err := store.Get(tx, store.TicketKey(stub.GetId()))
			if err != nil {
				return nil, false, err
			}
			theirs := other.GetFacts()
			if theirs.GetReportedAt().AsTime().Before(reported.Add(-hintWithin)) {
				break
			}
			metres := geo.Metres(facts.GetPosition(), theirs.GetPosition())
			known := other.GetParentId() != "" || ticket.GetParentId() == other.GetId()
			if other.GetId() == ticket.GetId() || known || metres > hintMetres || !p.SeesUnit(theirs.GetUnitId()) {
				continue
			}
			n := neighbour{
				ticket: other, metres: metres, hours: theirs.GetReportedAt().AsTime().Sub(reported).Abs().Hours(),
				sameCategory: theirs.GetCategory() == facts.GetCategory(), words: likeWords(own, wordsOf(theirs)),
			}
			if n.open, n.nothingFound, err = visited(tx, other); err != nil {
				return nil, false, err
			}
			around = append(around, n)
		}
	}
	slices.SortStableFunc(around, func(a, b neighbour) int {
		return cmp.Or(cmp.Compare(a.metres, b.metres), cmp.Compare(a.ticket.GetId(), b.ticket.GetId()))
	})
	return around, partial, nil
}

// visited tells whether there is still something to do for a ticket, and whether a crew has been there and found nothing.
func visited(tx *store.Tx, ticket *storagev1.Ticket) (open, nothingFound bool, err error) {
	open = ticket.GetClosedAt() == nil && ticket.GetWithdrawnAt() == nil
	if ticket.GetTaskId() == "" {
		return open, false, nil
	}
	record, err := store.Get(tx, store.TaskKey(ticket.GetTaskId()))
	task := record.GetTask()
	open = open && task.GetStatus().GetState() < fieldsyncv1.TaskState_TASK_STATE_DONE
	return open, task.GetCompletion().GetOutcome() == fieldsyncv1.Outcome_OUTCOME_NOTHING_FOUND, err
}

// likeness is from 0 to 1: how probably two reports are of the same thing. What is near and of one kind is, unless weeks lie between;
// callers choose the kind at a guess, so their words count too.
func (n neighbour) likeness() float64 {
	likeness := 0.4*(1-n.metres/hintMetres) + 0.2*n.words + 0.1*max(0, 1-n.hours/24/sameDays)
	if n.sameCategory {
		likeness += 0.3
	}
	return likeness
}

func (n neighbour) hinted() *fieldsyncv1.HintedTicket {
	return &fieldsyncv1.HintedTicket{TicketId: n.ticket.GetId(), HotlineId: n.ticket.GetFacts().GetHotlineId(), TaskId: n.ticket.GetTaskId()}
}

// duplicateHints names the open tickets nearby that may be the same, the likeliest first, and counts the others.
func duplicateHints(around []neighbour) (hints []*fieldsyncv1.Hint) {
	var same, others []neighbour
	for _, n := range around {
		switch {
		case !n.open:
		case n.likeness() >= likely:
			same = append(same, n)
		default:
			others = append(others, n)
		}
	}
	slices.SortStableFunc(same, func(a, b neighbour) int { return cmp.Compare(b.likeness(), a.likeness()) })
	for _, n := range same[:min(len(same), hintedTickets)] {
		kindVi, kindEn, category := "khác loại việc", "of another kind", 0.0
		if n.sameCategory {
			kindVi, kindEn, category = "cùng loại việc", "of the same kind", 1
		}
		id := n.ticket.GetFacts().GetHotlineId()
		hints = append(hints, hint("duplicate_likely",
			fmt.Sprintf("Có thể trùng với phiếu %s: cách %.0f m, báo cách nhau %.0f giờ, %s, giống nhau %.0f %% từ ngữ.", id, n.metres, n.hours, kindVi, 100*n.words),
			fmt.Sprintf("May be the same as ticket %s: %.0f m away, %.0f hours apart, %s, %.0f %% of the words alike.", id, n.metres, n.hours, kindEn, 100*n.words),
			[]neighbour{n}, number("likeness", n.likeness()), number("distance_m", n.metres), number("hours_apart", n.hours), number("same_category", category), number("words_alike", n.words)))
	}
	others = append(same[min(len(same), hintedTickets):], others...)
	if len(others) == 0 {
		return hints
	}
	return append(hints, hint("nearby_open",
		fmt.Sprintf("Còn %d phiếu khác đang mở trong vòng %d m.", len(others), hintMetres), fmt.Sprintf("%d other open tickets within %d m.", len(others), hintMetres),
		others, number("tickets", float64(len(others)))))
}

// nothingFoundHint tells of visits to the place that found nothing.
func nothingFoundHint(around []neighbour, ticket *storagev1.Ticket) []*fieldsyncv1.Hint {
	var visits []neighbour
	latest := math.Inf(1)
	for _, n := range around {
		if n.nothingFound && !n.ticket.GetFacts().GetReportedAt().AsTime().After(ticket.GetFacts().GetReportedAt().AsTime()) {
			visits = append(visits, n)
			latest = min(latest, n.hours/24)
		}
	}
	if len(visits) == 0 {
		return nil
	}
	return []*fieldsyncv1.Hint{hint("nothing_found_here",
		fmt.Sprintf("Trong %d ngày trước đó, %d lần đến đây không tìm thấy gì; lần gần nhất được báo trước %.0f ngày.", int(hintWithin.Hours()/24), len(visits), latest),
		fmt.Sprintf("In the %d days before, %d visits found nothing here; the latest was reported %.0f days earlier.", int(hintWithin.Hours()/24), len(visits), latest),
		visits, number("visits", float64(len(visits))), number("days_before", latest))}
}

// past is what became of a reporter's other reports: counts, and nothing by which anybody is known.
type past struct{ reports, nothingFound, falseReports int }

func reporterPast(tx *store.Tx, ticket *storagev1.Ticket) (p past, partial bool, err error) {
	mark, reported := ticket.GetReporterMark(), ticket.GetFacts().GetReportedAt().AsTime()
	if mark == "" {
		return p, false, nil
	}
	// From this ticket on, back: what came later is no past.
	for stub, err := range store.Scan(tx, store.ReporterTickets(mark), store.ReporterTicketKey(mark, reported, ticket.GetId())) {
		if err != nil {
			return p, false, err
		}
		other, err := store.Get(tx, store.TicketKey(stub.GetId()))
		if err != nil {
			return p, false, err
		}
		if other.GetFacts().GetReportedAt().AsTime().Before(reported.Add(-pastWithin)) {
			break
		}
		if p.reports == maxPast {
			return p, true, nil
		}
		p.reports++
		_, nothing, err := visited(tx, other)
		if err != nil {
			return p, false, err
		}
		decided, err := store.Get(tx, store.FalseReportKey(other.GetId()))
		if err != nil {
			return p, false, err
		}
		if decisions := decided.GetDecided(); len(decisions) > 0 && decisions[len(decisions)-1].GetDecision().GetConfirmed() {
			p.falseReports++
		} else if nothing {
			p.nothingFound++
		}
	}
	return p, false, nil
}

func (p past) hint() []*fieldsyncv1.Hint {
	if p.reports == 0 {
		return nil
	}
	days := int(pastWithin.Hours() / 24)
	return []*fieldsyncv1.Hint{hint("reporter_past",
		fmt.Sprintf("Người báo đã có %d phiếu khác trong %d ngày trước: %d lần không tìm thấy gì, %d lần được xác nhận là tin báo giả.", p.reports, days, p.nothingFound, p.falseReports),
		fmt.Sprintf("Whoever reported it has %d other tickets in the %d days before: %d times nothing was found, %d were confirmed as false reports.", p.reports, days, p.nothingFound, p.falseReports),
		nil, number("reports", float64(p.reports)), number("nothing_found", float64(p.nothingFound)), number("false_reports", float64(p.falseReports)))}
}

func hint(code, vi, en string, tickets []neighbour, figures ...*fieldsyncv1.Figure) *fieldsyncv1.Hint {
	h := &fieldsyncv1.Hint{Finding: &fieldsyncv1.Finding{Code: code, Sentence: &fieldsyncv1.Sentence{Vi: vi, En: en}, Figures: figures}}
	for _, n := range tickets[:min(len(tickets), hintedTickets)] {
		h.Tickets = append(h.Tickets, n.hinted())
	}
	return h
}

// number is a figure in hundredths: it is for people, and must be the same on every machine.
func number(name string, value float64) *fieldsyncv1.Figure {
	return &fieldsyncv1.Figure{Name: name, Value: math.Round(value*100) / 100}
}

// wordsOf are the words of a report, without diacritics and case.
func wordsOf(facts *fieldsyncv1.TicketFacet) map[string]bool {
	description := []rune(facts.GetDescription())
	text := facts.GetTitle() + " " + string(description[:min(len(description), comparedRunes)])
	words := map[string]bool{}
	for word := range strings.FieldsSeq(territory.Name(text)) {
		words[word] = true
	}
	return words
}

// likeWords is the share of words that two reports have in common (Dice).
func likeWords(a, b map[string]bool) float64 {
	if len(a)+len(b) == 0 {
		return 0
	}
	common := 0.0
	for word := range a {
		if b[word] {
			common++
		}
	}
	return 2 * common / float64(len(a)+len(b))
}
