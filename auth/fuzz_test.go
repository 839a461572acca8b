package auth

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

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
