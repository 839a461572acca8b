package server

import (
	"bytes"
	"compress/gzip"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"buf.build/go/protovalidate"
	"connectrpc.com/connect"
	"github.com/golang-jwt/jwt/v5"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/cong1022/fieldsync/auth"
	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
	"github.com/cong1022/fieldsync/hotline"
	"github.com/cong1022/fieldsync/store"
)

const (
	syncPath     = "/fieldsync.v1.SyncService/Sync"
	protoType    = "application/proto"
	jsonType     = "application/json"
	firstInstall = 1
)

// judged tells how many mutations of the device were judged, whatever became of them.
func (r *running) judged(tb testing.TB, token string) (number uint64) {
	tb.Helper()
	who, err := fieldsyncv1connect.NewIdentityServiceClient(client(tb, false, token), r.url).WhoAmI(tb.Context(), &fieldsyncv1.WhoAmIRequest{})
	if err != nil {
		tb.Fatal(err)
	}
	if err := r.store.View(tb.Context(), func(tx *store.Tx) error {
		head, err := store.Get(tx, store.MutationHeadKey(who.GetDeviceId(), firstInstall))
		number = head.GetNumber()
		return err
	}); err != nil {
		tb.Fatal(err)
	}
	return number
}

// notes is an outbox of so many notes of so many letters.
func notes(task string, count, letters int) *fieldsyncv1.SyncRequest {
	req := &fieldsyncv1.SyncRequest{InstallEpoch: firstInstall}
	for i := range count {
		req.Mutations = append(req.Mutations, &fieldsyncv1.Mutation{
			Number: uint64(i + 1), TaskId: task,
			Intent: &fieldsyncv1.Mutation_AddNote{AddNote: &fieldsyncv1.AddNote{Text: strings.Repeat("a", letters)}},
		})
	}
	return req
}

func encoded(tb testing.TB, m proto.Message) []byte {
	tb.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func gzipped(tb testing.TB, content io.Reader) []byte {
	tb.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := io.Copy(w, content); err != nil {
		tb.Fatal(err)
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

// Protects: a body that is no message, or is too large, gets an error of the right kind and leaves no trace, and the same
// phone goes on afterwards.
func TestBadBodies(t *testing.T) {
	r := settled(t, testConfig(t))
	task, token := r.assigned(t), r.token(t, "an")
	good := notes(task, 1, 100)
	asJSON, err := protojson.Marshal(good)
	if err != nil {
		t.Fatal(err)
	}
	// A valid request before the part that makes it too large: nothing of it may take effect.
	large := encoded(t, notes(task, 3, maxMessageBytes/2))
	for _, c := range []struct {
		name, contentType, encoding string
		body                        []byte
		want                        connect.Code
		status                      int
	}{
		{"cut protobuf", protoType, "", encoded(t, good)[:20], connect.CodeInvalidArgument, http.StatusBadRequest},
		{"noise for protobuf", protoType, "", []byte("\xff\xff\xff\xff"), connect.CodeInvalidArgument, http.StatusBadRequest},
		{"cut JSON", jsonType, "", asJSON[:len(asJSON)-2], connect.CodeInvalidArgument, http.StatusBadRequest},
		{"JSON of another shape", jsonType, "", []byte(`{"mutations":"all"}`), connect.CodeInvalidArgument, http.StatusBadRequest},
		{"protobuf called JSON", jsonType, "", encoded(t, good), connect.CodeInvalidArgument, http.StatusBadRequest},
		{"no gzip inside", protoType, "gzip", encoded(t, good), connect.CodeInvalidArgument, http.StatusBadRequest},
		{"an unknown encoding", protoType, "br", encoded(t, good), connect.CodeUnimplemented, http.StatusNotImplemented},
		{"too large a message", protoType, "", large, connect.CodeResourceExhausted, http.StatusTooManyRequests},
		{"too large a message in JSON", jsonType, "", slices.Concat([]byte(`{"appVersion":"`), bytes.Repeat([]byte("a"), maxMessageBytes), []byte(`"}`)), connect.CodeResourceExhausted, http.StatusTooManyRequests},
		{"too large once decompressed", protoType, "gzip", gzipped(t, bytes.NewReader(large)), connect.CodeResourceExhausted, http.StatusTooManyRequests},
		{"a gzip bomb", protoType, "gzip", gzipped(t, io.LimitReader(zeros{}, 64<<20)), connect.CodeResourceExhausted, http.StatusTooManyRequests},
		{"a body without end", protoType, "", bytes.Repeat([]byte{0}, maxBodyBytes+1), connect.CodeResourceExhausted, http.StatusTooManyRequests},
	} {
		t.Run(c.name, func(t *testing.T) {
			var headers []string
			if c.encoding != "" {
				headers = []string{"Content-Encoding", c.encoding}
			}
			got := do(t, client(t, false, token), http.MethodPost, r.url+syncPath, c.contentType, bytes.NewReader(c.body), headers...)
			if got.code() != c.want.String() || got.status != c.status {
				t.Errorf("got %d %s, want %d %s", got.status, got.body, c.status, c.want)
			}
		})
	}
	// What breaks HTTP/1.1 itself is the client's mistake, too.
	for name, rest := range map[string]string{
		"a chunk without a size": "zz\r\n", "a chunk of any size": "fffffffffffffffff\r\n",
		"an endless trailer": "0\r\nX: " + strings.Repeat("a", 120_000) + "\r\n\r\n",
	} {
		said := ended(t, raw(t, r, "POST "+syncPath+" HTTP/1.1\r\nHost: x\r\nContent-Type: "+protoType+"\r\nAuthorization: Bearer "+token+
			"\r\nTransfer-Encoding: chunked\r\n\r\n"+rest))
		if !strings.HasPrefix(said, "HTTP/1.1 400") || !strings.Contains(said, `"invalid_argument"`) {
			t.Errorf("%s: %q", name, said)
		}
	}
	if n := r.judged(t, token); n != 0 {
		t.Errorf("%d mutations were judged", n)
	}
	got := do(t, client(t, false, token), http.MethodPost, r.url+syncPath, protoType, bytes.NewReader(encoded(t, good)))
	if got.status != http.StatusOK || r.judged(t, token) != 1 {
		t.Errorf("a good request after the bad ones: %d, %d judged", got.status, r.judged(t, token))
	}
}

// Protects: the largest outbox that the API allows fits into a message.
func TestLargestBatch(t *testing.T) {
	r := settled(t, testConfig(t))
	task, token := r.assigned(t), r.token(t, "an")
	sync := fieldsyncv1connect.NewSyncServiceClient(client(t, false, token), r.url, connect.WithSendGzip())
	resp, err := sync.Sync(t.Context(), notes(task, 200, 2000))
	if err != nil || len(resp.GetVerdicts()) != 200 {
		t.Fatalf("%d verdicts, %v", len(resp.GetVerdicts()), err)
	}
}

// zstandard compresses as the server does.
func zstandard(tb testing.TB, content io.Reader) []byte {
	tb.Helper()
	var b bytes.Buffer
	w := newZstd()
	w.Reset(&b)
	if _, err := io.Copy(w, content); err != nil {
		tb.Fatal(err)
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// Protects: a message that decompresses to more than is allowed is not decompressed to its end, neither to tell its size nor because it
// lies in a buffer, as it does when connect reads it; and gives back its turn.
func TestBoundedDecompression(t *testing.T) {
	gzip, zstd := newBoundedGzip(maxMessageBytes)(), newBoundedZstd(maxMessageBytes)()
	for _, c := range []struct {
		name    string
		reader  connect.Decompressor
		content []byte
		want    int64
		err     error
	}{
		{"a gzip bomb", gzip, gzipped(t, io.LimitReader(zeros{}, 32*maxMessageBytes)), largeMessage, errMessageTooLarge},
		{"the largest message, in the same reader", gzip, gzipped(t, io.LimitReader(zeros{}, maxMessageBytes)), maxMessageBytes, nil},
		{"a zstd bomb", zstd, zstandard(t, io.LimitReader(zeros{}, 32*maxMessageBytes)), largeMessage, errMessageTooLarge},
		{"the largest message, in the same reader as zstd", zstd, zstandard(t, io.LimitReader(zeros{}, maxMessageBytes)), maxMessageBytes, nil},
	} {
		d := c.reader
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if err := d.Reset(bytes.NewBuffer(c.content)); err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, d)
		runtime.ReadMemStats(&after)
		// What is too large is refused when it is found to be large, before there is room for more of it.
		if n < c.want || n > c.want+64<<10 || c.err == nil && n != c.want || !errors.Is(err, c.err) {
			t.Errorf("%s: %d bytes, %v", c.name, n, err)
		}
		if took := after.TotalAlloc - before.TotalAlloc; took > 4*maxMessageBytes {
			t.Errorf("%s: %d bytes were allocated", c.name, took)
		}
		if err := d.Close(); err != nil || len(turns) > 0 {
			t.Errorf("%s: %v, %d turns are kept", c.name, err, len(turns))
		}
	}
}

// Protects: a device, as a stolen one, that sends bombs again and again is soon refused at the header, in each protocol; what it sends
// uncompressed gets through all the same, and other devices notice nothing.
func TestBombsOfOneDevice(t *testing.T) {
	r := settled(t, testConfig(t))
	bomb := &fieldsyncv1.SyncRequest{Cursor: make([]byte, maxMessageBytes)}
	for name, protocol := range map[string]connect.ClientOption{"connect": connect.WithProtoJSON(), "gRPC": connect.WithGRPC(), "gRPC-Web": connect.WithGRPCWeb()} {
		t.Run(name, func(t *testing.T) {
			sync := func(token string, options ...connect.ClientOption) fieldsyncv1connect.SyncServiceClient {
				return fieldsyncv1connect.NewSyncServiceClient(client(t, true, token), r.url, append(options, protocol)...)
			}
			stolen := r.token(t, "an")
			refused := 0
			for i := range 10 * bombBurst { // More than the burst where the machine is so slow that it fills up again.
				_, err := sync(stolen, connect.WithSendGzip()).Sync(t.Context(), bomb)
				told, ok := errors.AsType[*connect.Error](err)
				if !ok || told.Code() != connect.CodeResourceExhausted {
					t.Fatalf("bomb %d: %v", i, err)
				}
				if info(told).GetCode() == "messages_too_large" {
					refused = i
					break
				}
			}
			if refused < bombBurst {
				t.Errorf("refused at the header from bomb %d on", refused)
			}
			if _, err := sync(stolen).Sync(t.Context(), &fieldsyncv1.SyncRequest{}); err != nil {
				t.Errorf("uncompressed: %v", err)
			}
			if _, err := sync(r.token(t, "an"), connect.WithSendGzip()).Sync(t.Context(), &fieldsyncv1.SyncRequest{}); err != nil {
				t.Errorf("another device: %v", err)
			}
		})
	}
}

// Protects: a request that breaks the rules of the proto is refused whole, with a code and a sentence in both languages that
// name the field.
func TestInvalidRequests(t *testing.T) {
	r := settled(t, testConfig(t))
	task, crew, admin := r.assigned(t), r.token(t, "an"), r.token(t, "sep")
	for _, c := range []struct {
		name, names, vi string
		call            func() error
	}{
		{"201 mutations", "200 mutations", "tối đa 200 thay đổi", func() error {
			_, err := fieldsyncv1connect.NewSyncServiceClient(client(t, false, crew), r.url).Sync(t.Context(), notes(task, 201, 1))
			return err
		}},
		{"10,000 mutations", "200 mutations", "tối đa 200 thay đổi", func() error {
			_, err := fieldsyncv1connect.NewSyncServiceClient(client(t, false, crew), r.url).Sync(t.Context(), notes(task, 10_000, 1))
			return err
		}},
		{"a cursor of 257 bytes", "cursor", "cursor: không được quá 256 ", func() error {
			_, err := fieldsyncv1connect.NewSyncServiceClient(client(t, false, crew), r.url).Sync(t.Context(), &fieldsyncv1.SyncRequest{Cursor: make([]byte, 257)})
			return err
		}},
		{"a repair of 255 parts", "buckets", "buckets: ", func() error {
			_, err := fieldsyncv1connect.NewSyncServiceClient(client(t, false, crew), r.url).Repair(t.Context(), &fieldsyncv1.RepairRequest{Buckets: make([]uint64, 255)})
			return err
		}},
		{"a bad id", "unit.id", "unit.id: phải là một mã: ", func() error {
			_, err := fieldsyncv1connect.NewDispatchServiceClient(client(t, false, admin), r.url).PutUnit(t.Context(),
				&fieldsyncv1.PutUnitRequest{Unit: &fieldsyncv1.Unit{Id: "Ô 1", Name: "Ô 1"}})
			return err
		}},
		{"a number out of bounds", "categories[0].deadline_working_days", "categories[0].escalation[0].after: phải từ 10s đến 2592000s", func() error {
			_, err := fieldsyncv1connect.NewCategoryServiceClient(client(t, false, admin), r.url).PutCategories(t.Context(),
				&fieldsyncv1.PutCategoriesRequest{Categories: []*fieldsyncv1.Category{{Id: "x", DeadlineWorkingDays: 100_000, Escalation: []*fieldsyncv1.EscalationStep{
					{After: durationpb.New(1), Action: fieldsyncv1.EscalationAction_ESCALATION_ACTION_AGAIN, Urgency: fieldsyncv1.Urgency_URGENCY_HIGH},
				}}}})
			return err
		}},
		{"a rule over several fields", "crew_id", "phải có crew_id", func() error {
			_, err := fieldsyncv1connect.NewDispatchServiceClient(client(t, false, admin), r.url).PutMember(t.Context(),
				&fieldsyncv1.PutMemberRequest{Member: &fieldsyncv1.Member{Id: "x", Name: "X", Role: fieldsyncv1.Role_ROLE_CREW}})
			return err
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var refused *connect.Error
			if err := c.call(); !errors.As(err, &refused) || refused.Code() != connect.CodeInvalidArgument {
				t.Fatalf("got %v", err)
			}
			i := info(refused)
			if i.GetCode() != "request_invalid" || !strings.Contains(i.GetMessage().GetEn(), c.names) || !strings.Contains(i.GetMessage().GetVi(), c.vi) {
				t.Errorf("got %v", i)
			}
		})
	}
	if n := r.judged(t, crew); n != 0 {
		t.Errorf("%d mutations were judged", n)
	}
}

// Protects: every rule of the proto that can be broken has words in Vietnamese.
func TestRulesInVietnamese(t *testing.T) {
	var walk func(rules protoreflect.Message, path string)
	walk = func(rules protoreflect.Message, path string) {
		rules.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
			name := string(f.Name())
			switch {
			case name == "cel":
				for i := range v.List().Len() {
					rule := v.List().Get(i).Message()
					if id := rule.Get(rule.Descriptor().Fields().ByName("id")).String(); customVi[id] == "" {
						t.Errorf("%s: the rule %s has no words", path, id)
					}
				}
			case name == "ignore":
			case f.Kind() == protoreflect.MessageKind && !f.IsList() && strings.HasSuffix(string(f.Message().Name()), "Rules"):
				walk(v.Message(), path)
			case rulesVi[name] == "":
				t.Errorf("%s: the rule %s has no words", path, name)
			}
			return true
		})
	}
	var messages func(protoreflect.MessageDescriptors)
	messages = func(all protoreflect.MessageDescriptors) {
		for i := range all.Len() {
			m := all.Get(i)
			messages(m.Messages())
			if rules, err := protovalidate.ResolveMessageRules(m); err == nil && rules != nil {
				walk(rules.ProtoReflect(), string(m.FullName()))
			}
			for j := range m.Fields().Len() {
				if rules, err := protovalidate.ResolveFieldRules(m.Fields().Get(j)); err == nil && rules != nil {
					walk(rules.ProtoReflect(), string(m.Fields().Get(j).FullName()))
				}
			}
		}
	}
	protoregistry.GlobalFiles.RangeFilesByPackage("fieldsync.v1", func(file protoreflect.FileDescriptor) bool {
		messages(file.Messages())
		return true
	})
}

// Protects: every RPC of the API but the two that give tokens refuses who has none, before it reads a byte of the message.
func TestEveryRPCWantsAToken(t *testing.T) {
	r := start(t, testConfig(t))
	public := []string{fieldsyncv1connect.IdentityServiceEnrolProcedure, fieldsyncv1connect.IdentityServiceRefreshProcedure}
	for _, service := range apiServices(t) {
		for i := range service.Methods().Len() {
			method := service.Methods().Get(i)
			procedure := "/" + string(service.FullName()) + "/" + string(method.Name())
			contentType := protoType
			if method.IsStreamingServer() {
				contentType = "application/connect+proto"
			}
			// What follows is no message: whoever reads it says so.
			got := do(t, client(t, false, ""), http.MethodPost, r.url+procedure, contentType, strings.NewReader("\xff\xff\xff\xff"))
			if slices.Contains(public, procedure) == strings.Contains(got.body, `"unauthenticated"`) {
				t.Errorf("%s: %d %s", procedure, got.status, got.body)
			}
		}
	}
}

// Protects: a role's calls end at its rights.
func TestRoleDenied(t *testing.T) {
	r := settled(t, testConfig(t))
	_, err := fieldsyncv1connect.NewDispatchServiceClient(client(t, true, r.token(t, "an")), r.url, connect.WithGRPC()).
		ListTasks(t.Context(), &fieldsyncv1.ListTasksRequest{})
	var refused *connect.Error
	if !errors.As(err, &refused) || refused.Code() != connect.CodePermissionDenied || info(refused).GetCode() != "role_denied" {
		t.Errorf("a crew member lists tasks: %v", err)
	}
}

// Protects: only a token that this server signed, for itself, and that is not over opens anything.
func TestTokens(t *testing.T) {
	r := settled(t, testConfig(t))
	token := r.token(t, "an")
	var key *storagev1.SigningKey
	r.update(t, func(tx *store.Tx) error {
		keys, err := auth.SigningKeys(tx, storagev1.KeyUse_KEY_USE_ACCESS_TOKEN)
		key = keys[0]
		return err
	})
	_, strange, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	own := ed25519.NewKeyFromSeed(key.GetSeed())
	// forge is the token with another claim or another key.
	forge := func(method jwt.SigningMethod, with any, claim string, value any) string {
		claims := jwt.MapClaims{}
		if _, _, err := jwt.NewParser().ParseUnverified(token, claims); err != nil {
			t.Fatal(err)
		}
		if claim != "" {
			claims[claim] = value
		}
		forged := jwt.NewWithClaims(method, claims)
		forged.Header["kid"] = key.GetKid()
		signed, err := forged.SignedString(with)
		if err != nil {
			t.Fatal(err)
		}
		return signed
	}
	for name, c := range map[string]struct{ token, code string }{
		"good":                       {token, ""},
		"signed again":               {forge(jwt.SigningMethodEdDSA, own, "", nil), ""},
		"expired":                    {forge(jwt.SigningMethodEdDSA, own, "exp", time.Now().Add(-time.Hour).Unix()), "token_expired"},
		"without an end":             {forge(jwt.SigningMethodEdDSA, own, "exp", nil), "token_invalid"},
		"another issuer":             {forge(jwt.SigningMethodEdDSA, own, "iss", "other"), "token_invalid"},
		"another audience":           {forge(jwt.SigningMethodEdDSA, own, "aud", "other"), "token_invalid"},
		"another member":             {forge(jwt.SigningMethodEdDSA, own, "sub", "sep"), "token_invalid"},
		"no such device":             {forge(jwt.SigningMethodEdDSA, own, "dev", "nobody"), "token_invalid"},
		"a strange key":              {forge(jwt.SigningMethodEdDSA, strange, "", nil), "token_invalid"},
		"unsigned":                   {forge(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, "", nil), "token_invalid"},
		"the public key as a secret": {forge(jwt.SigningMethodHS256, []byte(own[ed25519.SeedSize:]), "", nil), "token_invalid"},
		"noise":                      {"noise", "token_invalid"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := fieldsyncv1connect.NewIdentityServiceClient(client(t, true, c.token), r.url, connect.WithGRPC()).
				WhoAmI(t.Context(), &fieldsyncv1.WhoAmIRequest{})
			if c.code == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			var refused *connect.Error
			if !errors.As(err, &refused) || refused.Code() != connect.CodeUnauthenticated || info(refused).GetCode() != c.code {
				t.Errorf("got %v, want %s", err, c.code)
			}
			// The faces beside the RPCs ask the same door.
			if got := do(t, client(t, false, c.token), http.MethodGet, r.url+"/v1/tasks/a/photos/b", "", nil); got.status != http.StatusUnauthorized {
				t.Errorf("a download: %d", got.status)
			}
		})
	}
}

// Protects: a panic ends one call and not the server; the caller learns that the server erred and nothing of its insides; it
// is logged once.
func TestPanic(t *testing.T) {
	r := settled(t, testConfig(t), func(s *Server) { s.hotline = hotline.New(hotline.Options{Log: s.log}) }) // Without a store.
	token := r.token(t, "tong-dai")
	body := strings.NewReader(`{"tickets":[{"hotlineId":"1","category":"c","title":"t"}]}`)
	got := do(t, client(t, false, token), http.MethodPost, r.url+"/fieldsync.v1.HotlineService/SubmitTickets", jsonType, body)
	internalAnswer(t, got, "nil pointer", "goroutine", ".go:")
	if lines := r.log.with(`"level":"ERROR"`); len(lines) != 1 || !strings.Contains(lines[0], `"msg":"panic"`) || !strings.Contains(lines[0], "SubmitTickets") {
		t.Errorf("logged: %q", lines)
	}
	r.token(t, "an") // It still serves.
}

// Protects: a panic outside the RPCs is logged, once, too.
func TestPanicInUpload(t *testing.T) {
	r := settled(t, testConfig(t), func(s *Server) { s.media = nil })
	token := r.token(t, "an")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPatch, r.url+"/v1/uploads/0123456789abcdef0123456789abcdef", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := client(t, false, token).Do(req); err == nil {
		resp.Body.Close()
		t.Errorf("answered %d", resp.StatusCode)
	}
	if lines := r.log.with(`"level":"ERROR"`); len(lines) != 1 || !strings.Contains(lines[0], `"msg":"panic"`) {
		t.Errorf("logged: %q", lines)
	}
	r.token(t, "an") // It still serves.
}

// Protects: what goes wrong inside is told to the log, once, and not to the caller.
func TestInternalError(t *testing.T) {
	r := settled(t, testConfig(t))
	r.update(t, func(tx *store.Tx) error { // A record of another kind is as good as a damaged one.
		return store.Put(tx, store.Key[fieldsyncv1.Unit](store.TaskKey("broken")), &fieldsyncv1.Unit{Id: "abc"})
	})
	got := do(t, client(t, false, r.token(t, "sep")), http.MethodPost, r.url+"/fieldsync.v1.DispatchService/GetTask", jsonType,
		strings.NewReader(`{"taskId":"broken"}`))
	internalAnswer(t, got, "damaged", "broken", "proto")
	if lines := r.log.with(`"level":"ERROR"`); len(lines) != 1 || !strings.Contains(lines[0], "damaged") {
		t.Errorf("logged: %q", lines)
	}
}

func internalAnswer(t *testing.T, got answer, secrets ...string) {
	t.Helper()
	if got.status != http.StatusInternalServerError || got.code() != "internal" {
		t.Errorf("got %d %s", got.status, got.body)
	}
	var body struct {
		Message string `json:"message"`
		Details []struct {
			Type string `json:"type"`
		} `json:"details"`
	}
	if err := json.Unmarshal([]byte(got.body), &body); err != nil || len(body.Details) != 1 || body.Details[0].Type != "fieldsync.v1.ErrorInfo" {
		t.Errorf("no ErrorInfo in %s", got.body)
	}
	for _, secret := range secrets {
		if strings.Contains(body.Message, secret) {
			t.Errorf("the answer tells of %q: %s", secret, got.body)
		}
	}
}
