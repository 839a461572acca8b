package hotline

import (
	"context"
	"errors"
	"slices"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cong1022/fieldsync/auth"
	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/store"
)

// ackChunk bounds what one transaction of an acknowledgement by cursor goes through.
const ackChunk = 200

// AcknowledgeCompletions records that completions have arrived at the hotline: the proof is delivered, the ticket closed, and
// the task leaves its crew. A claim's acknowledgement closes the ticket only. All ids are looked at before the first is acknowledged.
// Errors: NotFound "completion_unknown"
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
		fresh, err = s.acknowledgeNamed(ctx, request, p.MemberID)
	}
	if err != nil {
		return nil, err
	}
	s.log.InfoContext(ctx, "completions acknowledged", "by", p.MemberID, "new", fresh)
	return &fieldsyncv1.AcknowledgeCompletionsResponse{NewlyAcknowledged: fresh}, nil
}

func (s *Service) acknowledgeNamed(ctx context.Context, request *fieldsyncv1.AcknowledgeCompletionsRequest, member string) (fresh uint32, err error) {
	named := []struct {
		feed feed
		ids  []string
	}{{claims(), request.GetClaimIds()}, {seals(), request.GetCompletionIds()}}
	// What stands in a feed stays there, so this holds for the transactions that follow.
	err = s.store.View(ctx, func(tx *store.Tx) error {
		for _, some := range named {
			for _, id := range some.ids {
				if _, err := some.feed.load(tx, id); err != nil {
					return err
				}
			}
		}
		return nil
	})
	for _, some := range named {
		if err != nil || len(some.ids) == 0 {
			continue
		}
		var more uint32
		more, err = s.acknowledge(ctx, some.feed, some.ids, member)
		fresh += more
	}
	return fresh, err
}

// acknowledgeUpTo acknowledges what stands in the feeds up to a cursor: in that of the claims only if the cursor is of both.
func (s *Service) acknowledgeUpTo(ctx context.Context, b []byte, member string) (fresh uint32, err error) {
	upTo, err := parseFeedCursor(b, s.store.ServerEpoch(), b[0] == claimCursor)
	if err != nil {
		return 0, err
	}
	if err := s.store.View(ctx, func(tx *store.Tx) error { return upTo.check(tx, s.store.ServerEpoch()) }); err != nil {
		return 0, err
	}
	for i, list := range upTo.lists() {
		some, err := s.acknowledgeFeed(ctx, list, upTo.sequences[i], member)
		fresh += some
		if err != nil {
			return fresh, err
		}
	}
	return fresh, nil
}

// acknowledgeFeed acknowledges a feed up to a place, in transactions of bounded size.
func (s *Service) acknowledgeFeed(ctx context.Context, list feed, upTo uint64, member string) (fresh uint32, err error) {
	var after uint64
	for after < upTo {
		var ids []string
		err := s.store.View(ctx, func(tx *store.Tx) error {
			settled, err := list.settledUpTo(tx)
			if err != nil {
				return err
			}
			after = max(after, settled)
			for stub, err := range store.Scan(tx, list.entries, list.place(after)) {
				if err != nil {
					return err
				}
				if after >= upTo || len(ids) == ackChunk { // Beyond it where the cursor is an old one.
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
		some, err := s.acknowledge(ctx, list, ids, member)
		fresh += some
		if err != nil {
			return fresh, err
		}
	}
	return fresh, nil
}

// acknowledge does it in one transaction, or in two halves where their tasks are too large for one.
func (s *Service) acknowledge(ctx context.Context, list feed, ids []string, member string) (uint32, error) {
	var fresh uint32
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		fresh = 0
		for _, id := range ids {
			completion, err := list.load(tx, id)
			if err != nil {
				return err
			}
			if list.settled(completion) {
				continue
			}
			fresh++
			if isSealed(completion) {
				err = s.deliver(tx, completion, member)
			} else {
				err = deliverClaim(tx, completion)
			}
			if err != nil {
				return err
			}
		}
		return list.settle(tx)
	})
	if half := len(ids) / 2; half > 0 && errors.Is(err, store.ErrTooLarge) {
		first, err := s.acknowledge(ctx, list, ids[:half], member)
		if err != nil {
			return 0, err
		}
		second, err := s.acknowledge(ctx, list, ids[half:], member)
		return first + second, err
	}
	return fresh, err
}

// settle moves the mark up to which the feed is settled without a gap, a bounded stretch at a time.
func (f feed) settle(tx *store.Tx) error {
	mark, err := f.settledUpTo(tx)
	if err != nil {
		return err
	}
	next, steps := mark, 0
	for completion, err := range f.completions(tx, next) {
		if err != nil {
			return err
		}
		if steps++; !f.settled(completion) || steps > 5*ackChunk {
			break
		}
		next++
	}
	if next == mark {
		return nil
	}
	return store.Put(tx, f.acknowledged, &storagev1.Acknowledged{Sequence: next})
}

// deliverClaim takes down that a claim that stands has arrived, and closes the ticket, by its category's rule. The task stays done and
// with its crew, whose photos are still to come: the seal's acknowledgement ends that.
func deliverClaim(tx *store.Tx, completion *storagev1.Completion) error {
	completion.ClaimDeliveredAt = tx.Timestamp()
	if err := store.Put(tx, store.CompletionKey(completion.GetId()), completion); err != nil {
		return err
	}
	return closeTicket(tx, completion.GetTicketId())
}

// closeTicket closes a ticket, with its duplicates, unless it is closed already.
func closeTicket(tx *store.Tx, id string) error {
	ticket, err := store.Get(tx, store.TicketKey(id))
	if err != nil || ticket.GetClosedAt() != nil {
		return err
	}
	ticket.ClosedAt = tx.Timestamp()
	if err := store.Put(tx, store.TicketKey(id), ticket); err != nil {
		return err
	}
	return closeDuplicates(tx, ticket)
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
	return closeTicket(tx, completion.GetTicketId())
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
