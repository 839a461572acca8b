package oidc

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/cong1022/fieldsync/internal/fault"
)

// issuer is a provider as far as this package sees one: discovery and keys. What a whole one does is tested in internal/server.
type issuer struct {
	*httptest.Server

	mu    sync.Mutex
	keys  []map[string]string
	down  bool
	name  string // What it calls itself; its address where empty.
	asked int
	hang  func() // What it does before it answers.
}

func newIssuer(tb testing.TB) *issuer {
	tb.Helper()
	i := &issuer{}
	i.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i.mu.Lock()
		hang := i.hang
		i.mu.Unlock()
		if hang != nil && strings.HasSuffix(r.URL.Path, "/openid-configuration") {
			hang()
		}
		i.mu.Lock()
		defer i.mu.Unlock()
		var answer any
		switch {
		case i.down:
			w.WriteHeader(http.StatusBadGateway)
			return
		case r.URL.Path == "/realms/city/.well-known/openid-configuration":
			i.asked++
			name := i.name
			if name == "" {
				name = i.URL + "/realms/city"
			}
			answer = map[string]string{"issuer": name, "jwks_uri": i.URL + "/keys"}
		case r.URL.Path == "/keys":
			answer = map[string]any{"keys": i.keys}
		}
		_ = json.NewEncoder(w).Encode(answer)
	}))
	tb.Cleanup(i.Close)
	return i
}

func (i *issuer) set(f func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	f()
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func rsaKey(kid string, key *rsa.PrivateKey) map[string]string {
	return map[string]string{"kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid, "n": b64(key.N.Bytes()), "e": b64(big.NewInt(int64(key.E)).Bytes())}
}

type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

func newProvider(tb testing.TB, i *issuer, c *clock) *Provider {
	tb.Helper()
	p, err := New(Options{
		Issuer: i.URL + "/realms/city", Audiences: []string{"fieldsync"}, MemberClaim: "preferred_username",
		RolesClaim: "realm_access.roles", Roles: map[string]string{"fs-dispatcher": "dispatcher"},
		UnitsClaim: "groups", Units: map[string]string{"/units/binh-thanh": "binh-thanh"}, Client: i.Client(), Now: c.Now,
	})
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

func sign(tb testing.TB, method jwt.SigningMethod, key any, header map[string]any, claims jwt.MapClaims) string {
	tb.Helper()
	token := jwt.NewWithClaims(method, claims)
	for k, v := range header {
		if token.Header[k] = v; v == nil {
			delete(token.Header, k)
		}
	}
	signed, err := token.SignedString(key)
	if err != nil {
		tb.Fatal(err)
	}
	return signed
}

// Protects: of a provider's tokens only those open anything that it signed with a key of its own, for us, for now; no algorithm is taken
// for another, no key for what it is not; claims are read as the configuration says.
func TestVerify(t *testing.T) {
	i, c := newIssuer(t), &clock{time.Date(2026, 11, 25, 8, 0, 0, 0, time.UTC)}
	own, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point, err := curve.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	encrypting := rsaKey("enc", own)
	encrypting["use"], encrypting["alg"] = "enc", "RSA-OAEP"
	i.keys = []map[string]string{
		rsaKey("k1", own), encrypting,
		{"kty": "EC", "use": "sig", "alg": "ES256", "kid": "k2", "crv": "P-256", "x": b64(point[1:33]), "y": b64(point[33:])},
		{"kty": "oct", "use": "sig", "alg": "HS256", "kid": "k3", "k": b64([]byte("a secret that it publishes by mistake"))},
		{"kty": "future", "kid": "k4"},
	}
	p := newProvider(t, i, c)
	spki, err := x509.MarshalPKIXPublicKey(&own.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	asPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki})
	claims := jwt.MapClaims{
		"iss": i.URL + "/realms/city", "aud": []string{"account", "fieldsync"}, "sub": "8f2c", "preferred_username": "Chi",
		"iat": c.now.Unix(), "exp": c.now.Add(5 * time.Minute).Unix(),
		"realm_access": map[string]any{"roles": []string{"offline_access", "fs-dispatcher"}}, "groups": []string{"/units/binh-thanh", "/x"},
	}
	with := func(key string, value any) jwt.MapClaims {
		m := maps.Clone(claims)
		if m[key] = value; value == nil {
			delete(m, key)
		}
		return m
	}
	kid := func(kid any) map[string]any { return map[string]any{"kid": kid} }
	rs := func(header map[string]any, claims jwt.MapClaims) string {
		return sign(t, jwt.SigningMethodRS256, own, header, claims)
	}
	const invalid, expired, denied = "provider_token_invalid", "provider_token_expired", "provider_denied"
	good := rs(kid("k1"), claims)
	parts := strings.Split(good, ".")
	for _, test := range []struct{ name, token, want string }{
		{"good", good, ""},
		{"of another kind of key", sign(t, jwt.SigningMethodES256, curve, kid("k2"), claims), ""},
		{"a clock that is 40 s ahead", rs(kid("k1"), with("iat", c.now.Add(40*time.Second).Unix())), ""},
		{"over for 40 s", rs(kid("k1"), with("exp", c.now.Add(-40*time.Second).Unix())), ""},
		{"over", rs(kid("k1"), with("exp", c.now.Add(-2*time.Minute).Unix())), expired},
		{"over, and for another", rs(kid("k1"), jwt.MapClaims{"iss": claims["iss"], "aud": "x", "exp": c.now.Add(-time.Hour).Unix()}), invalid},
		{"without an end", rs(kid("k1"), with("exp", nil)), invalid},
		{"of the future", rs(kid("k1"), with("iat", c.now.Add(time.Hour).Unix())), invalid},
		{"not yet", rs(kid("k1"), with("nbf", c.now.Add(time.Hour).Unix())), invalid},
		{"for another application", rs(kid("k1"), with("aud", "other")), invalid},
		{"for nobody", rs(kid("k1"), with("aud", nil)), invalid},
		{"of another issuer", rs(kid("k1"), with("iss", "https://evil.example")), invalid},
		{"no kid", rs(kid(nil), claims), invalid},
		{"an empty kid", rs(kid(""), claims), invalid},
		{"a kid that is a number", rs(kid(1), claims), invalid},
		{"a kid with a path", rs(kid("../../etc/passwd"), claims), invalid},
		{"an unheard-of kid", rs(kid("bogus"), claims), invalid},
		{"a key for encryption", rs(kid("enc"), claims), invalid},
		{"a foreign key", sign(t, jwt.SigningMethodRS256, foreign, kid("k1"), claims), invalid},
		{"a foreign key that it brings along", sign(t, jwt.SigningMethodRS256, foreign, map[string]any{"kid": "k1", "jwk": rsaKey("k1", foreign), "jku": "https://evil.example/keys"}, claims), invalid},
		{"another key's name", rs(kid("k2"), claims), invalid},
		{"another algorithm than the key's", sign(t, jwt.SigningMethodPS256, own, kid("k1"), claims), invalid},
		{"none", sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, kid("k1"), claims), invalid},
		{"HS256 with the public key", sign(t, jwt.SigningMethodHS256, asPEM, kid("k1"), claims), invalid},
		{"HS256 with a secret among the keys", sign(t, jwt.SigningMethodHS256, []byte("a secret that it publishes by mistake"), kid("k3"), claims), invalid},
		{"a critical extension", rs(map[string]any{"kid": "k1", "crit": []string{"b64"}}, claims), invalid},
		{"another body", parts[0] + "." + b64([]byte(`{"iss":"x"}`)) + "." + parts[2], invalid},
		{"noise", "a.b.c", invalid},
		{"too large", rs(kid("k1"), with("x", strings.Repeat("a", 1<<20))), invalid},
		{"nobody", rs(kid("k1"), with("preferred_username", nil)), denied},
		{"another person's name in letters that only look like it", rs(kid("k1"), with("preferred_username", "\u212ahanh")), denied},
		{"two persons", rs(kid("k1"), with("preferred_username", []string{"a", "b"})), denied},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := p.Verify(t.Context(), test.token)
			if fault.CodeOf(err) != test.want || (err == nil) != (test.want == "") {
				t.Fatalf("%v, want %q", err, test.want)
			}
			if err == nil && (got.Member != "chi" || !reflect.DeepEqual(got.Roles, []string{"dispatcher"}) || !reflect.DeepEqual(got.Units, []string{"binh-thanh"})) {
				t.Errorf("%+v", got)
			}
		})
	}
	if got, err := p.Verify(t.Context(), rs(kid("k1"), with("realm_access", "none"))); err != nil || got.Roles == nil || len(got.Roles) != 0 {
		t.Errorf("a claim of another shape grants %v, %v", got.Roles, err)
	}
	if !p.Issued(good) || p.Issued(rs(kid("k1"), with("iss", "fieldsync"))) || p.Issued("x") {
		t.Error("whose a token is, is told wrongly")
	}
}

// Protects: a provider may turn its keys over while bogus kids rain in: the new key is known ten seconds later, and the provider is asked
// no more often than that. A key that it has taken back is void within ten minutes.
func TestRotation(t *testing.T) {
	i, c := newIssuer(t), &clock{time.Date(2026, 11, 25, 8, 0, 0, 0, time.UTC)}
	keys := map[string]*rsa.PrivateKey{}
	for _, kid := range []string{"old", "new"} {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		keys[kid] = key
	}
	i.keys = []map[string]string{rsaKey("old", keys["old"])}
	p := newProvider(t, i, c)
	try := func(key, kid string) string {
		_, err := p.Verify(t.Context(), sign(t, jwt.SigningMethodRS256, keys[key], map[string]any{"kid": kid}, jwt.MapClaims{
			"iss": i.URL + "/realms/city", "aud": "fieldsync", "preferred_username": "chi", "exp": c.now.Add(time.Minute).Unix(),
		}))
		return fault.CodeOf(err)
	}
	if got := try("old", "old"); got != "" {
		t.Fatal(got)
	}
	for n := range 50 {
		if got := try("old", fmt.Sprint("bogus", n)); got != "provider_token_invalid" {
			t.Fatal(got)
		}
	}
	i.set(func() { i.keys = []map[string]string{rsaKey("old", keys["old"]), rsaKey("new", keys["new"])} })
	if i.asked != 1 {
		t.Errorf("asked %d times", i.asked)
	}
	c.now = c.now.Add(pause)
	try("old", "bogus") // It asks first.
	if got := try("new", "new"); got != "" {
		t.Errorf("the new key: %s", got)
	}
	i.set(func() { i.keys = []map[string]string{rsaKey("new", keys["new"])} })
	c.now = c.now.Add(maxAge)
	if got := try("old", "old"); got != "provider_token_invalid" {
		t.Errorf("a key that was taken back: %q", got)
	}
	if i.asked != 3 {
		t.Errorf("asked %d times", i.asked)
	}
}

// Protects: a provider that is down, or is another one, lets nobody in who was not known, says so, and is asked again; keys that are known
// serve on.
func TestProviderDown(t *testing.T) {
	i, c := newIssuer(t), &clock{time.Date(2026, 11, 25, 8, 0, 0, 0, time.UTC)}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	i.keys, i.down = []map[string]string{rsaKey("k", key)}, true
	p := newProvider(t, i, c)
	try := func() string {
		_, err := p.Verify(t.Context(), sign(t, jwt.SigningMethodRS256, key, map[string]any{"kid": "k"}, jwt.MapClaims{
			"iss": i.URL + "/realms/city", "aud": "fieldsync", "preferred_username": "chi", "exp": c.now.Add(time.Minute).Unix(),
		}))
		return fault.CodeOf(err)
	}
	if got := try(); got != "provider_unavailable" || p.Trouble() == nil {
		t.Errorf("down: %q %v", got, p.Trouble())
	}
	i.set(func() { i.down, i.name = false, "https://evil.example" })
	c.now = c.now.Add(pause)
	if got := try(); got != "provider_unavailable" || !strings.Contains(p.Trouble().Error(), "evil.example") {
		t.Errorf("another issuer: %q %v", got, p.Trouble())
	}
	i.set(func() { i.name = "" })
	if got := try(); got != "provider_unavailable" {
		t.Errorf("asked again too soon: %q", got)
	}
	c.now = c.now.Add(pause)
	if got := try(); got != "" || p.Trouble() != nil {
		t.Errorf("up: %q %v", got, p.Trouble())
	}
	i.set(func() { i.down = true })
	c.now = c.now.Add(2 * maxAge)
	if got := try(); got != "" {
		t.Errorf("down again, with keys that are known: %q", got)
	}
}

// Protects: whoever has a good token never waits for a provider that takes the question and says nothing: neither because somebody else
// came with a bogus kid, nor because the keys have become old and the provider did not answer the last time.
func TestProviderHangs(t *testing.T) {
	i, c := newIssuer(t), &clock{time.Date(2026, 11, 25, 8, 0, 0, 0, time.UTC)}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	i.keys = []map[string]string{rsaKey("k", key)}
	p := newProvider(t, i, c)
	try := func(kid string) string {
		_, err := p.Verify(t.Context(), sign(t, jwt.SigningMethodRS256, key, map[string]any{"kid": kid}, jwt.MapClaims{
			"iss": i.URL + "/realms/city", "aud": "fieldsync", "preferred_username": "chi", "exp": c.now.Add(time.Hour).Unix(),
		}))
		return fault.CodeOf(err)
	}
	if got := try("k"); got != "" {
		t.Fatal(got)
	}
	hanging := make(chan struct{})
	asked := make(chan struct{}, 2)
	i.set(func() { i.hang = func() { asked <- struct{}{}; <-hanging } })
	c.now = c.now.Add(pause)
	bogus := make(chan string, 1)
	go func() { bogus <- try("bogus") }()
	<-asked
	if got := try("k"); got != "" {
		t.Errorf("beside a bogus kid: %s", got)
	}
	waited := len(bogus) > 0
	close(hanging)
	if waited {
		t.Fatal("a good token waited until the provider was given up")
	}
	if got := <-bogus; got != "provider_token_invalid" {
		t.Errorf("a bogus kid: %s", got)
	}

	// The keys are old and the provider fails: from then on nobody waits for it.
	i.set(func() { i.hang, i.down = nil, true })
	c.now = c.now.Add(maxAge)
	if got := try("k"); got != "" || p.Trouble() == nil {
		t.Fatalf("old keys, provider down: %q %v", got, p.Trouble())
	}
	hanging = make(chan struct{})
	i.set(func() { i.hang, i.down = func() { asked <- struct{}{}; <-hanging }, false })
	c.now = c.now.Add(pause)
	if got := try("k"); got != "" {
		t.Errorf("old keys, provider hangs: %s", got)
	}
	<-asked // It was asked, and is at it still.
	p.mu.Lock()
	asking := p.asking
	p.mu.Unlock()
	close(hanging)
	if asking == nil {
		t.Fatal("a good token waited until the provider was given up")
	}
	<-asking
	if p.Trouble() != nil {
		t.Errorf("the provider answers again: %v", p.Trouble())
	}
}

// Protects: no token and no set of claims crashes the parser.
func FuzzIssued(f *testing.F) {
	p, err := New(Options{Issuer: "https://login.example", Audiences: []string{"a"}, MemberClaim: "a.b.c", Now: time.Now})
	if err != nil {
		f.Fatal(err)
	}
	f.Add("e30.eyJpc3MiOiJodHRwczovL2xvZ2luLmV4YW1wbGUifQ.x", `{"a":{"b":{"c":["x",1]}}}`, "a.b.c")
	f.Add("", `{"a.b.c":"x"}`, "..")
	f.Fuzz(func(_ *testing.T, raw, claims, path string) {
		p.Issued(raw)
		m := map[string]any{}
		if json.Unmarshal([]byte(claims), &m) == nil {
			texts(m, path)
		}
	})
}
