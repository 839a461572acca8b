package auth

import (
	"slices"
	"strings"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
)

// Right is one row of the table of rights.
type Right struct {
	// What is called: a procedure, such as "/fieldsync.v1.SyncService/Sync", or a route, such as "GET /v1/tasks/{task}/evidence.zip".
	What string
	// Roles may call it. Empty where Else says who.
	Roles []fieldsyncv1.Role
	// Else says in a few words who may call where no role is asked for.
	Else string
}

// Roles are all roles in the order in which tables show them.
func Roles() []fieldsyncv1.Role {
	return []fieldsyncv1.Role{crew, lead, dispatcher, head, supervisor, hotline, admin}
}

// RoleName is what people call the role: "crew-lead" for ROLE_CREW_LEAD.
func RoleName(role fieldsyncv1.Role) string {
	return strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(role.String(), "ROLE_"), "_", "-"))
}

// Table returns the table of rights, procedures before routes, each by name. It is what is enforced, not a description of it.
func Table() []Right {
	var rows []Right
	for procedure, roles := range rights {
		rows = append(rows, Right{What: procedure, Roles: roles})
	}
	for _, procedure := range public {
		rows = append(rows, Right{What: procedure, Else: "anyone"})
	}
	slices.SortFunc(rows, func(a, b Right) int { return strings.Compare(a.What, b.What) })
	ways := slices.Clone(routes)
	slices.SortFunc(ways, func(a, b Right) int { return strings.Compare(path(a.What), path(b.What)) })
	return append(rows, ways...)
}

// path is a route without its method.
func path(route string) string {
	if _, after, ok := strings.Cut(route, " "); ok {
		return after
	}
	return route
}
