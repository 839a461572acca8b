package server

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/cong1022/fieldsync/auth"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
)

// Protects: a device that calls without a pause is told to wait, for how long, by every protocol, and nobody else is.
func TestDeviceLimit(t *testing.T) {
	config := testConfig(t)
	config.Edge.DevicePerSecond, config.Edge.DeviceBurst = 0.01, 3
	r := settled(t, config)
	token, other := r.token(t, "an"), r.token(t, "an")
	whoAmI := func(token string) answer {
		return do(t, client(t, false, token), http.MethodPost, r.url+whoAmIPath, jsonType, strings.NewReader("{}"))
	}
	for range 3 {
		if got := whoAmI(token); got.status != http.StatusOK {
			t.Fatalf("within the limit: %d %s", got.status, got.body)
		}
	}
	got := whoAmI(token)
	if got.status != http.StatusTooManyRequests || !strings.Contains(got.body, "rate_limited") || got.header.Get("Retry-After") == "" || got.header.Get("Retry-After") == "0" {
		t.Errorf("beyond: %d %v %s", got.status, got.header, got.body)
	}
	_, err := fieldsyncv1connect.NewIdentityServiceClient(client(t, true, token), r.url, connect.WithGRPC()).WhoAmI(t.Context(), &fieldsyncv1.WhoAmIRequest{})
	var refused *connect.Error
	if !errors.As(err, &refused) || refused.Code() != connect.CodeResourceExhausted || info(refused).GetCode() != "rate_limited" || info(refused).GetRetryAfter().AsDuration() <= 0 {
		t.Errorf("by gRPC: %v", err)
	}
	if got := whoAmI(other); got.status != http.StatusOK {
		t.Errorf("the member's other device: %d %s", got.status, got.body)
	}
}

// Protects: one address gets so much and no more, whatever it calls, an IPv6 network counts as one, and the answer can be read by
// web pages.
func TestAddressLimit(t *testing.T) {
	config := testConfig(t)
	config.Edge.TrustedProxies = []string{"127.0.0.0/8"}
	config.Edge.AddressPerSecond, config.Edge.AddressBurst = 0.01, 2
	config.CORS.Origins = []string{"https://dispatch.example"}
	r := start(t, config)
	from := func(address string) answer {
		return do(t, client(t, false, ""), http.MethodGet, r.url+"/.well-known/jwks.json", "", nil, "X-Forwarded-For", address, "Origin", "https://dispatch.example")
	}
	for _, c := range []struct {
		address string
		want    int
	}{
		{"203.0.113.1", 200},
		{"203.0.113.1", 200},
		{"203.0.113.1", 429},
		{"203.0.113.2", 200},
		{"2001:db8::1", 200},
		{"2001:db8::2", 200},
		{"2001:db8::3", 429},
		{"2001:db8:0:1::1", 200},
		{"127.0.0.1", 200},
		{"127.0.0.1", 200},
		{"127.0.0.1", 200},
	} {
		if got := from(c.address); got.status != c.want || got.header.Get("Access-Control-Allow-Origin") == "" || c.want == 429 && got.header.Get("Retry-After") == "" {
			t.Errorf("%s: %d %v, want %d", c.address, got.status, got.header, c.want)
		}
	}
}

// Protects: guesses at tokens, codes, proofs and keys are counted together and by address, and answered with a word of their own
// when they are too many; a good token, a good code and a token that is merely over are not touched by them.
func TestFailureLimit(t *testing.T) {
	config := testConfig(t)
	config.Edge.FailuresPerSecond, config.Edge.FailureBurst = 0.001, 4
	r := settled(t, config)
	token := r.token(t, "an")
	call := func(token, path, body string) answer {
		return do(t, client(t, false, token), http.MethodPost, r.url+path, jsonType, strings.NewReader(body))
	}
	unknown := `{"deviceId":"x","proof":"x.y.z"}`
	for i, got := range []answer{
		call("guess", whoAmIPath, "{}"),
		call("", "/fieldsync.v1.IdentityService/Refresh", unknown),
		do(t, client(t, false, ""), http.MethodGet, r.url+"/open311/v2/requests.json?jurisdiction_id=hochiminhcity.gov.vn&api_key=guess", "", nil),
		do(t, client(t, false, "guess"), http.MethodGet, r.url+"/v1/tasks/a/photos/b", "", nil),
	} {
		if got.status == http.StatusTooManyRequests || got.status < 400 || strings.Contains(got.body, "failures_limited") {
			t.Errorf("guess %d: %d %s", i, got.status, got.body)
		}
	}
	for i, got := range []answer{
		call("guess", whoAmIPath, "{}"),
		call("", "/fieldsync.v1.IdentityService/Refresh", unknown),
		do(t, client(t, false, "guess"), http.MethodGet, r.url+"/v1/tasks/a/photos/b", "", nil),
	} {
		if got.status != http.StatusTooManyRequests || !strings.Contains(got.body, "failures_limited") || got.header.Get("Retry-After") == "" {
			t.Errorf("guess %d of too many: %d %v %s", i, got.status, got.header, got.body)
		}
	}
	for format, begin := range map[string]string{"json": `[{"code":429,"description":`, "xml": "<?xml"} {
		got := do(t, client(t, false, ""), http.MethodGet, r.url+"/open311/v2/requests."+format+"?jurisdiction_id=hochiminhcity.gov.vn&api_key=guess", "", nil)
		if got.status != http.StatusTooManyRequests || !strings.HasPrefix(got.body, begin) || !strings.Contains(got.body, "failures_limited") || got.header.Get("Retry-After") == "" {
			t.Errorf("a guess at an API key: %d %v %s", got.status, got.header, got.body)
		}
	}
	if got := call(token, whoAmIPath, "{}"); got.status != http.StatusOK {
		t.Errorf("a good token: %d %s", got.status, got.body)
	}
	if got := call("", whoAmIPath, "{}"); got.status != http.StatusUnauthorized {
		t.Errorf("no token: %d %s", got.status, got.body)
	}
	r.token(t, "an") // Enrols and refreshes.
}

// Protects: with the limits as they come, five thousand phones that come back at once behind one address of a carrier are all
// served, their expired tokens included.
func TestStormBehindOneAddress(t *testing.T) {
	config, err := LoadConfig("", noEnv)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 25, 8, 0, 0, 0, time.UTC)
	q := newQuotas(config.Edge, func() time.Time { return now })
	rooms := &Rooms{}
	served := 0
	through := q.byAddress(rooms)(q.byDevice(rooms)(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { served++ })))
	for phone := range 5000 {
		for range 6 { // A call with the expired token, a refresh, two pages, a declaration and a photo.
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, syncPath, http.NoBody)
			r.RemoteAddr = "203.0.113.7:1"
			through.ServeHTTP(httptest.NewRecorder(), r.WithContext(auth.WithPrincipal(r.Context(), auth.Principal{DeviceID: fmt.Sprint(phone)})))
		}
	}
	if served != 30_000 {
		t.Errorf("%d of 30000 calls were served", served)
	}
}

// Protects: so many photos at once as are configured, however the client spells PATCH, and so many calls of one device; what is refused
// is told to come again, and the place is free once a call is over.
func TestUnderWay(t *testing.T) {
	type under struct{ device, method string }
	const overridden = "POST as PATCH"
	config := EdgeConfig{DeviceCalls: 3, Uploads: 3, DeviceUploads: 2}
	q := newQuotas(config, time.Now)
	rooms := &Rooms{}
	entered, leave := make(chan struct{}), make(chan struct{})
	through := q.byAddress(rooms)(q.byDevice(rooms)(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		entered <- struct{}{}
		<-leave
	})))
	call := func(u under) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		method, as, _ := strings.Cut(u.method, " as ")
		r := httptest.NewRequestWithContext(t.Context(), method, "/", http.NoBody)
		r.Header.Set("X-Http-Method-Override", as)
		through.ServeHTTP(w, r.WithContext(auth.WithPrincipal(r.Context(), auth.Principal{DeviceID: u.device})))
		return w
	}
	over := make(chan struct{})
	hold := func(u under) {
		go func() { call(u); over <- struct{}{} }()
		<-entered
	}
	refused := func(u under, status int, code string) {
		t.Helper()
		if w := call(u); w.Code != status || !strings.Contains(w.Body.String(), code) || w.Header().Get("Retry-After") == "" {
			t.Errorf("%v: %d %v %s", u, w.Code, w.Header(), w.Body)
		}
	}
	hold(under{"a", http.MethodPatch})
	hold(under{"a", http.MethodPut})
	refused(under{"a", http.MethodPatch}, http.StatusServiceUnavailable, "uploads_busy")
	refused(under{"a", overridden}, http.StatusServiceUnavailable, "uploads_busy")
	hold(under{"a", http.MethodPost})
	refused(under{"a", http.MethodPost}, http.StatusTooManyRequests, "device_busy")
	hold(under{"b", overridden})
	refused(under{"c", http.MethodPatch}, http.StatusServiceUnavailable, "uploads_busy")
	for range 4 {
		leave <- struct{}{}
	}
	for range 4 {
		<-over
	}
	hold(under{"c", http.MethodPatch})
	leave <- struct{}{}
	<-over
}
