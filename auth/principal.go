package auth

import (
	"context"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/store"
)

// CityUnit is the unit that always exists: tickets that name no unit lie there, and its dispatchers see all units.
const CityUnit = "city"

// Principal is whoever calls, as the store knew it when the call began: a token only names the device, so what a member
// may do follows the store at once.
type Principal struct {
	DeviceID string
	MemberID string
	Role     fieldsyncv1.Role
	// CrewID is set for the role crew.
	CrewID string
	// UnitID is set for dispatchers, and for crew members to the unit of their crew.
	UnitID string
}

type principalKey struct{}

// WithPrincipal returns a context that carries p.
func WithPrincipal(ctx context.Context, p Principal) context.Context {
	return context.WithValue(ctx, principalKey{}, p)
}

// PrincipalFrom returns whoever calls. Unauthenticated "token_missing" where nobody is known.
func PrincipalFrom(ctx context.Context) (Principal, error) {
	if p, ok := ctx.Value(principalKey{}).(Principal); ok {
		return p, nil
	}
	return Principal{}, errTokenMissing()
}

// Scope is what the principal syncs: a crew member the crew, a dispatcher the unit. PermissionDenied "scope_none" for others.
func (p Principal) Scope() (store.Scope, error) {
	switch p.Role {
	case fieldsyncv1.Role_ROLE_CREW:
		return store.CrewScope(p.CrewID), nil
	case fieldsyncv1.Role_ROLE_DISPATCHER:
		return store.UnitScope(p.UnitID), nil
	default:
		return "", fault.New(fault.Denied, "scope_none",
			"Vai trò này không đồng bộ công việc.", "This role syncs no tasks.")
	}
}

// SeesUnit tells whether the principal dispatches for the unit.
func (p Principal) SeesUnit(unit string) bool {
	switch p.Role {
	case fieldsyncv1.Role_ROLE_ADMIN:
		return true
	case fieldsyncv1.Role_ROLE_DISPATCHER:
		return p.UnitID == CityUnit || p.UnitID == unit
	default:
		return false
	}
}

// SeesTask tells whether the principal may see the task now.
func (p Principal) SeesTask(record *storagev1.TaskRecord) bool {
	if p.Role == fieldsyncv1.Role_ROLE_CREW {
		return p.CrewID != "" && record.GetTask().GetAssignment().GetCrewId() == p.CrewID
	}
	return p.SeesUnit(record.GetTask().GetTicket().GetUnitId())
}

// LoadTask returns the task if the principal may see it. NotFound "task_unknown", one and the same, where there is none and
// where it is another's.
func (p Principal) LoadTask(tx *store.Tx, id string) (*storagev1.TaskRecord, error) {
	record, err := store.Get(tx, store.TaskKey(id))
	if err != nil {
		return nil, err
	}
	if record == nil || !p.SeesTask(record) {
		return nil, fault.New(fault.NotFound, "task_unknown", "Không có công việc này.", "There is no such task.")
	}
	return record, nil
}
