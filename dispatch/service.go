// Package dispatch is the dispatchers' room: units, crews and members, tickets that become tasks, and tasks that are given
// to crews, taken back or called off. An order and the pushes that it causes are written in one transaction.
package dispatch

import (
	"context"
	"log/slog"

	"github.com/cong1022/fieldsync/auth"
	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/store"
)

// Service implements fieldsync.v1.DispatchService and its sisters for assignments, categories and crews. It expects requests
// that protovalidate has passed and contexts that carry an auth.Principal. All methods are safe for concurrent use; what they have answered is durable.
type Service struct {
	store *store.Store
	log   *slog.Logger
	// reopened is as in Options.
	reopened func(tx *store.Tx, record *storagev1.TaskRecord, member, reason string) error

	calendars calendars
	territory territories
}

var (
	_ fieldsyncv1connect.DispatchServiceHandler   = (*Service)(nil)
	_ fieldsyncv1connect.AssignmentServiceHandler = (*Service)(nil)
	_ fieldsyncv1connect.CategoryServiceHandler   = (*Service)(nil)
	_ fieldsyncv1connect.CrewServiceHandler       = (*Service)(nil)
	_ fieldsyncv1connect.DeadlineServiceHandler   = (*Service)(nil)
	_ fieldsyncv1connect.EscalationServiceHandler = (*Service)(nil)
	_ fieldsyncv1connect.ReviewServiceHandler     = (*Service)(nil)
	_ fieldsyncv1connect.TerritoryServiceHandler  = (*Service)(nil)
)

// Options are what a Service needs. Store and Log are required.
type Options struct {
	Store *store.Store
	Log   *slog.Logger
	// Reopened takes the completion of a task back, in the transaction that opens the task again for a member's reason and before the
	// task is saved. Nil: nothing else hears of it.
	Reopened func(tx *store.Tx, record *storagev1.TaskRecord, member, reason string) error
}

// New makes a Service.
func New(o Options) *Service { return &Service{store: o.Store, log: o.Log, reopened: o.Reopened} }

// dispatcher returns the caller, who must at least read for a unit: this room's rules are written for them alone. Who reads and
// changes nothing, the city's supervisor, is kept from the calls that change anything by the table of rights (auth/matrix.go).
func dispatcher(ctx context.Context) (auth.Principal, error) {
	p, err := auth.PrincipalFrom(ctx)
	if err != nil {
		return p, err
	}
	if !p.SeesAll() && !p.SeesUnit(p.UnitID) {
		return p, roleDenied()
	}
	return p, nil
}

func roleDenied() error {
	return fault.New(fault.Denied, "role_denied",
		"Vai trò của bạn không được làm việc này: hãy nhờ quản trị viên.",
		"Your role may not do this: ask an admin.")
}
