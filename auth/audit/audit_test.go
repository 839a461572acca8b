package audit

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cong1022/fieldsync/auth"
	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/store"
	"github.com/cong1022/fieldsync/store/embedded"
)

// house is a log over a real store, in front of a room that does what a test says.
type house struct {
	t     *testing.T
	store *store.Store
	log   *Log
	now   time.Time
	url   string
	// does is what the room does with a call.
	does func(ctx context.Context) error
}

type room struct {
	fieldsyncv1connect.UnimplementedDispatchServiceHandler

	h *house
}

func (r room) AssignTask(ctx context.Context, _ *fieldsyncv1.AssignTaskRequest) (*fieldsyncv1.AssignTaskResponse, error) {
	return &fieldsyncv1.AssignTaskResponse{}, r.h.does(ctx)
}

func (r room) ListTasks(ctx context.Context, _ *fieldsyncv1.ListTasksRequest) (*fieldsyncv1.ListTasksResponse, error) {
	return &fieldsyncv1.ListTasksResponse{}, r.h.does(ctx)
}

var (
	chi   = auth.Principal{MemberID: "chi", DeviceID: "desk", Role: fieldsyncv1.Role_ROLE_DISPATCHER, UnitID: "city"}
	admin = auth.Principal{MemberID: "admin", DeviceID: "shell", Role: fieldsyncv1.Role_ROLE_ADMIN}
)

func newHouse(t *testing.T) *house {
	t.Helper()
	h := &house{t: t, now: time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC)}
	engine, err := embedded.Open(t.TempDir(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	h.store, err = store.Open(t.Context(), engine, store.Options{Clock: func() time.Time { return h.now }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.store.Close(); err != nil {
			t.Error(err)
		}
	})
	h.log = New(Options{Store: h.store, Log: slog.New(slog.DiscardHandler), Keep: 30 * 24 * time.Hour})
	h.does = h.write
	if err := h.store.Update(t.Context(), func(tx *store.Tx) error {
		return errors.Join(
			store.Put(tx, store.TicketByHotlineKey("1022-1"), &storagev1.Ticket{Id: "ticket-1"}),
			store.Put(tx, store.TaskKey("task-1"), &storagev1.TaskRecord{Task: &fieldsyncv1.Task{Id: "task-1", Ticket: &fieldsyncv1.TicketFacet{TicketId: "ticket-1"}}}),
		)
	}); err != nil {
		t.Fatal(err)
	}
	_, handler := fieldsyncv1connect.NewDispatchServiceHandler(room{h: h}, connect.WithInterceptors(h.log))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handler.ServeHTTP(w, r.WithContext(auth.WithPrincipal(r.Context(), chi)))
	}))
	t.Cleanup(server.Close)
	h.url = server.URL
	return h
}

// write is what an act does: it changes the store.
func (h *house) write(ctx context.Context) error {
	return h.store.Update(ctx, func(tx *store.Tx) error {
		return store.Put(tx, store.UnitKey("written"), &fieldsyncv1.Unit{Id: "written"})
	})
}

func (h *house) assign(task string) error {
	_, err := fieldsyncv1connect.NewDispatchServiceClient(http.DefaultClient, h.url).AssignTask(h.t.Context(), &fieldsyncv1.AssignTaskRequest{TaskId: task, CrewId: "to-1"})
	return err
}

// list asks for all pages.
func (h *house) list(request *fieldsyncv1.ListAuditEntriesRequest) (all []*fieldsyncv1.AuditEntry) {
	h.t.Helper()
	for request = proto.CloneOf(request); ; {
		resp, err := h.log.ListAuditEntries(auth.WithPrincipal(h.t.Context(), admin), request)
		if err != nil {
			h.t.Fatal(err)
		}
		all = append(all, resp.GetEntries()...)
		if request.PageToken = resp.GetNextToken(); request.GetPageToken() == "" {
			return all
		}
	}
}

// Protects: an act enters the log with who, what, from where and about what, and is found by its task, its ticket under both ids, its
// device and its person; reading is no act.
func TestActIsFound(t *testing.T) {
	h := newHouse(t)
	if err := h.assign("task-1"); err != nil {
		t.Fatal(err)
	}
	if _, err := fieldsyncv1connect.NewDispatchServiceClient(http.DefaultClient, h.url).ListTasks(t.Context(), &fieldsyncv1.ListTasksRequest{}); err != nil {
		t.Fatal(err)
	}
	h.now = h.now.Add(time.Hour)
	for name, request := range map[string]*fieldsyncv1.ListAuditEntriesRequest{
		"all": {}, "ticket": {TicketId: "ticket-1"}, "hotline's id": {TicketId: "1022-1"}, "task": {TicketId: "task-1"},
		"device": {DeviceId: "desk"}, "person": {MemberId: "chi"}, "act": {Act: "DispatchService/"},
		"time": {From: timestamppb.New(h.now.Add(-time.Hour)), Until: timestamppb.New(h.now)},
	} {
		all := h.list(request)
		if len(all) != 1 {
			t.Errorf("by %s: %v", name, all)
			continue
		}
		want := &fieldsyncv1.AuditEntry{
			Id: all[0].GetId(), At: timestamppb.New(h.now.Add(-time.Hour)), MemberId: "chi", DeviceId: "desk", Role: chi.Role, Address: "127.0.0.1",
			Act: "DispatchService/AssignTask", Outcome: "ok",
			Subjects: []*fieldsyncv1.AuditSubject{{Kind: "task", Id: "task-1"}, {Kind: "ticket", Id: "ticket-1"}, {Kind: "crew", Id: "to-1"}},
		}
		if !proto.Equal(all[0], want) {
			t.Errorf("by %s: %v, want %v", name, all[0], want)
		}
	}
	for name, request := range map[string]*fieldsyncv1.ListAuditEntriesRequest{
		"ticket": {TicketId: "1022-2"}, "device": {DeviceId: "phone"}, "person": {MemberId: "an"}, "act": {Act: "IdentityService/"},
		"later": {From: timestamppb.New(h.now)}, "earlier": {Until: timestamppb.New(h.now.Add(-time.Hour))},
	} {
		if all := h.list(request); len(all) != 0 {
			t.Errorf("by another %s: %v", name, all)
		}
	}
}

// Protects: no act without its entry, and no entry of what was not kept. What was refused says with which code.
func TestEntryAndActAreOne(t *testing.T) {
	h := newHouse(t)
	h.does = func(ctx context.Context) error {
		return h.store.Update(ctx, func(tx *store.Tx) error {
			if err := store.Put(tx, store.UnitKey("written"), &fieldsyncv1.Unit{}); err != nil {
				return err
			}
			return fault.New(fault.Precondition, "task_ended", "Công việc đã kết thúc.", "The task has ended.")
		})
	}
	if err := h.assign("task-1"); err == nil {
		t.Fatal("not refused")
	}
	all := h.list(&fieldsyncv1.ListAuditEntriesRequest{TicketId: "1022-1"})
	if len(all) != 1 || all[0].GetOutcome() != "task_ended" {
		t.Errorf("refused: %v", all)
	}
	h.now = h.now.Add(time.Second) // The order of entries of one moment is nobody's promise.
	// The act's own transaction holds the entry: nothing comes behind it.
	h.does = func(ctx context.Context) error {
		if err := h.write(ctx); err != nil {
			return err
		}
		if n := len(h.list(&fieldsyncv1.ListAuditEntriesRequest{TicketId: "1022-1"})); n != 2 {
			t.Errorf("when the act is kept %d entries are there, want 2", n)
		}
		return h.write(ctx) // A second transaction of one act is no second act.
	}
	if err := h.assign("task-1"); err != nil {
		t.Fatal(err)
	}
	if all := h.list(&fieldsyncv1.ListAuditEntriesRequest{}); len(all) != 2 || all[0].GetOutcome() != "ok" {
		t.Errorf("then: %v", all)
	}
}

// Protects: a flood of refused acts does not fill the disk, what was left out is counted, and acts that are kept are never left out.
func TestFloodOfRefusals(t *testing.T) {
	h := newHouse(t)
	h.does = func(context.Context) error { return fault.New(fault.NotFound, "task_unknown", "Không có.", "None.") }
	for range refusedBurst + 50 {
		_ = h.assign("nowhere")
	}
	refused := len(h.list(&fieldsyncv1.ListAuditEntriesRequest{}))
	if refused < refusedBurst || refused > refusedBurst+40 { // The rest came while the loop took its time.
		t.Errorf("%d of %d refusals were written down", refused, refusedBurst+50)
	}
	h.does = h.write
	for range 20 {
		if err := h.assign("task-1"); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(h.list(&fieldsyncv1.ListAuditEntriesRequest{TicketId: "1022-1"})); n != 20 {
		t.Errorf("%d of 20 acts were written down", n)
	}
	h.log.refused.SetBurstAt(time.Now().Add(time.Hour), refusedBurst)
	h.log.refused.SetLimit(1000)
	h.does = func(context.Context) error { return fault.New(fault.NotFound, "task_unknown", "Không có.", "None.") }
	for range 200 {
		_ = h.assign("nowhere")
	}
	if !slices.ContainsFunc(h.list(&fieldsyncv1.ListAuditEntriesRequest{}), func(e *fieldsyncv1.AuditEntry) bool { return e.GetLeftOut() > 0 }) {
		t.Error("nothing tells how many were left out")
	}
}

// Protects: a stranger's POST enters the log whatever its path holds, and takes no more room than any other.
func TestStrangePaths(t *testing.T) {
	h := newHouse(t)
	route := h.log.Route(http.NotFoundHandler())
	for path, want := range map[string]string{
		"/open311/" + strings.Repeat("a", 30000): "POST /open311/" + strings.Repeat("a", maxPath-len("/open311/")),
		"/open311/%ff":                           "POST /open311/%ff",
	} {
		route.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, nil))
		if all := h.list(&fieldsyncv1.ListAuditEntriesRequest{Act: want}); len(all) != 1 || all[0].GetAct() != want || all[0].GetOutcome() != "http_404" {
			t.Errorf("%.20s...: %.100v", path, all)
		}
	}
}

// Protects: old entries go, with their places, and nothing else does.
func TestForget(t *testing.T) {
	h := newHouse(t)
	for range 120 {
		if err := h.assign("task-1"); err != nil {
			t.Fatal(err)
		}
	}
	h.now = h.now.AddDate(0, 0, 31)
	if err := h.assign("task-1"); err != nil {
		t.Fatal(err)
	}
	if err := h.log.Forget(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, request := range []*fieldsyncv1.ListAuditEntriesRequest{{}, {TicketId: "1022-1"}, {MemberId: "chi"}, {DeviceId: "desk"}} {
		if n := len(h.list(request)); n != 1 {
			t.Errorf("%v: %d entries are left, want the new one", request, n)
		}
	}
	if err := h.store.View(t.Context(), func(tx *store.Tx) error {
		for place, err := range store.Scan(tx, store.AuditOf("crew", "to-1"), nil) {
			if err != nil || !place.GetEntry().GetAt().AsTime().Equal(h.now) {
				t.Errorf("a place is left of an entry that is gone: %v, %v", place, err)
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// Protects: pages come one after the other whatever their size, and a token of somebody's own making is refused.
func TestPages(t *testing.T) {
	h := newHouse(t)
	for range 25 {
		h.now = h.now.Add(time.Second)
		if err := h.assign("task-1"); err != nil {
			t.Fatal(err)
		}
	}
	for _, by := range []*fieldsyncv1.ListAuditEntriesRequest{{}, {TicketId: "1022-1"}} {
		for _, limit := range []uint32{1, 7, 25, 500} {
			by.Limit = limit
			all := h.list(by)
			if len(all) != 25 || !slices.IsSortedFunc(all, func(a, b *fieldsyncv1.AuditEntry) int { return b.GetAt().AsTime().Compare(a.GetAt().AsTime()) }) {
				t.Errorf("by %d: %d entries", limit, len(all))
			}
		}
	}
	for _, token := range []string{"x", "AAAA", strings.Repeat("A", 100), "!"} {
		_, err := h.log.ListAuditEntries(auth.WithPrincipal(t.Context(), admin), &fieldsyncv1.ListAuditEntriesRequest{PageToken: token})
		if err != nil && fault.CodeOf(err) != "page_token_invalid" {
			t.Errorf("token %q: %v", token, err)
		}
	}
}

// Protects: every call of the API is an act unless it only reads, or phones make it all the time.
func TestWhatIsAnAct(t *testing.T) {
	for procedure, want := range map[string]bool{
		fieldsyncv1connect.DispatchServiceAssignTaskProcedure: true, fieldsyncv1connect.IdentityServiceRevokeDeviceProcedure: true,
		fieldsyncv1connect.IdentityServiceEnrolProcedure: true, fieldsyncv1connect.HotlineServiceSubmitTicketsProcedure: true,
		fieldsyncv1connect.AuditServiceListAuditEntriesProcedure: true, fieldsyncv1connect.FalseReportServiceGetDossierProcedure: true,
		fieldsyncv1connect.FalseReportServiceExportFalseReportProcedure: true, "/fieldsync.v1.NewService/Frobnicate": true,
		fieldsyncv1connect.SyncServiceSyncProcedure: false, fieldsyncv1connect.DispatchServiceListTasksProcedure: false,
		fieldsyncv1connect.IdentityServiceRefreshProcedure: false, "/grpc.health.v1.Health/Check": false,
	} {
		if isAct(procedure) != want {
			t.Errorf("%s: %t, want %t", procedure, !want, want)
		}
	}
}
