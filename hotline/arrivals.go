package hotline

import (
	"google.golang.org/protobuf/proto"

	"github.com/cong1022/fieldsync/auth"
	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/store"
)

// Router reads which units answer for which places, as of a transaction. find tells which unit answers for a ticket: "" where nothing
// tells, or where several may.
type Router func(tx *store.Tx) (find func(*fieldsyncv1.TicketFacet) string, err error)

// arrivals are the tickets that one transaction takes in. The territory is read once for all of them, and not at all where each
// names its unit.
type arrivals struct {
	tx     *store.Tx
	router Router
	find   func(*fieldsyncv1.TicketFacet) string
}

// route gives the facts of a new ticket the unit that answers for its place. One that names its unit keeps it; what nothing tells of
// stays with the city, whose dispatchers route it by hand.
func (a *arrivals) route(in *fieldsyncv1.TicketIntake, facts *fieldsyncv1.TicketFacet) error {
	if in.GetUnitId() != "" || a.router == nil {
		return nil
	}
	if a.find == nil {
		find, err := a.router(a.tx)
		if err != nil {
			return err
		}
		a.find = find
	}
	if unit := a.find(facts); unit != "" {
		facts.UnitId = unit
	}
	return nil
}

// reroute does so for a ticket that nothing told of before and of whose place the hotline says something new. Whatever a dispatcher or
// the hotline has decided stays: a ticket that has left the city's queue, or has become a task, is moved by people alone.
func (a *arrivals) reroute(in *fieldsyncv1.TicketIntake, ticket *storagev1.Ticket, facts *fieldsyncv1.TicketFacet) error {
	before := ticket.GetFacts()
	waits := before.GetUnitId() == auth.CityUnit && ticket.GetTaskId() == "" && ticket.GetWithdrawnAt() == nil
	if !waits || before.GetAddress() == facts.GetAddress() && proto.Equal(before.GetPosition(), facts.GetPosition()) {
		return nil
	}
	return a.route(in, facts)
}
