// Package oidc checks tokens of an outside identity provider (OpenID Connect Core 1.0, with Discovery 1.0; Keycloak is the model) and
// reads from their claims whom they name. What that person may do here is package auth's to say.
package oidc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/MicahParks/jwkset"
	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"

	"github.com/cong1022/fieldsync/internal/fault"
)

const (
	// maxTokenBytes bounds what is decoded at all: Keycloak's tokens with many roles have some 4 KB.
	maxTokenBytes = 12 << 10
	// leeway is by how much the provider's clock may differ from ours.
	leeway = time.Minute
	// maxAge is after how long the keys are asked for again, on use: a key that the provider has taken back is void by then.
	maxAge = 10 * time.Minute
	// pause lies between two questions to the provider, whatever made us ask. A token with an unheard-of kid makes us ask for the
	// keys; whoever sends bogus ones all day can neither flood the provider nor put a real rotation off for longer than this.
	pause = 10 * time.Second
	// patience is how long one question may take; a caller waits for two, discovery and keys.
	patience      = 5 * time.Second
	maxAnswerSize = 1 << 20
)

// algorithms are those of public keys: the provider's key never serves as a secret (RFC 8725, 3.1).
var algorithms = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}

// Options say whose tokens are taken and how their claims are read. A claim is named by its path, such as realm_access.roles.
type Options struct {
	// Issuer is the provider's, exactly as its tokens and its discovery have it.
	Issuer string
	// Audiences: one of them must be among a token's.
	Audiences []string
	// MemberClaim holds the id of the member.
	MemberClaim string
	// RolesClaim and UnitsClaim hold the names that Roles and Units translate.
	RolesClaim, UnitsClaim string
	// Roles maps the provider's roles to ours; Units its groups to ours. Empty: the provider has no say in these.
	Roles, Units map[string]string
	// Client asks the provider. http.DefaultClient where nil.
	Client *http.Client
	// Now is the clock. Required.
	Now func() time.Time
}

// Identity is whom a good token names.
type Identity struct {
	Member string
	// Roles and Units are what the provider grants, in our words. nil where it has no say.
	Roles, Units []string
	// Expires is the token's end.
	Expires time.Time
}

// Provider knows the provider's keys. It asks for them when they are first needed, so that a provider that is down keeps no server from
// starting; while it is down, the keys that are known serve on. Safe for concurrent use.
type Provider struct {
	o      Options
	parser *jwt.Parser

	mu            sync.Mutex
	keys          keyfunc.Keyfunc
	kids          map[string]bool
	fetched, next time.Time
	reason        error
	asking        chan struct{} // Closed when the question under way is answered. nil: there is none.
}

// New returns a provider without asking it anything. Its error names what the configuration lacks.
func New(o Options) (*Provider, error) {
	u, err := url.Parse(o.Issuer)
	if err != nil || u.Host == "" || u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(u.Hostname())) {
		return nil, fmt.Errorf("oidc.issuer: %q does not begin with https:// (http:// is for localhost)", o.Issuer)
	}
	if len(o.Audiences) == 0 {
		return nil, errors.New("oidc.audiences: without one, a token that another application was given would open this one")
	}
	if o.MemberClaim == "" {
		return nil, errors.New("oidc.member_claim: the claim that names the member is needed")
	}
	if o.Client == nil {
		o.Client = http.DefaultClient
	}
	return &Provider{o: o, parser: jwt.NewParser(
		jwt.WithValidMethods(algorithms), jwt.WithIssuer(o.Issuer), jwt.WithAudience(o.Audiences...), jwt.WithExpirationRequired(),
		jwt.WithIssuedAt(), jwt.WithLeeway(leeway), jwt.WithStrictDecoding(), jwt.WithTimeFunc(o.Now),
	)}, nil
}

func isLoopback(host string) bool { return host == "localhost" || host == "127.0.0.1" || host == "::1" }

// Issued tells whether the token says that it is this provider's. Nothing is checked yet.
func (p *Provider) Issued(raw string) bool {
	if len(raw) > maxTokenBytes {
		return false
	}
	var claims jwt.RegisteredClaims
	_, _, err := jwt.NewParser(jwt.WithStrictDecoding()).ParseUnverified(raw, &claims)
	return err == nil && claims.Issuer == p.o.Issuer
}

// Verify returns whom a token of the provider names. Unauthenticated "provider_token_expired" where time is all that it lacks, else
// "provider_token_invalid"; Unavailable "provider_unavailable" where the keys have never been had.
func (p *Provider) Verify(ctx context.Context, raw string) (Identity, error) {
	if len(raw) > maxTokenBytes {
		return Identity{}, errInvalid()
	}
	claims := jwt.MapClaims{}
	var down error
	_, err := p.parser.ParseWithClaims(raw, claims, func(token *jwt.Token) (any, error) {
		kid, _ := token.Header["kid"].(string)
		if _, critical := token.Header["crit"]; critical || kid == "" || len(kid) > 256 {
			return nil, jwt.ErrTokenUnverifiable
		}
		keys, err := p.keysFor(ctx, kid)
		if err != nil {
			down = err
			return nil, err
		}
		return keys.KeyfuncCtx(ctx)(token)
	})
	switch {
	case down != nil:
		return Identity{}, down
	case errors.Is(err, jwt.ErrTokenExpired) && !errors.Is(err, jwt.ErrTokenInvalidIssuer) && !errors.Is(err, jwt.ErrTokenInvalidAudience):
		return Identity{}, errExpired()
	case err != nil:
		return Identity{}, errInvalid()
	}
	return p.identity(claims)
}

func (p *Provider) identity(claims jwt.MapClaims) (Identity, error) {
	expires, err := claims.GetExpirationTime()
	if err != nil || expires == nil {
		return Identity{}, errInvalid()
	}
	member := texts(claims, p.o.MemberClaim)
	// Ids are ASCII, and what is not must not become so: the lower case of the Kelvin sign (U+212A) is k.
	if len(member) != 1 || member[0] == "" || strings.ContainsFunc(member[0], func(c rune) bool { return c > unicode.MaxASCII }) {
		return Identity{}, errDenied()
	}
	return Identity{
		Member: strings.ToLower(member[0]), Expires: expires.Time,
		Roles: translated(p.o.Roles, texts(claims, p.o.RolesClaim)), Units: translated(p.o.Units, texts(claims, p.o.UnitsClaim)),
	}, nil
}

// texts reads the claim at a path: a text, or a list of them. A claim whose own name has dots, such as a URL, is found too.
func texts(claims map[string]any, path string) []string {
	if path == "" {
		return nil
	}
	value, ok := claims[path]
	for rest := path; !ok; {
		var name string
		if name, rest, ok = strings.Cut(rest, "."); !ok {
			value = claims[name]
			break
		}
		if claims, ok = claims[name].(map[string]any); !ok {
			return nil
		}
		value, ok = claims[rest]
	}
	switch value := value.(type) {
	case string:
		return []string{value}
	case []any:
		var list []string
		for _, entry := range value {
			if text, ok := entry.(string); ok {
				list = append(list, text)
			}
		}
		return list
	}
	return nil
}

// translated is never nil where there is a translation: that nothing is granted is an answer.
func translated(table map[string]string, names []string) []string {
	if len(table) == 0 {
		return nil
	}
	granted := []string{}
	for _, name := range names {
		if ours, ok := table[name]; ok {
			granted = append(granted, ours)
		}
	}
	return granted
}

// keysFor returns the provider's keys, asked for anew if they are old or lack the kid and the last question is long enough ago.
//
// Only those wait for the answer whom it may concern: a kid that is known goes on at once, unless the keys are old and the provider
// answered the last time. So neither bogus kids nor a provider that takes a call and says nothing hold up whoever has a good token.
func (p *Provider) keysFor(ctx context.Context, kid string) (keyfunc.Keyfunc, error) {
	p.mu.Lock()
	now := p.o.Now()
	known, old := p.kids[kid], now.Sub(p.fetched) >= maxAge
	if p.asking == nil && (!known || old) && !now.Before(p.next) {
		p.next = now.Add(pause)
		p.asking = make(chan struct{})
		// Whoever asked first may hang up: the answer is for all who wait. It ends by itself, see patience.
		go p.ask(context.WithoutCancel(ctx), now)
	}
	asking := p.asking
	wait := asking != nil && (!known || old && p.reason == nil)
	p.mu.Unlock()
	if wait {
		select {
		case <-asking:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.keys == nil {
		return nil, errUnavailable()
	}
	return p.keys, nil
}

// ask asks the provider once and tells those who wait.
func (p *Provider) ask(ctx context.Context, at time.Time) {
	keys, kids, err := p.fetch(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reason = err; err == nil {
		p.keys, p.kids, p.fetched = keys, kids, at
	}
	close(p.asking)
	p.asking = nil
}

// Trouble is why the provider's keys could not be had the last time; nil where they could. For the log.
func (p *Provider) Trouble() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.reason
}

func (p *Provider) fetch(ctx context.Context) (keyfunc.Keyfunc, map[string]bool, error) {
	var discovery struct {
		Issuer string `json:"issuer"`
		Keys   string `json:"jwks_uri"`
	}
	if err := p.get(ctx, strings.TrimSuffix(p.o.Issuer, "/")+"/.well-known/openid-configuration", &discovery); err != nil {
		return nil, nil, err
	}
	if discovery.Issuer != p.o.Issuer { // Discovery 1.0, 4.3.
		return nil, nil, fmt.Errorf("the provider calls itself %q, and oidc.issuer is %q", discovery.Issuer, p.o.Issuer)
	}
	if u, err := url.Parse(discovery.Keys); err != nil || u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(u.Hostname())) {
		return nil, nil, fmt.Errorf("the provider's jwks_uri %q does not begin with https://", discovery.Keys)
	}
	var set jwkset.JWKSMarshal
	if err := p.get(ctx, discovery.Keys, &set); err != nil {
		return nil, nil, err
	}
	kids := map[string]bool{}
	usable := jwkset.JWKSMarshal{}
	for _, key := range set.Keys {
		// Keys to encrypt with, secrets, and keys without a name verify nothing here.
		if key.USE == jwkset.UseEnc || key.KTY == jwkset.KtyOct || key.KID == "" {
			continue
		}
		if _, err := jwkset.NewJWKFromMarshal(key, jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{}); err != nil {
			continue // Of a kind that is not known; the others serve.
		}
		kids[key.KID] = true
		usable.Keys = append(usable.Keys, key)
	}
	storage, err := usable.ToStorage()
	if err != nil {
		return nil, nil, fmt.Errorf("reading the provider's keys: %w", err)
	}
	keys, err := keyfunc.New(keyfunc.Options{Storage: storage})
	return keys, kids, err
}

func (p *Provider) get(ctx context.Context, address string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/json")
	resp, err := p.o.Client.Do(req)
	if err != nil {
		return fmt.Errorf("asking the identity provider: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the identity provider answers %s with %s", address, resp.Status)
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswerSize)).Decode(into); err != nil {
		return fmt.Errorf("reading %s of the identity provider: %w", address, err)
	}
	return nil
}

func errInvalid() error {
	return fault.New(fault.Unauthenticated, "provider_token_invalid",
		"Mã của hệ thống đăng nhập không hợp lệ: hãy đăng nhập lại.", "The identity provider's token is not valid: sign in again.")
}

func errExpired() error {
	return fault.New(fault.Unauthenticated, "provider_token_expired",
		"Mã của hệ thống đăng nhập đã hết hạn: hãy lấy mã mới từ hệ thống đó.", "The identity provider's token has expired: get a new one there.")
}

func errDenied() error {
	return fault.New(fault.Denied, "provider_denied",
		"Hệ thống đăng nhập không cấp quyền cho việc này: hãy liên hệ quản trị viên.",
		"The identity provider grants this account nothing here: ask an admin.")
}

func errUnavailable() error {
	f := fault.New(fault.Unavailable, "provider_unavailable",
		"Hệ thống đăng nhập đang không trả lời: hãy thử lại sau ít giây.", "The identity provider does not answer: try again in a few seconds.")
	f.RetryAfter = pause
	return f
}

// ErrDenied is what a caller says where the claims and the member's record do not fit together.
func ErrDenied() error { return errDenied() }
