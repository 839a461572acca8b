package main

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
	"github.com/cong1022/fieldsync/phone"
)

// The cast of a house.
const (
	houseUnit        = "binh-thanh"
	crewOne, crewTwo = "to-1", "to-2"
	houseDispatcher  = "chi"
	houseHotline     = "he-thong-1022"
)

// house is a real server process with a unit, two crews, a dispatcher and the hotline.
type house struct {
	t      *testing.T
	dir    string
	server *process

	admin, dispatcher, hotline *phone.Phone
}

// newHouse starts the server with the flags, in data below dir.
func newHouse(t *testing.T, flags ...string) *house {
	t.Helper()
	h := &house{t: t, dir: t.TempDir()}
	h.settle(flags...)
	return h
}

// settle starts the server for the first time and moves in.
func (h *house) settle(flags ...string) {
	t := h.t
	t.Helper()
	h.start(flags...)
	t.Cleanup(func() { h.server.kill() })
	code, err := h.server.await(enrolLine)
	check(t, err)
	h.admin = h.enrolWith("admin", code)
	ctx, desk := t.Context(), h.desk(h.admin)
	_, err = desk.PutUnit(ctx, &fieldsyncv1.PutUnitRequest{Unit: &fieldsyncv1.Unit{Id: houseUnit, Name: "Phường Bình Thạnh"}})
	check(t, err)
	for id, name := range map[string]string{crewOne: "Tổ 1", crewTwo: "Tổ 2"} {
		_, err = desk.PutCrew(ctx, &fieldsyncv1.PutCrewRequest{Crew: &fieldsyncv1.Crew{Id: id, UnitId: houseUnit, Name: name}})
		check(t, err)
	}
	h.dispatcher = h.enrol(&fieldsyncv1.Member{Id: houseDispatcher, Name: "Lê Thị Chi", Role: fieldsyncv1.Role_ROLE_DISPATCHER, UnitId: "city"})
	h.hotline = h.enrol(&fieldsyncv1.Member{Id: houseHotline, Name: "Hệ thống 1022", Role: fieldsyncv1.Role_ROLE_HOTLINE})
}

func (h *house) operations() fieldsyncv1connect.OperationsServiceClient {
	return fieldsyncv1connect.NewOperationsServiceClient(h.admin.Client(), h.server.url)
}

// start starts the server, which is not running.
func (h *house) start(flags ...string) {
	h.t.Helper()
	server, err := startServer(h.dir, nil, append([]string{"--data", "data"}, flags...)...)
	check(h.t, err)
	h.server = server
}

// folder is where a member's device keeps its things.
func (h *house) folder(member string) string { return filepath.Join(h.dir, "device-"+member) }

// enrol puts the member and enrols a device for it.
func (h *house) enrol(member *fieldsyncv1.Member) *phone.Phone {
	h.t.Helper()
	_, err := h.desk(h.admin).PutMember(h.t.Context(), &fieldsyncv1.PutMemberRequest{Member: member})
	check(h.t, err)
	issued, err := h.identity(h.admin).IssueCode(h.t.Context(), &fieldsyncv1.IssueCodeRequest{MemberId: member.GetId()})
	check(h.t, err)
	return h.enrolWith(member.GetId(), issued.GetCode())
}

func (h *house) enrolCrew(member, crew string) *phone.Phone {
	h.t.Helper()
	return h.enrol(&fieldsyncv1.Member{Id: member, Name: "Nguyễn Văn " + member, Role: fieldsyncv1.Role_ROLE_CREW, CrewId: crew})
}

func (h *house) enrolWith(member, code string) *phone.Phone {
	h.t.Helper()
	p := h.open(member)
	check(h.t, p.Enrol(h.t.Context(), h.server.url, code, member))
	return p
}

// open opens a member's device. Many may wait for a dead server at once and go on soon after it is back.
func (h *house) open(member string) *phone.Phone {
	h.t.Helper()
	p, err := phone.Open(h.folder(member), phone.Options{
		AppVersion: "test", RetryMin: 10 * time.Millisecond, RetryMax: 100 * time.Millisecond,
	})
	check(h.t, err)
	h.t.Cleanup(func() { p.Close() })
	return p
}

func (h *house) desk(as *phone.Phone) fieldsyncv1connect.DispatchServiceClient {
	return fieldsyncv1connect.NewDispatchServiceClient(as.Client(), h.server.url)
}

func (h *house) identity(as *phone.Phone) fieldsyncv1connect.IdentityServiceClient {
	return fieldsyncv1connect.NewIdentityServiceClient(as.Client(), h.server.url)
}

func (h *house) line1022() fieldsyncv1connect.HotlineServiceClient {
	return fieldsyncv1connect.NewHotlineServiceClient(h.hotline.Client(), h.server.url)
}

// newTask hands a ticket over, makes it a task and gives it to the crew.
func (h *house) newTask(ctx context.Context, ticket *fieldsyncv1.TicketIntake, crew string) string {
	h.t.Helper()
	ticket.UnitId = houseUnit
	submitted, err := h.line1022().SubmitTickets(ctx, &fieldsyncv1.SubmitTicketsRequest{Tickets: []*fieldsyncv1.TicketIntake{ticket}})
	check(h.t, err)
	created, err := h.desk(h.dispatcher).CreateTask(ctx, &fieldsyncv1.CreateTaskRequest{TicketId: submitted.GetResults()[0].GetTicketId()})
	check(h.t, err)
	id := created.GetTask().GetId()
	_, err = h.desk(h.dispatcher).AssignTask(ctx, &fieldsyncv1.AssignTaskRequest{TaskId: id, CrewId: crew, Instruction: "Mang theo cưa máy"})
	check(h.t, err)
	return id
}
