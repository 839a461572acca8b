package auth

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"google.golang.org/protobuf/types/known/timestamppb"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	"github.com/cong1022/fieldsync/store"
)

// part is one segment of a token.
func part(tb testing.TB, v any) string {
	tb.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		tb.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(raw)
}

// forge puts a token together by hand: libraries refuse to make most of these.
func forge(tb testing.TB, header, claims map[string]any, sign func(string) []byte) string {
	tb.Helper()
	text := part(tb, header) + "." + part(tb, claims)
	return text + "." + base64.RawURLEncoding.EncodeToString(sign(text))
}

// loose sets bits in a token's last character that carry nothing: 64 bytes take 85 and a third characters of base64.
func loose(token string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := len(token) - 1
	return token[:last] + string(alphabet[strings.IndexByte(alphabet, token[last])|1])
}

func edSign(key ed25519.PrivateKey) func(string) []byte {
	return func(text string) []byte { return ed25519.Sign(key, []byte(text)) }
}

// Protects: nobody gets in with a token that this server did not sign for just this purpose, time, device and member, and
// nobody learns from the answer what was wrong with it.
func TestTokenAttacks(t *testing.T) {
	h := openHouse(t)
	p, other := h.enrolled(t, "crew-a"), h.enrolled(t, "crew-b")
	now := h.clock.Now()
	key := h.signer(t)
	private := ed25519.NewKeyFromSeed(key.GetSeed())
	public := publicOf(key)
	spki, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	next := &storagev1.SigningKey{}
	proofKey := &storagev1.SigningKey{Use: storagev1.KeyUse_KEY_USE_PROOF, Seed: make([]byte, ed25519.SeedSize), SignsFrom: timestamppb.New(now)}
	proofKey.Kid = signerThumbprint(publicOf(proofKey))
	h.update(t, func(tx *store.Tx) error {
		keys, err := SigningKeys(tx, storagev1.KeyUse_KEY_USE_ACCESS_TOKEN)
		if err != nil {
			return err
		}
		next = keys[1]
		return store.Put(tx, store.SigningKeyKey(proofKey.GetKid()), proofKey)
	})
	foreignPublic, foreign, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}

	header := map[string]any{"alg": "EdDSA", "typ": "JWT", "kid": key.GetKid()}
	claims := map[string]any{
		"iss": testIssuer, "aud": []string{"fieldsync"}, "sub": "crew-a", "dev": p.id,
		"iat": now.Unix(), "exp": now.Add(15 * time.Minute).Unix(), "jti": "x",
	}
	// with returns m with some members replaced, or removed where the value is nil.
	with := func(m map[string]any, replace map[string]any) map[string]any {
		m = maps.Clone(m)
		for k, v := range replace {
			if m[k] = v; v == nil {
				delete(m, k)
			}
		}
		return m
	}
	headed := func(replace map[string]any) string { return forge(t, with(header, replace), claims, edSign(private)) }
	claimed := func(replace map[string]any) string { return forge(t, header, with(claims, replace), edSign(private)) }
	hmac := func(secret []byte) func(string) []byte {
		return func(text string) []byte {
			sum, err := jwt.SigningMethodHS256.Sign(text, secret)
			if err != nil {
				t.Fatal(err)
			}
			return sum
		}
	}
	es256 := func(text string) []byte {
		sum, err := jwt.SigningMethodES256.Sign(text, p.key)
		if err != nil {
			t.Fatal(err)
		}
		return sum
	}
	none := func(string) []byte { return nil }
	good := headed(nil)
	segments := strings.Split(good, ".")

	for _, test := range []struct{ name, token, want string }{
		{"our own", p.token, ""},
		{"forged just like ours", good, ""},
		{"aud as a text", claimed(map[string]any{"aud": "fieldsync"}), ""},
		{"of the next key, published already", forge(t, with(header, map[string]any{"kid": next.GetKid()}), claims, edSign(ed25519.NewKeyFromSeed(next.GetSeed()))), ""},
		{"clocks of two nodes differ", claimed(map[string]any{"iat": now.Add(20 * time.Second).Unix()}), ""},

		{"alg none", forge(t, with(header, map[string]any{"alg": "none"}), claims, none), "token_invalid"},
		{"alg None", forge(t, with(header, map[string]any{"alg": "None"}), claims, none), "token_invalid"},
		{"alg none, without kid", forge(t, map[string]any{"alg": "none"}, claims, none), "token_invalid"},
		{"alg empty", headed(map[string]any{"alg": ""}), "token_invalid"},
		{"no alg", headed(map[string]any{"alg": nil}), "token_invalid"},
		{"alg a number", headed(map[string]any{"alg": 1}), "token_invalid"},
		{"HS256 with the public key", forge(t, with(header, map[string]any{"alg": "HS256"}), claims, hmac(public)), "token_invalid"},
		{"HS256 with the public key as DER", forge(t, with(header, map[string]any{"alg": "HS256"}), claims, hmac(spki)), "token_invalid"},
		{"HS256 with the public key as PEM", forge(t, with(header, map[string]any{"alg": "HS256"}), claims, hmac(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki}))), "token_invalid"},
		{"ES256 of the device", forge(t, with(header, map[string]any{"alg": "ES256"}), claims, es256), "token_invalid"},
		{"no kid", headed(map[string]any{"kid": nil}), "token_invalid"},
		{"kid empty", headed(map[string]any{"kid": ""}), "token_invalid"},
		{"kid a number", headed(map[string]any{"kid": 7}), "token_invalid"},
		{"kid a list", headed(map[string]any{"kid": []string{key.GetKid()}}), "token_invalid"},
		{"kid with a path", headed(map[string]any{"kid": "../../../../dev/null"}), "token_invalid"},
		{"kid with a path behind ours", headed(map[string]any{"kid": key.GetKid() + "/../x"}), "token_invalid"},
		{"kid with a zero byte", headed(map[string]any{"kid": key.GetKid() + "\x00"}), "token_invalid"},
		{"kid unknown", headed(map[string]any{"kid": strings.Repeat("A", 43)}), "token_invalid"},
		{"kid of a key for completions", forge(t, with(header, map[string]any{"kid": proofKey.GetKid()}), claims, edSign(ed25519.NewKeyFromSeed(proofKey.GetSeed()))), "token_invalid"},
		{"critical extension", headed(map[string]any{"crit": []string{"b64"}, "b64": true}), "token_invalid"},
		{"foreign key", forge(t, header, claims, edSign(foreign)), "token_invalid"},
		{"foreign key that it brings along", forge(t, with(header, map[string]any{"jwk": map[string]string{
			"kty": "OKP", "crv": "Ed25519", "x": base64.RawURLEncoding.EncodeToString(foreignPublic),
		}}), claims, edSign(foreign)), "token_invalid"},

		{"audience of another", claimed(map[string]any{"aud": []string{"fieldsync:refresh"}}), "token_invalid"},
		{"no audience", claimed(map[string]any{"aud": nil}), "token_invalid"},
		{"issuer of another", claimed(map[string]any{"iss": testIssuer + "/"}), "token_invalid"},
		{"no issuer", claimed(map[string]any{"iss": nil}), "token_invalid"},
		{"no expiry", claimed(map[string]any{"exp": nil}), "token_invalid"},
		{"expired", claimed(map[string]any{"exp": now.Add(-time.Minute).Unix()}), "token_expired"},
		{"expired, of a foreign key", forge(t, header, with(claims, map[string]any{"exp": now.Add(-time.Minute).Unix()}), edSign(foreign)), "token_invalid"},
		{"issued in the future", claimed(map[string]any{"iat": now.Add(time.Hour).Unix()}), "token_invalid"},
		{"not valid yet", claimed(map[string]any{"nbf": now.Add(time.Hour).Unix()}), "token_invalid"},
		{"expiry beyond numbers", claimed(map[string]any{"exp": json.Number("1e400")}), "token_invalid"},
		{"another member", claimed(map[string]any{"sub": "boss"}), "token_invalid"},
		{"no member", claimed(map[string]any{"sub": nil}), "token_invalid"},
		{"another's device", claimed(map[string]any{"dev": other.id}), "token_invalid"},
		{"unknown device", claimed(map[string]any{"dev": "nobody"}), "token_invalid"},
		{"no device", claimed(map[string]any{"dev": nil}), "token_invalid"},

		{"other claims under our signature", segments[0] + "." + part(t, with(claims, map[string]any{"sub": "boss"})) + "." + segments[2], "token_invalid"},
		{"signature cut", good[:len(good)-4], "token_invalid"},
		{"signature empty", segments[0] + "." + segments[1] + ".", "token_invalid"},
		{"two segments", segments[0] + "." + segments[1], "token_invalid"},
		{"four segments", good + "." + segments[2], "token_invalid"},
		{"padded", good + "==", "token_invalid"},
		{"the same signature written otherwise", loose(good), "token_invalid"},
		{"claims null", segments[0] + "." + part(t, nil) + "." + segments[2], "token_invalid"},
		{"header null", part(t, nil) + "." + segments[1] + "." + segments[2], "token_invalid"},
		{"a proof of the device", p.proof(t, p.id, audienceRefresh, now), "token_invalid"},
		{"empty", "", "token_invalid"},
		{"1 MB of letters", strings.Repeat("A", 1<<20), "token_invalid"},
		{"1 MB of dots", strings.Repeat(".", 1<<20), "token_invalid"},
		{"1 MB in a sound token", claimed(map[string]any{"pad": strings.Repeat("A", 1<<20)}), "token_invalid"},
	} {
		t.Run(test.name, func(t *testing.T) {
			principal, passed, w := h.through(t, "/fieldsync.v1.SyncService/Sync", "Bearer "+test.token)
			if test.want == "" {
				if principal == nil || principal.MemberID != "crew-a" || principal.DeviceID != p.id {
					t.Fatalf("refused: %d %s", w.Code, w.Body)
				}
				return
			}
			if passed || w.Code != http.StatusUnauthorized {
				t.Fatalf("passed %v, status %d", passed, w.Code)
			}
			if got := shown(t, w).GetCode(); got != test.want {
				t.Errorf("code %s, want %s", got, test.want)
			}
			if _, _, plain := h.through(t, "/fieldsync.v1.SyncService/Sync", "Bearer x"); test.want == "token_invalid" && plain.Body.String() != w.Body.String() {
				t.Errorf("the answer tells more than that it is invalid: %s", w.Body)
			}
		})
	}
}

// Protects: a token says for whom, on which device, from whom and until when, and no more; it lives for 15 minutes and the
// leeway.
func TestTokenLife(t *testing.T) {
	h := openHouse(t)
	p := h.enrolled(t, "crew-a")
	claims := jwt.MapClaims{}
	_, err := jwt.ParseWithClaims(p.token, claims, func(*jwt.Token) (any, error) {
		return publicOf(h.signer(t)), nil
	}, jwt.WithTimeFunc(h.clock.Now))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]any{
		"iss": testIssuer, "sub": "crew-a", "dev": p.id,
		"iat": float64(h.clock.Now().Unix()), "exp": float64(h.clock.Now().Add(15 * time.Minute).Unix()),
	} {
		if claims[name] != want {
			t.Errorf("%s is %v, want %v", name, claims[name], want)
		}
	}
	if claims["jti"] == "" || len(claims) != 7 {
		t.Errorf("claims %v", claims)
	}
	for _, step := range []struct {
		after time.Duration
		want  int
	}{{15 * time.Minute, http.StatusOK}, {time.Minute, http.StatusUnauthorized}} {
		h.clock.Advance(step.after)
		if _, _, w := h.through(t, "/tus", "Bearer "+p.token); w.Code != step.want {
			t.Errorf("%s later: %d, want %d", step.after, w.Code, step.want)
		}
	}
}
