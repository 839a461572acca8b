package dispatch

import (
	"context"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cong1022/fieldsync/auth"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/store"
)

// PutUnit creates a unit or changes it. Errors: Denied "role_denied", Invalid "unit_validity".
func (s *Service) PutUnit(ctx context.Context, request *fieldsyncv1.PutUnitRequest) (*fieldsyncv1.PutUnitResponse, error) {
	p, err := dispatcher(ctx)
	if err != nil {
		return nil, err
	}
	if p.Role != fieldsyncv1.Role_ROLE_ADMIN {
		return nil, roleDenied()
	}
	unit := request.GetUnit()
	if !validTimes(unit.GetValidFrom(), unit.GetValidUntil()) {
		return nil, fault.New(fault.Invalid, "unit_validity",
			"Thời hạn của đơn vị không hợp lệ: ngày bắt đầu phải trước ngày kết thúc.",
			"The unit's dates are wrong: valid_from must come before valid_until.")
	}
	err = s.store.Update(ctx, func(tx *store.Tx) error { return store.Put(tx, store.UnitKey(unit.GetId()), unit) })
	if err != nil {
		return nil, err
	}
	s.log.InfoContext(ctx, "unit put", "unit", unit.GetId(), "by", p.MemberID)
	return &fieldsyncv1.PutUnitResponse{Unit: unit}, nil
}

// ListUnits lists units by id: all for an admin and the city's dispatchers, the own one for others.
// Errors: Invalid "page_token_invalid".
func (s *Service) ListUnits(ctx context.Context, request *fieldsyncv1.ListUnitsRequest) (*fieldsyncv1.ListUnitsResponse, error) {
	p, err := dispatcher(ctx)
	if err != nil {
		return nil, err
	}
	c, err := newCut(request.GetPage())
	if err != nil {
		return nil, err
	}
	response := &fieldsyncv1.ListUnitsResponse{}
	return response, s.store.View(ctx, func(tx *store.Tx) error {
		units := store.Scan(tx, store.Units(), behind(c, store.UnitKey))
		response.Units, response.NextToken, err = list(c, units, (*fieldsyncv1.Unit).GetId,
			func(unit *fieldsyncv1.Unit) (*fieldsyncv1.Unit, bool, error) {
				return unit, p.SeesUnit(unit.GetId()), nil
			})
		return err
	})
}

// seenUnit checks that there is such a unit and that the caller dispatches for it. NotFound "unit_unknown" otherwise.
func seenUnit(tx *store.Tx, p auth.Principal, id string) error {
	unit, err := store.Get(tx, store.UnitKey(id))
	if err != nil {
		return err
	}
	if (unit == nil && id != auth.CityUnit) || !p.Dispatches(id) {
		return fault.New(fault.NotFound, "unit_unknown", "Không có đơn vị này.", "There is no such unit.")
	}
	return nil
}

// validTimes tells whether the times that are given are such and rise.
func validTimes(from, until *timestamppb.Timestamp) bool {
	if (from != nil && !from.IsValid()) || (until != nil && !until.IsValid()) {
		return false
	}
	return from == nil || until == nil || from.AsTime().Before(until.AsTime())
}
