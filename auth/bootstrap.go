package auth

import (
	"context"
	"time"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/store"
)

// adminMember is the id of the member that Bootstrap makes.
const adminMember = "admin"

// Bootstrap opens the way into a store that no admin can enter: if no admin has a device that is not revoked, it makes the
// unit CityUnit and the member "admin" where they are missing and issues an enrolment code for that member, to be shown on
// the server's own terminal. Otherwise the code is empty. So it also helps an operator whose last admin's device was lost
// and revoked.
func (s *Service) Bootstrap(ctx context.Context) (code string, expires time.Time, err error) {
	var has bool
	if err := s.st.View(ctx, func(tx *store.Tx) (err error) {
		has, err = hasAdminDevice(tx)
		return err
	}); err != nil || has {
		return "", time.Time{}, err // A start that changes nothing writes nothing.
	}
	err = s.st.Update(ctx, func(tx *store.Tx) error {
		code, expires = "", time.Time{}
		if has, err := hasAdminDevice(tx); err != nil || has {
			return err
		}
		unit, err := store.Get(tx, store.UnitKey(CityUnit))
		if err != nil {
			return err
		}
		if unit == nil {
			if err := store.Put(tx, store.UnitKey(CityUnit), &fieldsyncv1.Unit{Id: CityUnit, Name: "Thành phố"}); err != nil {
				return err
			}
		}
		if err := ensureAdmin(tx); err != nil {
			return err
		}
		code, expires, err = s.issueCode(tx, adminMember, "")
		return err
	})
	if err != nil {
		return "", time.Time{}, err
	}
	return code, expires, nil
}

func hasAdminDevice(tx *store.Tx) (bool, error) {
	for member, err := range store.Scan(tx, store.Members(), nil) {
		if err != nil {
			return false, err
		}
		if member.GetRole() != admin {
			continue
		}
		for entry, err := range store.Scan(tx, store.MemberDevices(member.GetId()), nil) {
			if err != nil {
				return false, err
			}
			device, err := store.Get(tx, store.DeviceKey(entry.GetId()))
			if err != nil {
				return false, err
			}
			if device != nil && device.GetRevokedAt() == nil {
				return true, nil
			}
		}
	}
	return false, nil
}

// ensureAdmin makes the member adminMember an admin, whatever it was.
func ensureAdmin(tx *store.Tx) error {
	member, err := store.Get(tx, store.MemberKey(adminMember))
	if err != nil || member.GetRole() == admin {
		return err
	}
	if member == nil {
		member = &fieldsyncv1.Member{Id: adminMember, Name: "Quản trị viên"}
	}
	if was := member.GetCrewId(); was != "" {
		if err := store.Delete(tx, store.CrewMemberKey(was, adminMember)); err != nil {
			return err
		}
	}
	member.Role, member.CrewId, member.UnitId = admin, "", ""
	return store.Put(tx, store.MemberKey(adminMember), member)
}
