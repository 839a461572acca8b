package auth

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"google.golang.org/protobuf/types/known/timestamppb"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/store"
)

// Protects: a code works once, however it is typed, for ten minutes, and every other code gets the same answer.
func TestCodes(t *testing.T) {
	h := openHouse(t)
	for _, test := range []struct {
		name  string
		spell func(code string) string
		after time.Duration
		want  string
	}{
		{name: "as shown"},
		{name: "lower case, no dashes", spell: func(c string) string { return strings.ToLower(strings.ReplaceAll(c, "-", "")) }},
		{name: "letters that look like digits", spell: func(c string) string { return strings.NewReplacer("0", "o", "1", "l").Replace(c) }},
		{name: "the last moment", after: 10 * time.Minute},
		{name: "expired", after: 10*time.Minute + time.Nanosecond, want: "code_invalid"},
		{name: "a wrong one", spell: func(string) string { return "AAAA-AAAA-AAAA" }, want: "code_invalid"},
		{name: "one letter more", spell: func(c string) string { return c + "0" }, want: "code_invalid"},
		{name: "dashes only", spell: func(string) string { return strings.Repeat("-", 14) }, want: "code_invalid"},
	} {
		t.Run(test.name, func(t *testing.T) {
			code := h.code(t, "crew-a")
			if !regexp.MustCompile(`^[0-9A-HJKMNP-TV-Z]{4}(-[0-9A-HJKMNP-TV-Z]{4}){2}$`).MatchString(code) {
				t.Fatalf("a code of another shape: %d characters", len(code))
			}
			if test.spell != nil {
				code = test.spell(code)
			}
			h.clock.Advance(test.after)
			p := newPhone(t)
			res, err := h.tryEnrol(t, p, code)
			if test.want != "" {
				wantCode(t, err, fault.Unauthenticated, test.want)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if res.GetInstallEpoch() != 1 || res.GetMember().GetId() != "crew-a" || res.GetExpiresAt().AsTime().Sub(h.clock.Now()) != 15*time.Minute {
				t.Errorf("answer %v", res)
			}
			// Used up, for this phone and for others.
			for _, again := range []*phone{p, newPhone(t)} {
				_, err := h.tryEnrol(t, again, code)
				wantCode(t, err, fault.Unauthenticated, "code_invalid")
			}
		})
	}
}

// Protects: codes that nobody used do not pile up, and those still valid stay.
func TestCodesAreSwept(t *testing.T) {
	h := openHouse(t)
	for range 5 {
		h.code(t, "crew-a")
	}
	h.clock.Advance(9 * time.Minute)
	fresh := h.code(t, "crew-a")
	h.clock.Advance(2 * time.Minute)
	h.code(t, "crew-b")
	n := 0
	h.view(t, func(tx *store.Tx) error {
		n = 0
		for _, err := range store.Scan(tx, store.EnrolCodes(), nil) {
			if err != nil {
				return err
			}
			n++
		}
		return nil
	})
	if n != 2 {
		t.Errorf("%d codes are kept, want 2", n)
	}
	if _, err := h.tryEnrol(t, newPhone(t), fresh); err != nil {
		t.Error(err)
	}
}

// Protects: however many codes there are, a new one's transaction looks at few of them, and those that are over go all the same.
func TestManyCodesAreSwept(t *testing.T) {
	h := openHouse(t)
	kept := func() (n int) {
		h.view(t, func(tx *store.Tx) error {
			n = 0
			for _, err := range store.Scan(tx, store.EnrolCodes(), nil) {
				if err != nil {
					return err
				}
				n++
			}
			return nil
		})
		return n
	}
	const many = 10 * codesLookedAt
	h.update(t, func(tx *store.Tx) error {
		for i := range many {
			sum := sha256.Sum256([]byte{byte(i), byte(i >> 8)})
			if err := store.Put(tx, store.EnrolCodeKey(sum), &storagev1.EnrolCode{
				MemberId: "crew-a", ExpiresAt: timestamppb.New(h.clock.Now().Add(-time.Second)), CodeSha256: sum[:],
			}); err != nil {
				return err
			}
		}
		return nil
	})
	h.code(t, "crew-a")
	if n := kept(); n != many-codesLookedAt+1 {
		t.Errorf("%d codes are kept after the first, want %d", n, many-codesLookedAt+1)
	}
	for range 19 {
		h.code(t, "crew-a")
	}
	if n := kept(); n != 20 {
		t.Errorf("%d codes are kept, want the 20 that are good", n)
	}
}

// Protects: of all who race with one code, exactly one gets in, and the others leave nothing behind.
func TestOneCodeManyPhones(t *testing.T) {
	h := openHouse(t)
	code := h.code(t, "crew-a")
	const racers = 8
	errs := make([]error, racers)
	var wg sync.WaitGroup
	for i := range racers {
		p := newPhone(t)
		req := &fieldsyncv1.EnrolRequest{Code: code, PublicKey: p.der, Proof: p.proof(t, p.thumb, audienceEnrol, h.clock.Now())}
		wg.Go(func() { _, errs[i] = h.Enrol(t.Context(), req) })
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
			continue
		}
		wantCode(t, err, fault.Unauthenticated, "code_invalid")
	}
	if devices := h.devices(t); won != 1 || devices != 1 {
		t.Errorf("%d won, %d devices", won, devices)
	}
}

func (h *house) devices(t *testing.T) (n int) {
	t.Helper()
	h.view(t, func(tx *store.Tx) error {
		n = 0
		for _, err := range store.Scan(tx, store.Devices(), nil) {
			if err != nil {
				return err
			}
			n++
		}
		return nil
	})
	return n
}

// Protects: a code is worth nothing without the key that is to be enrolled, and a failed try does not use it up.
func TestEnrolProof(t *testing.T) {
	h := openHouse(t)
	p, other := newPhone(t), newPhone(t)
	now := h.clock.Now()
	claims := func(replace jwt.MapClaims) jwt.MapClaims {
		c := jwt.MapClaims{"iss": p.thumb, "aud": audienceEnrol, "iat": now.Unix(), "jti": rand.Text()}
		for k, v := range replace {
			if c[k] = v; v == nil {
				delete(c, k)
			}
		}
		return c
	}
	hs, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims(nil)).SignedString(p.der)
	if err != nil {
		t.Fatal(err)
	}
	none, err := jwt.NewWithClaims(jwt.SigningMethodNone, claims(nil)).SignedString(jwt.UnsafeAllowNoneSignatureType)
	if err != nil {
		t.Fatal(err)
	}
	critical := jwt.NewWithClaims(jwt.SigningMethodES256, claims(nil))
	critical.Header["crit"] = []string{"x"}
	crit, err := critical.SignedString(p.key)
	if err != nil {
		t.Fatal(err)
	}
	code := h.code(t, "crew-a")
	for _, test := range []struct{ name, proof, want string }{
		{"another's key", other.sign(t, claims(nil)), "proof_invalid"},
		{"another's name", p.sign(t, claims(jwt.MapClaims{"iss": other.thumb})), "proof_invalid"},
		{"a proof to refresh", p.sign(t, claims(jwt.MapClaims{"aud": audienceRefresh})), "proof_invalid"},
		{"a proof for both", p.sign(t, claims(jwt.MapClaims{"aud": []string{audienceEnrol, audienceRefresh}})), "proof_invalid"},
		{"no audience", p.sign(t, claims(jwt.MapClaims{"aud": nil})), "proof_invalid"},
		{"no time", p.sign(t, claims(jwt.MapClaims{"iat": nil})), "proof_invalid"},
		{"no jti", p.sign(t, claims(jwt.MapClaims{"jti": nil})), "proof_invalid"},
		{"short jti", p.sign(t, claims(jwt.MapClaims{"jti": "123456789012345"})), "proof_invalid"},
		{"long jti", p.sign(t, claims(jwt.MapClaims{"jti": strings.Repeat("j", 65)})), "proof_invalid"},
		{"jti with a zero byte", p.sign(t, claims(jwt.MapClaims{"jti": strings.Repeat("\x00", 20)})), "proof_invalid"},
		{"HS256 with the public key", hs, "proof_invalid"},
		{"alg none", none, "proof_invalid"},
		{"critical extension", crit, "proof_invalid"},
		{"no JWS", "x", "proof_invalid"},
		{"too long", p.sign(t, claims(jwt.MapClaims{"pad": strings.Repeat("x", 2048)})), "proof_invalid"},
		{"too old", p.sign(t, claims(jwt.MapClaims{"iat": now.Add(-5*time.Minute - time.Second).Unix()})), "proof_time"},
		{"from the future", p.sign(t, claims(jwt.MapClaims{"iat": now.Add(5*time.Minute + time.Second).Unix()})), "proof_time"},
		{"from the end of time", p.sign(t, claims(jwt.MapClaims{"iat": 1e300})), "proof_time"},
		{"another's key and too old", other.sign(t, claims(jwt.MapClaims{"iat": 0})), "proof_invalid"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := h.Enrol(t.Context(), &fieldsyncv1.EnrolRequest{Code: code, PublicKey: p.der, Proof: test.proof})
			wantCode(t, err, fault.Unauthenticated, test.want)
		})
	}
	// Five minutes either way are fine, and so are an expiry and a beginning that a wrong clock wrote.
	sound := p.sign(t, claims(jwt.MapClaims{"iat": now.Add(5 * time.Minute).Unix(), "exp": 1, "nbf": now.Add(time.Hour).Unix()}))
	if _, err := h.Enrol(t.Context(), &fieldsyncv1.EnrolRequest{Code: code, PublicKey: p.der, Proof: sound}); err != nil {
		t.Errorf("the code does not work after all that: %v", err)
	}
}

// Protects: only P-256 keys are enrolled, and what else comes is told what is wanted.
func TestEnrolKeys(t *testing.T) {
	h := openHouse(t)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ed, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	spki := func(key any) []byte {
		der, err := x509.MarshalPKIXPublicKey(key)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	p := newPhone(t)
	offCurve := append([]byte(nil), p.der...)
	offCurve[len(offCurve)-1] ^= 1
	for name, der := range map[string][]byte{
		"P-384": spki(&p384.PublicKey), "Ed25519": spki(ed), "no key": make([]byte, 91),
		"not on the curve": offCurve, "more behind it": append(append([]byte(nil), p.der...), 0),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := h.Enrol(t.Context(), &fieldsyncv1.EnrolRequest{
				Code: h.code(t, "crew-a"), PublicKey: der, Proof: p.proof(t, p.thumb, audienceEnrol, h.clock.Now()),
			})
			wantCode(t, err, fault.Invalid, "public_key_invalid")
		})
	}
}

// Protects: a phone that enrols again is the same device under the next epoch, so its outbox stays its own; handed to
// somebody else, its former token does not speak for that one; and the indexes follow.
func TestEnrolAgain(t *testing.T) {
	h := openHouse(t)
	p := h.enrolled(t, "crew-a")
	for i, step := range []struct{ member, before string }{{"crew-a", "crew-a"}, {"crew-b", "crew-a"}, {"crew-b", "crew-b"}} {
		former := p.token
		res, err := h.tryEnrol(t, p, h.code(t, step.member))
		if err != nil {
			t.Fatal(err)
		}
		if res.GetDeviceId() != p.id || res.GetInstallEpoch() != uint32(i+2) || res.GetMember().GetId() != step.member {
			t.Fatalf("got %v", res)
		}
		p.token = res.GetAccessToken()
		principal, _, _ := h.through(t, "/tus", "Bearer "+former)
		if (principal != nil) != (step.member == step.before) {
			t.Errorf("with the former token, of %s, as %v", step.before, principal)
		}
		h.view(t, func(tx *store.Tx) error {
			for _, m := range []string{"crew-a", "crew-b"} {
				n := 0
				for entry, err := range store.Scan(tx, store.MemberDevices(m), nil) {
					if err != nil {
						return err
					}
					if entry.GetId() == p.id {
						n++
					}
				}
				if (n == 1) != (m == step.member) {
					t.Errorf("step %d: %s has %d devices", i, m, n)
				}
			}
			return nil
		})
	}
	if n := h.devices(t); n != 1 {
		t.Errorf("%d devices", n)
	}
}

// Protects: who found the lost phone cannot enrol its key again, not even with a code, and the code is still good for a
// new key.
func TestEnrolRevokedKey(t *testing.T) {
	h := openHouse(t)
	p, boss := h.enrolled(t, "crew-a"), h.enrolled(t, "boss")
	if _, err := h.RevokeDevice(h.as(t, boss), &fieldsyncv1.RevokeDeviceRequest{DeviceId: p.id}); err != nil {
		t.Fatal(err)
	}
	code := h.code(t, "crew-a")
	_, err := h.tryEnrol(t, p, code)
	wantCode(t, err, fault.Unauthenticated, "device_revoked")
	// Without a code nobody learns that the key was revoked.
	_, err = h.tryEnrol(t, p, "AAAA-AAAA-AAAA")
	wantCode(t, err, fault.Unauthenticated, "code_invalid")
	res, err := h.tryEnrol(t, newPhone(t), code)
	if err != nil {
		t.Fatal(err)
	}
	if res.GetDeviceId() == p.id {
		t.Error("the new key got the revoked device")
	}
}

// Protects: the key of a registered system stays that system's: a code makes it nobody's phone, and is not spent on it.
func TestEnrolClientKey(t *testing.T) {
	h := openHouse(t)
	p := newPhone(t)
	client, err := h.RegisterClient(h.as(t, h.enrolled(t, "boss")), &fieldsyncv1.RegisterClientRequest{MemberId: "hotline", Name: "1022", PublicKey: p.der})
	if err != nil {
		t.Fatal(err)
	}
	code := h.code(t, "crew-a")
	_, err = h.tryEnrol(t, p, code)
	wantCode(t, err, fault.Precondition, "client_key_known")
	h.update(t, func(tx *store.Tx) error {
		device, err := store.Get(tx, store.DeviceKey(client.GetClientId()))
		if device.GetMemberId() != "hotline" || !device.GetClient() {
			t.Errorf("the client is now %v", device)
		}
		return err
	})
	if _, err := h.tryEnrol(t, newPhone(t), code); err != nil {
		t.Errorf("the code was spent: %v", err)
	}
}

// Protects: what must stay secret, and what names people, reaches no log.
func TestLogsHoldNoSecrets(t *testing.T) {
	h := openHouse(t)
	var log strings.Builder
	h.o.Log = slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	code, p := h.code(t, "crew-a"), newPhone(t)
	proof := p.proof(t, p.thumb, audienceEnrol, h.clock.Now())
	res, err := h.Enrol(t.Context(), &fieldsyncv1.EnrolRequest{Code: code, PublicKey: p.der, Proof: proof, DeviceName: "Máy của chị Lan"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.RevokeDevice(h.as(t, h.enrolled(t, "boss")), &fieldsyncv1.RevokeDeviceRequest{DeviceId: res.GetDeviceId()}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), res.GetDeviceId()) {
		t.Fatal("nothing was logged")
	}
	for _, secret := range []string{code, strings.ReplaceAll(code, "-", ""), proof, res.GetAccessToken(), "Lan", "Đội A"} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("the log holds %q: %s", secret[:min(8, len(secret))], fmt.Sprint(log.String()))
		}
	}
}
