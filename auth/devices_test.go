package auth

import (
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/store"
)

// Protects: whoever dispatches sees and revokes the devices of the own unit, makes codes only for its crews, and cannot tell
// a foreign device or member from one that never was.
func TestWhoManagesWhom(t *testing.T) {
	h := openHouse(t)
	all := []string{"crew-a", "crew-b", "lead-a", "head-a", "supervisor", "dispatcher-a", "dispatcher-b", "dispatcher-city", "hotline", "boss"}
	callers := map[string]*phone{}
	for _, m := range all {
		callers[m] = h.enrolled(t, m)
	}
	for _, test := range []struct {
		caller       string
		issues, sees []string
	}{
		{"dispatcher-a", []string{"crew-a", "lead-a"}, []string{"crew-a", "lead-a", "dispatcher-a", "head-a"}},
		{"dispatcher-b", []string{"crew-b"}, []string{"crew-b", "dispatcher-b"}},
		{"head-a", []string{"crew-a", "lead-a", "dispatcher-a"}, []string{"crew-a", "lead-a", "dispatcher-a", "head-a"}},
		{
			"dispatcher-city",
			[]string{"crew-a", "crew-b", "lead-a"},
			[]string{"crew-a", "crew-b", "lead-a", "head-a", "dispatcher-a", "dispatcher-b", "dispatcher-city"},
		},
		{"lead-a", nil, []string{"crew-a", "lead-a"}},
		{"boss", all, all},
		// The table of RPCs keeps these out before; nothing opens should it fail.
		{"crew-a", nil, nil},
		{"hotline", nil, nil},
	} {
		t.Run(test.caller, func(t *testing.T) {
			ctx := h.as(t, callers[test.caller])
			res, err := h.ListDevices(ctx, &fieldsyncv1.ListDevicesRequest{})
			if err != nil {
				t.Fatal(err)
			}
			var listed []string
			for _, d := range res.GetDevices() {
				if !slices.Contains(listed, d.GetMemberId()) {
					listed = append(listed, d.GetMemberId())
				}
			}
			slices.Sort(listed)
			if want := slices.Sorted(slices.Values(test.sees)); !slices.Equal(listed, want) {
				t.Errorf("sees %v, want %v", listed, want)
			}
			_, missing := h.RevokeDevice(ctx, &fieldsyncv1.RevokeDeviceRequest{DeviceId: "nobody"})
			wantCode(t, missing, fault.NotFound, "device_unknown")
			_, unknown := h.IssueCode(ctx, &fieldsyncv1.IssueCodeRequest{MemberId: "nobody"})
			wantCode(t, unknown, fault.NotFound, "member_unknown")
			for _, m := range all {
				code, err := h.IssueCode(ctx, &fieldsyncv1.IssueCodeRequest{MemberId: m})
				switch {
				case !slices.Contains(test.issues, m):
					if err == nil || err.Error() != unknown.Error() {
						t.Errorf("a code for %s: %v", m, err)
					}
				case err != nil:
					t.Errorf("a code for %s: %v", m, err)
				case code.GetExpiresAt().AsTime().Sub(h.clock.Now()) != 10*time.Minute:
					t.Errorf("the code expires at %s", code.GetExpiresAt().AsTime())
				}
				spare := h.enrolled(t, m)
				_, err = h.RevokeDevice(ctx, &fieldsyncv1.RevokeDeviceRequest{DeviceId: spare.id})
				if slices.Contains(test.sees, m) {
					if err != nil {
						t.Errorf("revoking a device of %s: %v", m, err)
					}
				} else if err == nil || err.Error() != missing.Error() {
					t.Errorf("revoking a device of %s: %v", m, err)
				}
				if revoked := h.device(t, spare.id).GetRevokedAt() != nil; revoked != slices.Contains(test.sees, m) {
					t.Errorf("the device of %s is revoked: %v", m, revoked)
				}
			}
		})
	}
}

// Protects: a second call to revoke neither fails nor moves the time, and nothing is pushed to a revoked device.
func TestRevokeTwice(t *testing.T) {
	h := openHouse(t)
	p := h.enrolled(t, "crew-a")
	push := &fieldsyncv1.RegisterPushRequest{Kind: fieldsyncv1.PushKind_PUSH_KIND_FCM_TOKEN, Value: "t"}
	late := h.as(t, p) // A call that began before.
	if _, err := h.RegisterPush(late, push); err != nil {
		t.Fatal(err)
	}
	ctx, at := h.as(t, h.enrolled(t, "boss")), h.clock.Now()
	for range 2 {
		if _, err := h.RevokeDevice(ctx, &fieldsyncv1.RevokeDeviceRequest{DeviceId: p.id}); err != nil {
			t.Fatal(err)
		}
		h.clock.Advance(time.Hour)
	}
	if d := h.device(t, p.id); !d.GetRevokedAt().AsTime().Equal(at) || d.GetPush() != nil {
		t.Errorf("stored: %v", d)
	}
	_, err := h.RegisterPush(late, push)
	wantCode(t, err, fault.Unauthenticated, "device_revoked")
}

// Protects: pages join without a gap or a repeat, whatever lies between that the caller may not see, and a made-up token
// shows nothing more.
func TestListDevicesPages(t *testing.T) {
	h := openHouse(t)
	want := []string{}
	for i := range 12 {
		member := []string{"crew-a", "crew-b"}[i%2]
		p := h.enrolled(t, member)
		if member == "crew-a" {
			want = append(want, p.id)
		}
		h.clock.Advance(time.Second)
	}
	caller := h.enrolled(t, "dispatcher-a")
	want = append(want, caller.id)
	ctx := h.as(t, caller)
	for _, size := range []uint32{1, 2, 3, 6, 7, 8, 0} {
		var got []string
		page := &fieldsyncv1.Page{Size: size}
		for {
			res, err := h.ListDevices(ctx, &fieldsyncv1.ListDevicesRequest{Page: page})
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range res.GetDevices() {
				got = append(got, d.GetId())
			}
			if page.Token = res.GetNextToken(); page.GetToken() == "" {
				break
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("pages of %d: %v, want %v", size, got, want)
		}
	}
	for _, token := range []string{"~", "\x00", "0", "../device"} {
		res, err := h.ListDevices(ctx, &fieldsyncv1.ListDevicesRequest{Page: &fieldsyncv1.Page{Token: token}})
		if err != nil || len(res.GetDevices()) > len(want) {
			t.Errorf("token %q: %d devices, %v", token, len(res.GetDevices()), err)
		}
	}
}

// Protects: a device counts as seen when it last refreshed or synced, whichever is later.
func TestLastSeen(t *testing.T) {
	h := openHouse(t)
	p := h.enrolled(t, "boss")
	seen := func() time.Time {
		res, err := h.ListDevices(h.as(t, p), &fieldsyncv1.ListDevicesRequest{})
		if err != nil {
			t.Fatal(err)
		}
		return res.GetDevices()[0].GetLastSeenAt().AsTime()
	}
	if got := seen(); !got.Equal(h.clock.Now()) {
		t.Errorf("after enrolling: %s", got)
	}
	synced := h.clock.Now().Add(5 * time.Minute)
	h.update(t, func(tx *store.Tx) error {
		return store.Put(tx, store.DeviceStatusKey(p.id), &storagev1.DeviceStatus{SeenAt: timestamppb.New(synced)})
	})
	if got := seen(); !got.Equal(synced) {
		t.Errorf("after a sync: %s", got)
	}
	h.clock.Advance(10 * time.Minute)
	if _, err := h.tryRefresh(t, p, p.proof(t, p.id, audienceRefresh, h.clock.Now())); err != nil {
		t.Fatal(err)
	}
	if got := seen(); !got.Equal(h.clock.Now()) {
		t.Errorf("after a refresh: %s", got)
	}
}

// Protects: what a device tells of its push address replaces what it told before, and is its own only.
func TestRegisterPush(t *testing.T) {
	h := openHouse(t)
	p, other := h.enrolled(t, "crew-a"), h.enrolled(t, "crew-a")
	for _, value := range []string{"first", "second"} {
		_, err := h.RegisterPush(h.as(t, p), &fieldsyncv1.RegisterPushRequest{Kind: fieldsyncv1.PushKind_PUSH_KIND_FCM_FID, Value: value})
		if err != nil {
			t.Fatal(err)
		}
	}
	push := h.device(t, p.id).GetPush()
	if push.GetValue() != "second" || push.GetKind() != fieldsyncv1.PushKind_PUSH_KIND_FCM_FID || !push.GetSeenAt().AsTime().Equal(h.clock.Now()) {
		t.Errorf("stored: %v", push)
	}
	if h.device(t, other.id).GetPush() != nil {
		t.Error("another device of the member has it too")
	}
}

// Protects: WhoAmI answers with the member as stored now, and nothing answers to nobody.
func TestWhoAmI(t *testing.T) {
	h := openHouse(t)
	p := h.enrolled(t, "crew-a")
	res, err := h.WhoAmI(h.as(t, p), &fieldsyncv1.WhoAmIRequest{})
	if err != nil || res.GetDeviceId() != p.id || res.GetMember().GetCrewId() != "a1" || res.GetMember().GetName() != "Đội A" {
		t.Errorf("%v, %v", res, err)
	}
	for name, call := range map[string]func() error{
		"WhoAmI":       func() error { _, err := h.WhoAmI(t.Context(), nil); return err },
		"RegisterPush": func() error { _, err := h.RegisterPush(t.Context(), nil); return err },
		"ListDevices":  func() error { _, err := h.ListDevices(t.Context(), nil); return err },
		"RevokeDevice": func() error { _, err := h.RevokeDevice(t.Context(), nil); return err },
		"IssueCode":    func() error { _, err := h.IssueCode(t.Context(), nil); return err },
	} {
		t.Run(name, func(t *testing.T) { wantCode(t, call(), fault.Unauthenticated, "token_missing") })
	}
}
