package auth

import (
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"google.golang.org/protobuf/types/known/timestamppb"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	"github.com/cong1022/fieldsync/store"
)

const (
	// tokenAudience is the aud of access tokens.
	tokenAudience = "fieldsync"
	// tokenLeeway is by how much the clocks of several nodes may differ.
	tokenLeeway = 30 * time.Second
	// maxTokenBytes bounds what is decoded at all. Own tokens have about 500 bytes.
	maxTokenBytes = 4 << 10
)

// tokenClaims are those of an access token (RFC 7519). They name a device and its member; what these may do is not in it.
type tokenClaims struct {
	jwt.RegisteredClaims

	Device string `json:"dev"`
	// Deliver: of a revoked device, for delivery only.
	Deliver bool `json:"dlv,omitempty"`

	kid string
}

// accessToken is what a transaction has decided on, to be signed once it is committed.
type accessToken struct {
	key     *storagev1.SigningKey
	claims  tokenClaims
	expires time.Time
}

// newToken decides on a token for the device, for a revoked one on one for delivery only, and notes in its record until when it is good. The caller stores the record.
func (s *Service) newToken(tx *store.Tx, device *storagev1.Device) (accessToken, error) {
	key, err := s.signingKey(tx)
	if err != nil {
		return accessToken{}, err
	}
	id, err := tx.NewID()
	if err != nil {
		return accessToken{}, err
	}
	issued := tx.Now().Truncate(time.Second)
	expires := issued.Add(s.o.AccessTTL)
	device.TokenExpiresAt = timestamppb.New(expires)
	return accessToken{key: key, expires: expires, claims: tokenClaims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer:    s.o.Issuer,
			Audience:  jwt.ClaimStrings{tokenAudience},
			Subject:   device.GetMemberId(),
			IssuedAt:  jwt.NewNumericDate(issued),
			ExpiresAt: jwt.NewNumericDate(expires),
			ID:        id,
		},
		Device:  device.GetId(),
		Deliver: device.GetRevokedAt() != nil,
	}}, nil
}

func (t accessToken) sign() (string, error) {
	token := jwt.NewWithClaims(jwt.SigningMethodEdDSA, t.claims)
	token.Header["kid"] = t.key.GetKid()
	signed, err := token.SignedString(ed25519.NewKeyFromSeed(t.key.GetSeed()))
	if err != nil {
		return "", fmt.Errorf("signing an access token: %w", err)
	}
	return signed, nil
}

// tokenRules are what a token must keep. A parser takes all of them; a validator those on the claims.
func tokenRules(issuer string, now func() time.Time) []jwt.ParserOption {
	return []jwt.ParserOption{
		jwt.WithValidMethods([]string{jwt.SigningMethodEdDSA.Alg()}),
		jwt.WithIssuer(issuer),
		jwt.WithAudience(tokenAudience),
		jwt.WithExpirationRequired(),
		jwt.WithIssuedAt(),
		jwt.WithLeeway(tokenLeeway),
		jwt.WithStrictDecoding(),
		jwt.WithTimeFunc(now),
	}
}

var errKey = errors.New("the token names no key of this server")

// parseToken returns the claims of a token that this server signed and that is valid now. Unauthenticated "token_expired"
// where time is all that it lacks, else "token_invalid", without saying what is wrong; other errors are the store's.
func (s *Service) parseToken(tx *store.Tx, raw string) (*tokenClaims, error) {
	if len(raw) > maxTokenBytes {
		return nil, errTokenInvalid()
	}
	sum := sha256.Sum256([]byte(raw))
	if known, ok := s.verified.get(sum); ok {
		key, err := storedKey(tx, known.kid)
		switch {
		case err != nil:
			return nil, err
		case key == nil:
			return nil, errTokenInvalid()
		}
		return refusedOrNot(&known, s.claims.Validate(known))
	}
	var storeErr error
	var claims tokenClaims
	_, err := s.tokens.ParseWithClaims(raw, &claims, func(token *jwt.Token) (any, error) {
		if refuseCritical(token) {
			return nil, errKey
		}
		key, err := storedKey(tx, kidOf(token))
		if err != nil {
			storeErr = err
			return nil, err
		}
		if key == nil {
			return nil, errKey
		}
		claims.kid = key.GetKid()
		return publicOf(key), nil
	})
	if storeErr != nil {
		return nil, storeErr
	}
	if err == nil {
		s.verified.put(sum, claims)
	}
	return refusedOrNot(&claims, err)
}

// refusedOrNot puts what the library says of a token into our words.
func refusedOrNot(claims *tokenClaims, err error) (*tokenClaims, error) {
	switch {
	case err == nil:
		return claims, nil
	// The signature is checked before the claims: whoever reads "expired" held a token of this server.
	case errors.Is(err, jwt.ErrTokenExpired):
		return nil, errTokenExpired()
	default:
		return nil, errTokenInvalid()
	}
}

func kidOf(token *jwt.Token) string {
	kid, _ := token.Header["kid"].(string)
	return kid
}

// refuseCritical tells whether the header names extensions that must be understood (RFC 7515, 4.1.11): none is, and the
// library ignores the field.
func refuseCritical(token *jwt.Token) bool {
	_, critical := token.Header["crit"]
	return critical
}
