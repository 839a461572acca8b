package auth

import (
	"context"
	"crypto/ecdh"
	"log/slog"

	"google.golang.org/protobuf/types/known/timestamppb"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/store"
)

// defaultPage is the page size where none is asked for.
const defaultPage = 100

// seesMember tells whether the principal may know of the member: an admin of all, a crew's lead of the crew, others of the crew
// members, crew leads, dispatchers and heads of units that they see. No member is seen by nobody.
func (p Principal) seesMember(tx *store.Tx, member *fieldsyncv1.Member) (bool, error) {
	switch {
	case member == nil:
		return false, nil
	case p.Role == admin:
		return true, nil
	case p.Role == lead:
		return p.CrewID != "" && member.GetCrewId() == p.CrewID, nil
	}
	unit, err := unitOf(tx, member)
	// Admins, supervisors and the hotline belong to no unit, not even to the one that sees all.
	return unit != "" && p.SeesUnit(unit), err
}

// unitOf returns the unit of a dispatcher or head, and of a crew's member that of the crew. Empty for anyone else.
func unitOf(tx *store.Tx, member *fieldsyncv1.Member) (string, error) {
	if !inCrew(member.GetRole()) {
		return member.GetUnitId(), nil
	}
	crew, err := store.Get(tx, store.CrewKey(member.GetCrewId()))
	return crew.GetUnitId(), err
}

func (p Principal) seesDevice(tx *store.Tx, device *storagev1.Device) (bool, error) {
	if device == nil {
		return false, nil
	}
	member, err := store.Get(tx, store.MemberKey(device.GetMemberId()))
	if err != nil {
		return false, err
	}
	return p.seesMember(tx, member)
}

// LoadDevice returns the device if the principal may know of it: a dispatcher of those of the own unit's members, a crew's lead
// of those of the crew, an admin of all. NotFound "device_unknown", one and the same, where there is none and where it is another's.
func (p Principal) LoadDevice(tx *store.Tx, id string) (*storagev1.Device, error) {
	device, err := store.Get(tx, store.DeviceKey(id))
	if err != nil {
		return nil, err
	}
	if sees, err := p.seesDevice(tx, device); err != nil || !sees {
		return nil, orUnknown(err)
	}
	return device, nil
}

// RevokeDevice implements the IdentityService. Whoever sees a device may revoke it, another dispatcher's of the unit
// included: a lost phone must not wait for an admin.
func (s *Service) RevokeDevice(ctx context.Context, req *fieldsyncv1.RevokeDeviceRequest) (*fieldsyncv1.RevokeDeviceResponse, error) {
	p, err := PrincipalFrom(ctx)
	switch {
	case err != nil:
		return nil, err
	case p.Role == supervisor: // Who sees it and changes nothing.
		return nil, errRoleDenied()
	}
	err = s.st.Update(ctx, func(tx *store.Tx) error {
		device, err := p.LoadDevice(tx, req.GetDeviceId())
		if err != nil {
			return err
		}
		if device.GetRevokedAt() != nil {
			return nil
		}
		device.RevokedAt, device.RevocationReason, device.RevokedBy = tx.Timestamp(), req.GetReason(), p.MemberID
		if address := device.GetPush(); address != nil {
			// So that it hears of it now, and erases what it holds. Nothing else is sent there any more.
			device.Push = nil
			hint := &storagev1.PushHint{DeviceId: device.GetId(), Farewell: address}
			if err := store.Enqueue(tx, &storagev1.OutboxRow{Work: &storagev1.OutboxRow_Push{Push: hint}}); err != nil {
				return err
			}
		}
		if err := accessLost(tx); err != nil {
			return err
		}
		return store.Put(tx, store.DeviceKey(device.GetId()), device)
	})
	if err != nil {
		return nil, err
	}
	s.o.Log.InfoContext(ctx, "device revoked", slog.String("device", req.GetDeviceId()), slog.String("by", p.MemberID),
		slog.String("reason", req.GetReason().String()))
	return &fieldsyncv1.RevokeDeviceResponse{}, nil
}

func orUnknown(err error) error {
	if err != nil {
		return err
	}
	return errDeviceUnknown(fault.NotFound)
}

// ListDevices implements the IdentityService. A page's token is the id behind which the next one begins; a made-up one
// begins elsewhere and shows nothing that the caller may not see.
func (s *Service) ListDevices(ctx context.Context, req *fieldsyncv1.ListDevicesRequest) (*fieldsyncv1.ListDevicesResponse, error) {
	p, err := PrincipalFrom(ctx)
	if err != nil {
		return nil, err
	}
	size := int(req.GetPage().GetSize())
	if size == 0 {
		size = defaultPage
	}
	var after store.Key[storagev1.Device]
	if token := req.GetPage().GetToken(); token != "" {
		after = store.DeviceKey(token)
	}
	var res *fieldsyncv1.ListDevicesResponse
	err = s.st.View(ctx, func(tx *store.Tx) error {
		res = &fieldsyncv1.ListDevicesResponse{}
		for device, err := range store.Scan(tx, store.Devices(), after) {
			if err != nil {
				return err
			}
			if sees, err := p.seesDevice(tx, device); err != nil {
				return err
			} else if !sees {
				continue
			}
			if len(res.GetDevices()) == size {
				res.NextToken = res.GetDevices()[size-1].GetId()
				return nil
			}
			shown, err := s.showDevice(tx, device)
			if err != nil {
				return err
			}
			res.Devices = append(res.Devices, shown)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return res, nil
}

func (s *Service) showDevice(tx *store.Tx, device *storagev1.Device) (*fieldsyncv1.Device, error) {
	seen, err := lastSeen(tx, device)
	if err != nil {
		return nil, err
	}
	return &fieldsyncv1.Device{
		Id:           device.GetId(),
		Name:         device.GetName(),
		MemberId:     device.GetMemberId(),
		EnrolledAt:   device.GetEnrolledAt(),
		LastSeenAt:   seen,
		RevokedAt:    device.GetRevokedAt(),
		InstallEpoch: device.GetInstallEpoch(),

		RevocationReason: device.GetRevocationReason(),
		RevokedBy:        device.GetRevokedBy(),
		GrantUntil:       timestamppb.New(seen.AsTime().Add(s.o.DeviceGrant)),
		Client:           device.GetClient(),
	}, nil
}

// lastSeen is when the device last refreshed its token or synced.
func lastSeen(tx *store.Tx, device *storagev1.Device) (*timestamppb.Timestamp, error) {
	status, err := store.Get(tx, store.DeviceStatusKey(device.GetId()))
	seen := device.GetLastRefreshAt()
	if synced := status.GetSeenAt(); synced.AsTime().After(seen.AsTime()) {
		seen = synced
	}
	return seen, err
}

// RegisterPush implements the IdentityService.
func (s *Service) RegisterPush(ctx context.Context, req *fieldsyncv1.RegisterPushRequest) (*fieldsyncv1.RegisterPushResponse, error) {
	p, err := PrincipalFrom(ctx)
	if err != nil {
		return nil, err
	}
	if key := req.GetWebPush().GetP256Dh(); req.GetWebPush() != nil {
		if _, err := ecdh.P256().NewPublicKey(key); err != nil {
			return nil, fault.New(fault.Invalid, "push_key_invalid",
				"Khóa p256dh của trình duyệt không hợp lệ: hãy đăng ký nhận thông báo lại.",
				"The browser's p256dh is no point on P-256: subscribe again.")
		}
	}
	err = s.st.Update(ctx, func(tx *store.Tx) error {
		device, err := store.Get(tx, store.DeviceKey(p.DeviceID))
		switch {
		case err != nil:
			return err
		case device == nil:
			return errDeviceUnknown(fault.Unauthenticated)
		case device.GetRevokedAt() != nil: // Since the call began.
			return errDeviceRevoked()
		}
		device.Push = &storagev1.PushAddress{
			Kind: req.GetKind(), Value: req.GetValue(), WebPush: req.GetWebPush(), Language: req.GetLanguage(), SeenAt: tx.Timestamp(),
		}
		return store.Put(tx, store.DeviceKey(device.GetId()), device)
	})
	if err != nil {
		return nil, err
	}
	return &fieldsyncv1.RegisterPushResponse{}, nil
}

// WhoAmI implements the IdentityService.
func (s *Service) WhoAmI(ctx context.Context, _ *fieldsyncv1.WhoAmIRequest) (*fieldsyncv1.WhoAmIResponse, error) {
	p, err := PrincipalFrom(ctx)
	if err != nil {
		return nil, err
	}
	var member *fieldsyncv1.Member
	err = s.st.View(ctx, func(tx *store.Tx) (err error) {
		member, err = store.Get(tx, store.MemberKey(p.MemberID))
		return err
	})
	if err != nil {
		return nil, err
	}
	return &fieldsyncv1.WhoAmIResponse{Member: member, DeviceId: p.DeviceID}, nil
}
