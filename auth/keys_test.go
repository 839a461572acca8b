package auth

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	"github.com/cong1022/fieldsync/store"
)

// Protects: a kid and a device's name for its key are the ones that the standards give, so others compute the same.
func TestThumbprints(t *testing.T) {
	b64 := func(s string) []byte {
		b, err := base64.RawURLEncoding.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	// RFC 8037, appendix A.3.
	ed := ed25519.PublicKey(b64("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"))
	if got, want := signerThumbprint(ed), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"; got != want {
		t.Errorf("Ed25519: %s, want %s", got, want)
	}
	// The key of RFC 7517, appendix A.1; its thumbprint computed apart from this code.
	point := slices.Concat([]byte{4},
		b64("MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4"), b64("4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"))
	ec, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	if err != nil {
		t.Fatal(err)
	}
	got, err := deviceThumbprint(ec)
	if err != nil {
		t.Fatal(err)
	}
	if want := "cn-I_WNMClehiVp51i_0VpOENW1upEerA8sEam5hn-s"; got != want {
		t.Errorf("P-256: %s, want %s", got, want)
	}
}

// Protects: the key set shows the key that signs and the next one, nothing secret, and says how long it may be kept.
func TestJWKS(t *testing.T) {
	h := openHouse(t)
	h.update(t, func(tx *store.Tx) error { // Of another use: not in this set.
		_, err := NewSigningKey(tx, storagev1.KeyUse_KEY_USE_PROOF, tx.Now())
		return err
	})
	keys := h.published(t)
	if len(keys) != 2 {
		t.Fatalf("%d keys are published, want the current and the next one", len(keys))
	}
	for _, key := range keys {
		x, err := base64.RawURLEncoding.DecodeString(key.X)
		if err != nil || len(x) != ed25519.PublicKeySize || signerThumbprint(x) != key.Kid ||
			key.Kty != "OKP" || key.Crv != "Ed25519" || key.Alg != "EdDSA" || key.Use != "sig" {
			t.Errorf("a key of another shape: %+v", key)
		}
	}

	w := httptest.NewRecorder()
	h.JWKS().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/.well-known/jwks.json", nil))
	if got := w.Header().Get("Cache-Control"); got != "public, max-age=3600" {
		t.Errorf("Cache-Control %q", got)
	}
	var members struct {
		Keys []map[string]string `json:"keys"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &members); err != nil {
		t.Fatal(err)
	}
	for name := range members.Keys[0] {
		if !slices.Contains([]string{"kty", "crv", "use", "alg", "kid", "x"}, name) {
			t.Errorf("the key set has a member %q", name)
		}
	}

	w = httptest.NewRecorder()
	h.JWKS().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/.well-known/jwks.json", nil))
	if w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST gives %d", w.Code)
	}
}

func (h *house) published(t *testing.T) []jwk {
	t.Helper()
	w := httptest.NewRecorder()
	h.JWKS().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/.well-known/jwks.json", nil))
	var set struct {
		Keys []jwk `json:"keys"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &set); err != nil || w.Code != http.StatusOK {
		t.Fatal(w.Code, err)
	}
	return set.Keys
}

func (h *house) signer(t *testing.T) (key *storagev1.SigningKey) {
	t.Helper()
	h.update(t, func(tx *store.Tx) (err error) {
		key, err = h.signingKey(tx)
		return err
	})
	return key
}

// Protects: a restart makes no new keys, so it voids no token.
func TestKeysSurviveRestart(t *testing.T) {
	h := openHouse(t)
	before := h.published(t)
	again, err := Open(t.Context(), h.st, Options{Issuer: testIssuer, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	after := (&house{Service: again}).published(t)
	if !slices.Equal(before, after) {
		t.Errorf("before %v, after %v", before, after)
	}
}

// Protects: no key ever signs before it was published for a day, no token loses its key before it expires, and old
// keys do not pile up.
func TestKeysTurnOver(t *testing.T) {
	h := openHouse(t)
	first := h.signer(t)
	publishedAt := map[string]time.Time{}
	for _, key := range h.published(t) {
		publishedAt[key.Kid] = h.clock.Now()
	}
	signers := map[string]bool{first.GetKid(): true}
	for range 100 {
		p := h.enrolled(t, "crew-a")
		h.clock.Advance(14 * time.Minute) // Across the turn for some: the token must still hold.
		if _, _, w := h.through(t, "/tus", "Bearer "+p.token); w.Code != http.StatusOK {
			t.Fatalf("a token of 14 minutes is refused: %s", w.Body)
		}
		h.clock.Advance(23*time.Hour + 33*time.Minute)
		key := h.signer(t)
		signers[key.GetKid()] = true
		published := h.published(t)
		if len(published) > 3 {
			t.Fatalf("%d keys are published", len(published))
		}
		for _, k := range published {
			if _, known := publishedAt[k.Kid]; !known {
				publishedAt[k.Kid] = h.clock.Now()
			}
		}
		if key.GetKid() != first.GetKid() && h.clock.Now().Sub(publishedAt[key.GetKid()]) < publishedAhead {
			t.Fatalf("a key signs %s after it was published", h.clock.Now().Sub(publishedAt[key.GetKid()]))
		}
	}
	if len(signers) < 3 {
		t.Errorf("in 100 days %d keys have signed", len(signers))
	}
}

// Protects: whoever was away for longer than a key signs finds a key that signs, though its time was long ago.
func TestKeysAfterLongSleep(t *testing.T) {
	h := openHouse(t)
	first := h.signer(t)
	h.clock.Advance(400 * 24 * time.Hour)
	second := h.signer(t)
	if second.GetKid() == first.GetKid() || second.GetSignsFrom().AsTime().After(h.clock.Now()) {
		t.Errorf("signs: %s from %s", second.GetKid(), second.GetSignsFrom().AsTime())
	}
	if n := len(h.published(t)); n != 2 {
		t.Errorf("%d keys are published", n)
	}
	// The one after it is new, so it must be known for a day before it signs.
	h.clock.Advance(publishedAhead - time.Minute)
	if key := h.signer(t); key.GetKid() != second.GetKid() {
		t.Error("a key signs that was published less than a day ago")
	}
}

// Protects: when the next key takes over, what the former one signed a moment before is good until it expires; then the former
// one goes.
func TestFormerKeyServesOutItsTokens(t *testing.T) {
	h := openHouse(t)
	h.clock.Advance(keyPeriod - time.Minute)
	first, p := h.signer(t), h.enrolled(t, "crew-a")
	h.clock.Advance(time.Minute)
	if h.signer(t).GetKid() == first.GetKid() {
		t.Fatal("the next key has not taken over")
	}
	h.clock.Advance(13 * time.Minute)
	h.signer(t)
	if principal, _, w := h.through(t, "/tus", "Bearer "+p.token); principal == nil {
		t.Errorf("a token of 14 minutes is refused: %s", w.Body)
	}
	h.clock.Advance(3 * time.Minute)
	h.signer(t)
	for _, key := range h.published(t) {
		if key.Kid == first.GetKid() {
			t.Error("the former key is still published")
		}
	}
}
