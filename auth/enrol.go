package auth

import (
	"context"
	"crypto/sha256"
	"log/slog"

	"google.golang.org/protobuf/types/known/timestamppb"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/store"
)

// Enrol implements the IdentityService. The code is used up in the transaction that writes the device: of any number of
// calls with one code, one succeeds. If its answer is lost, a second code for the same key gives the same device again.
//
// A revoked key stays revoked: "device_revoked", the code unspent. Whoever had the phone may have copied what the key
// protected; a phone that was found again makes a new key and becomes a new device. Besides the errors that identity.proto
// names, Invalid "public_key_invalid", and Precondition "client_key_known" for the key of a registered client.
func (s *Service) Enrol(ctx context.Context, req *fieldsyncv1.EnrolRequest) (*fieldsyncv1.EnrolResponse, error) {
	key, der, err := parseDeviceKey(req.GetPublicKey())
	if err != nil {
		return nil, err
	}
	issuer, err := deviceThumbprint(key)
	if err != nil {
		return nil, err
	}
	// Outside the transaction: the store runs one at a time, and signatures take long. A proof needs no mark of its use
	// here, since the code has one.
	if _, err := checkProof(req.GetProof(), key, issuer, audienceEnrol, s.st.Now()); err != nil {
		return nil, err
	}
	code, ok := normalCode(req.GetCode())
	if !ok {
		return nil, errCodeInvalid()
	}
	codeKey := store.EnrolCodeKey(sha256.Sum256([]byte(code)))

	var device *storagev1.Device
	var member *fieldsyncv1.Member
	var token accessToken
	var issuedBy string
	var grant *fieldsyncv1.Grant
	err = s.st.Update(ctx, func(tx *store.Tx) error {
		issued, err := store.Get(tx, codeKey)
		if err != nil {
			return err
		}
		if issued == nil || tx.Now().After(issued.GetExpiresAt().AsTime()) {
			return errCodeInvalid()
		}
		issuedBy = issued.GetIssuedBy()
		if member, err = store.Get(tx, store.MemberKey(issued.GetMemberId())); err != nil {
			return err
		}
		if member == nil {
			return errCodeInvalid()
		}
		if device, err = enrolKey(tx, der, member.GetId()); err != nil {
			return err
		}
		if name := req.GetDeviceName(); name != "" {
			device.Name = name
		}
		if err := store.Delete(tx, codeKey); err != nil {
			return err
		}
		if token, err = s.newToken(tx, device); err != nil {
			return err
		}
		if err := store.Put(tx, store.DeviceKey(device.GetId()), device); err != nil {
			return err
		}
		grant, err = s.grant(tx, device)
		return err
	})
	if err != nil {
		return nil, err
	}
	s.o.Log.InfoContext(ctx, "device enrolled", slog.String("device", device.GetId()), slog.String("member", member.GetId()),
		slog.Uint64("install_epoch", uint64(device.GetInstallEpoch())), slog.String("code_issued_by", issuedBy))
	signed, err := token.sign()
	if err != nil {
		return nil, err
	}
	return &fieldsyncv1.EnrolResponse{
		DeviceId:     device.GetId(),
		InstallEpoch: device.GetInstallEpoch(),
		AccessToken:  signed,
		ExpiresAt:    timestamppb.New(token.expires),
		Member:       member,
		Grant:        grant,
		ServerTime:   timestamppb.New(s.st.Now()),
	}, nil
}

// enrolKey returns the device that holds the key, enrolled now for the member under a new install epoch, and keeps the
// indexes. The caller stores the device itself.
func enrolKey(tx *store.Tx, der []byte, member string) (*storagev1.Device, error) {
	known, err := store.Get(tx, store.DeviceByKeyKey(der))
	if err != nil {
		return nil, err
	}
	var device *storagev1.Device
	if known != nil {
		if device, err = store.Get(tx, store.DeviceKey(known.GetId())); err != nil {
			return nil, err
		}
	}
	if device == nil {
		id, err := tx.NewID()
		if err != nil {
			return nil, err
		}
		device = &storagev1.Device{Id: id, PublicKey: der}
		if err := store.Put(tx, store.DeviceByKeyKey(der), &storagev1.Device{Id: id}); err != nil {
			return nil, err
		}
	}
	if device.GetRevokedAt() != nil {
		return nil, errKeyRevoked()
	}
	if device.GetClient() { // Else the client would be another member's from now on, and nothing that it could refresh.
		return nil, errClientKeyKnown()
	}
	if before := device.GetMemberId(); before != member && before != "" {
		if err := store.Delete(tx, store.MemberDeviceKey(before, device.GetId())); err != nil {
			return nil, err
		}
		if err := accessLost(tx); err != nil {
			return nil, err
		}
	}
	device.MemberId = member
	device.InstallEpoch++
	device.EnrolledAt, device.LastRefreshAt = tx.Timestamp(), tx.Timestamp()
	return device, store.Put(tx, store.MemberDeviceKey(member, device.GetId()), &storagev1.Device{Id: device.GetId()})
}
