// Package auth answers who calls and what they may do. Every caller is a device with a P-256 key of its own, enrolled once
// with a one-time code; with that key it gets access tokens that live for minutes, and the store says at each call what the
// device's member may do. DESIGN.md says why.
package auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/cong1022/fieldsync/auth/oidc"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
	"github.com/cong1022/fieldsync/store"
)

// Options configure a Service.
type Options struct {
	// Issuer names this server in the tokens (iss), usually by its public address. Required. Tokens of another issuer are
	// refused, so a change of it makes every device refresh.
	Issuer string
	// AccessTTL is how long an access token is valid. 15 minutes by default.
	AccessTTL time.Duration
	// CodeTTL is how long an enrolment code is valid. 10 minutes by default.
	CodeTTL time.Duration
	// DeviceGrant is how long a device that is not seen can still refresh. 90 days by default.
	DeviceGrant time.Duration
	// PersonalLease is told to devices: how long they may keep citizens' names and phone numbers without a sync. 0: without limit.
	PersonalLease time.Duration
	// Provider is the outside identity provider whose tokens are taken too. None where nil.
	Provider *oidc.Provider
	// Attempts hears of each token that a client has asked for and of each that was refused, but for those whose time was over. Called
	// before the answer goes out, from many goroutines. Nobody does where nil.
	Attempts func(context.Context, Attempt)
	// Log hears of enrolments and revocations, by ids only. slog.Default() by default.
	Log *slog.Logger
}

// Service keeps devices, codes and signing keys in the store. It remembers only which signatures it has checked and which
// calls are under way: several may share a store. The time is the store's clock. All methods are safe for concurrent use; what changes anything is durable once it returns.
type Service struct {
	st     *store.Store
	o      Options
	tokens *jwt.Parser
	claims *jwt.Validator

	verified verified
	calls    calls
}

var _ fieldsyncv1connect.IdentityServiceHandler = (*Service)(nil)

// Open returns a Service over st. It makes sure that there are keys to sign with, which are durable when it returns.
func Open(ctx context.Context, st *store.Store, o Options) (*Service, error) {
	if o.Issuer == "" {
		return nil, errors.New("auth: no issuer is configured")
	}
	if o.AccessTTL == 0 {
		o.AccessTTL = 15 * time.Minute
	}
	if o.CodeTTL == 0 {
		o.CodeTTL = 10 * time.Minute
	}
	if o.DeviceGrant == 0 {
		o.DeviceGrant = 90 * 24 * time.Hour
	}
	if o.AccessTTL < time.Second || o.CodeTTL < time.Second || o.DeviceGrant < o.AccessTTL {
		return nil, fmt.Errorf("auth: tokens valid for %s, codes for %s, devices for %s: the first two may not be below a second, the last not below the first",
			o.AccessTTL, o.CodeTTL, o.DeviceGrant)
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	rules := tokenRules(o.Issuer, st.Now)
	s := &Service{st: st, o: o, tokens: jwt.NewParser(rules...), claims: jwt.NewValidator(rules...)}
	err := st.Update(ctx, func(tx *store.Tx) error {
		_, err := s.signingKey(tx)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("preparing the keys for access tokens: %w", err)
	}
	return s, nil
}
