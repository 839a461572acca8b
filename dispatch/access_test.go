package dispatch

import (
	"context"
	"testing"

	"github.com/cong1022/fieldsync/auth"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/store"
)

// Protects promise 5 on the dispatchers' side: who may call what on the things of the unit p-sai-gon, and that a foreign
// thing answers as one that does not exist.
func TestAccess(t *testing.T) {
	h := newHouse(t)
	h.device("phone", "minh", "cay-xanh", nil)
	ticket := h.ticket("p-sai-gon")
	create := func() string { return h.task("p-sai-gon").GetId() }
	crew := func(id, unit string) *fieldsyncv1.PutCrewRequest {
		return &fieldsyncv1.PutCrewRequest{Crew: &fieldsyncv1.Crew{Id: id, UnitId: unit, Name: "Đội"}}
	}
	member := func(id string, role fieldsyncv1.Role, crew, unit string) *fieldsyncv1.PutMemberRequest {
		return &fieldsyncv1.PutMemberRequest{Member: &fieldsyncv1.Member{Id: id, Name: "Ai đó", Role: role, CrewId: crew, UnitId: unit}}
	}
	assign := func(task, crew string) *fieldsyncv1.AssignTaskRequest {
		return &fieldsyncv1.AssignTaskRequest{TaskId: task, CrewId: crew}
	}

	for _, c := range []struct {
		name                   string
		call                   func(context.Context) (any, error)
		own, other, city, root string
	}{
		{"PutUnit", func(ctx context.Context) (any, error) {
			return h.PutUnit(ctx, &fieldsyncv1.PutUnitRequest{Unit: &fieldsyncv1.Unit{Id: "p-sai-gon", Name: "Phường Sài Gòn"}})
		}, "role_denied", "role_denied", "role_denied", ""},
		{"PutCrew", func(ctx context.Context) (any, error) { return h.PutCrew(ctx, crew("moi", "p-sai-gon")) }, "", "unit_unknown", "", ""},
		{"PutCrew of no unit", func(ctx context.Context) (any, error) { return h.PutCrew(ctx, crew("moi", "nowhere")) }, "unit_unknown", "unit_unknown", "unit_unknown", "unit_unknown"},
		{"PutCrew over a foreign id", func(ctx context.Context) (any, error) { return h.PutCrew(ctx, crew("thoat-nuoc", "p-sai-gon")) }, "crew_unknown", "unit_unknown", "crew_unit_fixed", "crew_unit_fixed"},
		{"PutMember crew", func(ctx context.Context) (any, error) {
			return h.PutMember(ctx, member("tam", fieldsyncv1.Role_ROLE_CREW, "cay-xanh", ""))
		}, "", "member_unknown", "", ""},
		{"PutMember into no crew", func(ctx context.Context) (any, error) {
			return h.PutMember(ctx, member("tu", fieldsyncv1.Role_ROLE_CREW, "nobody", ""))
		}, "crew_unknown", "crew_unknown", "crew_unknown", "crew_unknown"},
		{"PutMember into their crew", func(ctx context.Context) (any, error) {
			return h.PutMember(ctx, member("nam", fieldsyncv1.Role_ROLE_CREW, "cay-xanh", ""))
		}, "", "member_unknown", "", ""},
		{"PutMember dispatcher", func(ctx context.Context) (any, error) {
			return h.PutMember(ctx, member("lan", fieldsyncv1.Role_ROLE_DISPATCHER, "", "p-sai-gon"))
		}, "role_denied", "role_denied", "role_denied", ""},
		{"PutMember dispatcher of no unit", func(ctx context.Context) (any, error) {
			return h.PutMember(ctx, member("lan", fieldsyncv1.Role_ROLE_DISPATCHER, "", "nowhere"))
		}, "role_denied", "role_denied", "role_denied", "unit_unknown"},
		{"PutMember hotline", func(ctx context.Context) (any, error) {
			return h.PutMember(ctx, member("tong-dai", fieldsyncv1.Role_ROLE_HOTLINE, "", ""))
		}, "role_denied", "role_denied", "role_denied", ""},
		{"CreateTask", func(ctx context.Context) (any, error) {
			return h.CreateTask(ctx, &fieldsyncv1.CreateTaskRequest{TicketId: ticket})
		}, "", "ticket_unknown", "", ""},
		{"CreateTask of no ticket", func(ctx context.Context) (any, error) {
			return h.CreateTask(ctx, &fieldsyncv1.CreateTaskRequest{TicketId: "none"})
		}, "ticket_unknown", "ticket_unknown", "ticket_unknown", "ticket_unknown"},
		{"GetTask", func(ctx context.Context) (any, error) {
			return h.GetTask(ctx, &fieldsyncv1.GetTaskRequest{TaskId: create()})
		}, "", "task_unknown", "", ""},
		{"GetTask none", func(ctx context.Context) (any, error) {
			return h.GetTask(ctx, &fieldsyncv1.GetTaskRequest{TaskId: "none"})
		}, "task_unknown", "task_unknown", "task_unknown", "task_unknown"},
		{"AssignTask", func(ctx context.Context) (any, error) { return h.AssignTask(ctx, assign(create(), "cay-xanh")) }, "", "task_unknown", "", ""},
		{"AssignTask to a foreign crew", func(ctx context.Context) (any, error) { return h.AssignTask(ctx, assign(create(), "thoat-nuoc")) }, "crew_unknown", "task_unknown", "", ""},
		{"AssignTask to no crew", func(ctx context.Context) (any, error) { return h.AssignTask(ctx, assign(create(), "none")) }, "crew_unknown", "task_unknown", "crew_unknown", "crew_unknown"},
		{"RecallTask", func(ctx context.Context) (any, error) {
			return h.RecallTask(ctx, &fieldsyncv1.RecallTaskRequest{TaskId: create()})
		}, "", "task_unknown", "", ""},
		{"CancelTask", func(ctx context.Context) (any, error) {
			return h.CancelTask(ctx, &fieldsyncv1.CancelTaskRequest{TaskId: create(), Reason: "trùng"})
		}, "", "task_unknown", "", ""},
		{"ListUnits", func(ctx context.Context) (any, error) { return h.ListUnits(ctx, &fieldsyncv1.ListUnitsRequest{}) }, "", "", "", ""},
		{"ListCrews", func(ctx context.Context) (any, error) { return h.ListCrews(ctx, &fieldsyncv1.ListCrewsRequest{}) }, "", "", "", ""},
		{"ListMembers", func(ctx context.Context) (any, error) {
			return h.ListMembers(ctx, &fieldsyncv1.ListMembersRequest{})
		}, "", "", "", ""},
		{"ListTickets", func(ctx context.Context) (any, error) {
			return h.ListTickets(ctx, &fieldsyncv1.ListTicketsRequest{})
		}, "", "", "", ""},
		{"ListTasks", func(ctx context.Context) (any, error) { return h.ListTasks(ctx, &fieldsyncv1.ListTasksRequest{}) }, "", "", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			// Own unit first: where it creates what has not been there, the other unit meets it as foreign.
			for _, by := range []struct {
				who  auth.Principal
				want string
			}{
				{saigonDesk, c.own},
				{choLonDesk, c.other},
				{cityDesk, c.city},
				{admin, c.root},
				{crewMember, "role_denied"},
				{hotline, "role_denied"},
			} {
				_, err := c.call(h.as(by.who))
				wantCode(t, err, by.want)
			}
			_, err := c.call(t.Context())
			wantCode(t, err, "token_missing")
		})
	}
}

// Protects the lists: each shows what the caller's unit has and nothing else, and an admin and the city's dispatchers see all.
func TestListsAreScoped(t *testing.T) {
	h := newHouse(t)
	for _, m := range []*fieldsyncv1.Member{
		{Id: "admin", Name: "Quản trị", Role: fieldsyncv1.Role_ROLE_ADMIN},
		{Id: "lan", Name: "Lan", Role: fieldsyncv1.Role_ROLE_DISPATCHER, UnitId: "p-sai-gon"},
		{Id: "minh", Name: "Minh", Role: fieldsyncv1.Role_ROLE_CREW, CrewId: "cay-xanh"},
		{Id: "phuc", Name: "Phúc", Role: fieldsyncv1.Role_ROLE_CREW, CrewId: "thoat-nuoc"},
	} {
		must(t)(h.PutMember(h.as(admin), &fieldsyncv1.PutMemberRequest{Member: m}))
	}
	h.task("p-sai-gon")
	h.task("p-sai-gon")
	h.task("p-cho-lon")
	h.ticket("p-cho-lon")
	h.ticket(auth.CityUnit)
	for _, c := range []struct {
		who                                             auth.Principal
		units, crews, members, tickets, untasked, tasks int
	}{
		{saigonDesk, 1, 2, 2, 2, 0, 2},
		{choLonDesk, 1, 1, 1, 2, 1, 1},
		{cityDesk, 3, 3, 4, 5, 2, 3},
		{admin, 3, 3, 4, 5, 2, 3},
	} {
		ctx := h.as(c.who)
		units, err1 := h.ListUnits(ctx, &fieldsyncv1.ListUnitsRequest{})
		crews, err2 := h.ListCrews(ctx, &fieldsyncv1.ListCrewsRequest{})
		members, err3 := h.ListMembers(ctx, &fieldsyncv1.ListMembersRequest{})
		tickets, err4 := h.ListTickets(ctx, &fieldsyncv1.ListTicketsRequest{})
		untasked, err5 := h.ListTickets(ctx, &fieldsyncv1.ListTicketsRequest{UntaskedOnly: true})
		tasks, err6 := h.ListTasks(ctx, &fieldsyncv1.ListTasksRequest{})
		for _, err := range []error{err1, err2, err3, err4, err5, err6} {
			wantCode(t, err, "")
		}
		got := []int{
			len(units.GetUnits()), len(crews.GetCrews()), len(members.GetMembers()), len(tickets.GetTickets()),
			len(untasked.GetTickets()), len(tasks.GetTasks()),
		}
		for i, want := range []int{c.units, c.crews, c.members, c.tickets, c.untasked, c.tasks} {
			if got[i] != want {
				t.Errorf("%s of %q: list %d has %d rows, want %d", c.who.MemberID, c.who.UnitID, i, got[i], want)
			}
		}
	}
}

// Protects the search by id: a ticket is found by the hotline's id and by its own, by those who may see it; to all others it is
// as if there were none.
func TestTicketByID(t *testing.T) {
	h := newHouse(t)
	ours, waits := h.ticket("p-sai-gon"), h.ticket(auth.CityUnit)
	for _, c := range []struct {
		who     auth.Principal
		request *fieldsyncv1.ListTicketsRequest
		want    string
	}{
		{saigonDesk, &fieldsyncv1.ListTicketsRequest{HotlineId: "1022-" + ours}, ours},
		{saigonDesk, &fieldsyncv1.ListTicketsRequest{TicketId: ours}, ours},
		{saigonDesk, &fieldsyncv1.ListTicketsRequest{TicketId: ours, HotlineId: "1022-" + ours, UntaskedOnly: true}, ours},
		{saigonDesk, &fieldsyncv1.ListTicketsRequest{TicketId: ours, HotlineId: "1022-" + waits}, ""},
		{saigonDesk, &fieldsyncv1.ListTicketsRequest{HotlineId: "1022-" + waits}, ""},
		{saigonDesk, &fieldsyncv1.ListTicketsRequest{HotlineId: "1022-none"}, ""},
		{choLonDesk, &fieldsyncv1.ListTicketsRequest{HotlineId: "1022-" + ours}, ""},
		{choLonDesk, &fieldsyncv1.ListTicketsRequest{TicketId: ours}, ""},
		{cityDesk, &fieldsyncv1.ListTicketsRequest{HotlineId: "1022-" + ours}, ours},
		{admin, &fieldsyncv1.ListTicketsRequest{TicketId: ours}, ours},
		{admin, &fieldsyncv1.ListTicketsRequest{HotlineId: "1022-" + ours, UnroutedOnly: true}, ""},
		{admin, &fieldsyncv1.ListTicketsRequest{HotlineId: "1022-" + waits, UnroutedOnly: true}, waits},
	} {
		got, err := h.ListTickets(h.as(c.who), c.request)
		wantCode(t, err, "")
		if len(got.GetTickets()) > 1 || got.GetNextToken() != "" || len(got.GetTickets()) == 1 != (c.want != "") ||
			c.want != "" && got.GetTickets()[0].GetId() != c.want {
			t.Errorf("%s asks for %v: %v, want %q", c.who.MemberID, c.request, got, c.want)
		}
	}
}

// Protects the index of crews: who changes crew or role is found in one crew at most, so a push reaches nobody who has left.
func TestCrewIndexFollowsMembers(t *testing.T) {
	h := newHouse(t)
	in := func(crew string) (members []string) {
		h.view(func(tx *store.Tx) error {
			for m, err := range store.Scan(tx, store.CrewMembers(crew), nil) {
				if err != nil {
					return err
				}
				members = append(members, m.GetId())
			}
			return nil
		})
		return members
	}
	put := func(m *fieldsyncv1.Member) {
		t.Helper()
		m.Id, m.Name = "minh", "Minh"
		must(t)(h.PutMember(h.as(admin), &fieldsyncv1.PutMemberRequest{Member: m}))
	}
	put(&fieldsyncv1.Member{Role: fieldsyncv1.Role_ROLE_CREW, CrewId: "cay-xanh"})
	put(&fieldsyncv1.Member{Role: fieldsyncv1.Role_ROLE_CREW, CrewId: "cay-xanh"})
	if len(in("cay-xanh")) != 1 {
		t.Fatalf("after the first put: %v", in("cay-xanh"))
	}
	put(&fieldsyncv1.Member{Role: fieldsyncv1.Role_ROLE_CREW, CrewId: "thoat-nuoc"})
	if len(in("cay-xanh")) != 0 || len(in("thoat-nuoc")) != 1 {
		t.Fatalf("after the move: %v, %v", in("cay-xanh"), in("thoat-nuoc"))
	}
	put(&fieldsyncv1.Member{Role: fieldsyncv1.Role_ROLE_DISPATCHER, UnitId: "p-sai-gon"})
	if len(in("cay-xanh"))+len(in("thoat-nuoc")) != 0 {
		t.Fatalf("a dispatcher is still in a crew: %v, %v", in("cay-xanh"), in("thoat-nuoc"))
	}
}

// Protects: whoever waits for changes of a scope hears at once that a member has left it, and calls under way are looked at again; a new
// name wakes nobody.
func TestMovedMemberIsNoticed(t *testing.T) {
	h := newHouse(t)
	put := func(m *fieldsyncv1.Member) (woken bool, rights uint64) {
		t.Helper()
		wake, stop := h.store.Subscribe(store.CrewScope("cay-xanh").Topic())
		defer stop()
		m.Id = "minh"
		must(t)(h.PutMember(h.as(admin), &fieldsyncv1.PutMemberRequest{Member: m}))
		select {
		case <-wake:
			woken = true
		default:
		}
		h.view(func(tx *store.Tx) error {
			head, err := store.Get(tx, store.AccessHeadKey())
			rights = head.GetSequence()
			return err
		})
		return woken, rights
	}
	put(&fieldsyncv1.Member{Name: "Minh", Role: fieldsyncv1.Role_ROLE_CREW, CrewId: "cay-xanh"})
	woken, before := put(&fieldsyncv1.Member{Name: "Văn Minh", Role: fieldsyncv1.Role_ROLE_CREW, CrewId: "cay-xanh"})
	if woken {
		t.Error("a new name wakes the crew")
	}
	if woken, after := put(&fieldsyncv1.Member{Name: "Văn Minh", Role: fieldsyncv1.Role_ROLE_CREW, CrewId: "thoat-nuoc"}); !woken || after != before+1 {
		t.Errorf("after a move: woken %v, rights lost %d times, were %d", woken, after, before)
	}
}

// Protects against a dispatcher who takes over or demotes those whom only an admin may change.
func TestDispatcherCannotTakeOverMembers(t *testing.T) {
	h := newHouse(t)
	for _, m := range []*fieldsyncv1.Member{
		{Id: "lan", Name: "Lan", Role: fieldsyncv1.Role_ROLE_DISPATCHER, UnitId: "p-sai-gon"},
		{Id: "root", Name: "Quản trị", Role: fieldsyncv1.Role_ROLE_ADMIN},
		{Id: "phuc", Name: "Phúc", Role: fieldsyncv1.Role_ROLE_CREW, CrewId: "thoat-nuoc"},
	} {
		must(t)(h.PutMember(h.as(admin), &fieldsyncv1.PutMemberRequest{Member: m}))
	}
	for _, c := range []struct {
		by           auth.Principal
		member, want string
	}{
		{saigonDesk, "lan", "role_denied"},
		{saigonDesk, "root", "member_unknown"},
		{saigonDesk, "phuc", "member_unknown"},
		{cityDesk, "root", "role_denied"},
		{cityDesk, "lan", "role_denied"},
		{cityDesk, "phuc", ""},
		{saigonHead, "lan", ""}, // A head keeps the unit's dispatchers.
		{saigonHead, "root", "member_unknown"},
	} {
		_, err := h.PutMember(h.as(c.by), &fieldsyncv1.PutMemberRequest{Member: &fieldsyncv1.Member{
			Id: c.member, Name: "Khác", Role: fieldsyncv1.Role_ROLE_CREW, CrewId: "cay-xanh",
		}})
		wantCode(t, err, c.want)
	}
}

// Protects units from dates that contradict themselves.
func TestUnitValidity(t *testing.T) {
	h := newHouse(t)
	put := func(from, until int64) error {
		_, err := h.PutUnit(h.as(admin), &fieldsyncv1.PutUnitRequest{Unit: unitBetween(from, until)})
		return err
	}
	wantCode(t, put(100, 200), "")
	wantCode(t, put(200, 200), "unit_validity")
	wantCode(t, put(200, 100), "unit_validity")
	wantCode(t, put(1<<60, 0), "unit_validity")
}
