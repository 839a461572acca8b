package server

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
	"github.com/cong1022/fieldsync/internal/toolserver"
)

const redirect = "http://localhost/signed-in"

// identityProvider is a whole OpenID provider, built from module source: the example server of zitadel/oidc, with the users an (of a
// crew), chi (a dispatcher) and la (whom nobody here knows).
func identityProvider(t *testing.T) (issuer string) {
	t.Helper()
	server := toolserver.Start(t, toolserver.Tool{
		Name: "oidc", Package: "github.com/zitadel/oidc/v3/example/server", Module: "github.com/zitadel/oidc/v3", BuildTime: "about a minute",
		HealthPath: "/.well-known/openid-configuration",
		Command: func(address, home string, _ toolserver.Server) (args, env []string, err error) {
			users := map[string]map[string]string{}
			for _, id := range []string{"an", "chi", "la"} {
				users[id] = map[string]string{"ID": id, "Username": id, "Password": "mat-khau-" + id, "PreferredLanguage": "vi"}
			}
			text, err := json.Marshal(users)
			if err != nil {
				return nil, nil, err
			}
			file := filepath.Join(home, "users.json")
			_, port, _ := strings.Cut(address, ":")
			return nil, []string{"PORT=" + port, "USERS_FILE=" + file, "REDIRECT_URI=" + redirect}, os.WriteFile(file, text, 0o600)
		},
	})
	_, port, _ := strings.Cut(server.Endpoint, ":")
	return "http://localhost:" + port + "/"
}

// signIn goes the way of a person's browser: to the provider, its form, back with a code, which the application changes into an ID token.
func signIn(t *testing.T, issuer, user string) string {
	t.Helper()
	browser := client(t, false, "")
	var back *url.URL
	browser.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(r.URL.String(), redirect) {
			back = r.URL
			return http.ErrUseLastResponse
		}
		return nil
	}
	ask := func(r *http.Request, err error) (*http.Response, string) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		resp, err := browser.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp, string(text)
	}
	post := func(address string, form url.Values) (*http.Request, error) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address, strings.NewReader(form.Encode()))
		if err == nil {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		return r, err
	}
	var endpoints struct {
		Authorize string `json:"authorization_endpoint"`
		Token     string `json:"token_endpoint"`
	}
	if _, text := ask(http.NewRequestWithContext(t.Context(), http.MethodGet, issuer+".well-known/openid-configuration", http.NoBody)); json.Unmarshal([]byte(text), &endpoints) != nil {
		t.Fatal(text)
	}
	page, form := ask(http.NewRequestWithContext(t.Context(), http.MethodGet, endpoints.Authorize+"?"+url.Values{
		"client_id": {"web"}, "redirect_uri": {redirect}, "response_type": {"code"}, "scope": {"openid profile"}, "state": {"s"}, "nonce": {"n"},
	}.Encode(), http.NoBody))
	_, answer := ask(post(page.Request.URL.String(), url.Values{"username": {user}, "password": {"mat-khau-" + user}, "id": {page.Request.URL.Query().Get("authRequestID")}}))
	if back == nil {
		t.Fatalf("the provider did not lead back from %s: %s\n%s", page.Request.URL, form, answer)
	}
	r, err := post(endpoints.Token, url.Values{"grant_type": {"authorization_code"}, "code": {back.Query().Get("code")}, "redirect_uri": {redirect}})
	if err == nil {
		r.SetBasicAuth("web", "secret")
	}
	_, text := ask(r, err)
	var tokens struct {
		ID string `json:"id_token"`
	}
	if err := json.Unmarshal([]byte(text), &tokens); err != nil || tokens.ID == "" {
		t.Fatalf("no ID token in %s", text)
	}
	return tokens.ID
}

// Protects: with a real provider, a dispatcher works with its token as it is, a crew member signs in there to enrol a phone without
// anyone's code, and whom no member here is, or whose role needs a device, gets no further.
func TestIdentityProvider(t *testing.T) {
	if testing.Short() {
		t.Skip("left out under -short: builds and runs an OpenID provider")
	}
	config := testConfig(t)
	issuer := identityProvider(t)
	config.OIDC.Issuer, config.OIDC.Audiences, config.OIDC.MemberClaim = issuer, []string{"web"}, "sub"
	r := settled(t, config)

	chi := signIn(t, issuer, "chi")
	identity := fieldsyncv1connect.NewIdentityServiceClient(client(t, false, chi), r.url)
	who, err := identity.WhoAmI(t.Context(), &fieldsyncv1.WhoAmIRequest{})
	if err != nil || who.GetMember().GetId() != "chi" || who.GetDeviceId() != "" {
		t.Fatalf("%v %v", who, err)
	}
	if _, err := fieldsyncv1connect.NewDispatchServiceClient(client(t, false, chi), r.url).ListTasks(t.Context(), &fieldsyncv1.ListTasksRequest{}); err != nil {
		t.Errorf("a dispatcher lists tasks: %v", err)
	}
	if got := do(t, client(t, false, chi), http.MethodPost, r.url+"/fieldsync.v1.DispatchService/PutUnit", jsonType, strings.NewReader(`{"unit":{"id":"x","name":"X"}}`)); got.code() != "permission_denied" {
		t.Errorf("a dispatcher makes a unit: %d %s", got.status, got.body)
	}
	stream, err := fieldsyncv1connect.NewSyncServiceClient(client(t, false, chi), r.url).Watch(t.Context(), &fieldsyncv1.WatchRequest{})
	if err != nil || !stream.Receive() {
		t.Errorf("a dispatcher watches: %v", errors.Join(err, stream.Err()))
	}
	_ = stream.Close()

	an := signIn(t, issuer, "an")
	if got := do(t, client(t, false, an), http.MethodPost, r.url+whoAmIPath, jsonType, strings.NewReader("{}")); !strings.Contains(got.body, "provider_device_needed") {
		t.Errorf("a crew member without a device: %d %s", got.status, got.body)
	}
	got := do(t, client(t, false, an), http.MethodPost, r.url+"/v1/sign-in", "", nil)
	var issued struct {
		Code   string `json:"code"`
		Member string `json:"member_id"`
	}
	if err := json.Unmarshal([]byte(got.body), &issued); err != nil || issued.Member != "an" {
		t.Fatalf("a crew member signs in: %d %s", got.status, got.body)
	}
	p := openPhone(t, t.TempDir())
	if err := p.Enrol(t.Context(), r.url, issued.Code, "an's phone"); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Sync(t.Context()); err != nil {
		t.Errorf("the phone syncs: %v", err)
	}

	for name, c := range map[string]struct{ token, code string }{
		"unknown here": {signIn(t, issuer, "la"), "provider_denied"}, "a device's token": {r.token(t, "an"), "provider_token_invalid"},
		"noise": {"x.y.z", "provider_token_invalid"}, "nothing": {"", "token_missing"}, "cut": {an[:len(an)-5], "provider_token_invalid"},
	} {
		if got := do(t, client(t, false, c.token), http.MethodPost, r.url+"/v1/sign-in", "", nil); !strings.Contains(got.body, c.code) {
			t.Errorf("%s: %d %s, want %s", name, got.status, got.body, c.code)
		}
	}
	without := settled(t, testConfig(t))
	if got := do(t, client(t, false, an), http.MethodPost, without.url+"/v1/sign-in", "", nil); !strings.Contains(got.body, "provider_none") {
		t.Errorf("without a provider: %d %s", got.status, got.body)
	}
	if got := do(t, client(t, false, chi), http.MethodPost, without.url+whoAmIPath, jsonType, strings.NewReader("{}")); !strings.Contains(got.body, "token_invalid") {
		t.Errorf("without a provider: %d %s", got.status, got.body)
	}
}
