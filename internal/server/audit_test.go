package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/cong1022/fieldsync/auth"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
)

// Protects: whoever asks for a token or is refused with one, or with an API key that only reads, stands in the audit log: systems and devices by their ids, strangers by their
// address; no token, proof or assertion stands there. A token whose time is over is nothing to tell.
func TestTokensAreAudited(t *testing.T) {
	r := settled(t, testConfig(t))
	boss := auth.WithPrincipal(t.Context(), auth.Principal{MemberID: "sep", DeviceID: "shell", Role: fieldsyncv1.Role_ROLE_ADMIN})
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	registered, err := r.auth.RegisterClient(boss, &fieldsyncv1.RegisterClientRequest{MemberId: "tong-dai", Name: "1022", PublicKey: der})
	if err != nil {
		t.Fatal(err)
	}
	assertion, err := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{
		"iss": registered.GetClientId(), "sub": registered.GetClientId(), "aud": registered.GetAudience(),
		"exp": time.Now().Add(time.Minute).Unix(), "jti": rand.Text(),
	}).SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	form := url.Values{
		"grant_type": {"client_credentials"}, "client_assertion": {assertion},
		"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
	}.Encode()
	anyone := client(t, false, "")
	for _, want := range []int{http.StatusOK, http.StatusUnauthorized, http.StatusUnauthorized} { // Once; then it is a replay.
		if got := do(t, anyone, http.MethodPost, r.url+"/oauth/token", "application/x-www-form-urlencoded", strings.NewReader(form)); got.status != want {
			t.Fatalf("%d %s", got.status, got.body)
		}
	}
	lost := r.token(t, "an")
	claims := jwt.MapClaims{}
	if _, _, err := jwt.NewParser().ParseUnverified(lost, claims); err != nil {
		t.Fatal(err)
	}
	device, _ := claims["dev"].(string)
	if device == "" {
		t.Fatalf("the token names no device: %v", claims)
	}
	if _, err := r.auth.RevokeDevice(boss, &fieldsyncv1.RevokeDeviceRequest{DeviceId: device}); err != nil {
		t.Fatal(err)
	}
	whoAmI := func(token, want string) {
		t.Helper()
		if got := do(t, client(t, false, token), http.MethodPost, r.url+"/fieldsync.v1.IdentityService/WhoAmI", "application/json", strings.NewReader("{}")); !strings.Contains(got.body, `"`+want+": ") {
			t.Errorf("%s, want %s", got.body, want)
		}
	}
	whoAmI(lost, "device_revoked")
	forged := lost[:len(lost)-8] + "AAAAAAAA"
	whoAmI(forged, "token_invalid")
	refresh, err := json.Marshal(map[string]string{"deviceId": device, "proof": "a.b.c"})
	if err != nil {
		t.Fatal(err)
	}
	if got := do(t, anyone, http.MethodPost, r.url+"/fieldsync.v1.IdentityService/Refresh", "application/json", strings.NewReader(string(refresh))); !strings.Contains(got.body, `"proof_invalid: `) {
		t.Errorf("refresh: %s", got.body)
	}
	for _, key := range []string{"fsk_GUESS", "fsk_GUESS", ""} { // Who brings no key has only looked.
		do(t, anyone, http.MethodGet, r.url+"/open311/v2/requests.json?jurisdiction_id=hochiminhcity.gov.vn&api_key="+key, "", nil)
	}
	list, err := r.audit.ListAuditEntries(boss, &fieldsyncv1.ListAuditEntriesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var seen []string
	for _, e := range list.GetEntries() {
		about := ""
		for _, s := range e.GetSubjects() {
			about += " " + s.GetKind() + "=" + s.GetId()
		}
		seen = append(seen, strings.Join([]string{e.GetAct(), e.GetOutcome(), e.GetAddress(), e.GetMemberId(), e.GetDeviceId() + about}, "|"))
		text := protojson.Format(e)
		for _, secret := range []string{lost, forged, assertion, "a.b.c", "fsk_GUESS"} {
			if strings.Contains(text, secret) {
				t.Errorf("a secret stands in %s", text)
			}
		}
	}
	for _, want := range []string{
		"POST /oauth/token|ok|127.0.0.1|tong-dai|" + registered.GetClientId(),
		"POST /oauth/token|invalid_client|127.0.0.1|| device=" + registered.GetClientId() + " member=tong-dai",
		"Authorization: Bearer|device_revoked|127.0.0.1|an|" + device,
		"Authorization: Bearer|token_invalid|127.0.0.1||",
		"api_key|api_key_invalid|127.0.0.1||",
		"IdentityService/Refresh|proof_invalid|127.0.0.1|| device=" + device + " member=an",
	} {
		found := 0
		for _, s := range seen {
			if s == want {
				found++
			}
		}
		if found != 1 {
			t.Errorf("%q stands there %d times, of\n%s", want, found, strings.Join(seen, "\n"))
		}
	}
}
