package demo

import (
	"context"
	"fmt"
	"time"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
	"github.com/cong1022/fieldsync/internal/server"
	"github.com/cong1022/fieldsync/phone"
)

const (
	unitNorth, unitCentre = "binh-thanh", "sai-gon"
	crewTrees, crewRoads  = "to-cay-xanh", "to-ha-tang"
)

// story is the demo's cast and what they have in hand.
type story struct {
	options Options
	server  *server.Server
	pushes  *pushCounter
	started time.Time

	people                     []*phone.Phone
	admin, dispatcher, hotline *phone.Phone
	an, binh                   *phone.Phone // Crew members: An of the trees, Binh of the roads.
	airAn, airBinh             *network

	intake []*fieldsyncv1.TicketIntake
	tasks  map[string]*fieldsyncv1.Task // By the hotline's id.
	byAn   []string                     // The hotline's ids of what An's crew gets.
	byBinh []string
	photos map[string][]string // Files, by the hotline's id.
	sealed []*fieldsyncv1.Completion
}

// play runs the steps in their order and stops at the first that does not hold.
func (s *story) play(ctx context.Context) error {
	s.tasks, s.photos = make(map[string]*fieldsyncv1.Task), make(map[string][]string)
	for _, step := range []struct {
		name  string
		title text
		run   func(context.Context) (text, error)
	}{
		{"server", text{"Máy chủ khởi động", "The server starts"}, s.serverStarts},
		{"people", text{"Đăng ký người và máy", "People and devices are enrolled"}, s.enrolPeople},
		{"intake", text{"Tổng đài 1022 chuyển phiếu", "The hotline hands tickets over"}, s.handOver},
		{"intake-again", text{"Chuyển lại lần nữa: không đổi gì", "Handed over again: nothing changes"}, s.handOverAgain},
		{"assign", text{"Điều phối viên giao việc", "The dispatcher assigns tasks"}, s.assign},
		{"push", text{"Đẩy thông báo đến điện thoại", "Pushes leave the outbox"}, s.pushed},
		{"first-sync", text{"Hai điện thoại nhận việc", "Both phones get their tasks"}, s.firstSync},
		{"foreign", text{"Việc của tổ khác như không tồn tại", "Another crew's task does not exist"}, s.foreign},
		{"offline", text{"Tổ hạ tầng mất sóng, vẫn làm việc", "The road crew works without signal"}, s.workOffline},
		{"online", text{"Tổ cây xanh làm xong một việc", "The tree crew completes a task"}, s.workOnline},
		{"reassign", text{"Việc bị giao lại trong lúc mất sóng", "A task is reassigned meanwhile"}, s.reassign},
		{"lost-answer", text{"Có sóng lại, mất một câu trả lời", "Signal is back, an answer is lost"}, s.lostAnswer},
		{"exactly-once", text{"Gửi lại: mỗi thao tác đúng một lần", "Sent again: each effect exactly once"}, s.exactlyOnce},
		{"late-work", text{"Việc làm muộn được giữ để xem xét", "Late work is kept for review"}, s.lateWork},
		{"photos-waiting", text{"Ảnh còn trên điện thoại: thấy được", "Photos on the phone are seen to wait"}, s.photosWaiting},
		{"upload", text{"Tải ảnh, đứt giữa chừng, tiếp tục", "Photos upload, cut and resumed"}, s.upload},
		{"sealed", text{"Báo cáo hoàn thành được ký số", "Completions are sealed"}, s.checkSeals},
		{"closed", text{"Tổng đài xác nhận, phiếu khép lại", "The hotline acknowledges, tickets close"}, s.acknowledge},
		{"receipts", text{"Biên nhận kiểm được không cần máy chủ", "Receipts are checked without the server"}, s.keepReceipts},
		{"at-rest", text{"Điện thoại giữ đúng phần của mình", "Phones hold exactly their scope"}, s.atRest},
	} {
		if err := s.step(ctx, step.name, step.title, step.run); err != nil {
			return err
		}
	}
	return nil
}

func (s *story) close() {
	for _, p := range s.people {
		_ = p.Close() // The story is over; what was to be durable is.
	}
}

func expect(ok bool, format string, args ...any) error {
	if ok {
		return nil
	}
	return fmt.Errorf(format, args...)
}

func (s *story) serverStarts(context.Context) (text, error) {
	return say("tại %[1]s", "at %[1]s", s.server.URL()), nil
}

func (s *story) desk(p *phone.Phone) fieldsyncv1connect.DispatchServiceClient {
	return fieldsyncv1connect.NewDispatchServiceClient(p.Client(), s.server.URL())
}

func (s *story) line1022() fieldsyncv1connect.HotlineServiceClient {
	return fieldsyncv1connect.NewHotlineServiceClient(s.hotline.Client(), s.server.URL())
}

func (s *story) task(hotlineID string) string { return s.tasks[hotlineID].GetId() }
