package auth

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/internal/faultwire"
)

// procedures are those of every service of the API, from the generated descriptors.
func procedures(t *testing.T) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	protoregistry.GlobalFiles.RangeFilesByPackage("fieldsync.v1", func(file protoreflect.FileDescriptor) bool {
		for i := range file.Services().Len() {
			service := file.Services().Get(i)
			for j := range service.Methods().Len() {
				found["/"+string(service.FullName())+"/"+string(service.Methods().Get(j).Name())] = true
			}
		}
		return true
	})
	if len(found) < 20 {
		t.Fatalf("only %d procedures found", len(found))
	}
	return found
}

// Protects: whoever adds an RPC decides who may call it, and the table names no RPC that is gone.
func TestMatrixIsComplete(t *testing.T) {
	known := procedures(t)
	for procedure := range known {
		_, listed := rights[procedure]
		if listed == IsPublic(procedure) {
			t.Errorf("%s: in the table %v, public %v: want exactly one", procedure, listed, IsPublic(procedure))
		}
	}
	for procedure, roles := range rights {
		if !known[procedure] || len(roles) == 0 {
			t.Errorf("%s: exists %v, roles %v", procedure, known[procedure], roles)
		}
	}
	for _, procedure := range public {
		if strings.HasPrefix(procedure, "/fieldsync.") && !known[procedure] {
			t.Errorf("%s is public and does not exist", procedure)
		}
	}
}

// Protects: each role reaches what it should, written down a second time by service, and nothing else; nobody reaches
// anything but what is public.
func TestMatrix(t *testing.T) {
	const (
		reads, moves = "dispatcher head supervisor admin", "dispatcher head admin"
		everybody    = "crew lead dispatcher head supervisor hotline admin"
	)
	services := map[string]string{
		"SyncService": "crew lead dispatcher head supervisor", "MediaService": "crew lead", "HotlineService": "hotline",
		"DispatchService": moves, "SupportService": moves, "HoldService": moves, "ProofService": everybody,
		"BoardService": reads, "ReviewService": reads, "OperationsService": "admin", "AuditService": "supervisor admin", "PrivacyService": "admin", "FalseReportService": "dispatcher head admin",
		"CategoryService": everybody, "CrewService": moves, "DeadlineService": reads, "EscalationService": reads, "TerritoryService": "admin",
	}
	exceptions := map[string]string{
		"AssignmentService/AssignTasks": moves, "AssignmentService/SuggestCrews": reads, "AssignmentService/GetHints": reads, "AssignmentService/ListDeliveries": reads,
		"BoardService/ListBoard": reads, "BoardService/WatchBoard": reads, "BoardService/GetWorkload": reads, "BoardService/GetMonthlyReport": reads,
		"SupportService/ListStuckDevices": reads,
		"DispatchService/PutUnit":         "admin", "DispatchService/ListUnits": reads, "DispatchService/ListCrews": reads,
		"DispatchService/ListMembers": reads, "DispatchService/ListTickets": reads, "DispatchService/ListTasks": reads,
		"CategoryService/PutCategories": "admin", "CrewService/GetCrewWork": reads, "TerritoryService/RouteTicket": moves,
		"DeadlineService/PutCalendar": "admin", "DeadlineService/PauseDeadline": moves, "DeadlineService/ResumeDeadline": moves,
		"DispatchService/GetTask": reads, "SupportService/ExplainDevice": reads, "SupportService/ListQuarantined": reads,
		"HoldService/ListLegalHolds": reads,
		"ProofService/RotateLogKey":  "admin", "ProofService/AddCosignature": "hotline admin", "HotlineService/SubmitTickets": "hotline admin",
		"FalseReportService/GetDossier": reads, "FalseReportService/ListFalseReportFigures": reads,
		"HotlineService/WithdrawTickets": "hotline admin", "HotlineService/ListTicketStates": "hotline admin",
		"IdentityService/Enrol": "anybody", "IdentityService/Refresh": "anybody",
		"IdentityService/IssueCode": moves, "IdentityService/RevokeDevice": "lead " + moves,
		"IdentityService/ListDevices": "lead " + reads, "IdentityService/IssueApiKey": "admin",
		"IdentityService/RegisterClient": "admin", "IdentityService/RotateTokenKey": "admin",
		"IdentityService/ListTokenKeys": "supervisor admin",
		"HotlineService/PutWebhook":     "admin", "HotlineService/DeleteWebhook": "admin",
		"HotlineService/ListWebhooks": "hotline admin", "HotlineService/ReplayWebhook": "hotline admin",
		"IdentityService/RegisterPush": everybody, "IdentityService/WhoAmI": everybody,
	}
	roles := map[string]fieldsyncv1.Role{
		"crew": crew, "lead": lead, "dispatcher": dispatcher, "head": head, "supervisor": supervisor, "hotline": hotline, "admin": admin,
		"unspecified": 0, "unheard-of": 99,
	}
	for procedure := range procedures(t) {
		name := strings.TrimPrefix(procedure, "/fieldsync.v1.")
		want, special := exceptions[name]
		if !special {
			service, _, _ := strings.Cut(name, "/")
			want = services[service]
		}
		t.Run(name, func(t *testing.T) {
			if err := Allowed(procedure, nil); want == "anybody" {
				if err != nil {
					t.Errorf("nobody: %v", err)
				}
			} else {
				wantCode(t, err, fault.Unauthenticated, "token_missing")
			}
			for role, value := range roles {
				err := Allowed(procedure, &Principal{Role: value})
				if want == "anybody" || strings.Contains(" "+want+" ", " "+role+" ") {
					if err != nil {
						t.Errorf("%s: %v", role, err)
					}
				} else {
					wantCode(t, err, fault.Denied, "role_denied")
				}
			}
		})
	}
	for procedure := range procedures(t) { // Who has left the crews may send what the phone holds of then, and read nothing for it.
		if slices.Contains(public, procedure) {
			continue
		}
		err := Allowed(procedure, &Principal{LeftCrews: true})
		if sends := slices.Contains(delivery, procedure); sends != (err == nil) {
			t.Errorf("who has left the crews calls %s: %v", procedure, err)
		}
	}
	for _, unheard := range []string{"", "/", "/fieldsync.v1.SyncService/Sync/", "/fieldsync.v1.SyncService/sync", "/fieldsync.v1.AdminService/Anything"} {
		wantCode(t, Allowed(unheard, nil), fault.Unauthenticated, "token_missing")
		wantCode(t, Allowed(unheard, &Principal{Role: admin}), fault.Denied, "role_denied")
	}
}

// Protects: a route that nobody has decided on is not there, one that is decided on is refused to whom the table leaves out,
// before a byte of it is read, and every row says who may call.
func TestRoutesAreDenied(t *testing.T) {
	reached := false
	mux := http.NewServeMux()
	for _, pattern := range []string{"/", "/forgotten", "GET /v1/tasks/{task}/evidence.zip", "/v1/uploads/", "/.well-known/jwks.json"} {
		mux.HandleFunc(pattern, func(http.ResponseWriter, *http.Request) { reached = true })
	}
	door := Routed(mux, slog.New(slog.DiscardHandler))
	for _, test := range []struct {
		method, path string
		role         fieldsyncv1.Role // 0: nobody calls.
		want         int
	}{
		{"GET", "/forgotten", admin, 404},
		{"GET", "/.well-known/jwks.json", 0, 200},
		{"POST", "/fieldsync.v1.SyncService/Sync", 0, 200}, // The RPCs' own gate decides.
		{"GET", "/v1/tasks/t/evidence.zip", 0, 401},
		{"GET", "/v1/tasks/t/evidence.zip", hotline, 403},
		{"GET", "/v1/tasks/t/evidence.zip", lead, 200},
		{"POST", "/v1/tasks/t/evidence.zip", supervisor, 200}, // Falls to "/".
		{"PATCH", "/v1/uploads/u", dispatcher, 403},
		{"PATCH", "/v1/uploads/u", crew, 200},
		{"OPTIONS", "/v1/uploads/u", 0, 200},
	} {
		reached = false
		r := httptest.NewRequestWithContext(t.Context(), test.method, test.path, unread{t})
		if test.role != 0 {
			r = r.WithContext(WithPrincipal(r.Context(), Principal{Role: test.role}))
		}
		w := httptest.NewRecorder()
		door.ServeHTTP(w, r)
		if w.Code != test.want || reached != (test.want == 200) {
			t.Errorf("%s %s as %v: %d, reached %v; want %d", test.method, test.path, test.role, w.Code, reached, test.want)
		}
	}
	for _, row := range Table() {
		if (len(row.Roles) == 0) == (row.Else == "") {
			t.Errorf("%s: roles %v and %q: want exactly one of them", row.What, row.Roles, row.Else)
		}
	}
}

// gate stands where the server's gate stands, which asks the table before a message is read.
func gate(ctx context.Context, spec connect.Spec, _ connect.Peer, _ http.Header) (context.Context, error) {
	if err := AllowedIn(ctx, spec.Procedure); err != nil {
		return nil, faultwire.Connect(ctx, slog.New(slog.DiscardHandler), err)
	}
	return ctx, nil
}

// Protects: middleware and table hold together on a real server, for unary calls and streams, in all three protocols; what
// passes reaches the handler.
func TestOverTheWire(t *testing.T) {
	h := openHouse(t)
	options := connect.WithRequestGate(gate)
	mux := http.NewServeMux()
	mux.Handle(fieldsyncv1connect.NewIdentityServiceHandler(h, options))
	mux.Handle(fieldsyncv1connect.NewSyncServiceHandler(fieldsyncv1connect.UnimplementedSyncServiceHandler{}, options))
	server := httptest.NewUnstartedServer(h.Middleware(slog.New(slog.DiscardHandler))(mux))
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)

	crewPhone, hotlinePhone, revoked := h.enrolled(t, "crew-a"), h.enrolled(t, "hotline"), h.enrolled(t, "crew-b")
	boss := h.as(t, h.enrolled(t, "boss"))
	if _, err := h.RevokeDevice(boss, &fieldsyncv1.RevokeDeviceRequest{DeviceId: revoked.id}); err != nil {
		t.Fatal(err)
	}
	for name, protocol := range map[string][]connect.ClientOption{
		"connect": nil, "grpc": {connect.WithGRPC()}, "grpc-web": {connect.WithGRPCWeb()},
	} {
		identity := fieldsyncv1connect.NewIdentityServiceClient(server.Client(), server.URL, protocol...)
		sync := fieldsyncv1connect.NewSyncServiceClient(server.Client(), server.URL, protocol...)
		whoAmI := func(ctx context.Context) error {
			_, err := identity.WhoAmI(ctx, &fieldsyncv1.WhoAmIRequest{})
			return err
		}
		syncOnce := func(ctx context.Context) error {
			_, err := sync.Sync(ctx, &fieldsyncv1.SyncRequest{})
			return err
		}
		watch := func(ctx context.Context) error {
			stream, err := sync.Watch(ctx, &fieldsyncv1.WatchRequest{})
			if err != nil {
				return err
			}
			for stream.Receive() {
			}
			defer stream.Close()
			return stream.Err()
		}
		refresh := func(ctx context.Context) error {
			_, err := identity.Refresh(ctx, &fieldsyncv1.RefreshRequest{
				DeviceId: crewPhone.id, Proof: crewPhone.proof(t, crewPhone.id, audienceRefresh, h.clock.Now()),
			})
			return err
		}
		for _, test := range []struct {
			name, token string
			call        func(context.Context) error
			code        connect.Code
			info        string
		}{
			{"no token", "", whoAmI, connect.CodeUnauthenticated, "token_missing"},
			{"no token, stream", "", watch, connect.CodeUnauthenticated, "token_missing"},
			{"bad token", "x", whoAmI, connect.CodeUnauthenticated, "token_invalid"},
			{"bad token, stream", "x", watch, connect.CodeUnauthenticated, "token_invalid"},
			{"revoked", revoked.token, syncOnce, connect.CodeUnauthenticated, "device_revoked"},
			{"revoked, stream", revoked.token, watch, connect.CodeUnauthenticated, "device_revoked"},
			{"another role", hotlinePhone.token, syncOnce, connect.CodePermissionDenied, "role_denied"},
			{"another role, stream", hotlinePhone.token, watch, connect.CodePermissionDenied, "role_denied"},
			{"own", crewPhone.token, whoAmI, 0, ""},
			{"own, reaches the handler", crewPhone.token, syncOnce, connect.CodeUnimplemented, ""},
			{"own, stream, reaches the handler", crewPhone.token, watch, connect.CodeUnimplemented, ""},
			{"refresh without a token", "", refresh, 0, ""},
			{"refresh with a bad token", "x", refresh, 0, ""},
		} {
			t.Run(name+"/"+test.name, func(t *testing.T) {
				ctx, info := connect.NewClientContext(t.Context())
				if test.token != "" {
					info.RequestHeader().Set("Authorization", "Bearer "+test.token)
				}
				err := test.call(ctx)
				if test.code == 0 {
					if err != nil {
						t.Fatal(err)
					}
					return
				}
				if connect.CodeOf(err) != test.code || infoOf(err) != test.info {
					t.Errorf("got %v (%s), want %s %s", err, infoOf(err), test.code, test.info)
				}
			})
		}
	}
}

// infoOf is the code of the ErrorInfo that rides on a Connect error.
func infoOf(err error) string {
	var e *connect.Error
	if !errors.As(err, &e) {
		return ""
	}
	for _, detail := range e.Details() {
		if value, err := detail.Value(); err == nil {
			if info, ok := value.(*fieldsyncv1.ErrorInfo); ok {
				return info.GetCode()
			}
		}
	}
	return ""
}
