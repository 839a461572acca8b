package dispatch

import (
	"context"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/cong1022/fieldsync/auth"
	"github.com/cong1022/fieldsync/dispatch/territory"
	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/store"
)

// rerouteAtOnce are the tickets of one transaction: each may move a task with all that it holds.
const rerouteAtOnce = 10

// administrator returns the caller, who must be an admin.
func administrator(ctx context.Context) (auth.Principal, error) {
	p, err := dispatcher(ctx)
	if err == nil && p.Role != fieldsyncv1.Role_ROLE_ADMIN {
		err = roleDenied()
	}
	return p, err
}

// RouteTicket sends a ticket to the unit that answers for it. Errors: NotFound "ticket_unknown", "unit_unknown".
func (s *Service) RouteTicket(ctx context.Context, request *fieldsyncv1.RouteTicketRequest) (*fieldsyncv1.RouteTicketResponse, error) {
	p, err := dispatcher(ctx)
	if err != nil {
		return nil, err
	}
	var response *fieldsyncv1.RouteTicketResponse
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		ticket, err := loadTicket(tx, p, request.GetTicketId())
		if err != nil {
			return err
		}
		way, err := s.router(tx)
		if err != nil {
			return err
		}
		if to := request.GetUnitId(); to != "" {
			if !way.valid(to) {
				return fault.New(fault.NotFound, "unit_unknown", "Không có đơn vị này, hoặc đã hết hiệu lực.", "There is no such unit, or it is not valid now.")
			}
			response = &fieldsyncv1.RouteTicketResponse{UnitId: to, By: fieldsyncv1.RoutedBy_ROUTED_BY_HAND}
		} else {
			response = way.find(ticket.GetFacts())
		}
		if response.GetUnitId() == "" {
			response.UnitId = ticket.GetFacts().GetUnitId()
		}
		return moveTicket(tx, ticket, response.GetUnitId())
	})
	if err != nil {
		return nil, err
	}
	s.log.InfoContext(ctx, "ticket routed", "ticket", request.GetTicketId(), "unit", response.GetUnitId(), "how", response.GetBy().String(), "by", p.MemberID)
	return response, nil
}

// RerouteUnit sends the open tickets of a unit where they belong now. Errors: Denied "role_denied", NotFound "unit_unknown".
func (s *Service) RerouteUnit(ctx context.Context, request *fieldsyncv1.RerouteUnitRequest) (*fieldsyncv1.RerouteUnitResponse, error) {
	p, err := administrator(ctx)
	if err != nil {
		return nil, err
	}
	from, response := request.GetUnitId(), &fieldsyncv1.RerouteUnitResponse{}
	after := ""
	for more := true; more; {
		var moved, toCity, kept uint32
		last := after
		err := s.store.Update(ctx, func(tx *store.Tx) error {
			moved, toCity, kept, last = 0, 0, 0, after
			if err := seenUnit(tx, p, from); err != nil {
				return err
			}
			way, err := s.router(tx)
			if err != nil {
				return err
			}
			stubs, err := ticketsBehind(tx, from, after)
			if err != nil {
				return err
			}
			more = len(stubs) == rerouteAtOnce
			for _, id := range stubs {
				ticket, err := store.Get(tx, store.TicketKey(id))
				if err != nil {
					return err
				}
				last = id
				to := way.find(ticket.GetFacts()).GetUnitId()
				switch {
				case ticket.GetClosedAt() != nil || to == from || to == "" && way.valid(from):
					kept++
					continue
				case to == "":
					to = auth.CityUnit
					toCity++
				default:
					moved++
				}
				if err := moveTicket(tx, ticket, to); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		after = last
		response.Moved, response.ToCity, response.Kept = response.GetMoved()+moved, response.GetToCity()+toCity, response.GetKept()+kept
	}
	s.log.InfoContext(ctx, "unit rerouted", "unit", from, "moved", response.GetMoved(), "to_city", response.GetToCity(), "kept", response.GetKept(), "by", p.MemberID)
	return response, nil
}

// ticketsBehind are some of a unit's tickets, behind the one after.
func ticketsBehind(tx *store.Tx, unit, after string) (ids []string, err error) {
	var key store.Key[storagev1.Ticket]
	if after != "" {
		key = store.UnitTicketKey(unit, after)
	}
	for stub, err := range store.Scan(tx, store.UnitTickets(unit), key) {
		if err != nil || len(ids) == rerouteAtOnce {
			return ids, err
		}
		ids = append(ids, stub.GetId())
	}
	return ids, nil
}

// Router reads the territory that is in force. find tells which unit answers for a ticket's place, "" where nothing tells or several
// may: whoever takes tickets in is given this function by whoever composes the server.
func (s *Service) Router(tx *store.Tx) (find func(*fieldsyncv1.TicketFacet) string, err error) {
	way, err := s.router(tx)
	if err != nil {
		return nil, err
	}
	return func(facts *fieldsyncv1.TicketFacet) string { return way.find(facts).GetUnitId() }, nil
}

// router knows the territory at one moment.
type router struct {
	index *territory.Index
	names *territory.Names
	units map[string]*fieldsyncv1.Unit
	now   time.Time
}

func (s *Service) router(tx *store.Tx) (*router, error) {
	index, rows, err := s.territory.load(tx, s.log)
	if err != nil {
		return nil, err
	}
	units, err := loadUnits(tx)
	if err != nil {
		return nil, err
	}
	w := &router{index: index, units: units, now: tx.Now()}
	byName := map[string]string{}
	for id, unit := range units {
		if id != auth.CityUnit && w.valid(id) && (byName[unit.GetName()] == "" || id < byName[unit.GetName()]) {
			byName[unit.GetName()] = id
		}
	}
	w.names = territory.NewNames(rows, byName)
	return w, nil
}

// valid tells whether there is such a unit and it answers now.
func (w *router) valid(id string) bool {
	unit := w.units[id]
	return unit != nil && (unit.GetValidFrom() == nil || !w.now.Before(unit.GetValidFrom().AsTime())) &&
		(unit.GetValidUntil() == nil || w.now.Before(unit.GetValidUntil().AsTime()))
}

// find tells where a ticket belongs: by its position first, which says more than words.
func (w *router) find(facts *fieldsyncv1.TicketFacet) *fieldsyncv1.RouteTicketResponse {
	if at := facts.GetPosition(); at != nil {
		if unit := w.index.Find(at.GetLatitude(), at.GetLongitude(), w.valid); unit != "" {
			return &fieldsyncv1.RouteTicketResponse{UnitId: unit, By: fieldsyncv1.RoutedBy_ROUTED_BY_POSITION}
		}
	}
	found, names := w.names.Find(facts.GetAddress())
	found = slices.DeleteFunc(found, func(id string) bool { return !w.valid(id) })
	if len(found) == 1 {
		return &fieldsyncv1.RouteTicketResponse{UnitId: found[0], By: fieldsyncv1.RoutedBy_ROUTED_BY_NAME, Names: names}
	}
	return &fieldsyncv1.RouteTicketResponse{Candidates: found, Names: names}
}

// moveTicket lets another unit answer for a ticket and for the task that it became. The crew keeps the task until a dispatcher says
// otherwise.
func moveTicket(tx *store.Tx, ticket *storagev1.Ticket, to string) error {
	from := ticket.GetFacts().GetUnitId()
	if from == to {
		return nil
	}
	if err := store.Delete(tx, store.UnitTicketKey(from, ticket.GetId())); err != nil {
		return err
	}
	if err := store.Put(tx, store.UnitTicketKey(to, ticket.GetId()), &storagev1.Ticket{Id: ticket.GetId()}); err != nil {
		return err
	}
	ticket.Facts.UnitId = to
	ticket.Facts.Revision++
	if err := store.Put(tx, store.TicketKey(ticket.GetId()), ticket); err != nil {
		return err
	}
	if ticket.GetTaskId() == "" {
		return store.LogTicket(tx, &fieldsyncv1.TicketChange{
			TicketId: ticket.GetId(), HotlineId: ticket.GetFacts().GetHotlineId(), Kind: fieldsyncv1.TicketChangeKind_TICKET_CHANGE_KIND_REFERRED,
		})
	}
	record, err := store.Get(tx, store.TaskKey(ticket.GetTaskId()))
	if err != nil {
		return err
	}
	record.Task.Ticket = proto.CloneOf(ticket.GetFacts())
	record.Task.Ticket.Revision = store.NextRevision(record)
	setScopes(record)
	if err := store.Delete(tx, store.UnitTaskKey(from, ticket.GetTaskId())); err != nil {
		return err
	}
	if err := store.Put(tx, store.UnitTaskKey(to, ticket.GetTaskId()), &storagev1.TaskRecord{Task: &fieldsyncv1.Task{Id: ticket.GetTaskId()}}); err != nil {
		return err
	}
	return store.SaveTask(tx, record, fieldsyncv1.RemovalReason_REMOVAL_REASON_REASSIGNED)
}

// together tells whether two units answer at the same time at some moment.
func together(a, b *fieldsyncv1.Unit) bool {
	before := func(end, begin *fieldsyncv1.Unit) bool {
		return end.GetValidUntil() != nil && begin.GetValidFrom() != nil && !begin.GetValidFrom().AsTime().Before(end.GetValidUntil().AsTime())
	}
	return !before(a, b) && !before(b, a)
}
