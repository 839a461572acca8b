package demo

import (
	"context"
	"net/http"
	"path/filepath"
	"time"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
	"github.com/cong1022/fieldsync/phone"
)

// openPhone opens the device in a folder of its own; air is its network, nil for one without trouble.
func (s *story) openPhone(folder string, air http.RoundTripper) (*phone.Phone, error) {
	o := phone.Options{AppVersion: "demo", RetryMin: 20 * time.Millisecond, RetryMax: 200 * time.Millisecond}
	if air != nil {
		o.HTTPClient = &http.Client{Transport: air}
	}
	return phone.Open(filepath.Join(s.options.Data, folder), o)
}

// enrol opens a device and enrols it with the code.
func (s *story) enrol(ctx context.Context, folder, code string, air http.RoundTripper) (*phone.Phone, error) {
	p, err := s.openPhone(folder, air)
	if err != nil {
		return nil, err
	}
	s.people = append(s.people, p)
	return p, p.Enrol(ctx, s.server.URL(), code, folder)
}

func (s *story) enrolPeople(ctx context.Context) (text, error) {
	code, _, err := s.server.AdminCode(ctx)
	if err != nil {
		return text{}, err
	}
	if s.admin, err = s.enrol(ctx, "admin", code, nil); err != nil {
		return text{}, err
	}
	desk := s.desk(s.admin)
	for id, name := range map[string]string{unitNorth: "Phường Bình Thạnh", unitCentre: "Phường Sài Gòn"} {
		if _, err := desk.PutUnit(ctx, &fieldsyncv1.PutUnitRequest{Unit: &fieldsyncv1.Unit{Id: id, Name: name}}); err != nil {
			return text{}, err
		}
	}
	for _, crew := range []*fieldsyncv1.Crew{
		{Id: crewTrees, UnitId: unitCentre, Name: "Tổ cây xanh"},
		{Id: crewRoads, UnitId: unitNorth, Name: "Tổ hạ tầng"},
	} {
		if _, err := desk.PutCrew(ctx, &fieldsyncv1.PutCrewRequest{Crew: crew}); err != nil {
			return text{}, err
		}
	}
	s.airAn, s.airBinh = newNetwork(), newNetwork()
	for _, person := range []struct {
		member *fieldsyncv1.Member
		device **phone.Phone
		folder string
		air    http.RoundTripper
	}{
		{&fieldsyncv1.Member{Id: "chi", Name: "Lê Thị Chi", Role: fieldsyncv1.Role_ROLE_DISPATCHER, UnitId: "city"}, &s.dispatcher, "dispatcher", nil},
		{&fieldsyncv1.Member{Id: "he-thong-1022", Name: "Hệ thống 1022", Role: fieldsyncv1.Role_ROLE_HOTLINE}, &s.hotline, "hotline", nil},
		{&fieldsyncv1.Member{Id: "an", Name: "Nguyễn Văn An", Role: fieldsyncv1.Role_ROLE_CREW, CrewId: crewTrees}, &s.an, "phone-an", s.airAn},
		{&fieldsyncv1.Member{Id: "binh", Name: "Trần Bình", Role: fieldsyncv1.Role_ROLE_CREW, CrewId: crewRoads}, &s.binh, "phone-binh", s.airBinh},
	} {
		if _, err := desk.PutMember(ctx, &fieldsyncv1.PutMemberRequest{Member: person.member}); err != nil {
			return text{}, err
		}
		code, err := fieldsyncv1connect.NewIdentityServiceClient(s.admin.Client(), s.server.URL()).
			IssueCode(ctx, &fieldsyncv1.IssueCodeRequest{MemberId: person.member.GetId()})
		if err != nil {
			return text{}, err
		}
		if *person.device, err = s.enrol(ctx, person.folder, code.GetCode(), person.air); err != nil {
			return text{}, err
		}
		if person.member.GetRole() != fieldsyncv1.Role_ROLE_CREW {
			continue
		}
		if _, err := fieldsyncv1connect.NewIdentityServiceClient((*person.device).Client(), s.server.URL()).RegisterPush(ctx,
			&fieldsyncv1.RegisterPushRequest{Kind: fieldsyncv1.PushKind_PUSH_KIND_FCM_TOKEN, Value: "demo-" + person.member.GetId()}); err != nil {
			return text{}, err
		}
	}
	return text{"2 đơn vị, 2 tổ, 5 máy, mỗi máy một khóa riêng", "2 units, 2 crews, 5 devices, each with a key of its own"}, nil
}

func (s *story) restartBinh() error {
	if err := s.binh.Close(); err != nil {
		return err
	}
	reopened, err := s.openPhone("phone-binh", s.airBinh)
	if err != nil {
		return err
	}
	for i, p := range s.people {
		if p == s.binh {
			s.people[i] = reopened
		}
	}
	s.binh = reopened
	return nil
}
