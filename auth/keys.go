package auth

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/faultwire"
	"github.com/cong1022/fieldsync/store"
)

const (
	// keyPeriod is how long a key signs before the next one takes over.
	keyPeriod = 30 * 24 * time.Hour
	// publishedAhead is how long a key is published at the least before it signs: many times what caches may keep.
	publishedAhead = 24 * time.Hour
	// keySetMaxAge is how long others may keep the key set. A key that is no longer published is void to this server at once.
	keySetMaxAge = time.Hour
)

// signingKey returns the key that signs access tokens now. It sees to it that the next one is published already, and
// removes a former one when nothing that it signed is valid any more: keys turn over by themselves, whenever somebody gets a
// token. Should nobody get any while a key's time comes, the next one is made then.
func (s *Service) signingKey(tx *store.Tx) (*storagev1.SigningKey, error) {
	keys, err := SigningKeys(tx, storagev1.KeyUse_KEY_USE_ACCESS_TOKEN)
	if err != nil {
		return nil, err
	}
	now := -1 // The newest key whose time has come.
	for i, key := range keys {
		if !key.GetSignsFrom().AsTime().After(tx.Now()) {
			now = i
		}
	}
	if now < 0 {
		key, err := NewSigningKey(tx, storagev1.KeyUse_KEY_USE_ACCESS_TOKEN, tx.Now())
		if err != nil {
			return nil, err
		}
		keys, now = slices.Insert(keys, 0, key), 0
	}
	if now == len(keys)-1 {
		from := keys[now].GetSignsFrom().AsTime().Add(keyPeriod)
		if earliest := tx.Now().Add(publishedAhead); from.Before(earliest) {
			from = earliest
		}
		if _, err := NewSigningKey(tx, storagev1.KeyUse_KEY_USE_ACCESS_TOKEN, from); err != nil {
			return nil, err
		}
	}
	for i, key := range keys[:now] {
		if keys[i+1].GetSignsFrom().AsTime().Add(s.o.AccessTTL + tokenLeeway).Before(tx.Now()) {
			if err := store.Delete(tx, store.SigningKeyKey(key.GetKid())); err != nil {
				return nil, err
			}
		}
	}
	return keys[now], nil
}

// SigningKeys returns the server's keys for a use in the order in which they sign.
func SigningKeys(tx *store.Tx, use storagev1.KeyUse) ([]*storagev1.SigningKey, error) {
	var keys []*storagev1.SigningKey
	for key, err := range store.Scan(tx, store.SigningKeys(), nil) {
		if err != nil {
			return nil, err
		}
		if key.GetUse() == use {
			keys = append(keys, key)
		}
	}
	slices.SortFunc(keys, func(a, b *storagev1.SigningKey) int {
		return a.GetSignsFrom().AsTime().Compare(b.GetSignsFrom().AsTime())
	})
	return keys, nil
}

// NewSigningKey makes a key for a use that signs from the time given on.
func NewSigningKey(tx *store.Tx, use storagev1.KeyUse, from time.Time) (*storagev1.SigningKey, error) {
	seed := make([]byte, ed25519.SeedSize)
	if err := tx.Random(seed); err != nil {
		return nil, err
	}
	key := &storagev1.SigningKey{
		Use: use, Seed: seed, CreatedAt: tx.Timestamp(), SignsFrom: timestamppb.New(from),
	}
	key.Kid = signerThumbprint(publicOf(key))
	return key, store.Put(tx, store.SigningKeyKey(key.GetKid()), key)
}

func publicOf(key *storagev1.SigningKey) ed25519.PublicKey {
	private := ed25519.NewKeyFromSeed(key.GetSeed())
	return ed25519.PublicKey(private[ed25519.SeedSize:])
}

// ListTokenKeys implements the IdentityService.
func (s *Service) ListTokenKeys(ctx context.Context, _ *fieldsyncv1.ListTokenKeysRequest) (*fieldsyncv1.ListTokenKeysResponse, error) {
	res := &fieldsyncv1.ListTokenKeysResponse{}
	return res, s.st.View(ctx, func(tx *store.Tx) (err error) {
		res.Keys, err = s.showKeys(tx)
		return err
	})
}

// RotateTokenKey implements the IdentityService. The next key, which is published already, signs as soon as no cache can lack it;
// the present one verifies until the last token that it signed is over.
func (s *Service) RotateTokenKey(ctx context.Context, req *fieldsyncv1.RotateTokenKeyRequest) (*fieldsyncv1.RotateTokenKeyResponse, error) {
	p, err := PrincipalFrom(ctx)
	if err != nil {
		return nil, err
	}
	res := &fieldsyncv1.RotateTokenKeyResponse{}
	err = s.st.Update(ctx, func(tx *store.Tx) error {
		present, err := s.signingKey(tx) // Sees to it that there is a next one.
		if err != nil {
			return err
		}
		keys, err := SigningKeys(tx, storagev1.KeyUse_KEY_USE_ACCESS_TOKEN)
		if err != nil {
			return err
		}
		if req.GetCompromised() {
			for _, key := range keys {
				if err := store.Delete(tx, store.SigningKeyKey(key.GetKid())); err != nil {
					return err
				}
			}
			if err := accessLost(tx); err != nil {
				return err
			}
		} else if err := bringForward(tx, keys, present, req.GetAtOnce()); err != nil {
			return err
		}
		if _, err := s.signingKey(tx); err != nil {
			return err
		}
		res.Keys, err = s.showKeys(tx)
		return err
	})
	if err != nil {
		return nil, err
	}
	s.o.Log.InfoContext(ctx, "token key rotated", "by", p.MemberID, "at_once", req.GetAtOnce(), "compromised", req.GetCompromised())
	return res, nil
}

// bringForward lets the key that follows the present one sign as soon as it may, never later than planned.
func bringForward(tx *store.Tx, keys []*storagev1.SigningKey, present *storagev1.SigningKey, atOnce bool) error {
	i := slices.IndexFunc(keys, func(key *storagev1.SigningKey) bool { return key.GetKid() == present.GetKid() })
	next := keys[i+1]
	from := next.GetCreatedAt().AsTime().Add(keySetMaxAge)
	if atOnce || from.Before(tx.Now()) {
		from = tx.Now()
	}
	if !from.Before(next.GetSignsFrom().AsTime()) {
		return nil
	}
	next.SignsFrom = timestamppb.New(from)
	return store.Put(tx, store.SigningKeyKey(next.GetKid()), next)
}

func (s *Service) showKeys(tx *store.Tx) ([]*fieldsyncv1.TokenKey, error) {
	keys, err := SigningKeys(tx, storagev1.KeyUse_KEY_USE_ACCESS_TOKEN)
	var shown []*fieldsyncv1.TokenKey
	for i, key := range keys {
		one := &fieldsyncv1.TokenKey{Kid: key.GetKid(), CreatedAt: key.GetCreatedAt(), SignsFrom: key.GetSignsFrom()}
		if !key.GetSignsFrom().AsTime().After(tx.Now()) {
			one.Signs = true
			if i+1 < len(keys) && !keys[i+1].GetSignsFrom().AsTime().After(tx.Now()) {
				one.Signs, one.Until = false, timestamppb.New(keys[i+1].GetSignsFrom().AsTime().Add(s.o.AccessTTL+tokenLeeway))
			}
		}
		shown = append(shown, one)
	}
	return shown, err
}

var kidPattern = regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`)

// storedKey returns the key that a token names, nil if there is none. It reads the store each time: a key that was removed
// verifies nothing from then on, on every node.
func storedKey(tx *store.Tx, kid string) (*storagev1.SigningKey, error) {
	if !kidPattern.MatchString(kid) {
		return nil, nil //nolint:nilnil // As the store has it: nil is none.
	}
	key, err := store.Get(tx, store.SigningKeyKey(kid))
	if err != nil || key.GetUse() != storagev1.KeyUse_KEY_USE_ACCESS_TOKEN {
		return nil, err
	}
	return key, nil
}

// jwk is an Ed25519 key as RFC 8037 has it.
type jwk struct {
	Kty string `json:"kty"`
	Crv string `json:"crv"`
	Use string `json:"use"`
	Alg string `json:"alg"`
	Kid string `json:"kid"`
	X   string `json:"x"`
}

// JWKS serves the public keys of access tokens as a JWK set (RFC 7517), the next key included; its place is
// /.well-known/jwks.json. It needs no token.
func (s *Service) JWKS() http.Handler {
	return KeySet(s.st, storagev1.KeyUse_KEY_USE_ACCESS_TOKEN, s.o.Log)
}

// KeySet serves the server's public keys for a use as a JWK set (RFC 7517), to anyone.
func KeySet(st *store.Store, use storagev1.KeyUse, log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		var keys []*storagev1.SigningKey
		err := st.View(r.Context(), func(tx *store.Tx) (err error) {
			keys, err = SigningKeys(tx, use)
			return err
		})
		if err != nil {
			faultwire.WriteHTTP(w, r, log, err)
			return
		}
		set := struct {
			Keys []jwk `json:"keys"`
		}{Keys: []jwk{}}
		for _, key := range keys {
			set.Keys = append(set.Keys, jwk{
				Kty: "OKP", Crv: "Ed25519", Use: "sig", Alg: "EdDSA",
				Kid: key.GetKid(), X: base64.RawURLEncoding.EncodeToString(publicOf(key)),
			})
		}
		w.Header().Set("Content-Type", "application/jwk-set+json")
		w.Header().Set("Cache-Control", fmt.Sprintf("public, max-age=%d", int(keySetMaxAge.Seconds())))
		if err := json.NewEncoder(w).Encode(set); err != nil {
			log.DebugContext(r.Context(), "answering with the key set", "error", err)
		}
	})
}

// signerThumbprint is the JWK thumbprint (RFC 7638) of an Ed25519 key (its members: RFC 8037, appendix A.3).
func signerThumbprint(key ed25519.PublicKey) string {
	return thumbprint(`{"crv":"Ed25519","kty":"OKP","x":"` + base64.RawURLEncoding.EncodeToString(key) + `"}`)
}

// deviceThumbprint is the JWK thumbprint (RFC 7638) of a P-256 key.
func deviceThumbprint(key *ecdsa.PublicKey) (string, error) {
	point, err := key.Bytes() // Uncompressed (SEC 1, 2.3.3): 0x04 and two coordinates of 32 bytes.
	if err != nil {
		return "", err
	}
	b64 := base64.RawURLEncoding.EncodeToString
	return thumbprint(`{"crv":"P-256","kty":"EC","x":"` + b64(point[1:33]) + `","y":"` + b64(point[33:]) + `"}`), nil
}

func thumbprint(members string) string {
	sum := sha256.Sum256([]byte(members))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// parseDeviceKey reads a SubjectPublicKeyInfo. It returns the key and its one canonical encoding, so that a key is known
// again however it was encoded. Invalid "public_key_invalid".
func parseDeviceKey(der []byte) (*ecdsa.PublicKey, []byte, error) {
	parsed, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, nil, errPublicKeyInvalid()
	}
	key, ok := parsed.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, nil, errPublicKeyInvalid()
	}
	canonical, err := x509.MarshalPKIXPublicKey(key)
	return key, canonical, err
}
