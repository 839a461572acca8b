package auth

import (
	"crypto/sha256"
	"encoding/binary"
	"testing"
	"time"

	"github.com/cong1022/fieldsync/store"
)

// Protects: that a signature was checked before opens nothing. A token that has just been used is refused as soon as its key
// is gone, its device is revoked, its member is gone or its time is over, and one that differs from it in a bit is a new one.
func TestUsedTokenIsCheckedAgain(t *testing.T) {
	for _, test := range []struct {
		name string
		do   func(t *testing.T, h *house, p *phone)
		want string
	}{
		{"nothing happens", func(*testing.T, *house, *phone) {}, ""},
		{"the key is removed", func(t *testing.T, h *house, _ *phone) {
			t.Helper()
			kid := h.signer(t).GetKid()
			h.update(t, func(tx *store.Tx) error { return store.Delete(tx, store.SigningKeyKey(kid)) })
		}, "token_invalid"},
		{"the device is revoked", func(t *testing.T, h *house, p *phone) {
			t.Helper()
			h.update(t, func(tx *store.Tx) error {
				device, err := store.Get(tx, store.DeviceKey(p.id))
				if err != nil {
					return err
				}
				device.RevokedAt = tx.Timestamp()
				return store.Put(tx, store.DeviceKey(p.id), device)
			})
		}, "device_revoked"},
		{"the member is gone", func(t *testing.T, h *house, _ *phone) {
			t.Helper()
			h.update(t, func(tx *store.Tx) error { return store.Delete(tx, store.MemberKey("crew-a")) })
		}, "token_invalid"},
		{"its time is over", func(_ *testing.T, h *house, _ *phone) { h.clock.Advance(time.Hour) }, "token_expired"},
		{"its signature is changed", func(_ *testing.T, _ *house, p *phone) {
			middle := len(p.token) - 40
			changed := byte('A')
			if p.token[middle] == changed {
				changed = 'B'
			}
			p.token = p.token[:middle] + string(changed) + p.token[middle+1:]
		}, "token_invalid"},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := openHouse(t)
			p := h.enrolled(t, "crew-a")
			for range 2 {
				if got, _, w := h.through(t, "/tus", "Bearer "+p.token); got == nil {
					t.Fatalf("before: %s", w.Body)
				}
			}
			test.do(t, h, p)
			got, passed, w := h.through(t, "/tus", "Bearer "+p.token)
			if test.want == "" {
				if got == nil {
					t.Errorf("refused: %s", w.Body)
				}
			} else if code := shown(t, w).GetCode(); passed || code != test.want {
				t.Errorf("passed %v with %q, want %q", passed, code, test.want)
			}
		})
	}
}

// Protects: the memory of tokens is bounded, and what is used stays in it.
func TestVerifiedIsBounded(t *testing.T) {
	var v verified
	sum := func(i int) (s [sha256.Size]byte) {
		binary.BigEndian.PutUint64(s[:], uint64(i))
		return s
	}
	v.put(sum(0), tokenClaims{kid: "used"})
	for i := range 10 * verifiedAtOnce {
		v.put(sum(i+1), tokenClaims{})
		if token, ok := v.get(sum(0)); !ok || token.kid != "used" {
			t.Fatalf("the token in use was forgotten after %d others", i+1)
		}
	}
	if held := len(v.young) + len(v.aged); held > 2*verifiedAtOnce {
		t.Errorf("%d tokens are held", held)
	}
	if _, ok := v.get(sum(1)); ok {
		t.Error("a token that nobody uses is still held")
	}
}
