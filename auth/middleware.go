package auth

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"strings"

	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/internal/faultwire"
	"github.com/cong1022/fieldsync/store"
)

// Middleware puts whoever calls into the request's context, from the header "Authorization: Bearer" and the store, for RPCs
// and plain HTTP alike, and before any body is read. A request without a token passes without a principal: what needs
// one refuses it by itself. A bad token is refused at once with "token_invalid", "token_expired" or "device_revoked".
//
// A call under way ends, with the reason, when its device or its member loses the right to it: see Run.
//
// The public procedures are spared: a phone that sends its expired token along with the call that renews it must get
// through.
func (s *Service) Middleware(log *slog.Logger) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			headers := r.Header.Values("Authorization")
			if len(headers) == 0 || IsPublic(r.URL.Path) {
				next.ServeHTTP(w, r)
				return
			}
			p, err := s.authenticate(r, headers)
			if err != nil {
				s.tellRefused(r, p, err)
				if fault.KindOf(err) == fault.Unauthenticated {
					w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`) // RFC 6750, 3.
				}
				faultwire.WriteHTTP(w, r, log, err)
				return
			}
			ctx, cancel := context.WithCancelCause(WithPrincipal(r.Context(), p))
			r = r.WithContext(ctx)
			call := s.calls.begin(p, log, cancel, w, r)
			defer s.calls.end(call)
			if r.Body != nil && r.Body != http.NoBody {
				r.Body = call.body
			}
			next.ServeHTTP(w, r)
		})
	}
}

// authenticate returns, beside an error, whom the token's signature has shown, if it was good.
func (s *Service) authenticate(r *http.Request, headers []string) (Principal, error) {
	scheme, token, _ := strings.Cut(headers[0], " ")
	if len(headers) != 1 || !strings.EqualFold(scheme, "Bearer") {
		return Principal{}, errTokenInvalid()
	}
	if s.o.Provider != nil && s.o.Provider.Issued(token) {
		return s.byProvider(r.Context(), token)
	}
	var p Principal
	err := s.st.View(r.Context(), func(tx *store.Tx) error {
		claims, err := s.parseToken(tx, token)
		if err != nil {
			return err
		}
		if p, err = loadPrincipal(tx, claims.Device, claims.Subject, claims.Deliver); err != nil {
			p = Principal{DeviceID: claims.Device, MemberID: claims.Subject}
		}
		p.kid = claims.kid
		return err
	})
	return p, err
}

// Reload returns what the principal has become since the call began, for calls that last: Unauthenticated "device_revoked"
// or "token_invalid" where the device no longer speaks for the member, or the key that signed its token is gone.
func (p Principal) Reload(tx *store.Tx) (Principal, error) {
	if !p.until.IsZero() {
		return p.reloadProvided(tx)
	}
	if p.kid != "" { // Whoever has a signing key makes any token, and may have begun a call with it before the key was found out.
		if key, err := storedKey(tx, p.kid); err != nil || key == nil {
			return Principal{}, cmp.Or(err, errTokenInvalid())
		}
	}
	now, err := loadPrincipal(tx, p.DeviceID, p.MemberID, p.Delivering)
	now.kid = p.kid
	return now, err
}

// loadPrincipal reads what a device and its member are now; with deliver, for a token that is good for delivery only.
func loadPrincipal(tx *store.Tx, deviceID, memberID string, deliver bool) (Principal, error) {
	device, err := store.Get(tx, store.DeviceKey(deviceID))
	if err != nil {
		return Principal{}, err
	}
	if device.GetRevokedAt() != nil && !deliver {
		return Principal{}, errDeviceRevoked()
	}
	member, err := store.Get(tx, store.MemberKey(device.GetMemberId()))
	if err != nil {
		return Principal{}, err
	}
	// A device that has been enrolled for somebody else since does not speak for that one with its former token.
	if member == nil || member.GetId() != memberID {
		return Principal{}, errTokenInvalid()
	}
	if deliver {
		// Without a role nothing opens; the crew is for whoever releases from quarantine what comes.
		return Principal{DeviceID: device.GetId(), MemberID: member.GetId(), CrewID: member.GetCrewId(), Delivering: true}, nil
	}
	p := Principal{DeviceID: device.GetId(), MemberID: member.GetId(), Role: member.GetRole()}
	if p.InCrew() {
		p.CrewID = member.GetCrewId()
	} else {
		history, err := store.Get(tx, store.MemberHistoryKey(member.GetId()))
		if err != nil {
			return Principal{}, err
		}
		p.LeftCrews = len(history.GetMemberships()) > 0
	}
	p.UnitID, err = unitOf(tx, member)
	return p, err
}
