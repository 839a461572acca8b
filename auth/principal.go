package auth

import (
	"context"
	"time"

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
	// CrewID is set for crew members and crew leads.
	CrewID string
	// UnitID is set for dispatchers and unit heads, and for a crew's members to the unit of their crew.
	UnitID string
	// Delivering: the device is revoked, and has shown by its key that it still has something to send. It has no role and reads
	// nothing; what it sends goes into quarantine.
	Delivering bool
	// LeftCrews: the member was in a crew and has another role now. The phone may still hold what it recorded then, and may send it.
	LeftCrews bool

	// kid is the key that has signed the token; empty where the provider's has.
	kid string
	// until is the end of the identity provider's token that the principal calls with; zero for devices.
	until time.Time
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

// InCrew tells whether the principal works on the tasks of a crew: a crew member, or a crew's lead.
func (p Principal) InCrew() bool { return inCrew(p.Role) }

func inCrew(role fieldsyncv1.Role) bool { return role == crew || role == lead }

// Scope is what the principal syncs: a crew's members the crew, a unit's dispatchers and its head the unit, the city's
// supervisor the unit CityUnit. Denied "scope_none" for others.
func (p Principal) Scope() (store.Scope, error) {
	switch p.Role {
	case crew, lead:
		return store.CrewScope(p.CrewID), nil
	case dispatcher, head:
		return store.UnitScope(p.UnitID), nil
	case supervisor:
		return store.UnitScope(CityUnit), nil
	default:
		return "", fault.New(fault.Denied, "scope_none",
			"Vai trò này không đồng bộ công việc.", "This role syncs no tasks.")
	}
}

// SeesAll tells whether the principal may read what the dispatchers of any unit read.
func (p Principal) SeesAll() bool { return p.Role == supervisor || p.dispatchesAll() }

// SeesUnit tells whether the principal may read what the unit's dispatchers read.
func (p Principal) SeesUnit(unit string) bool { return p.Role == supervisor || p.Dispatches(unit) }

// dispatchesAll tells whether the principal dispatches for all units.
func (p Principal) dispatchesAll() bool {
	return p.Role == admin || (p.Role == dispatcher || p.Role == head) && p.UnitID == CityUnit
}

// Dispatches tells whether the principal may change what belongs to the unit, as its dispatchers do.
func (p Principal) Dispatches(unit string) bool {
	return p.dispatchesAll() || (p.Role == dispatcher || p.Role == head) && p.UnitID == unit
}

// Appoints tells whether the principal may make somebody of the role, and issue enrolment codes for such a member, in the units
// where it dispatches. Whoever dispatches must not become, or make, somebody who may do more.
func (p Principal) Appoints(role fieldsyncv1.Role) bool {
	switch p.Role {
	case admin:
		return true
	case head:
		return inCrew(role) || role == dispatcher
	case dispatcher:
		return inCrew(role)
	default:
		return false
	}
}

// SeesTask tells whether the principal may see the task now.
func (p Principal) SeesTask(record *storagev1.TaskRecord) bool {
	if p.InCrew() {
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
