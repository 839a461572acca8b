package hotline

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cong1022/fieldsync/auth"
	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/store"
)

// ackChunk bounds what one transaction of an acknowledgement by cursor goes through.
const ackChunk = 200

// AcknowledgeCompletions records that completions have arrived at the hotline: the proof is delivered, the ticket closed, and
// the task leaves its crew. All ids are looked at before the first is acknowledged. Errors: NotFound "completion_unknown"
// (names the first that is unknown or not sealed yet; nothing was acknowledged), Invalid "cursor_invalid", OutOfRange
// "cursor_ahead". After any other error some of them may have been: repeat the call.
func (s *Service) AcknowledgeCompletions(ctx context.Context, request *fieldsyncv1.AcknowledgeCompletionsRequest) (*fieldsyncv1.AcknowledgeCompletionsResponse, error) {
	p, err := auth.PrincipalFrom(ctx)
	if err != nil {
		return nil, err
	}
	var fresh uint32
	if len(request.GetCursor()) > 0 {
		fresh, err = s.acknowledgeUpTo(ctx, request.GetCursor(), p.MemberID)
	} else {
		fresh, err = s.acknowledgeNamed(ctx, request.GetCompletionIds(), p.MemberID)
	}
	if err != nil {
		return nil, err
	}
	s.log.InfoContext(ctx, "completions acknowledged", "by", p.MemberID, "new", fresh)
	return &fieldsyncv1.AcknowledgeCompletionsResponse{NewlyAcknowledged: fresh}, nil
}

func (s *Service) acknowledgeNamed(ctx context.Context, ids []string, member string) (uint32, error) {
	// What is sealed stays sealed, so this holds for the transactions that follow.
	err := s.store.View(ctx, func(tx *store.Tx) error {
		for _, id := range ids {
			if _, err := loadSealed(tx, id); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return s.acknowledge(ctx, ids, member)
}

// acknowledgeUpTo acknowledges what stands in the feed up to a cursor, in transactions of bounded size.
func (s *Service) acknowledgeUpTo(ctx context.Context, cursor []byte, member string) (fresh uint32, err error) {
	upTo, err := parseCursor(completionCursor, cursor, s.store.ServerEpoch())
	if err != nil {
		return 0, err
	}
	var after uint64
	for after < upTo.sequence {
		var ids []string
		err := s.store.View(ctx, func(tx *store.Tx) error {
			head, err := store.Get(tx, store.FeedHeadKey())
			if err != nil {
				return err
			}
			if err := upTo.check(s.store.ServerEpoch(), head); err != nil {
				return err
			}
			done, err := store.Get(tx, store.FeedAcknowledgedKey())
			if err != nil {
				return err
			}
			after = max(after, done.GetSequence())
			for stub, err := range store.Scan(tx, store.Feed(), store.FeedKey(after)) {
				if err != nil {
					return err
				}
				if after >= upTo.sequence || len(ids) == ackChunk { // Beyond it where the cursor is an old one.
					return nil
				}
				after++ // The feed has no gaps.
				ids = append(ids, stub.GetId())
			}
			return nil
		})
		if err != nil {
			return fresh, err
		}
		some, err := s.acknowledge(ctx, ids, member)
		fresh += some
		if err != nil {
			return fresh, err
		}
	}
	return fresh, nil
}

// acknowledge does it in one transaction, or in two halves where their tasks are too large for one.
func (s *Service) acknowledge(ctx context.Context, ids []string, member string) (uint32, error) {
	var fresh uint32
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		fresh = 0
		for _, id := range ids {
			completion, err := loadSealed(tx, id)
			if err != nil {
				return err
			}
			if acknowledged(completion) {
				continue
			}
			fresh++
			if err := s.deliver(tx, completion, member); err != nil {
				return err
			}
		}
		return advanceFeed(tx)
	})
	if half := len(ids) / 2; half > 0 && errors.Is(err, store.ErrTooLarge) {
		first, err := s.acknowledge(ctx, ids[:half], member)
		if err != nil {
			return 0, err
		}
		second, err := s.acknowledge(ctx, ids[half:], member)
		return first + second, err
	}
	return fresh, err
}

func acknowledged(completion *storagev1.Completion) bool { return completion.GetDeliveredAt() != nil }

// advanceFeed moves the mark up to which the feed is acknowledged without a gap, a bounded stretch at a time.
func advanceFeed(tx *store.Tx) error {
	mark, err := store.Get(tx, store.FeedAcknowledgedKey())
	if err != nil {
		return err
	}
	next, steps := mark.GetSequence(), 0
	for stub, err := range store.Scan(tx, store.Feed(), store.FeedKey(next)) {
		if err != nil {
			return err
		}
		completion, err := store.Get(tx, store.CompletionKey(stub.GetId()))
		if err != nil {
			return err
		}
		if steps++; !acknowledged(completion) || steps > 5*ackChunk {
			break
		}
		next++
	}
	if next == mark.GetSequence() {
		return nil
	}
	return store.Put(tx, store.FeedAcknowledgedKey(), &storagev1.Acknowledged{Sequence: next})
}

// loadSealed returns a completion that is sealed or delivered.
func loadSealed(tx *store.Tx, id string) (*storagev1.Completion, error) {
	completion, err := store.Get(tx, store.CompletionKey(id))
	if err != nil {
		return nil, err
	}
	if completion.GetState() < fieldsyncv1.ProofState_PROOF_STATE_SEALED {
		return nil, fault.New(fault.NotFound, "completion_unknown",
			fmt.Sprintf("Không có kết quả %q, hoặc chưa được niêm phong; chưa kết quả nào được xác nhận.", id),
			fmt.Sprintf("There is no completion %q, or it is not sealed yet; none was acknowledged.", id))
	}
	return completion, nil
}

// deliver marks a sealed completion as delivered and closes what it completes.
func (s *Service) deliver(tx *store.Tx, completion *storagev1.Completion, member string) error {
	record, err := store.Get(tx, store.TaskKey(completion.GetTaskId()))
	if err != nil {
		return err
	}
	completion.State, completion.DeliveredAt = fieldsyncv1.ProofState_PROOF_STATE_DELIVERED, tx.Timestamp()
	if s.delivered != nil {
		if err := s.delivered(tx, record, completion); err != nil {
			return err
		}
	}
	if err := store.Put(tx, store.CompletionKey(completion.GetId()), completion); err != nil {
		return err
	}
	closed := closeTask(record, completion.GetId(), member, tx.Timestamp())
	if err := store.SaveTask(tx, record, fieldsyncv1.RemovalReason_REMOVAL_REASON_CLOSED); err != nil || !closed {
		return err
	}
	ticket, err := store.Get(tx, store.TicketKey(completion.GetTicketId()))
	if err != nil {
		return err
	}
	ticket.ClosedAt = tx.Timestamp()
	if err := store.Put(tx, store.TicketKey(ticket.GetId()), ticket); err != nil {
		return err
	}
	return closeDuplicates(tx, ticket)
}

// closeTask enters the delivery into the task. The task is closed if it is done by this very completion; one that came late,
// after a dispatcher had cancelled the task or given it to others, is delivered and closes nothing.
func closeTask(record *storagev1.TaskRecord, completion, member string, now *timestamppb.Timestamp) (closed bool) {
	task, revision := record.GetTask(), store.NextRevision(record)
	for _, facet := range append(slices.Clone(task.GetLateCompletions()), task.GetCompletion()) {
		if facet.GetCompletionId() == completion {
			facet.Revision, facet.ProofState = revision, fieldsyncv1.ProofState_PROOF_STATE_DELIVERED
		}
	}
	if task.GetCompletion().GetCompletionId() != completion || task.GetStatus().GetState() != fieldsyncv1.TaskState_TASK_STATE_DONE {
		return false
	}
	task.Status = &fieldsyncv1.StatusFacet{
		Revision:   revision,
		State:      fieldsyncv1.TaskState_TASK_STATE_CLOSED,
		Since:      now,
		ByMemberId: member,
		Review:     task.GetStatus().GetReview(),
	}
	if n := len(record.GetTenures()); n > 0 && record.GetTenures()[n-1].GetUntil() == nil {
		record.Tenures[n-1].Until = now
	}
	record.Scopes = []string{string(store.UnitScope(task.GetTicket().GetUnitId()))}
	return true
}
