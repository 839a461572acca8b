package auth

import (
	"errors"
	"net/http"
	"testing"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/store"
)

// Protects: what a request is taken for, whatever stands in its header; nothing reads the body before.
func TestMiddleware(t *testing.T) {
	h := openHouse(t)
	p := h.enrolled(t, "crew-a")
	const sync = "/fieldsync.v1.SyncService/Sync"
	for _, test := range []struct {
		name, path string
		headers    []string
		principal  bool
		want       string
	}{
		{"no header", sync, nil, false, ""},
		{"a token", sync, []string{"Bearer " + p.token}, true, ""},
		{"a token, not for an RPC", "/tus/0123", []string{"Bearer " + p.token}, true, ""},
		{"bearer in lower case", sync, []string{"bearer " + p.token}, true, ""},
		{"empty header", sync, []string{""}, false, "token_invalid"},
		{"no token behind Bearer", sync, []string{"Bearer"}, false, "token_invalid"},
		{"another scheme", sync, []string{"Basic " + p.token}, false, "token_invalid"},
		{"the token alone", sync, []string{p.token}, false, "token_invalid"},
		{"two headers", sync, []string{"Bearer " + p.token, "Bearer " + p.token}, false, "token_invalid"},
		{"two tokens in one", sync, []string{"Bearer " + p.token + ", Bearer " + p.token}, false, "token_invalid"},
		{"blanks around", sync, []string{"Bearer  " + p.token + " "}, false, "token_invalid"},
		{"a bad token where none is needed", "/fieldsync.v1.IdentityService/Refresh", []string{"Bearer x"}, false, ""},
		{"a good token where none is needed", "/fieldsync.v1.IdentityService/Refresh", []string{"Bearer " + p.token}, false, ""},
		{"almost public", "/fieldsync.v1.IdentityService/Refresh/", []string{"Bearer x"}, false, "token_invalid"},
	} {
		t.Run(test.name, func(t *testing.T) {
			principal, passed, w := h.through(t, test.path, test.headers...)
			if passed != (test.want == "") || (principal != nil) != test.principal {
				t.Fatalf("passed %v as %v: %s", passed, principal, w.Body)
			}
			if test.want == "" {
				return
			}
			info := shown(t, w)
			if w.Code != http.StatusUnauthorized || info.GetCode() != test.want || info.GetMessage().GetVi() == "" || info.GetMessage().GetEn() == "" {
				t.Errorf("%d %v", w.Code, info)
			}
			if w.Header().Get("WWW-Authenticate") == "" {
				t.Error("no WWW-Authenticate")
			}
		})
	}
}

// Protects: what a member may do follows the store at the next call, with the token unchanged.
func TestPrincipalFollowsTheStore(t *testing.T) {
	h := openHouse(t)
	p := h.enrolled(t, "crew-a")
	for _, step := range []struct {
		name   string
		member *fieldsyncv1.Member
		want   Principal
	}{
		{"as enrolled", nil, Principal{Role: crew, CrewID: "a1", UnitID: "a"}},
		{"moved to another crew", &fieldsyncv1.Member{Role: crew, CrewId: "b1"}, Principal{Role: crew, CrewID: "b1", UnitID: "b"}},
		{"in a crew that is gone", &fieldsyncv1.Member{Role: crew, CrewId: "c1"}, Principal{Role: crew, CrewID: "c1"}},
		{"become a dispatcher", &fieldsyncv1.Member{Role: dispatcher, UnitId: "b"}, Principal{Role: dispatcher, UnitID: "b", LeftCrews: true}},
		{"become the hotline", &fieldsyncv1.Member{Role: hotline}, Principal{Role: hotline, LeftCrews: true}},
		{"become an admin", &fieldsyncv1.Member{Role: admin}, Principal{Role: admin, LeftCrews: true}},
	} {
		t.Run(step.name, func(t *testing.T) {
			if step.member != nil {
				step.member.Id = "crew-a"
				h.update(t, func(tx *store.Tx) error {
					history := &storagev1.MemberHistory{Memberships: []*storagev1.Membership{{CrewId: "a1"}}}
					return errors.Join(store.Put(tx, store.MemberKey("crew-a"), step.member), store.Put(tx, store.MemberHistoryKey("crew-a"), history))
				})
			}
			step.want.DeviceID, step.want.MemberID = p.id, "crew-a"
			got, _, w := h.through(t, "/tus", "Bearer "+p.token)
			if got == nil || *got != step.want {
				t.Errorf("got %+v, want %+v: %s", got, step.want, w.Body)
			}
		})
	}
	h.update(t, func(tx *store.Tx) error { return store.Delete(tx, store.MemberKey("crew-a")) })
	if got, _, w := h.through(t, "/tus", "Bearer "+p.token); got != nil || shown(t, w).GetCode() != "token_invalid" {
		t.Errorf("a member who is gone: %v %s", got, w.Body)
	}
}

// Protects: while the store does not answer, nobody is let in, and nobody is told that the token is bad.
func TestMiddlewareWithoutAStore(t *testing.T) {
	h := openHouse(t)
	p := h.enrolled(t, "crew-a")
	if err := h.st.Close(); err != nil {
		t.Fatal(err)
	}
	_, passed, w := h.through(t, "/tus", "Bearer "+p.token)
	if passed || w.Code != http.StatusInternalServerError || shown(t, w).GetCode() != "internal" {
		t.Errorf("passed %v: %d %s", passed, w.Code, w.Body)
	}
}
