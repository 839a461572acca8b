package auth

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/golang-jwt/jwt/v5"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/internal/faultwire"
	"github.com/cong1022/fieldsync/store"
)

const (
	// assertionType is the client_assertion_type of RFC 7523, 2.2.
	assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
	// tokenPath is where the token endpoint is mounted.
	tokenPath = "/oauth/token" //nolint:gosec // A name of RFC 7523.
	// maxAssertionLife is how far ahead an assertion's exp may lie: its jti is remembered until then.
	maxAssertionLife = time.Hour
	// maxFormBytes bounds the body of a request for a token.
	maxFormBytes = 16 << 10
)

// RegisterClient implements the IdentityService. The system is a device whose key an admin vouches for instead of a code. A key
// belongs to one client or device for good; one that was revoked stays so.
func (s *Service) RegisterClient(ctx context.Context, req *fieldsyncv1.RegisterClientRequest) (*fieldsyncv1.RegisterClientResponse, error) {
	p, err := PrincipalFrom(ctx)
	if err != nil {
		return nil, err
	}
	_, _, der, err := parseClientKey(req.GetPublicKey())
	if err != nil {
		return nil, err
	}
	var id string
	err = s.st.Update(ctx, func(tx *store.Tx) error {
		member, err := store.Get(tx, store.MemberKey(req.GetMemberId()))
		if err != nil {
			return err
		}
		if member.GetRole() != hotline {
			return errMemberUnknown()
		}
		known, err := store.Get(tx, store.DeviceByKeyKey(der))
		if err != nil {
			return err
		}
		if known != nil {
			return errClientKeyKnown()
		}
		if id, err = tx.NewID(); err != nil {
			return err
		}
		device := &storagev1.Device{
			Id: id, Name: req.GetName(), MemberId: member.GetId(), PublicKey: der, Client: true,
			EnrolledAt: tx.Timestamp(), LastRefreshAt: tx.Timestamp(),
		}
		for key, record := range map[string]*storagev1.Device{
			string(store.DeviceByKeyKey(der)):                 {Id: id},
			string(store.MemberDeviceKey(member.GetId(), id)): {Id: id},
			string(store.DeviceKey(id)):                       device,
		} {
			if err := store.Put(tx, store.Key[storagev1.Device](key), record); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	s.o.Log.InfoContext(ctx, "client registered", "client", id, "member", req.GetMemberId(), "by", p.MemberID)
	return &fieldsyncv1.RegisterClientResponse{ClientId: id, Audience: s.o.Issuer}, nil
}

func errClientKeyKnown() error {
	return fault.New(fault.Precondition, "client_key_known",
		"Khóa này đã được đăng ký hoặc đã bị thu hồi: hãy tạo khóa mới.",
		"This key is registered already, or was revoked: make a new one.")
}

// parseClientKey reads a SubjectPublicKeyInfo and tells with which algorithms (RFC 7518, RFC 8037) its holder may sign.
// Invalid "client_key_invalid".
func parseClientKey(der []byte) (key crypto.PublicKey, algorithms []string, canonical []byte, err error) {
	parsed, err := x509.ParsePKIXPublicKey(der)
	if err == nil {
		switch k := parsed.(type) {
		case *ecdsa.PublicKey:
			if k.Curve == elliptic.P256() {
				algorithms = []string{"ES256"}
			}
		case ed25519.PublicKey:
			algorithms = []string{"EdDSA"}
		case *rsa.PublicKey:
			if bits := k.N.BitLen(); bits >= 2048 && bits <= 4096 {
				algorithms = []string{"RS256", "PS256"}
			}
		}
	}
	if len(algorithms) == 0 {
		return nil, nil, nil, fault.New(fault.Invalid, "client_key_invalid",
			"Khóa công khai phải là SubjectPublicKeyInfo (DER) của khóa P-256, Ed25519 hoặc RSA 2048 đến 4096 bit.",
			"The public key must be the SubjectPublicKeyInfo (DER) of a P-256 or Ed25519 key, or of an RSA key of 2,048 to 4,096 bits.")
	}
	canonical, err = x509.MarshalPKIXPublicKey(parsed)
	return parsed, algorithms, canonical, err
}

// oauthError is an error as RFC 6749, 5.2, has it. Its description never tells which part of an assertion was wrong: only
// whoever holds the key should learn more, and that one knows.
type oauthError struct {
	Code        string `json:"error"`
	Description string `json:"error_description"`
}

var (
	errOAuthRequest = oauthError{"invalid_request", "one client_assertion of the type " + assertionType + " is needed, in a form"}
	errOAuthGrant   = oauthError{"unsupported_grant_type", "only client_credentials"}
	errOAuthClient  = oauthError{"invalid_client", "the assertion is not one of a registered client: signed by its key, iss and sub its client_id, aud the server's, exp within an hour, jti never used before"}
)

// TokenEndpoint serves POST /oauth/token: client credentials (RFC 6749, 4.4) with private_key_jwt (RFC 7523; OpenID Connect Core,
// 9). The aud of the assertion is the server's issuer, or that and "/oauth/token".
func (s *Service) TokenEndpoint(log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxFormBytes)
		var status int
		var answer any
		attempt := Attempt{Act: "POST " + tokenPath, Address: r.RemoteAddr}
		token, refused, err := s.clientToken(r, &attempt)
		switch {
		case err != nil:
			attempt.Outcome = "internal"
			s.tell(r.Context(), attempt)
			faultwire.WriteHTTP(w, r, log, err)
			return
		case refused != nil:
			attempt.Outcome = refused.Code
			status, answer = http.StatusBadRequest, refused
			if refused.Code == errOAuthClient.Code {
				status = http.StatusUnauthorized
			}
		default:
			attempt.Outcome, attempt.Proven = "ok", true
			status, answer = http.StatusOK, token
		}
		s.tell(r.Context(), attempt)
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(status)
		if err := json.NewEncoder(w).Encode(answer); err != nil {
			log.DebugContext(r.Context(), "answering with a token", "error", err)
		}
	})
}

// oauthToken is an access token as RFC 6749, 5.1, has it.
type oauthToken struct {
	AccessToken string `json:"access_token"`
	TokenType   string `json:"token_type"`
	ExpiresIn   int    `json:"expires_in"`
}

// clientToken puts into the attempt which client it names.
func (s *Service) clientToken(r *http.Request, attempt *Attempt) (*oauthToken, *oauthError, error) {
	if err := r.ParseForm(); err != nil {
		return nil, &errOAuthRequest, nil //nolint:nilerr // The request's.
	}
	form := r.PostForm
	for _, name := range []string{"grant_type", "client_assertion_type", "client_assertion"} {
		if len(form[name]) != 1 { // A parameter may not come twice (RFC 6749, 3.2).
			return nil, &errOAuthRequest, nil
		}
	}
	switch {
	case form.Get("grant_type") != "client_credentials":
		return nil, &errOAuthGrant, nil
	case form.Get("client_assertion_type") != assertionType:
		return nil, &errOAuthRequest, nil
	}
	token, client, err := s.byAssertion(r.Context(), form.Get("client_assertion"), form.Get("client_id"))
	attempt.Device = client
	if errors.Is(err, errAssertion) {
		return nil, &errOAuthClient, nil
	}
	if err != nil {
		return nil, nil, err
	}
	signed, err := token.sign()
	return &oauthToken{AccessToken: signed, TokenType: "Bearer", ExpiresIn: int(s.o.AccessTTL.Seconds())}, nil, err
}

var errAssertion = errors.New("the assertion is none of a client")

// byAssertion takes an assertion for a token, once. errAssertion where it is not good, whatever is wrong; client is whom it names all
// the same, where there is one.
func (s *Service) byAssertion(ctx context.Context, raw, clientID string) (token accessToken, client string, err error) {
	var claims jwt.RegisteredClaims
	if _, _, err := jwt.NewParser().ParseUnverified(raw, &claims); len(raw) > maxTokenBytes || err != nil ||
		claims.Issuer == "" || claims.Issuer != claims.Subject || clientID != "" && clientID != claims.Issuer || !jtiPattern.MatchString(claims.ID) {
		return token, "", errAssertion
	}
	var device *storagev1.Device
	load := func(tx *store.Tx) (err error) {
		device, err = store.Get(tx, store.DeviceKey(claims.Issuer))
		client = device.GetId()
		if err == nil && (!device.GetClient() || device.GetRevokedAt() != nil) {
			err = errAssertion
		}
		return err
	}
	if err := s.st.View(ctx, load); err != nil {
		return token, client, err
	}
	// Outside the transaction, as in Refresh.
	if err := s.checkAssertion(raw, device.GetPublicKey(), &claims); err != nil {
		return token, client, err
	}
	err = s.st.Update(ctx, func(tx *store.Tx) error {
		if err := load(tx); err != nil {
			return err
		}
		err := useProof(tx, device.GetId(), proof{jti: claims.ID, until: claims.ExpiresAt.Time.Add(tokenLeeway).UTC()})
		if fault.KindOf(err) == fault.Unauthenticated {
			return errAssertion
		}
		if err != nil {
			return err
		}
		device.LastRefreshAt = tx.Timestamp()
		if token, err = s.newToken(tx, device); err != nil {
			return err
		}
		return store.Put(tx, store.DeviceKey(device.GetId()), device)
	})
	return token, client, err
}

func (s *Service) checkAssertion(raw string, der []byte, claims *jwt.RegisteredClaims) error {
	key, algorithms, _, err := parseClientKey(der)
	if err != nil {
		return err
	}
	parser := jwt.NewParser(
		jwt.WithValidMethods(algorithms), jwt.WithStrictDecoding(), jwt.WithExpirationRequired(),
		jwt.WithAudience(s.o.Issuer, s.o.Issuer+tokenPath), jwt.WithLeeway(tokenLeeway), jwt.WithTimeFunc(s.st.Now),
	)
	*claims = jwt.RegisteredClaims{}
	_, err = parser.ParseWithClaims(raw, claims, func(token *jwt.Token) (any, error) {
		if refuseCritical(token) {
			return nil, errCritical
		}
		return key, nil
	})
	if err != nil || claims.ExpiresAt.After(s.st.Now().Add(maxAssertionLife+tokenLeeway)) {
		return errAssertion
	}
	return nil
}
