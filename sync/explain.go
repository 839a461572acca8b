package sync

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/cong1022/fieldsync/auth"
	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
	"github.com/cong1022/fieldsync/store"
)

const (
	// explainedVerdicts is how many verdicts an explanation shows.
	explainedVerdicts = 20
	// silentAfter is after how long without a word a phone counts as silent, and a queue as stuck.
	silentAfter = 24 * time.Hour
	// skewWorthSaying is by how much a wall clock may be wrong without anybody being bothered.
	skewWorthSaying = 5 * time.Minute
)

var _ fieldsyncv1connect.SupportServiceHandler = (*Engine)(nil)

// ExplainDevice implements the RPC of that name, from one snapshot.
func (e *Engine) ExplainDevice(ctx context.Context, req *fieldsyncv1.ExplainDeviceRequest) (*fieldsyncv1.ExplainDeviceResponse, error) {
	p, err := auth.PrincipalFrom(ctx)
	if err != nil {
		return nil, err
	}
	var x *explanation
	err = e.store.View(ctx, func(tx *store.Tx) error {
		device, err := p.LoadDevice(tx, req.GetDeviceId())
		if err != nil {
			return err
		}
		x, err = e.gather(tx, device)
		return err
	})
	if err != nil {
		return nil, err
	}
	x.judge()
	return x.resp, nil
}

// explanation is what is known of a device's sync.
type explanation struct {
	resp       *fieldsyncv1.ExplainDeviceResponse
	now        time.Time
	neverSeen  bool
	conflicted bool
	inCrew     bool
}

func (e *Engine) gather(tx *store.Tx, device *storagev1.Device) (*explanation, error) {
	member, err := store.Get(tx, store.MemberKey(device.GetMemberId()))
	if err != nil {
		return nil, err
	}
	status, err := store.Get(tx, store.DeviceStatusKey(device.GetId()))
	if err != nil {
		return nil, err
	}
	if heard, ok := e.heard.load(device.GetId()); ok {
		status = heard.status
	}
	numbers, err := store.Get(tx, store.MutationHeadKey(device.GetId(), device.GetInstallEpoch()))
	if err != nil {
		return nil, err
	}
	x := &explanation{now: tx.Now(), neverSeen: status == nil, conflicted: numbers.GetConflicted()}
	x.resp = &fieldsyncv1.ExplainDeviceResponse{
		DeviceId: device.GetId(), DeviceName: device.GetName(), MemberId: device.GetMemberId(),
		LastSeenAt: device.GetLastRefreshAt(), TokenExpiresAt: device.GetTokenExpiresAt(), RevokedAt: device.GetRevokedAt(),
		AppVersion: status.GetAppVersion(), InstallEpoch: device.GetInstallEpoch(), LastNumber: numbers.GetNumber(),
		CursorSequence: status.GetAnsweredSequence(), Queue: status.GetQueue(), Grant: grant(member),
	}
	if status.GetSeenAt().AsTime().After(device.GetLastRefreshAt().AsTime()) {
		x.resp.LastSeenAt = status.GetSeenAt()
	}
	if wall := status.GetClock().GetWall(); wall.IsValid() {
		x.resp.ClockSkew = durationpb.New(wall.AsTime().Sub(status.GetSeenAt().AsTime()))
	}
	owner := auth.Principal{Role: member.GetRole(), CrewID: member.GetCrewId(), UnitID: member.GetUnitId()}
	x.inCrew = owner.InCrew()
	if scope, err := owner.Scope(); err == nil {
		x.resp.Scope = string(scope)
		head, err := store.Head(tx, scope)
		if err != nil {
			return nil, err
		}
		x.resp.Head = publicHead(head)
	}
	for number := numbers.GetNumber(); number > numbers.GetForgotten() && len(x.resp.GetVerdicts()) < explainedVerdicts; number-- {
		stored, err := store.Get(tx, store.VerdictKey(device.GetId(), device.GetInstallEpoch(), number))
		if err != nil {
			return nil, err
		}
		verdict := &fieldsyncv1.Verdict{}
		if err := proto.Unmarshal(stored.GetVerdict(), verdict); err != nil {
			return nil, damagedVerdict(device.GetId(), number, err)
		}
		x.resp.Verdicts = append(x.resp.Verdicts, verdict)
	}
	for _, err := range store.Scan(tx, store.QuarantinedOf(device.GetId()), nil) {
		if err != nil {
			return nil, err
		}
		x.resp.Quarantined++
	}
	return x, nil
}

// grant says what gives a member a scope.
func grant(member *fieldsyncv1.Member) *fieldsyncv1.Sentence {
	switch member.GetRole() {
	case fieldsyncv1.Role_ROLE_CREW, fieldsyncv1.Role_ROLE_CREW_LEAD:
		return &fieldsyncv1.Sentence{
			Vi: fmt.Sprintf("Thành viên %s thuộc tổ %s", member.GetId(), member.GetCrewId()),
			En: fmt.Sprintf("Member %s belongs to the crew %s", member.GetId(), member.GetCrewId()),
		}
	case fieldsyncv1.Role_ROLE_DISPATCHER, fieldsyncv1.Role_ROLE_UNIT_HEAD:
		return &fieldsyncv1.Sentence{
			Vi: fmt.Sprintf("Thành viên %s điều phối đơn vị %s", member.GetId(), member.GetUnitId()),
			En: fmt.Sprintf("Member %s dispatches for the unit %s", member.GetId(), member.GetUnitId()),
		}
	case fieldsyncv1.Role_ROLE_CITY_SUPERVISOR:
		return &fieldsyncv1.Sentence{
			Vi: fmt.Sprintf("Thành viên %s giám sát toàn thành phố", member.GetId()),
			En: fmt.Sprintf("Member %s supervises the city", member.GetId()),
		}
	default:
		return &fieldsyncv1.Sentence{
			Vi: fmt.Sprintf("Vai trò của %s không đồng bộ công việc", member.GetId()),
			En: fmt.Sprintf("The role of %s syncs no tasks", member.GetId()),
		}
	}
}

// judge names what stands in the phone's way, the worst first.
func (x *explanation) judge() {
	r := x.resp
	obstacle := func(there bool, code, vi, en string) {
		if there {
			r.Obstacles = append(r.Obstacles, &fieldsyncv1.Obstacle{Code: code, Message: &fieldsyncv1.Sentence{Vi: vi, En: en}})
		}
	}
	oldest := r.GetQueue().GetOldest()
	skew := r.GetClockSkew().AsDuration()
	obstacle(r.GetRevokedAt() != nil, "revoked",
		"Thiết bị đã bị thu hồi; muốn dùng lại phải đăng ký với khóa mới.",
		"The device is revoked; to be used again it must be enrolled with a new key.")
	obstacle(r.GetScope() == "", "role_syncs_nothing",
		"Vai trò của thành viên không đồng bộ công việc; hãy đưa vào một tổ.",
		"The member's role syncs no tasks; put the member into a crew.")
	obstacle(x.conflicted, "epoch_conflicted",
		"Số thứ tự bị dùng trùng (máy bị nhân bản hoặc khôi phục từ bản sao lưu); ứng dụng sẽ tự mở lần cài đặt mới ở lần đồng bộ tới.",
		"Numbers were used twice (a cloned phone, or one restored from a backup); the app opens a new install epoch at its next sync.")
	obstacle(x.neverSeen, "never_synced",
		"Thiết bị đã đăng ký nhưng chưa từng đồng bộ; hãy mở ứng dụng khi có mạng.",
		"The device is enrolled and has never synced; open the app where there is a network.")
	obstacle(!x.neverSeen && x.now.Sub(r.GetLastSeenAt().AsTime()) > silentAfter, "silent",
		"Hơn một ngày không có tin từ thiết bị; có thể hết pin, mất sóng hoặc ứng dụng bị tắt.",
		"No word from the device for more than a day: no battery, no signal, or the app was stopped.")
	obstacle(!x.neverSeen && r.GetHead().GetSequence() > r.GetCursorSequence(), "behind",
		fmt.Sprintf("Bản trên máy ở mục %d, máy chủ ở mục %d; lần đồng bộ tới sẽ bù.", r.GetCursorSequence(), r.GetHead().GetSequence()),
		fmt.Sprintf("The replica stands at %d, the server at %d; the next sync makes up for it.", r.GetCursorSequence(), r.GetHead().GetSequence()))
	obstacle(oldest.IsValid() && x.now.Sub(oldest.AsTime()) > silentAfter, "queue_stuck",
		fmt.Sprintf("%d thao tác chưa gửi được, cũ nhất đã hơn một ngày.", r.GetQueue().GetMutations()),
		fmt.Sprintf("%d mutations are unsent, the oldest for more than a day.", r.GetQueue().GetMutations()))
	obstacle(r.GetQuarantined() > 0, "quarantine",
		fmt.Sprintf("%d thao tác đang chờ điều phối viên xem xét.", r.GetQuarantined()),
		fmt.Sprintf("%d mutations wait for a dispatcher.", r.GetQuarantined()))
	obstacle(skew.Abs() > skewWorthSaying, "clock_skew",
		fmt.Sprintf("Đồng hồ của máy lệch %v; không ảnh hưởng kết quả, nhưng giờ hiển thị sẽ sai.", skew.Round(time.Second)),
		fmt.Sprintf("The phone's clock is off by %v; nothing is decided by it, but the times shown are wrong.", skew.Round(time.Second)))
}
