package server

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cong1022/fieldsync/auth"
	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/store"
)

// memberOf makes a member of the role, in the crew to-1 or the unit city, and returns its name.
func (r *running) memberOf(tb testing.TB, role fieldsyncv1.Role) string {
	tb.Helper()
	m := &fieldsyncv1.Member{Id: fmt.Sprintf("vai-tro-%d", role), Name: "X", Role: role}
	if strings.Contains(role.String(), "CREW") {
		m.CrewId = "to-1"
	} else if role == fieldsyncv1.Role_ROLE_DISPATCHER || strings.Contains(role.String(), "HEAD") {
		m.UnitId = "city"
	}
	r.update(tb, func(tx *store.Tx) error { return store.Put(tx, store.MemberKey(m.GetId()), m) })
	return m.GetId()
}

// expired is the token as it is once its time is over.
func (r *running) expired(tb testing.TB, token string) string {
	tb.Helper()
	claims := jwt.MapClaims{}
	if _, _, err := jwt.NewParser().ParseUnverified(token, claims); err != nil {
		tb.Fatal(err)
	}
	claims["exp"] = time.Now().Add(-time.Hour).Unix()
	var key *storagev1.SigningKey
	r.update(tb, func(tx *store.Tx) error {
		keys, err := auth.SigningKeys(tx, storagev1.KeyUse_KEY_USE_ACCESS_TOKEN)
		key = keys[0]
		return err
	})
	over := jwt.NewWithClaims(jwt.SigningMethodEdDSA, claims)
	over.Header["kid"] = key.GetKid()
	signed, err := over.SignedString(ed25519.NewKeyFromSeed(key.GetSeed()))
	if err != nil {
		tb.Fatal(err)
	}
	return signed
}

// revoked is the token of a device that was revoked since.
func (r *running) revoked(tb testing.TB, member string) string {
	tb.Helper()
	token := r.token(tb, member)
	who, err := fieldsyncv1connect.NewIdentityServiceClient(client(tb, false, token), r.url).WhoAmI(tb.Context(), &fieldsyncv1.WhoAmIRequest{})
	if err != nil {
		tb.Fatal(err)
	}
	r.update(tb, func(tx *store.Tx) error {
		device, err := store.Get(tx, store.DeviceKey(who.GetDeviceId()))
		if err != nil {
			return err
		}
		device.RevokedAt = timestamppb.Now()
		return store.Put(tx, store.DeviceKey(device.GetId()), device)
	})
	return token
}

// eachRPC calls f for every RPC of the API, from the generated descriptors.
func eachRPC(tb testing.TB, f func(procedure, contentType string, method protoreflect.MethodDescriptor)) {
	tb.Helper()
	for _, service := range apiServices(tb) {
		for i := range service.Methods().Len() {
			method := service.Methods().Get(i)
			contentType := protoType
			if method.IsStreamingServer() {
				contentType = "application/connect+proto"
			}
			f("/"+string(service.FullName())+"/"+string(method.Name()), contentType, method)
		}
	}
}

// Protects: every RPC, each role, each state of a token: over the wire, the right code comes each time, and before a byte of the message
// is read. What a role may call is auth's table, which has tests of its own; this one holds that every RPC stands behind it.
func TestEveryRPCAndRole(t *testing.T) {
	r := settled(t, testConfig(t))
	own := r.token(t, "an")
	bad := map[string]string{"token_missing": "", "token_invalid": "noise", "token_expired": r.expired(t, own), "device_revoked": r.revoked(t, "an")}
	roles := map[fieldsyncv1.Role]string{}
	for value := range fieldsyncv1.Role_name {
		if role := fieldsyncv1.Role(value); role != fieldsyncv1.Role_ROLE_UNSPECIFIED {
			roles[role] = r.token(t, r.memberOf(t, role))
		}
	}
	calls := 0
	eachRPC(t, func(procedure, contentType string, _ protoreflect.MethodDescriptor) {
		call := func(token string) answer {
			calls++
			// What follows is no message: whoever reads it says so.
			return do(t, client(t, false, token), http.MethodPost, r.url+procedure, contentType, strings.NewReader("\xff\xff\xff\xff"))
		}
		for code, token := range bad {
			if got := call(token); !auth.IsPublic(procedure) && !strings.Contains(got.body, `"unauthenticated"`) || auth.IsPublic(procedure) && strings.Contains(got.body, code) {
				t.Errorf("%s, %s: %d %s", procedure, code, got.status, got.body)
			}
		}
		for role, token := range roles {
			denied := fault.CodeOf(auth.Allowed(procedure, &auth.Principal{Role: role})) == "role_denied"
			if got := call(token); denied != strings.Contains(got.body, `"permission_denied"`) || strings.Contains(got.body, `"unauthenticated"`) && !auth.IsPublic(procedure) {
				t.Errorf("%s by %s: %d %s, denied %v", procedure, role, got.status, got.body, denied)
			}
		}
	})
	t.Logf("%d calls", calls)
}

// Protects: what is another crew's or unit's answers exactly like what never was: the same status, code, text and size, whatever is asked
// for and by which RPC or route. An RPC with an id in its request that has no row here fails the test.
func TestForeignIsLikeNothing(t *testing.T) {
	r := settled(t, testConfig(t))
	r.update(t, func(tx *store.Tx) error {
		for _, unit := range []string{"phuong-a", "phuong-b"} {
			if err := store.Put(tx, store.UnitKey(unit), &fieldsyncv1.Unit{Id: unit, Name: unit}); err != nil {
				return err
			}
			if err := store.Put(tx, store.CrewKey("to-"+unit), &fieldsyncv1.Crew{Id: "to-" + unit, UnitId: unit, Name: unit}); err != nil {
				return err
			}
			for _, m := range []*fieldsyncv1.Member{
				{Id: "tho-" + unit, Name: "X", Role: fieldsyncv1.Role_ROLE_CREW, CrewId: "to-" + unit},
				{Id: "dieu-" + unit, Name: "X", Role: fieldsyncv1.Role_ROLE_DISPATCHER, UnitId: unit},
			} {
				if err := store.Put(tx, store.MemberKey(m.GetId()), m); err != nil {
					return err
				}
			}
		}
		return nil
	})
	foreign := r.property(t, "phuong-b")
	own := r.property(t, "phuong-a")
	crew, desk := r.token(t, "tho-phuong-a"), r.token(t, "dieu-phuong-a")
	never := func(id string) string { // Of the same length and alphabet.
		return strings.Map(func(c rune) rune {
			if c >= '0' && c <= '8' {
				return c + 1
			}
			return c
		}, id)
	}

	rows := map[string]struct{ token, body, id string }{
		"AssignmentService/SuggestCrews":        {desk, `{"taskId":"ID"}`, foreign.task},
		"AssignmentService/GetHints":            {desk, `{"ticketId":"ID"}`, foreign.ticket},
		"AssignmentService/ListDeliveries":      {desk, `{"taskId":"ID"}`, foreign.task},
		"DispatchService/CreateTask":            {desk, `{"ticketId":"ID"}`, foreign.ticket},
		"DispatchService/ListTickets":           {desk, `{"ticketId":"ID"}`, foreign.ticket},
		"DispatchService/ListTickets of 1022's": {desk, `{"hotlineId":"ID"}`, "phuong-b-2"},
		"DispatchService/GetTask":               {desk, `{"taskId":"ID"}`, foreign.task},
		"DispatchService/AssignTask":            {desk, `{"taskId":"ID","crewId":"to-phuong-a"}`, foreign.task},
		"DispatchService/RecallTask":            {desk, `{"taskId":"ID","reason":"x"}`, foreign.task},
		"DispatchService/CancelTask":            {desk, `{"taskId":"ID","reason":"x"}`, foreign.task},
		"DispatchService/ReopenTask":            {desk, `{"taskId":"ID","completionId":"x","reason":"x"}`, foreign.task},
		"ReviewService/GetReview":               {desk, `{"taskId":"ID"}`, foreign.task},
		"ReviewService/ResolveReview":           {desk, `{"taskId":"ID","outcome":"REVIEW_OUTCOME_UPHELD","reason":"x"}`, foreign.task},
		"IdentityService/IssueCode":             {desk, `{"memberId":"ID"}`, "tho-phuong-b"},
		"IdentityService/RevokeDevice":          {desk, `{"deviceId":"ID"}`, foreign.device},
		"SupportService/ExplainDevice":          {desk, `{"deviceId":"ID"}`, foreign.device},
		"SupportService/ListQuarantined":        {desk, `{"deviceId":"ID"}`, foreign.device},
		"SupportService/ReleaseQuarantined":     {desk, `{"id":"ID","reason":"x"}`, foreign.device + ".1.1"},
		"SupportService/DiscardQuarantined":     {desk, `{"id":"ID","reason":"x"}`, foreign.device + ".1.1"},
		"HoldService/PutLegalHold":              {desk, `{"ticketId":"ID","reason":"x"}`, foreign.ticket},
		"HoldService/LiftLegalHold":             {desk, `{"ticketId":"ID","reason":"x"}`, foreign.ticket},
		"MediaService/Declare":                  {crew, `{"taskId":"ID","photoId":"p1"}`, foreign.task},
		"MediaService/Commit":                   {crew, `{"uploadId":"ID"}`, foreign.upload},
		"ProofService/GetReceipt":               {crew, `{"completionId":"ID"}`, foreign.completion},
		"DispatchService/AssignTask to a crew":  {desk, `{"taskId":"` + own.open + `","crewId":"ID"}`, "to-phuong-b"},
		"CrewService/GetCrewWork":               {desk, `{"crewId":"ID"}`, "to-phuong-b"},
		"DeadlineService/ExplainDeadline":       {desk, `{"taskId":"ID"}`, foreign.task},
		"DeadlineService/PauseDeadline":         {desk, `{"taskId":"ID","reason":"x","until":"2100-01-01T00:00:00Z"}`, foreign.task},
		"DeadlineService/ResumeDeadline":        {desk, `{"taskId":"ID"}`, foreign.task},
		"EscalationService/GetEscalation":       {desk, `{"taskId":"ID"}`, foreign.task},
		"TerritoryService/RouteTicket":          {desk, `{"ticketId":"ID"}`, foreign.ticket},
		"FalseReportService/GetDossier":         {desk, `{"hotlineId":"ID"}`, "phuong-b-2"},
		"FalseReportService/ReverseFalseReport": {desk, `{"hotlineId":"ID","reason":"x"}`, "phuong-b-2"},
		"FalseReportService/ExportFalseReport":  {desk, `{"hotlineId":"ID"}`, "phuong-b-2"},
		"FalseReportService/ConfirmFalseReport": {desk, `{"hotlineId":"ID","dossierSha256":"` + base64.StdEncoding.EncodeToString(make([]byte, 32)) + `","reason":"x"}`, "phuong-b-2"},
	}
	elsewhere := map[string]string{
		"IdentityService/Refresh":               "a device's own proof, without a token: auth's tests",
		"IdentityService/IssueApiKey":           "admins only, who see all",
		"HotlineService/GetTicketStatus":        "the hotline only, which sees all",
		"HotlineService/AcknowledgeCompletions": "the hotline only, which sees all",
		"HotlineService/PutWebhook":             "admins only, who see all",
		"HotlineService/DeleteWebhook":          "admins only, who see all",
	}
	eachRPC(t, func(procedure, _ string, method protoreflect.MethodDescriptor) {
		name := strings.TrimPrefix(procedure, "/fieldsync.v1.")
		for i := range method.Input().Fields().Len() {
			field := string(method.Input().Fields().Get(i).Name())
			if field != "id" && !strings.HasSuffix(field, "_id") && !strings.HasSuffix(field, "_ids") {
				continue
			}
			// An RPC that only those may call who see everything has nothing to hide from them.
			narrow := false
			for _, role := range []fieldsyncv1.Role{fieldsyncv1.Role_ROLE_CREW, fieldsyncv1.Role_ROLE_DISPATCHER} {
				narrow = narrow || auth.Allowed(procedure, &auth.Principal{Role: role}) == nil
			}
			if _, listed := rows[name]; !listed && elsewhere[name] == "" && narrow {
				t.Errorf("%s takes %s: give it a row here, or say why it needs none", name, field)
			}
		}
	})
	same := func(name string, get func(id string) answer, id string) {
		t.Helper()
		strange, nothing := get(id), get(never(id))
		if id == never(id) {
			strange, nothing = get(id), get(strings.Repeat("x", len(id)))
			nothing.body = strings.ReplaceAll(nothing.body, strings.Repeat("x", len(id)), id)
		}
		nothing.body = strings.ReplaceAll(nothing.body, never(id), id)
		if strange.status < 400 || strange.status != nothing.status || strange.body != nothing.body || strange.header.Get("Content-Length") != nothing.header.Get("Content-Length") {
			t.Errorf("%s: another's gets\n%d %s\nnothing gets\n%d %s", name, strange.status, strange.body, nothing.status, nothing.body)
		}
		if strange.code() == "internal" || strange.code() == "invalid_argument" || strange.code() == "unauthenticated" || strange.code() == "permission_denied" {
			t.Errorf("%s says nothing of either: %d %s", name, strange.status, strange.body)
		}
	}
	for name, row := range rows {
		path, _, _ := strings.Cut(name, " ")
		if path == "SupportService/ListQuarantined" || path == "DispatchService/ListTickets" { // A list: empty for both.
			for _, id := range []string{row.id, never(row.id)} {
				if got := do(t, client(t, false, row.token), http.MethodPost, r.url+"/fieldsync.v1."+path, jsonType, strings.NewReader(strings.ReplaceAll(row.body, "ID", id))); got.status == http.StatusOK && got.body != "{}" {
					t.Errorf("%s: %s", name, got.body)
				}
			}
			continue
		}
		same(name, func(id string) answer {
			return do(t, client(t, false, row.token), http.MethodPost, r.url+"/fieldsync.v1."+path, jsonType, strings.NewReader(strings.ReplaceAll(row.body, "ID", id)))
		}, row.id)
	}
	for _, route := range []struct{ method, path, token, id string }{
		{http.MethodGet, "/v1/tasks/ID/photos/p1", crew, foreign.task},
		{http.MethodGet, "/v1/tasks/ID/photos/p1", desk, foreign.task},
		{http.MethodGet, "/v1/tasks/ID/photos/p1/thumbnail", desk, foreign.task},
		{http.MethodPut, "/v1/tasks/ID/photos/p1/preview", crew, foreign.task},
		{http.MethodGet, "/v1/tasks/ID/evidence.zip", desk, foreign.task},
		{http.MethodHead, "/v1/uploads/ID", crew, foreign.upload},
		{http.MethodPatch, "/v1/uploads/ID", crew, foreign.upload},
		{http.MethodGet, "/v1/public/ID/p1/0123456789abcdef0123456789abcdef", "", foreign.task},
	} {
		same(route.method+" "+route.path, func(id string) answer {
			return do(t, client(t, false, route.token), route.method, r.url+strings.ReplaceAll(route.path, "ID", id), "application/offset+octet-stream", strings.NewReader("x"),
				"Tus-Resumable", "1.0.0", "Upload-Offset", "0")
		}, route.id)
	}
	// A cursor of another crew opens nothing of it.
	sync := fieldsyncv1connect.NewSyncServiceClient(client(t, false, crew), r.url)
	got, err := sync.Sync(t.Context(), &fieldsyncv1.SyncRequest{InstallEpoch: firstInstall, Cursor: foreign.cursor})
	if text := protojson.Format(got); err == nil && (strings.Contains(text, foreign.task) || strings.Contains(text, "phuong-b")) {
		t.Errorf("another crew's cursor brings %s", text)
	}
}

// property is what a unit and its crew have.
type property struct {
	ticket, task, open, device, upload, completion string
	cursor                                         []byte
}

func (r *running) property(tb testing.TB, unit string) (p property) {
	tb.Helper()
	admin := r.enrol(tb, "sep", tb.TempDir()).Client()
	desk := fieldsyncv1connect.NewDispatchServiceClient(admin, r.url)
	for _, name := range []string{"1", "2"} {
		tickets, err := fieldsyncv1connect.NewHotlineServiceClient(admin, r.url).SubmitTickets(tb.Context(), &fieldsyncv1.SubmitTicketsRequest{
			Tickets: []*fieldsyncv1.TicketIntake{{HotlineId: unit + "-" + name, Category: "fallen-tree", Title: "Cây đổ " + unit, UnitId: unit}},
		})
		if err != nil {
			tb.Fatal(err)
		}
		p.ticket = tickets.GetResults()[0].GetTicketId()
		created, err := desk.CreateTask(tb.Context(), &fieldsyncv1.CreateTaskRequest{TicketId: p.ticket})
		if err != nil {
			tb.Fatal(err)
		}
		p.task, p.open = created.GetTask().GetId(), p.task
	}
	if _, err := desk.AssignTask(tb.Context(), &fieldsyncv1.AssignTaskRequest{TaskId: p.task, CrewId: "to-" + unit}); err != nil {
		tb.Fatal(err)
	}
	token := r.token(tb, "tho-"+unit)
	who, err := fieldsyncv1connect.NewIdentityServiceClient(client(tb, false, token), r.url).WhoAmI(tb.Context(), &fieldsyncv1.WhoAmIRequest{})
	if err != nil {
		tb.Fatal(err)
	}
	p.device = who.GetDeviceId()
	synced, err := fieldsyncv1connect.NewSyncServiceClient(client(tb, false, token), r.url).Sync(tb.Context(), &fieldsyncv1.SyncRequest{
		InstallEpoch: firstInstall,
		Mutations: []*fieldsyncv1.Mutation{
			{Number: 1, TaskId: p.task, Intent: &fieldsyncv1.Mutation_Start{Start: &fieldsyncv1.Start{}}},
			{Number: 2, TaskId: p.task, Intent: &fieldsyncv1.Mutation_Complete{Complete: &fieldsyncv1.Complete{Outcome: fieldsyncv1.Outcome_OUTCOME_REPAIRED, Note: "Xong"}}},
		},
	})
	if err != nil {
		tb.Fatal(err)
	}
	p.cursor = synced.GetCursor()
	p.completion = synced.GetTasks()[0].GetTask().GetCompletion().GetCompletionId()
	if p.completion == "" {
		tb.Fatalf("no completion in %v", synced)
	}
	p.upload = strings.Repeat("0a", 16)
	if unit == "phuong-b" {
		p.upload = strings.Repeat("0b", 16)
	}
	r.update(tb, func(tx *store.Tx) error {
		return store.Put(tx, store.UploadKey(p.upload), &storagev1.Upload{
			Id: p.upload, DeviceId: p.device, SizeBytes: 10, ContentType: "image/jpeg", Sha256: make([]byte, 32),
			State: fieldsyncv1.PhotoState_PHOTO_STATE_ON_PHONE, TaskIds: []string{p.task}, CreatedAt: timestamppb.Now(),
		})
	})
	return p
}
