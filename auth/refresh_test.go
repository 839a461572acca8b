package auth

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/store"
)

// Protects: after two weeks offline, with a token that expired long ago, the key alone brings a phone back.
func TestRefreshAfterTwoWeeks(t *testing.T) {
	h := openHouse(t)
	p := h.enrolled(t, "crew-a")
	h.clock.Advance(14 * 24 * time.Hour)
	if _, _, w := h.through(t, "/tus", "Bearer "+p.token); shown(t, w).GetCode() != "token_expired" {
		t.Fatalf("the old token: %s", w.Body)
	}
	res, err := h.tryRefresh(t, p, p.proof(t, p.id, audienceRefresh, h.clock.Now()))
	if err != nil {
		t.Fatal(err)
	}
	if principal, _, w := h.through(t, "/tus", "Bearer "+res.GetAccessToken()); principal == nil || principal.MemberID != "crew-a" {
		t.Errorf("the new token: %s", w.Body)
	}
	if res.GetInstallEpoch() != 1 || res.GetExpiresAt().AsTime().Sub(h.clock.Now()) != 15*time.Minute {
		t.Errorf("answer %v", res)
	}
	if seen := h.device(t, p.id).GetLastRefreshAt().AsTime(); !seen.Equal(h.clock.Now()) {
		t.Errorf("last seen %s", seen)
	}
}

// Protects: a proof that somebody has recorded is worth nothing, at any time.
func TestRefreshReplay(t *testing.T) {
	h := openHouse(t)
	p := h.enrolled(t, "crew-a")
	proof := p.proof(t, p.id, audienceRefresh, h.clock.Now())
	if _, err := h.tryRefresh(t, p, proof); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		after time.Duration
		want  string
	}{{0, "proof_replayed"}, {4 * time.Minute, "proof_replayed"}, {time.Minute, "proof_replayed"}, {time.Second, "proof_time"}, {time.Hour, "proof_time"}} {
		h.clock.Advance(step.after)
		// Others refresh meanwhile, and sweep.
		other := h.enrolled(t, "crew-b")
		if _, err := h.tryRefresh(t, other, other.proof(t, other.id, audienceRefresh, h.clock.Now())); err != nil {
			t.Fatal(err)
		}
		_, err := h.tryRefresh(t, p, proof)
		wantCode(t, err, fault.Unauthenticated, step.want)
	}
}

// Protects: between the check of a proof's time and its use, time may pass and its mark be swept: it is refused all the same.
func TestProofExpiresBeforeUse(t *testing.T) {
	h := openHouse(t)
	used := proof{jti: "0123456789abcdef", until: h.clock.Now().Add(-time.Nanosecond)}
	err := h.st.Update(t.Context(), func(tx *store.Tx) error { return useProof(tx, "d", used) })
	wantCode(t, err, fault.Unauthenticated, "proof_time")
}

// Protects: the marks of used proofs do not pile up.
func TestUsedProofsAreSwept(t *testing.T) {
	h := openHouse(t)
	p := h.enrolled(t, "crew-a")
	for range 60 {
		if _, err := h.tryRefresh(t, p, p.proof(t, p.id, audienceRefresh, h.clock.Now())); err != nil {
			t.Fatal(err)
		}
		h.clock.Advance(time.Minute)
	}
	n := 0
	h.view(t, func(tx *store.Tx) error {
		n = 0
		for _, err := range store.Scan(tx, store.UsedProofs(), nil) {
			if err != nil {
				return err
			}
			n++
		}
		return nil
	})
	if n > 7 { // One a minute, each accepted for five more.
		t.Errorf("%d marks are kept", n)
	}
}

// Protects: an answer that never arrives, even several times, locks nobody out, and what the server gave stays valid.
func TestRefreshLostAnswer(t *testing.T) {
	h := openHouse(t)
	p := h.enrolled(t, "crew-a")
	for range 5 {
		if _, err := h.tryRefresh(t, p, p.proof(t, p.id, audienceRefresh, h.clock.Now())); err != nil {
			t.Fatal(err)
		}
	}
	if principal, _, _ := h.through(t, "/tus", "Bearer "+p.token); principal == nil {
		t.Error("the token from before is void")
	}
}

// Protects: a phone whose clock is a day off, either way, gets in on the second try, with the time that it was told.
func TestRefreshClockOffByADay(t *testing.T) {
	h := openHouse(t)
	p := h.enrolled(t, "crew-a")
	for _, off := range []time.Duration{24 * time.Hour, -24 * time.Hour} {
		_, err := h.tryRefresh(t, p, p.proof(t, p.id, audienceRefresh, h.clock.Now().Add(off)))
		wantCode(t, err, fault.Unauthenticated, "proof_time")
		var f *fault.Error
		if !errors.As(err, &f) || !f.ServerTime.Equal(h.clock.Now()) {
			t.Fatalf("told the time %v", f.ServerTime)
		}
		if _, err := h.tryRefresh(t, p, p.proof(t, p.id, audienceRefresh, f.ServerTime)); err != nil {
			t.Error(err)
		}
	}
	// The time is told only to who holds the key.
	_, err := h.tryRefresh(t, p, newPhone(t).proof(t, p.id, audienceRefresh, h.clock.Now().Add(24*time.Hour)))
	wantCode(t, err, fault.Unauthenticated, "proof_invalid")
}

// Protects: a refresh takes the device's own key, for that purpose, and ends with the device.
func TestRefreshRefused(t *testing.T) {
	h := openHouse(t)
	p, other := h.enrolled(t, "crew-a"), h.enrolled(t, "crew-b")
	now := h.clock.Now()
	for _, test := range []struct{ name, device, proof, want string }{
		{"another's key", p.id, other.proof(t, p.id, audienceRefresh, now), "proof_invalid"},
		{"another's proof", p.id, other.proof(t, other.id, audienceRefresh, now), "proof_invalid"},
		{"a proof to enrol", p.id, p.proof(t, p.id, audienceEnrol, now), "proof_invalid"},
		{"named after the key", p.id, p.proof(t, p.thumb, audienceRefresh, now), "proof_invalid"},
		{"an access token", p.id, p.token, "proof_invalid"},
		{"unknown device", "nobody", p.proof(t, "nobody", audienceRefresh, now), "device_unknown"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := h.Refresh(t.Context(), &fieldsyncv1.RefreshRequest{DeviceId: test.device, Proof: test.proof})
			wantCode(t, err, fault.Unauthenticated, test.want)
		})
	}

	if _, err := h.RevokeDevice(h.as(t, h.enrolled(t, "boss")), &fieldsyncv1.RevokeDeviceRequest{DeviceId: p.id}); err != nil {
		t.Fatal(err)
	}
	_, err := h.tryRefresh(t, p, p.proof(t, p.id, audienceRefresh, now))
	wantCode(t, err, fault.Unauthenticated, "device_revoked")
	// Who does not hold the key does not learn that it was revoked.
	_, err = h.tryRefresh(t, p, other.proof(t, p.id, audienceRefresh, now))
	wantCode(t, err, fault.Unauthenticated, "proof_invalid")
	if principal, _, w := h.through(t, "/tus", "Bearer "+p.token); principal != nil || shown(t, w).GetCode() != "device_revoked" || w.Code != http.StatusUnauthorized {
		t.Errorf("the token of a revoked device: %d %s", w.Code, w.Body)
	}
}

// Protects: a phone restored from a backup gets numbers of its own; one that only wants a token keeps its numbering.
func TestNewInstallEpoch(t *testing.T) {
	h := openHouse(t)
	p := h.enrolled(t, "crew-a")
	for i, fresh := range []bool{false, true, true, false} {
		res, err := h.Refresh(t.Context(), &fieldsyncv1.RefreshRequest{
			DeviceId: p.id, Proof: p.proof(t, p.id, audienceRefresh, h.clock.Now()), NewInstallEpoch: fresh,
		})
		if err != nil {
			t.Fatal(err)
		}
		if want := []uint32{1, 2, 3, 3}[i]; res.GetInstallEpoch() != want || h.device(t, p.id).GetInstallEpoch() != want {
			t.Errorf("step %d: epoch %d, want %d", i, res.GetInstallEpoch(), want)
		}
	}
}

// Protects: two devices may choose the same jti without hindering each other.
func TestSameJTIOfTwoDevices(t *testing.T) {
	h := openHouse(t)
	for _, p := range []*phone{h.enrolled(t, "crew-a"), h.enrolled(t, "crew-b")} {
		proof := p.sign(t, jwt.MapClaims{"iss": p.id, "aud": audienceRefresh, "iat": h.clock.Now().Unix(), "jti": "0123456789abcdef"})
		if _, err := h.tryRefresh(t, p, proof); err != nil {
			t.Error(err)
		}
	}
}

// Protects: two phones with one key, as after a backup was restored on a second one, are one device: neither can lock the other out or use
// up its proofs, each can have an install epoch of its own, under which its numbers are its own, and both end with a revocation. Where
// neither asks for one, the engine of the sync finds out by the numbers.
func TestTwoPhonesWithOneKey(t *testing.T) {
	h := openHouse(t)
	first := h.enrolled(t, "crew-a")
	clone := *first
	refresh := func(p *phone, proof string, fresh bool) (*fieldsyncv1.RefreshResponse, error) {
		return h.Refresh(t.Context(), &fieldsyncv1.RefreshRequest{DeviceId: p.id, Proof: proof, NewInstallEpoch: fresh})
	}
	for range 3 { // In turns, at the same moment.
		for _, p := range []*phone{first, &clone} {
			answer, err := refresh(p, p.proof(t, p.id, audienceRefresh, h.clock.Now()), false)
			if err != nil {
				t.Fatal(err)
			}
			if principal, _, _ := h.through(t, "/tus", "Bearer "+answer.GetAccessToken()); principal == nil || principal.DeviceID != first.id || principal.MemberID != "crew-a" {
				t.Errorf("taken for %v", principal)
			}
		}
	}
	shared := first.proof(t, first.id, audienceRefresh, h.clock.Now())
	if _, err := refresh(first, shared, false); err != nil {
		t.Fatal(err)
	}
	_, err := refresh(&clone, shared, false)
	wantCode(t, err, fault.Unauthenticated, "proof_replayed")
	epochs := map[uint32]bool{}
	for _, p := range []*phone{first, &clone} {
		answer, err := refresh(p, p.proof(t, p.id, audienceRefresh, h.clock.Now()), true)
		if err != nil {
			t.Fatal(err)
		}
		epochs[answer.GetInstallEpoch()] = true
	}
	if len(epochs) != 2 {
		t.Errorf("both number under the same epoch: %v", epochs)
	}
	boss := h.enrolled(t, "boss")
	if _, err := h.RevokeDevice(h.as(t, boss), &fieldsyncv1.RevokeDeviceRequest{DeviceId: first.id}); err != nil {
		t.Fatal(err)
	}
	for _, p := range []*phone{first, &clone} {
		_, err := refresh(p, p.proof(t, p.id, audienceRefresh, h.clock.Now()), false)
		wantCode(t, err, fault.Unauthenticated, "device_revoked")
	}
}
