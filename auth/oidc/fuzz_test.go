package oidc

import (
	"crypto/ed25519"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/cong1022/fieldsync/internal/fault"
)

// answering is a provider without a network.
type answering func(*http.Request) string

// RoundTrip implements http.RoundTripper.
func (a answering) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(a(r))), Request: r}, nil
}

// Protects what a provider answers and what comes in its name: whatever its documents and a token say, the token is refused by a code, or
// it is the one that the provider's own key has signed.
func FuzzProvider(f *testing.F) {
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	public, _ := key.Public().(ed25519.PublicKey)
	keys, err := json.Marshal(map[string]any{"keys": []any{map[string]string{"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": "k", "x": b64(public)}}})
	if err != nil {
		f.Fatal(err)
	}
	const issuer = "https://login.example/realms/city"
	now := time.Date(2026, 11, 25, 8, 0, 0, 0, time.UTC)
	valid := sign(f, jwt.SigningMethodEdDSA, key, map[string]any{"kid": "k"}, jwt.MapClaims{
		"iss": issuer, "aud": "fieldsync", "exp": now.Add(time.Hour).Unix(), "iat": now.Unix(), "preferred_username": "chi",
	})
	document := `{"issuer":"` + issuer + `","jwks_uri":"https://login.example/keys"}`
	parts := strings.Split(valid, ".")
	f.Add(valid, document, string(keys))
	f.Add(parts[0]+"."+parts[1]+".", document, `{"keys":[{"kty":"oct","kid":"k","k":"AA"},null,{}]}`)
	f.Add("eyJhbGciOiJub25lIiwia2lkIjoiayJ9."+parts[1]+".", `{"issuer":1}`, "[]")
	f.Add(valid, `{"issuer":"https://login.example/realms/city/","jwks_uri":"file:///etc/passwd"}`, "")
	f.Add(valid, document, `{"keys":[{"kty":"RSA","kid":"k","n":"AQ","e":"AQAB"},{"kty":"EC","crv":"P-256","kid":"k","x":"AA","y":"AA"}]}`)
	var answers atomic.Pointer[[2]string]
	client := &http.Client{Transport: answering(func(r *http.Request) string {
		if strings.HasSuffix(r.URL.Path, "openid-configuration") {
			return answers.Load()[0]
		}
		return answers.Load()[1]
	})}
	f.Fuzz(func(t *testing.T, raw, document, shown string) {
		answers.Store(&[2]string{document, shown})
		p, err := New(Options{Issuer: issuer, Audiences: []string{"fieldsync"}, MemberClaim: "preferred_username", Client: client, Now: func() time.Time { return now }})
		if err != nil {
			t.Fatal(err)
		}
		identity, err := p.Verify(t.Context(), raw)
		if err != nil {
			if fault.CodeOf(err) == "" {
				t.Fatalf("no fault: %v", err)
			}
			return
		}
		if at := strings.LastIndex(raw, "."); shown == string(keys) && raw[:at] != parts[0]+"."+parts[1] || identity.Member == "" {
			t.Fatalf("%q is taken for %+v", raw, identity)
		}
	})
}
