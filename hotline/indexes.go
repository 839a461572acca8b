package hotline

import (
	"context"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/store"
)

// index keeps what tickets are found by other than their ids: the time of the report (GeoReport asks by it), the place, and who
// reported (hints ask by these). before is nil for a new ticket. The caller stores the ticket, whose mark of the reporter this sets.
func index(tx *store.Tx, ticket *storagev1.Ticket, before, facts *fieldsyncv1.TicketFacet) error {
	mark := ""
	if facts.GetReporter().GetPhone() != "" {
		marks, err := OpenReporterMarks(tx)
		if err != nil {
			return err
		}
		mark = marks.Of(facts.GetReporter())
	}
	if before != nil {
		if err := unindex(tx, ticket, before); err != nil {
			return err
		}
	}
	ticket.ReporterMark = mark
	id, at := facts.GetTicketId(), facts.GetReportedAt()
	stub := &storagev1.Ticket{Id: id}
	if facts.GetPosition() != nil {
		if err := store.Put(tx, store.TicketPlaceKey(store.CellOf(facts.GetPosition()), at.AsTime(), id), stub); err != nil {
			return err
		}
	}
	if mark != "" {
		if err := store.Put(tx, store.ReporterTicketKey(mark, at.AsTime(), id), stub); err != nil {
			return err
		}
	}
	return store.Put(tx, store.TicketReportedKey(at.AsTime(), id), &storagev1.Ticket{
		Id: id, Facts: &fieldsyncv1.TicketFacet{Category: facts.GetCategory(), ReportedAt: at},
	})
}

// FillIndexes enters the tickets of before this version into what hints are read from, in the background of a server. It returns when it
// is done or ctx ends; the next start goes on where it was.
func (s *Service) FillIndexes(ctx context.Context) error {
	return store.Backfill(ctx, s.store, s.log, "ticket-indexes", store.Tickets(), func(tx *store.Tx, ticket *storagev1.Ticket) error {
		mark := ticket.GetReporterMark()
		if err := index(tx, ticket, nil, ticket.GetFacts()); err != nil || ticket.GetReporterMark() == mark {
			return err
		}
		return store.Put(tx, store.TicketKey(ticket.GetId()), ticket)
	})
}

func unindex(tx *store.Tx, ticket *storagev1.Ticket, before *fieldsyncv1.TicketFacet) error {
	id, at := before.GetTicketId(), before.GetReportedAt().AsTime()
	if before.GetPosition() != nil {
		if err := store.Delete(tx, store.TicketPlaceKey(store.CellOf(before.GetPosition()), at, id)); err != nil {
			return err
		}
	}
	if mark := ticket.GetReporterMark(); mark != "" {
		if err := store.Delete(tx, store.ReporterTicketKey(mark, at, id)); err != nil {
			return err
		}
	}
	return store.Delete(tx, store.TicketReportedKey(at, id))
}
