package auth

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/store"
)

// Refresh implements the IdentityService. Nothing that the device holds changes by it, so a lost answer costs one more
// proof. It is also how the server knows when it last saw a device.
func (s *Service) Refresh(ctx context.Context, req *fieldsyncv1.RefreshRequest) (*fieldsyncv1.RefreshResponse, error) {
	var device *storagev1.Device
	load := func(tx *store.Tx) (err error) {
		device, err = store.Get(tx, store.DeviceKey(req.GetDeviceId()))
		if err == nil && (device == nil || device.GetClient()) {
			return errDeviceUnknown(fault.Unauthenticated)
		}
		return err
	}
	if err := s.st.View(ctx, load); err != nil {
		return nil, err
	}
	key, _, err := parseDeviceKey(device.GetPublicKey())
	if err != nil { // Not the caller's doing: it was sound when it was stored.
		return nil, fmt.Errorf("the stored key of device %s is damaged", device.GetId())
	}
	// Outside the transaction, as in Enrol. A device's key never changes, so what is checked here holds in there.
	proof, err := checkProof(req.GetProof(), key, device.GetId(), audienceRefresh, s.st.Now())
	if err != nil {
		return nil, err
	}
	var token accessToken
	var grant *fieldsyncv1.Grant
	err = s.st.Update(ctx, func(tx *store.Tx) error {
		if err := load(tx); err != nil {
			return err
		}
		// Only whoever holds the key learns that it is revoked.
		switch {
		case device.GetRevokedAt() != nil && !req.GetDeliverOnly():
			return errDeviceRevoked()
		case device.GetRevokedAt() == nil:
			if err := s.granted(tx, device); err != nil {
				return err
			}
		}
		if err := useProof(tx, device.GetId(), proof); err != nil {
			return err
		}
		if req.GetNewInstallEpoch() {
			device.InstallEpoch++
		}
		device.LastRefreshAt = tx.Timestamp()
		if token, err = s.newToken(tx, device); err != nil {
			return err
		}
		if grant, err = s.grant(tx, device); err != nil {
			return err
		}
		return store.Put(tx, store.DeviceKey(device.GetId()), device)
	})
	if err != nil {
		return nil, err
	}
	signed, err := token.sign()
	if err != nil {
		return nil, err
	}
	return &fieldsyncv1.RefreshResponse{
		AccessToken:  signed,
		ExpiresAt:    timestamppb.New(token.expires),
		InstallEpoch: device.GetInstallEpoch(),
		Delivering:   token.claims.Deliver,
		Grant:        grant,
		ServerTime:   timestamppb.New(s.st.Now()),
	}, nil
}

// granted tells whether a device that comes back was seen recently enough. Unauthenticated "grant_expired".
func (s *Service) granted(tx *store.Tx, device *storagev1.Device) error {
	seen, err := lastSeen(tx, device)
	if err == nil && tx.Now().After(seen.AsTime().Add(s.o.DeviceGrant)) {
		err = errGrantExpired()
	}
	return err
}

// grant is what a device that is seen now may sync, and until when. Nil for a revoked one.
func (s *Service) grant(tx *store.Tx, device *storagev1.Device) (*fieldsyncv1.Grant, error) {
	if device.GetRevokedAt() != nil {
		return nil, nil //nolint:nilnil // Absent is the answer.
	}
	p, err := loadPrincipal(tx, device.GetId(), device.GetMemberId(), false)
	if err != nil {
		return nil, err
	}
	grant := &fieldsyncv1.Grant{Until: timestamppb.New(tx.Now().Add(s.o.DeviceGrant))}
	if scope, err := p.Scope(); err == nil {
		grant.Scope = string(scope)
	}
	if s.o.PersonalLease > 0 {
		grant.PersonalLease = durationpb.New(s.o.PersonalLease)
	}
	return grant, nil
}
