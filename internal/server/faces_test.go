package server

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"connectrpc.com/grpchealth"
	"connectrpc.com/grpcreflect"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
)

// apiServices are the services of the API, from the generated descriptors.
func apiServices(tb testing.TB) (found []protoreflect.ServiceDescriptor) {
	tb.Helper()
	protoregistry.GlobalFiles.RangeFilesByPackage("fieldsync.v1", func(file protoreflect.FileDescriptor) bool {
		for i := range file.Services().Len() {
			found = append(found, file.Services().Get(i))
		}
		return true
	})
	if len(found) < 5 {
		tb.Fatalf("only %d services found", len(found))
	}
	return found
}

// Protects: one port speaks the Connect protocol (with JSON for curl), gRPC and gRPC-Web, unary and streaming.
func TestProtocols(t *testing.T) {
	r := settled(t, testConfig(t))
	token := r.token(t, "an")

	curl := do(t, client(t, false, token), http.MethodPost, r.url+"/fieldsync.v1.IdentityService/WhoAmI", "application/json", strings.NewReader("{}"))
	if curl.status != http.StatusOK || !strings.Contains(curl.body, `"role":"ROLE_CREW"`) {
		t.Errorf("curl with JSON: %d %s", curl.status, curl.body)
	}
	for name, c := range map[string]struct {
		http2   bool
		options []connect.ClientOption
	}{
		"connect":             {},
		"connect over HTTP/2": {http2: true},
		"connect with JSON":   {options: []connect.ClientOption{connect.WithProtoJSON()}},
		"connect with gzip":   {options: []connect.ClientOption{connect.WithSendGzip()}},
		"connect with zstd": {options: []connect.ClientOption{
			connect.WithAcceptCompression("zstd", newBoundedZstd(maxMessageBytes), newZstd), connect.WithSendCompression("zstd"),
		}},
		"gRPC":                     {http2: true, options: []connect.ClientOption{connect.WithGRPC()}},
		"gRPC with gzip":           {http2: true, options: []connect.ClientOption{connect.WithGRPC(), connect.WithSendGzip()}},
		"gRPC-Web":                 {options: []connect.ClientOption{connect.WithGRPCWeb()}},
		"gRPC-Web over HTTP/2":     {http2: true, options: []connect.ClientOption{connect.WithGRPCWeb()}},
		"gRPC-Web with JSON codec": {options: []connect.ClientOption{connect.WithGRPCWeb(), connect.WithProtoJSON()}},
	} {
		t.Run(name, func(t *testing.T) {
			caller := client(t, c.http2, token)
			who, err := fieldsyncv1connect.NewIdentityServiceClient(caller, r.url, c.options...).WhoAmI(t.Context(), &fieldsyncv1.WhoAmIRequest{})
			if err != nil || who.GetMember().GetId() != "an" {
				t.Fatalf("unary: %v %v", who, err)
			}
			stream, err := fieldsyncv1connect.NewSyncServiceClient(caller, r.url, c.options...).Watch(t.Context(), &fieldsyncv1.WatchRequest{})
			if err != nil {
				t.Fatal(err)
			}
			defer stream.Close()
			if !stream.Receive() || stream.Msg().GetServerTime() == nil {
				t.Errorf("streaming: %v %v", stream.Msg(), stream.Err())
			}
		})
	}
}

// Protects: load balancers and operators' tools find health and reflection, without a token, and reflection lists every
// service of the API.
func TestHealthAndReflection(t *testing.T) {
	r := start(t, testConfig(t))
	caller := client(t, true, "")

	check := grpchealth.NewClient(caller, r.url, connect.WithGRPC())
	for _, service := range append([]protoreflect.ServiceDescriptor{nil}, apiServices(t)...) {
		name := ""
		if service != nil {
			name = string(service.FullName())
		}
		resp, err := check.Check(t.Context(), &grpchealth.CheckRequest{Service: name})
		if err != nil || resp.Status != grpchealth.StatusServing {
			t.Errorf("health of %q: %v %v", name, resp, err)
		}
	}
	if _, err := check.Check(t.Context(), &grpchealth.CheckRequest{Service: "fieldsync.v1.Nothing"}); connect.CodeOf(err) != connect.CodeNotFound {
		t.Errorf("health of an unknown service: %v", err)
	}

	stream := grpcreflect.NewClient(caller, r.url, connect.WithGRPC()).NewStream(t.Context())
	defer func() { _, _ = stream.Close() }()
	listed, err := stream.ListServices()
	if err != nil {
		t.Fatal(err)
	}
	for _, service := range apiServices(t) {
		if !slices.Contains(listed, service.FullName()) {
			t.Errorf("reflection lists %v, without %s", listed, service.FullName())
		}
		if _, err := stream.FileContainingSymbol(service.FullName()); err != nil {
			t.Errorf("%s cannot be described: %v", service.FullName(), err)
		}
	}
}

// Protects: pages of the configured origins may call the RPCs and tus, and no other page may call anything.
func TestCORS(t *testing.T) {
	const home = "https://dispatch.example"
	open := testConfig(t)
	open.CORS.Origins = []string{home}
	with, without := start(t, open), start(t, testConfig(t))
	const rpc, upload = "/fieldsync.v1.SyncService/Sync", "/v1/uploads/0123456789abcdef0123456789abcdef"

	for _, c := range []struct {
		name, url, path, origin, method, headers string
		allowed                                  bool
	}{
		{"an RPC with a token", with.url, rpc, home, http.MethodPost, "authorization,connect-protocol-version,content-type", true},
		{"gRPC-Web", with.url, rpc, home, http.MethodPost, "authorization,content-type,x-grpc-web,x-user-agent", true},
		{"tus sends", with.url, upload, home, http.MethodPatch, "authorization,content-type,tus-resumable,upload-offset", true},
		{"tus asks", with.url, upload, home, http.MethodHead, "authorization,tus-resumable", true},
		{"a download in ranges", with.url, "/v1/tasks/t/photos/p", home, http.MethodGet, "authorization,range", true},
		{"another origin", with.url, rpc, "https://evil.example", http.MethodPost, "authorization,content-type", false},
		{"the origin in plain HTTP", with.url, rpc, "http://dispatch.example", http.MethodPost, "content-type", false},
		{"a longer origin", with.url, rpc, home + ".evil.example", http.MethodPost, "content-type", false},
		{"no origins configured", without.url, rpc, home, http.MethodPost, "content-type", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			caller := client(t, false, "")
			got := do(t, caller, http.MethodOptions, c.url+c.path, "", nil,
				"Origin", c.origin, "Access-Control-Request-Method", c.method, "Access-Control-Request-Headers", c.headers)
			origin, headers := got.header.Get("Access-Control-Allow-Origin"), got.header.Get("Access-Control-Allow-Headers")
			if c.allowed != (origin == c.origin) || c.allowed != (headers != "") {
				t.Errorf("preflight: %d, origin %q, headers %q", got.status, origin, headers)
			}
			if !c.allowed && origin != "" {
				t.Errorf("the origin %q is allowed", origin)
			}
			// What came to an actual request may be read by the page under the same rule.
			if got := do(t, caller, http.MethodGet, c.url+"/.well-known/jwks.json", "", nil, "Origin", c.origin); c.allowed != (got.header.Get("Access-Control-Allow-Origin") == c.origin) {
				t.Errorf("an actual request: %v", got.header)
			}
		})
	}
}

// Protects: every answer, an error too, tells browsers not to guess types, to leak no address, and to run nothing.
func TestSecurityHeaders(t *testing.T) {
	r := start(t, testConfig(t))
	for _, path := range []string{"/", "/.well-known/jwks.json", "/fieldsync.v1.SyncService/Sync", "/v1/uploads/x", "/v1/tasks/a/photos/b"} {
		got := do(t, client(t, false, ""), http.MethodGet, r.url+path, "", nil)
		for header, want := range map[string]string{
			"X-Content-Type-Options":  "nosniff",
			"Referrer-Policy":         "no-referrer",
			"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
		} {
			if got.header.Get(header) != want {
				t.Errorf("%s: %s is %q", path, header, got.header.Get(header))
			}
		}
	}
}
