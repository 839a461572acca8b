package demo

import (
	"context"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
)

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

// reassign gives Binh's second task to the other crew while Binh, offline, has completed it.
func (s *story) reassign(ctx context.Context) (text, error) {
	resp, err := s.desk(s.dispatcher).AssignTask(ctx, &fieldsyncv1.AssignTaskRequest{TaskId: s.task(s.byBinh[1]), CrewId: crewTrees})
	if err != nil {
		return text{}, err
	}
	return say("%[1]s giờ là của Tổ cây xanh", "%[1]s now belongs to the tree crew", s.byBinh[1]),
		expect(resp.GetTask().GetAssignment().GetAssignmentEpoch() == 2, "assignment epoch %d", resp.GetTask().GetAssignment().GetAssignmentEpoch())
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
