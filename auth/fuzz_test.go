package auth

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/json"
	"log/slog"
	mathrand "math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/store"
)

// sameJWS tells whether two compact serializations are the same but for line breaks, which Go's base64 skips.
func sameJWS(a, b string) bool {
	strip := strings.NewReplacer("\r", "", "\n", "").Replace
	return strip(a) == strip(b)
}

// Protects: no header value crashes the parser, gets an answer that is not one of two, or passes unless the server made it.
func FuzzToken(f *testing.F) {
	// The same keys and so the same token in each of the fuzzer's processes.
	h := settle(f, openWith(f, mathrand.NewChaCha8([32]byte{})))
	token := h.enrolled(f, "crew-a").token
	parts := strings.Split(token, ".")
	for _, seed := range []string{
		token, "", ".", "..", "...", parts[0] + ".." + parts[2], parts[0] + "." + parts[1] + ".",
		"eyJhbGciOiJub25lIn0." + parts[1] + ".", "bnVsbA.bnVsbA.", "W10.W10.W10", parts[0] + ".bnVsbA." + parts[2], token + "\n",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		err := h.st.View(t.Context(), func(tx *store.Tx) error {
			_, err := h.parseToken(tx, raw)
			return err
		})
		if err == nil {
			if !sameJWS(raw, token) {
				t.Fatalf("accepted: %q", raw)
			}
			return
		}
		wantCode(t, err, fault.Unauthenticated, "token_invalid")
	})
}

// Protects: no proof crashes the parser, and none passes whose claims the device did not sign.
func FuzzProof(f *testing.F) {
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), bytes.Repeat([]byte{7}, 32)) // The same in each of the fuzzer's processes.
	if err != nil {
		f.Fatal(err)
	}
	p := phoneOf(f, key)
	now := time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)
	const jti = "0123456789abcdef"
	valid := p.sign(f, jwt.MapClaims{"iss": p.thumb, "aud": audienceEnrol, "iat": now.Unix(), "jti": jti})
	parts := strings.Split(valid, ".")
	for _, seed := range []string{
		valid, "", "..", "...", parts[0] + "." + parts[1] + ".", "eyJhbGciOiJub25lIn0." + parts[1] + ".",
		"bnVsbA.bnVsbA.AA", parts[0] + ".bnVsbA." + parts[2], p.sign(f, jwt.MapClaims{"iat": 1e300}), p.sign(f, jwt.MapClaims{"aud": []any{1}}),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		got, err := checkProof(raw, &p.key.PublicKey, p.thumb, audienceEnrol, now)
		if err != nil {
			wantCode(t, err, fault.Unauthenticated, "proof_invalid")
			return
		}
		// A second signature can be made from the first without the key (n-s for s); the claims cannot.
		if got.jti != jti || !got.until.Equal(now.Add(proofWindow)) || !sameJWS(raw[:strings.LastIndex(raw, ".")], parts[0]+"."+parts[1]) {
			t.Fatalf("accepted: %q", raw)
		}
	})
}

// Protects: no key crashes the parser, and what passes is a P-256 key with one encoding, so that a revoked one cannot
// come back in other clothes.
func FuzzDeviceKey(f *testing.F) {
	p := newPhone(f)
	f.Add(p.der)
	f.Add(p.der[:len(p.der)-1])
	f.Add([]byte(nil))
	f.Add(make([]byte, 91))
	f.Fuzz(func(t *testing.T, der []byte) {
		key, canonical, err := parseDeviceKey(der)
		if err != nil {
			wantCode(t, err, fault.Invalid, "public_key_invalid")
			return
		}
		again, err := x509.MarshalPKIXPublicKey(key)
		if err != nil || !bytes.Equal(again, canonical) || len(canonical) != 91 {
			t.Fatalf("%x becomes %x", der, canonical)
		}
	})
}

// Protects: no key of a system crashes the parser, and what passes is strong enough, allows algorithms of its own kind only, and has one
// encoding, so that a revoked one cannot come back in other clothes.
func FuzzClientKey(f *testing.F) {
	f.Add(newPhone(f).der)
	f.Add([]byte("0*0\x05\x06\x03+ep\x03!\x00aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")) // Ed25519.
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, der []byte) {
		_, algorithms, canonical, err := parseClientKey(der)
		if err != nil {
			wantCode(t, err, fault.Invalid, "client_key_invalid")
			return
		}
		_, again, same, err := parseClientKey(canonical)
		if err != nil || !bytes.Equal(same, canonical) || !slices.Equal(again, algorithms) || len(algorithms) == 0 {
			t.Fatalf("%x becomes %x, then %x", der, canonical, same)
		}
	})
}

// Protects the token endpoint: whatever is posted, the answer is JSON of RFC 6749 with a status of its own, and nothing but the client's
// own assertion gets a token.
func FuzzTokenForm(f *testing.F) {
	h := settle(f, openWith(f, mathrand.NewChaCha8([32]byte{})))
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), bytes.Repeat([]byte{9}, 32)) // The same in each of the fuzzer's processes.
	if err != nil {
		f.Fatal(err)
	}
	client := phoneOf(f, key)
	registered, err := h.RegisterClient(h.as(f, h.enrolled(f, "boss")), &fieldsyncv1.RegisterClientRequest{MemberId: "hotline", Name: "1022", PublicKey: client.der})
	if err != nil {
		f.Fatal(err)
	}
	id := registered.GetClientId()
	claims := jwt.MapClaims{"iss": id, "sub": id, "aud": testIssuer, "exp": h.clock.Now().Add(time.Hour).Unix(), "jti": "0123456789abcdef"}
	valid := client.sign(f, claims)
	form := func(assertion string, more ...string) string {
		values := url.Values{"grant_type": {"client_credentials"}, "client_assertion_type": {assertionType}, "client_assertion": {assertion}}
		for i := 1; i < len(more); i += 2 {
			values.Add(more[i-1], more[i])
		}
		return values.Encode()
	}
	const formType = "application/x-www-form-urlencoded"
	parts := strings.Split(valid, ".")
	for _, body := range []string{
		"", "grant_type", "&&&;%", form(valid), form(valid, "client_id", id), form(valid, "client_id", "another"), form(valid, "client_assertion", valid),
		form(parts[0] + "." + parts[1] + "."), form("eyJhbGciOiJub25lIn0." + parts[1] + "."), form("bnVsbA.bnVsbA.AA"), form(".."),
		form(client.sign(f, jwt.MapClaims{"iss": id, "sub": id, "exp": 1e300, "jti": 1})), strings.Repeat("a=%00&", 4000),
	} {
		f.Add(formType, body)
	}
	f.Add("multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data; name=grant_type\r\n\r\nclient_credentials\r\n--x--\r\n")
	f.Add("application/json", `{"grant_type":"client_credentials"}`)
	endpoint := h.TokenEndpoint(slog.New(slog.DiscardHandler))
	signed := valid[:strings.LastIndex(valid, ".")]
	f.Fuzz(func(t *testing.T, contentType, body string) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, tokenPath, strings.NewReader(body))
		r.Header.Set("Content-Type", contentType)
		w := httptest.NewRecorder()
		endpoint.ServeHTTP(w, r)
		var answer struct {
			Token string `json:"access_token"`
			Error string `json:"error"`
		}
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
			t.Fatalf("%v in %q", err, w.Body)
		}
		switch w.Code {
		case http.StatusOK:
			posted, err := url.ParseQuery(body)
			assertion := posted.Get("client_assertion")
			if err != nil || answer.Token == "" || !sameJWS(assertion[:max(0, strings.LastIndex(assertion, "."))], signed) {
				t.Fatalf("%q got a token", body)
			}
		case http.StatusBadRequest, http.StatusUnauthorized:
			if answer.Token != "" || answer.Error == "" {
				t.Fatalf("%d %q", w.Code, w.Body)
			}
		default:
			t.Fatalf("%q: %d %q", body, w.Code, w.Body)
		}
	})
}

// Protects what people type as an enrolment code: it is one of the codes' own spelling or none.
func FuzzCode(f *testing.F) {
	for _, seed := range []string{"K7QD-2MXA-9RTC", "k7qd 2mxa 9rtc", "", "OOOO-IIII-LLLL", "ſſſſſſſſſſſſ", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, typed string) {
		code, ok := normalCode(typed)
		if again, still := normalCode(code); ok && (!still || again != code || len(code) != codeLength) {
			t.Fatalf("%q becomes %q, then %q", typed, code, again)
		}
	})
}
