package demo

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/internal/server"
	"github.com/cong1022/fieldsync/phone"
	"github.com/cong1022/fieldsync/proof"
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

// enrol opens a device in a folder of its own and enrols it with the code.
func (s *story) enrol(ctx context.Context, folder, code string, air http.RoundTripper) (*phone.Phone, error) {
	o := phone.Options{AppVersion: "demo", RetryMin: 20 * time.Millisecond, RetryMax: 200 * time.Millisecond}
	if air != nil {
		o.HTTPClient = &http.Client{Transport: air}
	}
	p, err := phone.Open(filepath.Join(s.options.Data, folder), o)
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

func (s *story) desk(p *phone.Phone) fieldsyncv1connect.DispatchServiceClient {
	return fieldsyncv1connect.NewDispatchServiceClient(p.Client(), s.server.URL())
}

func (s *story) line1022() fieldsyncv1connect.HotlineServiceClient {
	return fieldsyncv1connect.NewHotlineServiceClient(s.hotline.Client(), s.server.URL())
}

func (s *story) handOver(ctx context.Context) (text, error) {
	var err error
	if s.intake, err = tickets(time.Now()); err != nil {
		return text{}, err
	}
	resp, err := s.line1022().SubmitTickets(ctx, &fieldsyncv1.SubmitTicketsRequest{Tickets: s.intake})
	if err != nil {
		return text{}, err
	}
	return say("%[1]d phiếu mới", "%[1]d new tickets", len(s.intake)),
		allResults(resp, len(s.intake), fieldsyncv1.IntakeResult_INTAKE_RESULT_CREATED)
}

func (s *story) handOverAgain(ctx context.Context) (text, error) {
	resp, err := s.line1022().SubmitTickets(ctx, &fieldsyncv1.SubmitTicketsRequest{Tickets: s.intake})
	if err != nil {
		return text{}, err
	}
	return say("%[1]d phiếu không đổi", "%[1]d tickets unchanged", len(s.intake)),
		allResults(resp, len(s.intake), fieldsyncv1.IntakeResult_INTAKE_RESULT_UNCHANGED)
}

func allResults(resp *fieldsyncv1.SubmitTicketsResponse, want int, result fieldsyncv1.IntakeResult) error {
	if err := expect(len(resp.GetResults()) == want, "%d results for %d tickets", len(resp.GetResults()), want); err != nil {
		return err
	}
	for _, r := range resp.GetResults() {
		if err := expect(r.GetResult() == result, "ticket %s: %v", r.GetHotlineId(), r.GetResult()); err != nil {
			return err
		}
	}
	return nil
}

// assign gives the urgent tickets of each unit to its crew.
func (s *story) assign(ctx context.Context) (text, error) {
	desk := s.desk(s.dispatcher)
	urgent := make(map[string]string) // The crew by the hotline's id.
	for _, t := range s.intake {
		if t.GetUrgency() == fieldsyncv1.Urgency_URGENCY_HIGH {
			urgent[t.GetHotlineId()] = map[string]string{unitNorth: crewRoads, unitCentre: crewTrees}[t.GetUnitId()]
		}
	}
	listed, err := desk.ListTickets(ctx, &fieldsyncv1.ListTicketsRequest{UntaskedOnly: true})
	if err != nil {
		return text{}, err
	}
	for _, ticket := range listed.GetTickets() {
		id := ticket.GetFacts().GetHotlineId()
		crew := urgent[id]
		if crew == "" {
			continue
		}
		created, err := desk.CreateTask(ctx, &fieldsyncv1.CreateTaskRequest{
			TicketId: ticket.GetId(),
			Checklist: []*fieldsyncv1.ChecklistTemplate{{
				Id: "rao-chan", Label: &fieldsyncv1.Sentence{Vi: "Đã rào chắn hiện trường", En: "The site is fenced off"},
			}},
		})
		if err != nil {
			return text{}, err
		}
		assigned, err := desk.AssignTask(ctx, &fieldsyncv1.AssignTaskRequest{
			TaskId: created.GetTask().GetId(), CrewId: crew, Instruction: "Chụp ảnh trước và sau khi xử lý",
		})
		if err != nil {
			return text{}, err
		}
		s.tasks[id] = assigned.GetTask()
		if crew == crewTrees {
			s.byAn = append(s.byAn, id)
		} else {
			s.byBinh = append(s.byBinh, id)
		}
	}
	return say("%[1]d việc cho Tổ cây xanh, %[2]d việc cho Tổ hạ tầng", "%[1]d tasks for the tree crew, %[2]d for the road crew", len(s.byAn), len(s.byBinh)),
		expect(len(s.byAn) >= 2 && len(s.byBinh) >= 2 && len(s.tasks) == len(urgent), "only %d tasks were made of %d urgent tickets", len(s.tasks), len(urgent))
}

// pushed waits for the worker: without credentials it says what it would send.
func (s *story) pushed(ctx context.Context) (text, error) {
	for range 200 {
		if s.pushes.seen.Load() >= 2 {
			return say("%[1]d lượt (chưa cấu hình FCM: chỉ ghi nhật ký)", "%[1]d (FCM is not configured: logged instead)", s.pushes.seen.Load()), nil
		}
		select {
		case <-ctx.Done():
			return text{}, ctx.Err()
		case <-time.After(25 * time.Millisecond):
		}
	}
	return text{}, fmt.Errorf("%d pushes were seen, each of the two phones wants one", s.pushes.seen.Load())
}

func (s *story) firstSync(ctx context.Context) (text, error) {
	for _, crew := range []struct {
		phone *phone.Phone
		want  []string
	}{{s.an, s.byAn}, {s.binh, s.byBinh}} {
		if _, err := crew.phone.Sync(ctx); err != nil {
			return text{}, err
		}
		held, err := crew.phone.Tasks()
		if err != nil {
			return text{}, err
		}
		if err := expect(len(held) == len(crew.want), "a phone holds %d tasks, its crew has %d", len(held), len(crew.want)); err != nil {
			return text{}, err
		}
	}
	return say("%[1]d và %[2]d việc, mã kiểm khớp", "%[1]d and %[2]d tasks, digests agree", len(s.byAn), len(s.byBinh)), nil
}

// foreign asks with An's token for Binh's task and for one that never was, and compares the answers.
func (s *story) foreign(ctx context.Context) (text, error) {
	var answers []string
	for _, task := range []string{s.task(s.byBinh[0]), "00000000000000000000"} {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.server.URL()+"/v1/tasks/"+task+"/photos/anh-1", nil)
		if err != nil {
			return text{}, err
		}
		resp, err := s.an.Client().Do(req)
		if err != nil {
			return text{}, err
		}
		body, err := io.ReadAll(resp.Body)
		if err := errors.Join(err, resp.Body.Close()); err != nil {
			return text{}, err
		}
		answers = append(answers, resp.Status+" "+string(body))
	}
	return text{"404, giống hệt một mã chưa từng có", "404, the same as for an id that never was"},
		expect(answers[0] == answers[1] && answers[0][:3] == "404", "answers %q and %q", answers[0], answers[1])
}

func (s *story) task(hotlineID string) string { return s.tasks[hotlineID].GetId() }

// workOffline lets Binh do two tasks without signal, close the app in between, and find that all is kept.
func (s *story) workOffline(ctx context.Context) (text, error) {
	s.airBinh.setOffline(true)
	for i, id := range s.byBinh[:2] {
		task := s.task(id)
		if err := s.binh.Start(task); err != nil {
			return text{}, err
		}
		if err := s.binh.Note(task, "Đã đến hiện trường, rào chắn xong"); err != nil {
			return text{}, err
		}
		if err := s.binh.Tick(task, "rao-chan", true); err != nil {
			return text{}, err
		}
		for n, kind := range []fieldsyncv1.PhotoKind{
			fieldsyncv1.PhotoKind_PHOTO_KIND_BEFORE, fieldsyncv1.PhotoKind_PHOTO_KIND_AFTER, fieldsyncv1.PhotoKind_PHOTO_KIND_AFTER,
		} {
			if err := s.photograph(s.binh, id, uint64(10*i+n+1), kind); err != nil {
				return text{}, err
			}
		}
		if err := s.binh.Complete(task, fieldsyncv1.Outcome_OUTCOME_REPAIRED, "Đã xử lý xong, thông đường"); err != nil {
			return text{}, err
		}
	}
	if _, err := s.binh.Sync(ctx); fault.KindOf(err) != fault.Unavailable {
		return text{}, fmt.Errorf("a sync without signal ended with %w", err)
	}
	before, err := s.binh.Status()
	if err != nil {
		return text{}, err
	}
	if err := s.restartBinh(); err != nil {
		return text{}, err
	}
	after, err := s.binh.Status()
	if err != nil {
		return text{}, err
	}
	return say("%[1]d thao tác chờ gửi, còn nguyên sau khi tắt mở lại", "%[1]d mutations queued, kept over a restart of the app", after.Queued),
		expect(before.Queued == 14 && after.Queued == 14, "%d mutations queued before the restart, %d after, 14 recorded", before.Queued, after.Queued)
}

func (s *story) restartBinh() error {
	if err := s.binh.Close(); err != nil {
		return err
	}
	reopened, err := phone.Open(filepath.Join(s.options.Data, "phone-binh"), phone.Options{
		HTTPClient: &http.Client{Transport: s.airBinh}, AppVersion: "demo",
		RetryMin: 20 * time.Millisecond, RetryMax: 200 * time.Millisecond,
	})
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

func (s *story) photograph(p *phone.Phone, hotlineID string, seed uint64, kind fieldsyncv1.PhotoKind) error {
	file, err := makePhoto(s.options.Data, seed)
	if err != nil {
		return err
	}
	s.photos[hotlineID] = append(s.photos[hotlineID], file)
	_, err = p.Photo(s.task(hotlineID), file, phone.PhotoFacts{Kind: kind})
	return err
}

// workOnline lets An do a task with signal all the way to its seal.
func (s *story) workOnline(ctx context.Context) (text, error) {
	id := s.byAn[0]
	task := s.task(id)
	if err := s.an.Start(task); err != nil {
		return text{}, err
	}
	if err := s.photograph(s.an, id, 100, fieldsyncv1.PhotoKind_PHOTO_KIND_AFTER); err != nil {
		return text{}, err
	}
	if err := s.an.Complete(task, fieldsyncv1.Outcome_OUTCOME_MADE_SAFE, "Đã cắt dọn cành, hẹn trồng lại"); err != nil {
		return text{}, err
	}
	report, err := s.an.Sync(ctx)
	if err != nil {
		return text{}, err
	}
	if err := s.an.Upload(ctx, nil); err != nil {
		return text{}, err
	}
	if _, err := s.an.Sync(ctx); err != nil {
		return text{}, err
	}
	held, err := s.an.Task(task)
	if err != nil {
		return text{}, err
	}
	return say("%[1]d thao tác trong một lượt gọi, ảnh đã xác minh, báo cáo đã ký", "%[1]d mutations in one call, photo verified, completion sealed", report.Sent),
		expect(held.Task.GetCompletion().GetProofState() == fieldsyncv1.ProofState_PROOF_STATE_SEALED, "the proof is %v", held.Task.GetCompletion().GetProofState())
}

// reassign gives Binh's second task to the other crew while Binh, offline, has completed it.
func (s *story) reassign(ctx context.Context) (text, error) {
	resp, err := s.desk(s.dispatcher).AssignTask(ctx, &fieldsyncv1.AssignTaskRequest{TaskId: s.task(s.byBinh[1]), CrewId: crewTrees})
	if err != nil {
		return text{}, err
	}
	return say("%[1]s giờ là của Tổ cây xanh", "%[1]s now belongs to the tree crew", s.byBinh[1]),
		expect(resp.GetTask().GetAssignment().GetAssignmentEpoch() == 2, "assignment epoch %d", resp.GetTask().GetAssignment().GetAssignmentEpoch())
}

func (s *story) lostAnswer(ctx context.Context) (text, error) {
	s.airBinh.setOffline(false)
	s.airBinh.loseNextAnswer("/Sync")
	if _, err := s.binh.Sync(ctx); fault.KindOf(err) != fault.Unavailable {
		return text{}, fmt.Errorf("a sync whose answer was lost ended with %w", err)
	}
	status, err := s.binh.Status()
	if err != nil {
		return text{}, err
	}
	lost, _ := s.airBinh.counts()
	return say("máy chủ đã nhận, điện thoại chưa biết: %[1]d thao tác vẫn chờ", "the server has it, the phone cannot know: %[1]d mutations still queued", status.Queued),
		expect(lost == 1 && status.Queued == 14, "%d answers lost, %d mutations queued", lost, status.Queued)
}

func (s *story) exactlyOnce(ctx context.Context) (text, error) {
	report, err := s.binh.Sync(ctx)
	if err != nil {
		return text{}, err
	}
	got, err := s.desk(s.dispatcher).GetTask(ctx, &fieldsyncv1.GetTaskRequest{TaskId: s.task(s.byBinh[0])})
	if err != nil {
		return text{}, err
	}
	task := got.GetTask()
	return say("%[1]d phán quyết đọc lại, 1 ghi chú, 3 ảnh, 1 báo cáo", "%[1]d verdicts read again, 1 note, 3 photos, 1 completion", report.Sent),
		expect(report.Sent == 14 && len(task.GetNotes()) == 1 && len(task.GetPhotos()) == 3 && task.GetStatus().GetState() == fieldsyncv1.TaskState_TASK_STATE_DONE,
			"%d verdicts, %d notes, %d photos, state %v", report.Sent, len(task.GetNotes()), len(task.GetPhotos()), task.GetStatus().GetState())
}

func (s *story) lateWork(ctx context.Context) (text, error) {
	got, err := s.desk(s.dispatcher).GetTask(ctx, &fieldsyncv1.GetTaskRequest{TaskId: s.task(s.byBinh[1])})
	if err != nil {
		return text{}, err
	}
	task := got.GetTask()
	held, err := s.binh.Tasks()
	if err != nil {
		return text{}, err
	}
	return text{"lệnh của điều phối viên đứng vững, bằng chứng được giữ, đánh dấu xem xét", "the dispatcher's word stands, the evidence is kept, a review is flagged"},
		expect(task.GetAssignment().GetCrewId() == crewTrees && task.GetStatus().GetState() == fieldsyncv1.TaskState_TASK_STATE_ASSIGNED &&
			task.GetStatus().GetReview() && len(task.GetLateCompletions()) == 1 && len(task.GetPhotos()) == 3 && len(held) == len(s.byBinh)-1,
			"crew %s, state %v, review %t, %d late completions, %d photos, phone holds %d",
			task.GetAssignment().GetCrewId(), task.GetStatus().GetState(), task.GetStatus().GetReview(), len(task.GetLateCompletions()), len(task.GetPhotos()), len(held))
}

func (s *story) photosWaiting(ctx context.Context) (text, error) {
	status, err := s.line1022().GetTicketStatus(ctx, &fieldsyncv1.GetTicketStatusRequest{HotlineId: s.byBinh[0]})
	if err != nil {
		return text{}, err
	}
	c := status.GetCompletion()
	return text{c.GetWaiting().GetVi(), c.GetWaiting().GetEn()},
		expect(c.GetProofState() == fieldsyncv1.ProofState_PROOF_STATE_CLAIMED && strings.HasPrefix(c.GetWaiting().GetEn(), "3 of 3 photos still on the phone of "),
			"the proof is %v, waiting: %q", c.GetProofState(), c.GetWaiting().GetEn())
}

func (s *story) upload(ctx context.Context) (text, error) {
	s.airBinh.cutNextUpload(64 << 10)
	pieces := 0
	if err := s.binh.Upload(ctx, func(string, int64, int64) { pieces++ }); err != nil {
		return text{}, err
	}
	_, cut := s.airBinh.counts()
	status, err := s.binh.Status()
	if err != nil {
		return text{}, err
	}
	return say("6 ảnh, %[1]d đoạn, %[2]d lần đứt", "6 photos in %[1]d pieces, cut %[2]d time(s)", pieces, cut),
		expect(cut == 1 && status.PhotosWaiting == 0, "cut %d times, %d photos waiting", cut, status.PhotosWaiting)
}

// checkSeals pulls the completions as the hotline does, and checks each with nothing but the published key and the files.
func (s *story) checkSeals(ctx context.Context) (text, error) {
	keys, err := s.proofKeys(ctx)
	if err != nil {
		return text{}, err
	}
	var cursor []byte
	for more := true; more; {
		page, err := s.line1022().ListCompletions(ctx, &fieldsyncv1.ListCompletionsRequest{Cursor: cursor, Limit: 1})
		if err != nil {
			return text{}, err
		}
		s.sealed = append(s.sealed, page.GetCompletions()...)
		cursor, more = page.GetCursor(), page.GetMore()
	}
	if err := expect(len(s.sealed) == 2, "%d sealed completions, 2 are expected", len(s.sealed)); err != nil {
		return text{}, err
	}
	photos := 0
	for _, completion := range s.sealed {
		record, err := proof.Verify(keys[completion.GetKeyId()], completion)
		if err != nil {
			return text{}, err
		}
		for i, photo := range record.GetPhotos() {
			file, err := os.ReadFile(s.photos[record.GetHotlineId()][i])
			if err != nil {
				return text{}, err
			}
			sum := sha256.Sum256(file)
			if !bytes.Equal(sum[:], photo.GetSha256()) {
				return text{}, fmt.Errorf("photo %s of %s has another hash than the file on the phone", photo.GetPhotoId(), record.GetHotlineId())
			}
			photos++
		}
	}
	return say("2 chữ ký đúng, %[1]d mã ảnh khớp với tệp gốc", "2 signatures good, %[1]d photo hashes match the originals", photos),
		expect(photos == 4, "%d photos are proven, 4 were taken", photos)
}

// proofKeys fetches the public keys that the server publishes.
func (s *story) proofKeys(ctx context.Context) (map[string]ed25519.PublicKey, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.server.URL()+"/.well-known/fieldsync-proof-keys.json", nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var set struct {
		Keys []struct {
			Kid string `json:"kid"`
			X   string `json:"x"`
		} `json:"keys"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&set); err != nil {
		return nil, err
	}
	keys := make(map[string]ed25519.PublicKey)
	for _, key := range set.Keys {
		if keys[key.Kid], err = base64.RawURLEncoding.DecodeString(key.X); err != nil {
			return nil, err
		}
	}
	return keys, nil
}

func (s *story) acknowledge(ctx context.Context) (text, error) {
	ids := make([]string, len(s.sealed))
	for i, completion := range s.sealed {
		ids[i] = completion.GetId()
	}
	first, err := s.line1022().AcknowledgeCompletions(ctx, &fieldsyncv1.AcknowledgeCompletionsRequest{CompletionIds: ids})
	if err != nil {
		return text{}, err
	}
	again, err := s.line1022().AcknowledgeCompletions(ctx, &fieldsyncv1.AcknowledgeCompletionsRequest{CompletionIds: ids})
	if err != nil {
		return text{}, err
	}
	var closed *timestamppb.Timestamp
	for _, id := range []string{s.byAn[0], s.byBinh[0]} {
		status, err := s.line1022().GetTicketStatus(ctx, &fieldsyncv1.GetTicketStatusRequest{HotlineId: id})
		if err != nil {
			return text{}, err
		}
		if closed = status.GetClosedAt(); closed == nil || status.GetState() != fieldsyncv1.TaskState_TASK_STATE_CLOSED {
			return text{}, fmt.Errorf("the ticket %s is %v", id, status.GetState())
		}
	}
	return text{"2 phiếu đã khép; xác nhận lần hai không đổi gì", "2 tickets closed; acknowledging again changes nothing"},
		expect(first.GetNewlyAcknowledged() == 2 && again.GetNewlyAcknowledged() == 0, "%d then %d newly acknowledged", first.GetNewlyAcknowledged(), again.GetNewlyAcknowledged())
}

// atRest syncs both phones once more: what is closed or reassigned has left them, and the digests agree (Sync checks them).
func (s *story) atRest(ctx context.Context) (text, error) {
	var held []int
	for _, p := range []*phone.Phone{s.an, s.binh} {
		if _, err := p.Sync(ctx); err != nil {
			return text{}, err
		}
		status, err := p.Status()
		if err != nil {
			return text{}, err
		}
		if err := expect(status.Whole && status.Queued == 0 && status.PhotosWaiting == 0, "a phone is not at rest: %+v", status); err != nil {
			return text{}, err
		}
		held = append(held, status.Tasks)
	}
	// An: one closed, one come from Binh. Binh: one closed, one gone to An.
	return say("%[1]d và %[2]d việc còn lại, hàng chờ trống", "%[1]d and %[2]d tasks left, outboxes empty", held[0], held[1]),
		expect(held[0] == len(s.byAn) && held[1] == len(s.byBinh)-2, "phones hold %d and %d tasks", held[0], held[1])
}
