package dispatch

import (
	"context"

	"github.com/cong1022/fieldsync/auth"
	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/store"
)

// PutMember creates a member or changes the role, crew or unit of one. A dispatcher puts crew members and leads into
// crews of the own unit, its head also dispatchers of it; everything else takes an admin. Errors: Denied "role_denied", NotFound "crew_unknown",
// "unit_unknown", "member_unknown" (the id is taken by a member whom the caller may not see), Precondition "crew_closed".
func (s *Service) PutMember(ctx context.Context, request *fieldsyncv1.PutMemberRequest) (*fieldsyncv1.PutMemberResponse, error) {
	p, err := dispatcher(ctx)
	if err != nil {
		return nil, err
	}
	member := request.GetMember()
	if !p.Appoints(member.GetRole()) {
		return nil, roleDenied()
	}
	err = s.store.Update(ctx, func(tx *store.Tx) error { return putMember(tx, p, member) })
	if err != nil {
		return nil, err
	}
	s.log.InfoContext(ctx, "member put", "member", member.GetId(), "role", member.GetRole().String(),
		"crew", member.GetCrewId(), "unit", member.GetUnitId(), "by", p.MemberID)
	return &fieldsyncv1.PutMemberResponse{Member: member}, nil
}

// putMember stores a member, and which crew has whom.
func putMember(tx *store.Tx, p auth.Principal, member *fieldsyncv1.Member) error {
	before, err := store.Get(tx, store.MemberKey(member.GetId()))
	if err != nil {
		return err
	}
	if before != nil && p.Role != fieldsyncv1.Role_ROLE_ADMIN {
		seen, err := seesMember(tx, p, before)
		switch {
		case err != nil:
			return err
		case !seen:
			return fault.New(fault.NotFound, "member_unknown", "Không có thành viên này.", "There is no such member.")
		case !p.Appoints(before.GetRole()):
			return roleDenied()
		}
	}
	switch member.GetRole() {
	case fieldsyncv1.Role_ROLE_CREW, fieldsyncv1.Role_ROLE_CREW_LEAD:
		if err = seenCrew(tx, p, member.GetCrewId()); err == nil && member.GetCrewId() != before.GetCrewId() {
			err = openCrew(tx, member.GetCrewId())
		}
	case fieldsyncv1.Role_ROLE_DISPATCHER, fieldsyncv1.Role_ROLE_UNIT_HEAD:
		err = seenUnit(tx, p, member.GetUnitId())
	default:
	}
	if err != nil {
		return err
	}
	if err := recordMembership(tx, member, before.GetCrewId()); err != nil {
		return err
	}
	if before != nil && (before.GetRole() != member.GetRole() || before.GetCrewId() != member.GetCrewId() || before.GetUnitId() != member.GetUnitId()) {
		if err := auth.Moved(tx, before); err != nil {
			return err
		}
	}
	if crew := before.GetCrewId(); crew != "" {
		if err := store.Delete(tx, store.CrewMemberKey(crew, member.GetId())); err != nil {
			return err
		}
	}
	if crew := member.GetCrewId(); crew != "" {
		if err := store.Put(tx, store.CrewMemberKey(crew, member.GetId()), &fieldsyncv1.Member{Id: member.GetId()}); err != nil {
			return err
		}
	}
	return store.Put(tx, store.MemberKey(member.GetId()), member)
}

// recordMembership keeps in which crews a member has been and when: what a phone recorded before a move and sends after it is
// judged by the crew of that time.
func recordMembership(tx *store.Tx, member *fieldsyncv1.Member, before string) error {
	if member.GetCrewId() == before {
		return nil
	}
	history, err := store.Get(tx, store.MemberHistoryKey(member.GetId()))
	if err != nil {
		return err
	}
	if history == nil {
		history = &storagev1.MemberHistory{}
	}
	if n := len(history.GetMemberships()); n > 0 && history.GetMemberships()[n-1].GetUntil() == nil {
		history.Memberships[n-1].Until = tx.Timestamp()
	}
	if member.GetCrewId() != "" {
		history.Memberships = append(history.Memberships, &storagev1.Membership{CrewId: member.GetCrewId(), From: tx.Timestamp()})
	}
	return store.Put(tx, store.MemberHistoryKey(member.GetId()), history)
}

// ListMembers lists members by id: those of the caller's unit and of its crews. Errors: Invalid "page_token_invalid".
func (s *Service) ListMembers(ctx context.Context, request *fieldsyncv1.ListMembersRequest) (*fieldsyncv1.ListMembersResponse, error) {
	p, err := dispatcher(ctx)
	if err != nil {
		return nil, err
	}
	c, err := newCut(request.GetPage())
	if err != nil {
		return nil, err
	}
	response := &fieldsyncv1.ListMembersResponse{}
	return response, s.store.View(ctx, func(tx *store.Tx) error {
		members := store.Scan(tx, store.Members(), behind(c, store.MemberKey))
		response.Members, response.NextToken, err = list(c, members, (*fieldsyncv1.Member).GetId,
			func(member *fieldsyncv1.Member) (*fieldsyncv1.Member, bool, error) {
				seen, err := seesMember(tx, p, member)
				return member, seen, err
			})
		return err
	})
}

// seesMember tells whether a dispatcher may see a member. Who belongs to no unit (the hotline, admins) is seen only by those
// who see all.
func seesMember(tx *store.Tx, p auth.Principal, member *fieldsyncv1.Member) (bool, error) {
	if p.SeesAll() {
		return true, nil
	}
	unit := member.GetUnitId()
	if member.GetCrewId() != "" {
		crew, err := store.Get(tx, store.CrewKey(member.GetCrewId()))
		if err != nil {
			return false, err
		}
		unit = crew.GetUnitId()
	}
	return unit != "" && p.SeesUnit(unit), nil
}
