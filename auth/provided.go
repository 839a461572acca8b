package auth

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/cong1022/fieldsync/auth/oidc"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/internal/faultwire"
	"github.com/cong1022/fieldsync/store"
)

// SignInRoute is where a token of the identity provider becomes an enrolment code for its own member.
const SignInRoute = "POST /v1/sign-in"

// byProvider returns whoever calls with a token of the outside identity provider. The member must be one of ours, and what the provider
// grants can only narrow what the member's record says: whoever can write claims there cannot make an admin here.
//
// Crews are not taken so: what they record is numbered by their device, which has a key. They sign in once, to enrol it.
func (s *Service) byProvider(ctx context.Context, token string) (Principal, error) {
	identity, member, err := s.provided(ctx, token)
	if err != nil {
		return Principal{}, err
	}
	if member.GetRole() == fieldsyncv1.Role_ROLE_HOTLINE || member.GetCrewId() != "" {
		return Principal{}, fault.New(fault.Denied, "provider_device_needed",
			"Vai trò này làm việc bằng thiết bị đã đăng ký: hãy đăng ký thiết bị bằng tài khoản của bạn.",
			"This role works with an enrolled device: enrol it with your account.")
	}
	return Principal{MemberID: member.GetId(), Role: member.GetRole(), UnitID: member.GetUnitId(), until: identity.Expires}, nil
}

func (s *Service) provided(ctx context.Context, token string) (identity oidc.Identity, member *fieldsyncv1.Member, err error) {
	if identity, err = s.o.Provider.Verify(ctx, token); err != nil {
		if trouble := s.o.Provider.Trouble(); trouble != nil && fault.KindOf(err) != fault.Denied {
			s.o.Log.WarnContext(ctx, "the identity provider's keys could not be had", "error", trouble)
		}
		return identity, nil, err
	}
	err = s.st.View(ctx, func(tx *store.Tx) error {
		if member, err = store.Get(tx, store.MemberKey(identity.Member)); err != nil {
			return err
		}
		unit, err := unitOf(tx, member)
		if err != nil {
			return err
		}
		role := strings.ToLower(strings.TrimPrefix(member.GetRole().String(), "ROLE_"))
		if member == nil || identity.Roles != nil && !slices.Contains(identity.Roles, role) ||
			identity.Units != nil && unit != "" && !slices.Contains(identity.Units, unit) {
			return oidc.ErrDenied()
		}
		return nil
	})
	return identity, member, err
}

// reloadProvided is Reload for a principal that has no device: its right ends with the provider's token, and with the member's record.
func (p Principal) reloadProvided(tx *store.Tx) (Principal, error) {
	member, err := store.Get(tx, store.MemberKey(p.MemberID))
	switch {
	case err != nil:
		return Principal{}, err
	case member == nil || member.GetRole() != p.Role:
		return Principal{}, errTokenInvalid()
	case tx.Now().After(p.until.Add(tokenLeeway)):
		return Principal{}, errTokenExpired()
	}
	p.UnitID = member.GetUnitId()
	return p, nil
}

// SignIn gives whoever has signed in at the identity provider a one-time code for its own member, for a device to enrol with: the
// provider's token stands in the place of the dispatcher who would else have issued the code. It answers
// {"code": "…", "member_id": "…", "expires_at": "…"}. NotFound "provider_none" where none is configured.
func (s *Service) SignIn(w http.ResponseWriter, r *http.Request) {
	code, member, expires, err := s.signIn(r)
	if err != nil {
		faultwire.WriteHTTP(w, r, s.o.Log, err)
		return
	}
	s.o.Log.InfoContext(r.Context(), "enrolment code issued by the identity provider's word", "member", member)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(map[string]string{"code": code, "member_id": member, "expires_at": expires.UTC().Format(time.RFC3339)}) //nolint:errchkjson // Texts; and whoever has gone needs none.
}

func (s *Service) signIn(r *http.Request) (code, member string, expires time.Time, err error) {
	if s.o.Provider == nil {
		return "", "", expires, fault.New(fault.NotFound, "provider_none",
			"Máy chủ này không dùng hệ thống đăng nhập bên ngoài.", "This server knows no outside identity provider.")
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", "", expires, errTokenMissing()
	}
	_, known, err := s.provided(r.Context(), token)
	if err != nil {
		return "", "", expires, err
	}
	tellCaller(r.Context(), Principal{MemberID: known.GetId(), Role: known.GetRole()})
	code, expires, err = s.IssueCodeFor(r.Context(), known.GetId(), "")
	return code, known.GetId(), expires, err
}
