package auth

import (
	"crypto/ecdsa"
	"errors"
	"regexp"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"google.golang.org/protobuf/types/known/timestamppb"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	"github.com/cong1022/fieldsync/store"
)

const (
	audienceEnrol   = "fieldsync:enrol"
	audienceRefresh = "fieldsync:refresh"
	// proofWindow is by how much a proof's iat may differ from the server's time, either way.
	proofWindow = 5 * time.Minute
	// maxProofBytes is what the API accepts.
	maxProofBytes = 2 << 10
	// sweepAtOnce bounds how many records of used proofs one refresh removes: more than the one that it adds.
	sweepAtOnce = 8
)

// proof is what a device has signed with its key: see identity.proto.
type proof struct {
	jti string
	// until is the last moment at which it is accepted.
	until time.Time
}

var jtiPattern = regexp.MustCompile(`^[\x21-\x7e]{16,64}$`)

var errCritical = errors.New("the proof has critical extensions")

// checkProof reads a compact JWS (RFC 7515) with ES256 (RFC 7518) that key must have signed for the one audience.
// Unauthenticated "proof_invalid"; "proof_time" if it is sound but for its time.
func checkProof(raw string, key *ecdsa.PublicKey, issuer, audience string, now time.Time) (proof, error) {
	if len(raw) > maxProofBytes {
		return proof{}, errProofInvalid()
	}
	// The claims are checked below: a proof has other rules than a token, and which of them is broken decides the answer.
	parser := jwt.NewParser(
		jwt.WithValidMethods([]string{jwt.SigningMethodES256.Alg()}),
		jwt.WithStrictDecoding(),
		jwt.WithoutClaimsValidation(),
	)
	var claims jwt.RegisteredClaims
	_, err := parser.ParseWithClaims(raw, &claims, func(token *jwt.Token) (any, error) {
		if refuseCritical(token) {
			return nil, errCritical
		}
		return key, nil
	})
	if err != nil || claims.Issuer != issuer || len(claims.Audience) != 1 || claims.Audience[0] != audience ||
		claims.IssuedAt == nil || !jtiPattern.MatchString(claims.ID) {
		return proof{}, errProofInvalid()
	}
	issued := claims.IssuedAt.Time
	if now.Sub(issued).Abs() > proofWindow {
		return proof{}, errProofTime(now)
	}
	return proof{jti: claims.ID, until: issued.Add(proofWindow).UTC()}, nil
}

// useProof marks the proof as used by the device. Unauthenticated "proof_replayed" if it was used before. It also sweeps
// the marks of proofs that are too old to be accepted.
func useProof(tx *store.Tx, device string, p proof) error {
	// Time has gone on since the proof was checked, and the mark of this very proof may have been swept.
	if tx.Now().After(p.until) {
		return errProofTime(tx.Now())
	}
	key := store.UsedProofKey(p.until, device, p.jti)
	used, err := store.Get(tx, key)
	if err != nil {
		return err
	}
	if used != nil {
		return errProofReplayed()
	}
	if err := sweepProofs(tx); err != nil {
		return err
	}
	return store.Put(tx, key, &storagev1.UsedProof{Until: timestamppb.New(p.until), DeviceId: device, Jti: p.jti})
}

func sweepProofs(tx *store.Tx) error {
	var old []*storagev1.UsedProof
	for used, err := range store.Scan(tx, store.UsedProofs(), nil) {
		if err != nil {
			return err
		}
		if len(old) == sweepAtOnce || !used.GetUntil().AsTime().Before(tx.Now()) {
			break
		}
		old = append(old, used)
	}
	for _, used := range old {
		if err := store.Delete(tx, store.UsedProofKey(used.GetUntil().AsTime(), used.GetDeviceId(), used.GetJti())); err != nil {
			return err
		}
	}
	return nil
}
