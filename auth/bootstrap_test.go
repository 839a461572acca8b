package auth

import (
	"log/slog"
	"testing"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/store"
)

// Protects: an empty store can be entered by whoever sees its terminal, once an admin is in by nobody, and again when the
// last admin's device is revoked.
func TestBootstrap(t *testing.T) {
	h := openEmpty(t)
	bootstrap := func() string {
		t.Helper()
		code, expires, err := h.Bootstrap(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if (code == "") != expires.IsZero() {
			t.Errorf("code %t, expires %s", code != "", expires)
		}
		return code
	}
	first, second := bootstrap(), bootstrap()
	if first == "" || second == "" || first == second {
		t.Fatal("each start without an admin gives a code of its own")
	}
	p := newPhone(t)
	res, err := h.tryEnrol(t, p, second)
	if err != nil {
		t.Fatal(err)
	}
	p.id = res.GetDeviceId()
	if m := res.GetMember(); m.GetId() != "admin" || m.GetRole() != admin || m.GetName() == "" {
		t.Errorf("member %v", m)
	}
	h.view(t, func(tx *store.Tx) error {
		unit, err := store.Get(tx, store.UnitKey(CityUnit))
		if unit.GetName() != "Thành phố" {
			t.Errorf("unit %v", unit)
		}
		return err
	})
	if bootstrap() != "" {
		t.Error("a code although an admin is in")
	}
	if _, err := h.RevokeDevice(h.as(t, p), &fieldsyncv1.RevokeDeviceRequest{DeviceId: p.id}); err != nil {
		t.Fatal(err)
	}
	if bootstrap() == "" {
		t.Error("no code although no admin can get in")
	}
}

// Protects: Bootstrap changes nothing that is there, but opens the way even if the member "admin" has become something else.
func TestBootstrapKeepsWhatIsThere(t *testing.T) {
	h := openHouse(t)
	h.update(t, func(tx *store.Tx) error {
		if err := store.Put(tx, store.UnitKey(CityUnit), &fieldsyncv1.Unit{Id: CityUnit, Name: "TP.HCM"}); err != nil {
			return err
		}
		if err := store.Put(tx, store.CrewMemberKey("a1", "admin"), &fieldsyncv1.Member{Id: "admin"}); err != nil {
			return err
		}
		return store.Put(tx, store.MemberKey("admin"), &fieldsyncv1.Member{Id: "admin", Name: "Anh Ba", Role: crew, CrewId: "a1"})
	})
	h.enrolled(t, "crew-a") // Others' devices do not count.
	h.enrolled(t, "dispatcher-city")
	code, _, err := h.Bootstrap(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	res, err := h.tryEnrol(t, newPhone(t), code)
	if err != nil {
		t.Fatal(err)
	}
	if m := res.GetMember(); m.GetRole() != admin || m.GetCrewId() != "" || m.GetName() != "Anh Ba" {
		t.Errorf("member %v", m)
	}
	h.view(t, func(tx *store.Tx) error {
		unit, err := store.Get(tx, store.UnitKey(CityUnit))
		if err != nil {
			return err
		}
		index, err := store.Get(tx, store.CrewMemberKey("a1", "admin"))
		if unit.GetName() != "TP.HCM" || index != nil {
			t.Errorf("unit %v, index %v", unit, index)
		}
		return err
	})
}

// Protects: a code for nobody is refused, and a Service that could not tell its tokens from another's does not open.
func TestOpenAndIssueRefuse(t *testing.T) {
	h := openEmpty(t)
	_, _, err := h.IssueCodeFor(t.Context(), "nobody", "")
	wantCode(t, err, fault.NotFound, "member_unknown")
	for name, o := range map[string]Options{
		"no issuer":      {},
		"negative token": {Issuer: "x", AccessTTL: -1},
		"negative code":  {Issuer: "x", CodeTTL: -1},
	} {
		o.Log = slog.New(slog.DiscardHandler)
		if _, err := Open(t.Context(), h.st, o); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
}
