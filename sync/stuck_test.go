package sync

import (
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cong1022/fieldsync/auth"
	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/store"
)

// Protects the dispatcher's list of phones to look after: those that are stuck, none that is well, revoked or another unit's, and
// all of them over any size of pages.
func TestStuckDevices(t *testing.T) {
	h := newHouse(t)
	well := h.device(t, "well", "to-1")
	for _, id := range []string{"never", "silent-a", "silent-b", "gone"} {
		h.device(t, id, "to-1")
	}
	h.device(t, "shell", "")
	h.update(t, func(tx *store.Tx) error {
		// A dispatcher's shell that never syncs is not stuck.
		shell := &fieldsyncv1.Member{Id: "member-shell", Role: fieldsyncv1.Role_ROLE_DISPATCHER, UnitId: "unit"}
		if err := store.Put(tx, store.MemberKey("member-shell"), shell); err != nil {
			return err
		}
		for _, id := range []string{"silent-a", "silent-b", "gone"} {
			status := &storagev1.DeviceStatus{SeenAt: timestamppb.New(h.now.Add(-48 * time.Hour))}
			if err := store.Put(tx, store.DeviceStatusKey(id), status); err != nil {
				return err
			}
		}
		gone, err := store.Get(tx, store.DeviceKey("gone"))
		if err != nil {
			return err
		}
		gone.RevokedAt = timestamppb.New(h.now)
		return store.Put(tx, store.DeviceKey("gone"), gone)
	})
	if _, err := h.engine.Sync(well, &fieldsyncv1.SyncRequest{}); err != nil {
		t.Fatal(err)
	}
	list := func(unit string, limit uint32) (got string) {
		ctx := auth.WithPrincipal(t.Context(), auth.Principal{Role: fieldsyncv1.Role_ROLE_DISPATCHER, UnitID: unit})
		for token := ""; ; {
			resp, err := h.engine.ListStuckDevices(ctx, &fieldsyncv1.ListStuckDevicesRequest{Limit: limit, PageToken: token})
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range resp.GetDevices() {
				got += " " + d.GetDeviceId() + ":" + d.GetObstacles()[0].GetCode()
			}
			if token = resp.GetNextToken(); token == "" {
				return got
			}
		}
	}
	for _, limit := range []uint32{0, 1, 2} {
		if got, want := list("unit", limit), " never:never_synced silent-a:silent silent-b:silent"; got != want {
			t.Errorf("by %d: got%s, want%s", limit, got, want)
		}
	}
	if got := list("other", 0); got != "" {
		t.Errorf("another unit's dispatcher sees%s", got)
	}
	_, err := h.engine.ListStuckDevices(well, &fieldsyncv1.ListStuckDevicesRequest{PageToken: "No Such"})
	if fault.CodeOf(err) != "page_token_invalid" {
		t.Errorf("a forged token: %v", err)
	}
}
