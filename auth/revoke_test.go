package auth

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/store"
)

// Protects: a call under way ends when its device is revoked, waiting or reading a body that never comes, and hears why; the
// calls of others go on.
func TestRevokedCallsEnd(t *testing.T) {
	h := openHouse(t)
	ctx, stop := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- h.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ran; err != nil {
			t.Error(err)
		}
	})
	begun, ended := make(chan struct{}), make(chan error, 2)
	release := make(chan struct{})
	door := h.Middleware(slog.New(slog.DiscardHandler))(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		begun <- struct{}{}
		switch r.URL.Path {
		case "/upload":
			_, err := io.Copy(io.Discard, r.Body)
			ended <- err
		case "/stream":
			<-r.Context().Done()
			ended <- context.Cause(r.Context())
		default:
			select {
			case <-r.Context().Done():
				t.Error("another device's call was cut")
			case <-release:
			}
		}
	}))
	server := httptest.NewServer(door)
	t.Cleanup(server.Close)
	lost, other := h.enrolled(t, "crew-a"), h.enrolled(t, "crew-a")
	call := func(p *phone, path string, body io.Reader) {
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL+path, body)
		if err != nil {
			t.Error(err)
			return
		}
		r.Header.Set("Authorization", "Bearer "+p.token)
		if answer, err := http.DefaultClient.Do(r); err == nil {
			_ = answer.Body.Close()
		}
	}
	reader, writer := io.Pipe()
	t.Cleanup(func() { _ = writer.Close() })
	go call(lost, "/stream", nil)
	go call(lost, "/upload", io.MultiReader(bytes.NewReader([]byte("half")), reader))
	go call(other, "/other", nil)
	for range 3 {
		<-begun
	}
	if _, err := h.RevokeDevice(h.as(t, h.enrolled(t, "lead-a")), &fieldsyncv1.RevokeDeviceRequest{
		DeviceId: lost.id, Reason: fieldsyncv1.RevocationReason_REVOCATION_REASON_LOST,
	}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		wantCode(t, <-ended, fault.Unauthenticated, "device_revoked")
	}
	close(release)
}

// Protects: a call that lasts ends when its caller loses the role for it, as the hotline's streams do, which say more than any crew may
// know; one that the new role reaches too goes on.
func TestCallsEndWithTheRole(t *testing.T) {
	h := openHouse(t)
	ctx, stop := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- h.Run(ctx) }()
	begun, ended := make(chan struct{}), make(chan error)
	open, release := context.WithCancel(t.Context())
	server := httptest.NewServer(h.Middleware(slog.New(slog.DiscardHandler))(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		begun <- struct{}{}
		if r.URL.Path == fieldsyncv1connect.IdentityServiceWhoAmIProcedure {
			select {
			case <-r.Context().Done():
				t.Error("a call that every role may make was cut")
			case <-open.Done():
			}
			return
		}
		<-r.Context().Done()
		ended <- context.Cause(r.Context())
	})))
	p := h.enrolled(t, "hotline")
	var calls sync.WaitGroup
	for _, path := range []string{fieldsyncv1connect.IdentityServiceWhoAmIProcedure, fieldsyncv1connect.HotlineServiceWatchCompletionsProcedure} {
		calls.Go(func() {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+path, nil)
			if err != nil {
				t.Error(err)
				return
			}
			r.Header.Set("Authorization", "Bearer "+p.token)
			if answer, err := http.DefaultClient.Do(r); err == nil {
				_ = answer.Body.Close()
			}
		})
		<-begun
	}
	h.update(t, func(tx *store.Tx) error {
		was, err := store.Get(tx, store.MemberKey("hotline"))
		if err != nil {
			return err
		}
		if err := Moved(tx, was); err != nil {
			return err
		}
		return store.Put(tx, store.MemberKey("hotline"), &fieldsyncv1.Member{Id: "hotline", Name: "x", Role: crew, CrewId: "a1"})
	})
	wantCode(t, <-ended, fault.Denied, "role_denied")
	release()
	calls.Wait()
	server.Close()
	stop()
	if err := <-ran; err != nil {
		t.Error(err)
	}
}

// Protects: a revoked device delivers what it still has by the proof of its key, and reaches nothing else with that; one that is
// not revoked gets an ordinary token, whatever it asks for.
func TestDelivery(t *testing.T) {
	h := openHouse(t)
	p := h.enrolled(t, "crew-a")
	refresh := func() (*fieldsyncv1.RefreshResponse, error) {
		return h.Refresh(t.Context(), &fieldsyncv1.RefreshRequest{
			DeviceId: p.id, Proof: p.proof(t, p.id, audienceRefresh, h.clock.Now()), DeliverOnly: true,
		})
	}
	ordinary, err := refresh()
	if err != nil || ordinary.GetDelivering() || ordinary.GetGrant().GetScope() != "c:a1" {
		t.Fatalf("not revoked: %v, %v", ordinary, err)
	}
	if _, err := h.RevokeDevice(h.as(t, h.enrolled(t, "boss")), &fieldsyncv1.RevokeDeviceRequest{DeviceId: p.id}); err != nil {
		t.Fatal(err)
	}
	h.clock.Advance(200 * 24 * time.Hour) // Long after any grant.
	for range 2 {                         // A lost answer costs one more proof.
		res, err := refresh()
		if err != nil || !res.GetDelivering() || res.GetGrant() != nil {
			t.Fatalf("revoked: %v, %v", res, err)
		}
		principal, passed, w := h.through(t, "/x", "Bearer "+res.GetAccessToken())
		if !passed || principal == nil || !principal.Delivering || principal.Role != 0 {
			t.Fatalf("through the door: %v, %d", principal, w.Code)
		}
		for procedure := range procedures(t) {
			err := Allowed(procedure, principal)
			switch procedure {
			case fieldsyncv1connect.SyncServiceSyncProcedure, fieldsyncv1connect.MediaServiceDeclareProcedure, fieldsyncv1connect.MediaServiceCommitProcedure:
				if err != nil {
					t.Errorf("%s: %v", procedure, err)
				}
			default:
				if !IsPublic(procedure) {
					wantCode(t, err, fault.Unauthenticated, "device_revoked")
				}
			}
		}
	}
	_, passed, _ := h.through(t, "/x", "Bearer "+ordinary.GetAccessToken())
	if passed {
		t.Error("the token from before the revocation is still good")
	}
}

// Protects: who is not seen for the time of the grant is told so and comes back by a code, as the same device; syncing counts as
// being seen.
func TestGrantExpires(t *testing.T) {
	h := openHouse(t)
	p := h.enrolled(t, "crew-a")
	h.clock.Advance(89 * 24 * time.Hour)
	if _, err := h.tryRefresh(t, p, p.proof(t, p.id, audienceRefresh, h.clock.Now())); err != nil {
		t.Fatalf("after 89 days: %v", err)
	}
	h.clock.Advance(90*24*time.Hour + time.Second)
	_, err := h.tryRefresh(t, p, p.proof(t, p.id, audienceRefresh, h.clock.Now()))
	wantCode(t, err, fault.Unauthenticated, "grant_expired")
	again, err := h.tryEnrol(t, p, h.code(t, "crew-a"))
	if err != nil || again.GetDeviceId() != p.id || again.GetInstallEpoch() != 2 {
		t.Fatalf("enrolled anew: %v, %v", again, err)
	}
	if want := h.clock.Now().Add(90 * 24 * time.Hour); !again.GetGrant().GetUntil().AsTime().Equal(want) {
		t.Errorf("the grant is until %s", again.GetGrant().GetUntil().AsTime())
	}
}

// Protects: a rotation by command leaves no token unverifiable: the next key was published before it signs, the former one
// verifies what it signed; a compromised key verifies nothing more, and devices come back by themselves.
func TestRotateByCommand(t *testing.T) {
	h := openHouse(t)
	p := h.enrolled(t, "crew-a")
	boss := func() context.Context { return h.as(t, h.enrolled(t, "boss")) }
	passes := func(token string) bool {
		_, passed, _ := h.through(t, "/x", "Bearer "+token)
		return passed
	}
	refresh := func() string {
		res, err := h.tryRefresh(t, p, p.proof(t, p.id, audienceRefresh, h.clock.Now()))
		if err != nil {
			t.Fatal(err)
		}
		return res.GetAccessToken()
	}
	before, err := h.ListTokenKeys(boss(), nil)
	if err != nil || len(before.GetKeys()) != 2 || !before.GetKeys()[0].GetSigns() {
		t.Fatalf("at first: %v, %v", before, err)
	}
	rotated, err := h.RotateTokenKey(boss(), &fieldsyncv1.RotateTokenKeyRequest{})
	if err != nil || !rotated.GetKeys()[0].GetSigns() || !rotated.GetKeys()[1].GetSignsFrom().AsTime().Equal(h.clock.Now().Add(keySetMaxAge)) {
		t.Fatalf("a key that caches may lack signs: %v, %v", rotated, err)
	}
	h.clock.Advance(keySetMaxAge - 5*time.Minute)
	old := refresh()
	h.clock.Advance(5 * time.Minute)
	young := refresh()
	if !passes(old) || !passes(young) {
		t.Error("a token is void in the overlap")
	}
	now, err := h.ListTokenKeys(boss(), nil)
	if err != nil || len(now.GetKeys()) != 3 || !now.GetKeys()[1].GetSigns() || now.GetKeys()[1].GetKid() != before.GetKeys()[1].GetKid() ||
		!now.GetKeys()[0].GetUntil().AsTime().Equal(h.clock.Now().Add(15*time.Minute+tokenLeeway)) {
		t.Fatalf("after it: %v, %v", now, err)
	}
	if _, err := h.RotateTokenKey(boss(), &fieldsyncv1.RotateTokenKeyRequest{Compromised: true}); err != nil {
		t.Fatal(err)
	}
	if passes(young) || !passes(refresh()) {
		t.Error("a token of the compromised key passes, or a fresh one does not")
	}
}

// Protects: whoever has a signing key may have begun a call with a token of its own making, which ends when the key is called
// compromised; a rotation without that ends none.
func TestCompromisedKeyEndsCalls(t *testing.T) {
	h := openHouse(t)
	ctx, stop := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- h.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ran; err != nil {
			t.Error(err)
		}
	})
	begun, ended := make(chan struct{}), make(chan error, 1)
	door := h.Middleware(slog.New(slog.DiscardHandler))(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(begun)
		<-r.Context().Done()
		ended <- context.Cause(r.Context())
	}))
	boss := h.as(t, h.enrolled(t, "boss"))
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/stream", http.NoBody)
	r.Header.Set("Authorization", "Bearer "+h.enrolled(t, "crew-a").token)
	go door.ServeHTTP(httptest.NewRecorder(), r)
	<-begun
	if _, err := h.RotateTokenKey(boss, &fieldsyncv1.RotateTokenKeyRequest{AtOnce: true}); err != nil {
		t.Fatal(err)
	}
	h.recheck(ctx)
	select {
	case err := <-ended:
		t.Fatalf("a rotation ends a call: %v", err)
	default:
	}
	if _, err := h.RotateTokenKey(boss, &fieldsyncv1.RotateTokenKeyRequest{Compromised: true}); err != nil {
		t.Fatal(err)
	}
	wantCode(t, <-ended, fault.Unauthenticated, "token_invalid")
}

// Protects: a system with client credentials gets tokens by the assertion that RFC 7523 has, once each; whatever is wrong with
// one, the answer is the same; a revoked client gets none.
func TestClientCredentials(t *testing.T) {
	h := openHouse(t)
	boss := h.as(t, h.enrolled(t, "boss"))
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p256 := newPhone(t)
	endpoint := h.TokenEndpoint(slog.New(slog.DiscardHandler))
	post := func(form url.Values) (int, map[string]any) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, tokenPath, strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		endpoint.ServeHTTP(w, r)
		var body map[string]any
		if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
			t.Fatalf("%v in %q", err, w.Body.String())
		}
		return w.Code, body
	}
	form := func(assertion string) url.Values {
		return url.Values{"grant_type": {"client_credentials"}, "client_assertion_type": {assertionType}, "client_assertion": {assertion}}
	}
	for _, kind := range []struct {
		method jwt.SigningMethod
		public any
		key    any
	}{
		{jwt.SigningMethodES256, &p256.key.PublicKey, p256.key},
		{jwt.SigningMethodEdDSA, edKey.Public(), edKey},
		{jwt.SigningMethodRS256, &rsaKey.PublicKey, rsaKey},
	} {
		t.Run(kind.method.Alg(), func(t *testing.T) {
			der, err := x509.MarshalPKIXPublicKey(kind.public)
			if err != nil {
				t.Fatal(err)
			}
			request := &fieldsyncv1.RegisterClientRequest{MemberId: "hotline", Name: "1022", PublicKey: der}
			registered, err := h.RegisterClient(boss, request)
			if err != nil || registered.GetAudience() != testIssuer {
				t.Fatal(registered, err)
			}
			_, err = h.RegisterClient(boss, request)
			wantCode(t, err, fault.Precondition, "client_key_known")
			_, err = h.RegisterClient(boss, &fieldsyncv1.RegisterClientRequest{MemberId: "crew-a", Name: "x", PublicKey: newPhone(t).der})
			wantCode(t, err, fault.NotFound, "member_unknown")
			id := registered.GetClientId()
			sign := func(change func(jwt.MapClaims)) string {
				claims := jwt.MapClaims{"iss": id, "sub": id, "aud": testIssuer + tokenPath, "exp": h.clock.Now().Add(5 * time.Minute).Unix(), "jti": rand.Text()}
				change(claims)
				signed, err := jwt.NewWithClaims(kind.method, claims).SignedString(kind.key)
				if err != nil {
					t.Fatal(err)
				}
				return signed
			}
			good := sign(func(jwt.MapClaims) {})
			status, body := post(form(good))
			token, _ := body["access_token"].(string)
			p, passed, _ := h.through(t, "/x", "Bearer "+token)
			if status != 200 || !passed || p.Role != hotline || p.DeviceID != id {
				t.Fatalf("%d %v %v", status, body, p)
			}
			for name, assertion := range map[string]string{
				"replayed":        good,
				"of nobody":       sign(func(c jwt.MapClaims) { c["iss"], c["sub"] = "nobody", "nobody" }),
				"of a device":     sign(func(c jwt.MapClaims) { d := h.enrolled(t, "crew-a").id; c["iss"], c["sub"] = d, d }),
				"two names":       sign(func(c jwt.MapClaims) { c["sub"] = "hotline" }),
				"another's":       sign(func(c jwt.MapClaims) { c["aud"] = "https://elsewhere.test" }),
				"over":            sign(func(c jwt.MapClaims) { c["exp"] = h.clock.Now().Add(-time.Minute).Unix() }),
				"for ever":        sign(func(c jwt.MapClaims) { delete(c, "exp") }),
				"for a day":       sign(func(c jwt.MapClaims) { c["exp"] = h.clock.Now().Add(24 * time.Hour).Unix() }),
				"without a jti":   sign(func(c jwt.MapClaims) { delete(c, "jti") }),
				"without a sign":  good[:strings.LastIndex(good, ".")+1],
				"a megabyte long": strings.Repeat("a", 8<<10),
			} {
				status, body := post(form(assertion))
				if status != http.StatusUnauthorized || body["error"] != "invalid_client" || body["error_description"] != errOAuthClient.Description {
					t.Errorf("%s: %d %v", name, status, body)
				}
			}
			if _, err := h.RevokeDevice(boss, &fieldsyncv1.RevokeDeviceRequest{DeviceId: id}); err != nil {
				t.Fatal(err)
			}
			if status, _ := post(form(sign(func(jwt.MapClaims) {}))); status != http.StatusUnauthorized {
				t.Errorf("revoked: %d", status)
			}
			if _, passed, _ := h.through(t, "/x", "Bearer "+token); passed {
				t.Error("its token outlives the revocation")
			}
		})
	}
	for name, bad := range map[string]url.Values{
		"nothing": {}, "twice": {"grant_type": {"client_credentials", "client_credentials"}, "client_assertion_type": {assertionType}, "client_assertion": {"x"}},
	} {
		if status, body := post(bad); status != http.StatusBadRequest || body["error"] != "invalid_request" {
			t.Errorf("%s: %d %v", name, status, body)
		}
	}
	if status, body := post(url.Values{"grant_type": {"password"}, "client_assertion_type": {assertionType}, "client_assertion": {"x"}}); status != http.StatusBadRequest || body["error"] != "unsupported_grant_type" {
		t.Errorf("password: %d %v", status, body)
	}
	_, err = h.RegisterClient(boss, &fieldsyncv1.RegisterClientRequest{MemberId: "hotline", Name: "x", PublicKey: []byte("no key")})
	wantCode(t, err, fault.Invalid, "client_key_invalid")
}
