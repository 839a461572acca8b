package fcmtest

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	project = "fieldsync-test"
	account = "fieldsync@" + project + ".iam.gserviceaccount.com"
	keyID   = "1d0c5e1f0a9b4e5c8f7a6b5c4d3e2f1a0b9c8d7e"
	// The real method would also take cloud-platform; a sender needs no more than this.
	scope = "https://www.googleapis.com/auth/firebase.messaging"
	// Google takes assertions of an hour at most.
	maxAssertionAge = time.Hour
)

// CredentialsJSON is a service account's key file that this server's token endpoint accepts.
func (s *Server) CredentialsJSON() []byte {
	der, err := x509.MarshalPKCS8PrivateKey(s.key)
	if err != nil {
		panic(err) // It is an RSA key.
	}
	file, err := json.Marshal(map[string]string{
		"type":            "service_account",
		"project_id":      project,
		"private_key_id":  keyID,
		"private_key":     string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
		"client_email":    account,
		"client_id":       "100000000000000000000",
		"token_uri":       s.tokenURI(),
		"universe_domain": "googleapis.com",
	})
	if err != nil {
		panic(err) // They are strings.
	}
	return file
}

func (s *Server) tokenURI() string { return s.http.URL + "/token" }

// grant is OAuth 2.0's JWT bearer grant (RFC 7523) as Google runs it:
// https://developers.google.com/identity/protocols/oauth2/service-account.
func (s *Server) grant(w http.ResponseWriter, r *http.Request) {
	if got := r.PostFormValue("grant_type"); got != "urn:ietf:params:oauth:grant-type:jwt-bearer" {
		refuseGrant(w, "unsupported_grant_type", "Invalid grant_type: "+got)
		return
	}
	if err := s.checkAssertion(r.PostFormValue("assertion")); err != nil {
		refuseGrant(w, "invalid_grant", err.Error())
		return
	}
	bearer := "ya29.c." + rand.Text()
	s.mu.Lock()
	s.bearers[bearer] = struct{}{}
	s.mu.Unlock()
	writeJSON(w, http.StatusOK, map[string]any{"access_token": bearer, "expires_in": 3599, "token_type": "Bearer"})
}

func (s *Server) checkAssertion(assertion string) error {
	var claims struct {
		jwt.RegisteredClaims

		Scope string `json:"scope"`
	}
	token, err := jwt.ParseWithClaims(assertion, &claims, func(*jwt.Token) (any, error) { return &s.key.PublicKey, nil },
		jwt.WithValidMethods([]string{jwt.SigningMethodRS256.Alg()}),
		jwt.WithIssuer(account),
		jwt.WithAudience(s.tokenURI()),
		jwt.WithExpirationRequired(),
		jwt.WithIssuedAt(),
		jwt.WithStrictDecoding(),
		jwt.WithLeeway(10*time.Second))
	if err != nil {
		return fmt.Errorf("Invalid JWT: %w", err) //nolint:staticcheck // Google's words.
	}
	if token.Header["kid"] != keyID {
		return errors.New("Invalid JWT Signature: unknown key") //nolint:staticcheck // Google's words.
	}
	if claims.IssuedAt == nil || claims.ExpiresAt.Sub(claims.IssuedAt.Time) > maxAssertionAge {
		return errors.New("Invalid JWT: Token must be a short-lived token (60 minutes)") //nolint:staticcheck // Google's words.
	}
	if !slices.Contains(strings.Fields(claims.Scope), scope) {
		return fmt.Errorf("the scope %q does not reach FCM", claims.Scope)
	}
	return nil
}

func refuseGrant(w http.ResponseWriter, code, description string) {
	writeJSON(w, http.StatusBadRequest, map[string]string{"error": code, "error_description": description})
}

func (s *Server) authorized(r *http.Request) bool {
	bearer, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	s.mu.Lock()
	defer s.mu.Unlock()
	_, known := s.bearers[bearer]
	return ok && known
}
