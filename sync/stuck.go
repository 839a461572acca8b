package sync

import (
	"context"
	"regexp"

	"github.com/cong1022/fieldsync/auth"
	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/store"
)

const (
	defaultStuck = 100
	// lookedAt bounds the devices that one call explains.
	lookedAt = 1000
)

// nobodysBusiness are obstacles that pass by themselves or were meant.
var nobodysBusiness = map[string]bool{"behind": true, "revoked": true, "role_syncs_nothing": true}

var deviceID = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)

// ListStuckDevices implements the RPC of that name, from one snapshot a page. The token is the id of the last device looked at.
func (e *Engine) ListStuckDevices(ctx context.Context, req *fieldsyncv1.ListStuckDevicesRequest) (*fieldsyncv1.ListStuckDevicesResponse, error) {
	p, err := auth.PrincipalFrom(ctx)
	if err != nil {
		return nil, err
	}
	var after store.Key[storagev1.Device]
	if token := req.GetPageToken(); token != "" {
		if !deviceID.MatchString(token) {
			return nil, fault.New(fault.Invalid, "page_token_invalid",
				"Mã trang không hợp lệ: hãy tải lại từ trang đầu.",
				"The page token is not one of this server's: begin again with the first page.")
		}
		after = store.DeviceKey(token)
	}
	limit := int(req.GetLimit())
	if limit == 0 {
		limit = defaultStuck
	}
	resp := &fieldsyncv1.ListStuckDevicesResponse{}
	return resp, e.store.View(ctx, func(tx *store.Tx) error {
		looked, last := 0, ""
		for device, err := range store.Scan(tx, store.Devices(), after) {
			if err != nil {
				return err
			}
			if looked == lookedAt || len(resp.GetDevices()) == limit {
				resp.NextToken = last
				return nil
			}
			looked, last = looked+1, device.GetId()
			stuck, err := e.stuck(tx, p, device.GetId())
			if err != nil {
				return err
			}
			if stuck != nil {
				resp.Devices = append(resp.Devices, stuck)
			}
		}
		return nil
	})
}

// stuck explains a device, nil where it is another's or nothing worth a person's time stands in its way.
func (e *Engine) stuck(tx *store.Tx, p auth.Principal, id string) (*fieldsyncv1.StuckDevice, error) {
	device, err := p.LoadDevice(tx, id)
	if fault.KindOf(err) == fault.NotFound {
		return nil, nil //nolint:nilnil // Another's is nothing to this caller.
	}
	if err != nil || device.GetRevokedAt() != nil {
		return nil, err
	}
	x, err := e.gather(tx, device)
	if err != nil {
		return nil, err
	}
	x.judge()
	if x.resp.GetScope() == "" {
		return nil, nil //nolint:nilnil // A shell of an admin syncs nothing, and should not.
	}
	s := &fieldsyncv1.StuckDevice{
		DeviceId: device.GetId(), DeviceName: device.GetName(), MemberId: device.GetMemberId(), Scope: x.resp.GetScope(),
		LastSeenAt: x.resp.GetLastSeenAt(), Queue: x.resp.GetQueue(),
	}
	for _, obstacle := range x.resp.GetObstacles() {
		shell := obstacle.GetCode() == "never_synced" && !x.inCrew // A dispatcher's shell or console may never sync at all.
		if !nobodysBusiness[obstacle.GetCode()] && !shell {
			s.Obstacles = append(s.Obstacles, obstacle)
		}
	}
	if len(s.GetObstacles()) == 0 {
		return nil, nil //nolint:nilnil // As above.
	}
	return s, nil
}
