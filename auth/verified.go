package auth

import (
	"crypto/sha256"
	"sync"
)

// verifiedAtOnce is after how many tokens the older half is forgotten: some 4 MB.
const verifiedAtOnce = 8192

// verified remembers tokens whose signature was found good, by the SHA-256 of all their bytes: a phone comes with the same
// token for a quarter of an hour, and the signature of the same bytes under the same key does not change. It says nothing
// more. Whether the key is still this server's, whether the token's time has come or is over, whether the device is revoked
// and what its member may do: all that is asked of the store and the clock at each call, as for a token never seen.
//
// The zero value is empty and ready. Safe for concurrent use.
type verified struct {
	mu          sync.Mutex
	young, aged map[[sha256.Size]byte]tokenClaims
}

func (v *verified) get(sum [sha256.Size]byte) (tokenClaims, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	token, ok := v.young[sum]
	if !ok {
		if token, ok = v.aged[sum]; ok {
			v.add(sum, token)
		}
	}
	return token, ok
}

func (v *verified) put(sum [sha256.Size]byte, token tokenClaims) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.add(sum, token)
}

func (v *verified) add(sum [sha256.Size]byte, token tokenClaims) {
	if v.young == nil || len(v.young) >= verifiedAtOnce {
		v.young, v.aged = make(map[[sha256.Size]byte]tokenClaims), v.young
	}
	v.young[sum] = token
}
