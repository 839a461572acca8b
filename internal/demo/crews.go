package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/phone"
)

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
