package dispatch

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cong1022/fieldsync/auth"
	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/store"
	"github.com/cong1022/fieldsync/store/embedded"
)

var (
	start = time.Date(2025, 11, 20, 8, 0, 0, 0, time.UTC)

	admin      = auth.Principal{MemberID: "admin", Role: fieldsyncv1.Role_ROLE_ADMIN}
	cityDesk   = auth.Principal{MemberID: "thanh-pho", Role: fieldsyncv1.Role_ROLE_DISPATCHER, UnitID: auth.CityUnit}
	saigonHead = auth.Principal{MemberID: "dung", Role: fieldsyncv1.Role_ROLE_UNIT_HEAD, UnitID: "p-sai-gon"}
	saigonDesk = auth.Principal{MemberID: "lan", Role: fieldsyncv1.Role_ROLE_DISPATCHER, UnitID: "p-sai-gon"}
	choLonDesk = auth.Principal{MemberID: "hung", Role: fieldsyncv1.Role_ROLE_DISPATCHER, UnitID: "p-cho-lon"}
	crewMember = auth.Principal{MemberID: "minh", Role: fieldsyncv1.Role_ROLE_CREW, CrewID: "cay-xanh", UnitID: "p-sai-gon"}
	hotline    = auth.Principal{MemberID: "tong-dai", Role: fieldsyncv1.Role_ROLE_HOTLINE}
)

// house is a service over a real store with two units: Sài Gòn has the crews cay-xanh and chieu-sang, Chợ Lớn has thoat-nuoc.
type house struct {
	*Service

	t   *testing.T
	dir string
	now time.Time
}

func newHouse(t *testing.T) *house {
	t.Helper()
	h := &house{t: t, dir: t.TempDir(), now: start}
	h.open()
	for _, id := range []string{auth.CityUnit, "p-sai-gon", "p-cho-lon"} {
		must(t)(h.PutUnit(h.as(admin), &fieldsyncv1.PutUnitRequest{Unit: &fieldsyncv1.Unit{Id: id, Name: id}}))
	}
	for crew, unit := range map[string]string{"cay-xanh": "p-sai-gon", "chieu-sang": "p-sai-gon", "thoat-nuoc": "p-cho-lon"} {
		must(t)(h.PutCrew(h.as(admin), &fieldsyncv1.PutCrewRequest{Crew: &fieldsyncv1.Crew{Id: crew, UnitId: unit, Name: crew}}))
	}
	return h
}

// open opens the store in the house's folder.
func (h *house) open() {
	h.t.Helper()
	engine, err := embedded.Open(h.dir, slog.New(slog.DiscardHandler))
	if err != nil {
		h.t.Fatal(err)
	}
	st, err := store.Open(h.t.Context(), engine, store.Options{Clock: func() time.Time { return h.now }})
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = st.Close() }) // Closed before by some tests.
	h.Service = New(Options{Store: st, Log: slog.New(slog.DiscardHandler)})
}

// must fails the test where a call that has to succeed does not.
func must(t *testing.T) func(response any, err error) {
	t.Helper()
	return func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
}

func (h *house) as(p auth.Principal) context.Context { return auth.WithPrincipal(h.t.Context(), p) }

func (h *house) update(fn func(*store.Tx) error) {
	h.t.Helper()
	if err := h.store.Update(h.t.Context(), fn); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) view(fn func(*store.Tx) error) {
	h.t.Helper()
	if err := h.store.View(h.t.Context(), fn); err != nil {
		h.t.Fatal(err)
	}
}

// ticket stores a ticket of the unit as the hotline's room would.
func (h *house) ticket(unit string) (id string) {
	h.t.Helper()
	h.update(func(tx *store.Tx) (err error) {
		if id, err = tx.NewID(); err != nil {
			return err
		}
		facts := &fieldsyncv1.TicketFacet{
			Revision: 1, TicketId: id, HotlineId: "1022-" + id, Category: "cay-do", Title: "Cây đổ chắn đường", UnitId: unit,
			Reporter:   &fieldsyncv1.Reporter{Name: "Nguyễn Thị Hoa", Phone: "0900000000"},
			ReportedAt: timestamppb.New(start.Add(-time.Hour)),
		}
		if err := store.Put(tx, store.UnitTicketKey(unit, id), &storagev1.Ticket{Id: id}); err != nil {
			return err
		}
		if err := store.Put(tx, store.TicketByHotlineKey(facts.GetHotlineId()), &storagev1.Ticket{Id: id}); err != nil {
			return err
		}
		return store.Put(tx, store.TicketKey(id), &storagev1.Ticket{Id: id, Facts: facts, ReceivedAt: tx.Timestamp()})
	})
	return id
}

func (h *house) task(unit string) *fieldsyncv1.Task {
	h.t.Helper()
	response, err := h.CreateTask(h.as(admin), &fieldsyncv1.CreateTaskRequest{TicketId: h.ticket(unit)})
	if err != nil {
		h.t.Fatal(err)
	}
	return response.GetTask()
}

func (h *house) assigned(unit, crew string) *fieldsyncv1.Task { //nolint:unparam // It reads better with the unit.
	h.t.Helper()
	response, err := h.AssignTask(h.as(admin), &fieldsyncv1.AssignTaskRequest{TaskId: h.task(unit).GetId(), CrewId: crew})
	if err != nil {
		h.t.Fatal(err)
	}
	return response.GetTask()
}

// device stores a phone of a crew's member as the auth room would.
func (h *house) device(id, member, crew string, change func(*storagev1.Device)) {
	h.t.Helper()
	must(h.t)(h.PutMember(h.as(admin), &fieldsyncv1.PutMemberRequest{Member: &fieldsyncv1.Member{
		Id: member, Name: member, Role: fieldsyncv1.Role_ROLE_CREW, CrewId: crew,
	}}))
	h.update(func(tx *store.Tx) error {
		device := &storagev1.Device{
			Id: id, MemberId: member, Push: &storagev1.PushAddress{Kind: fieldsyncv1.PushKind_PUSH_KIND_FCM_TOKEN, Value: "address of " + id},
		}
		if change != nil {
			change(device)
		}
		if err := store.Put(tx, store.MemberDeviceKey(member, id), &storagev1.Device{Id: id}); err != nil {
			return err
		}
		return store.Put(tx, store.DeviceKey(id), device)
	})
}

// hints are the pushes in the outbox: which device, and whether visibly.
func (h *house) hints() map[string]bool {
	h.t.Helper()
	hints := make(map[string]bool)
	h.view(func(tx *store.Tx) error {
		for row, err := range store.Scan(tx, store.Outbox(), nil) {
			if err != nil {
				return err
			}
			hints[row.GetPush().GetDeviceId()] = row.GetPush().GetVisible()
		}
		return nil
	})
	return hints
}

// reminders tells of each hint in the outbox whether it is one of no new task, by device.
func (h *house) reminders() map[string]bool {
	h.t.Helper()
	reminders := make(map[string]bool)
	h.view(func(tx *store.Tx) error {
		for row, err := range store.Scan(tx, store.Outbox(), nil) {
			if err != nil {
				return err
			}
			reminders[row.GetPush().GetDeviceId()] = row.GetPush().GetReminder()
		}
		return nil
	})
	return reminders
}

func (h *house) clearOutbox() {
	h.t.Helper()
	h.update(func(tx *store.Tx) error {
		for row, err := range store.Scan(tx, store.Outbox(), nil) {
			if err != nil {
				return err
			}
			if err := store.Delete(tx, store.OutboxKey(row.GetDueAt().AsTime(), row.GetId())); err != nil {
				return err
			}
		}
		return nil
	})
}

func (h *house) record(task string) (record *storagev1.TaskRecord) {
	h.t.Helper()
	h.view(func(tx *store.Tx) (err error) {
		record, err = store.Get(tx, store.TaskKey(task))
		return err
	})
	return record
}

// entry is the task's entry in the scope's log, nil where it has none.
func (h *house) entry(scope store.Scope, task string) (found *storagev1.ScopeEntry) {
	h.t.Helper()
	h.view(func(tx *store.Tx) error {
		for entry, err := range store.ScanLog(tx, scope, 0) {
			if err != nil {
				return err
			}
			if entry.GetTaskId() == task {
				found = entry.ScopeEntry
			}
		}
		return nil
	})
	return found
}

func (h *house) wantState(task string, state fieldsyncv1.TaskState, crew string, epoch uint64) {
	h.t.Helper()
	got := h.record(task).GetTask()
	if got.GetStatus().GetState() != state || got.GetAssignment().GetCrewId() != crew || got.GetAssignment().GetAssignmentEpoch() != epoch {
		h.t.Fatalf("the task is %v with crew %q in epoch %d, want %v, %q, %d", got.GetStatus().GetState(),
			got.GetAssignment().GetCrewId(), got.GetAssignment().GetAssignmentEpoch(), state, crew, epoch)
	}
}

func wantCode(t *testing.T, err error, code string) {
	t.Helper()
	if (code == "") != (err == nil) || fault.CodeOf(err) != code {
		t.Fatalf("got the error %v, want the code %q", err, code)
	}
}

func wantEqual(t *testing.T, what string, got, want proto.Message) {
	t.Helper()
	if !proto.Equal(got, want) {
		t.Fatalf("%s: got %v, want %v", what, got, want)
	}
}

// unitBetween is a unit that is valid between two times in seconds since 1970; 0 stands for none.
func unitBetween(from, until int64) *fieldsyncv1.Unit {
	unit := &fieldsyncv1.Unit{Id: "quan-1", Name: "Quận 1"}
	if from != 0 {
		unit.ValidFrom = &timestamppb.Timestamp{Seconds: from}
	}
	if until != 0 {
		unit.ValidUntil = &timestamppb.Timestamp{Seconds: until}
	}
	return unit
}
