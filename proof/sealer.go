// Package proof turns completions into evidence. A completion is claimed in the transaction of the crew's mutation, sealed
// in the transaction that verifies its last photo, and enters the hotline's feed there: no completion is ever sealed
// without a place in the feed, or the other way round. Each of these steps is a leaf in an append-only log, written in the
// same transaction; package receipt checks what the log proves without the server.
package proof

import (
	"crypto/ed25519"
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cong1022/fieldsync/auth"
	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/proof/receipt"
	"github.com/cong1022/fieldsync/store"
)

// Sealer signs the records of completions and keeps the log of them. Its methods are safe for concurrent use.
type Sealer struct {
	store  *store.Store
	key    ed25519.PrivateKey
	kid    string
	origin string
	// witnesses are the verifier keys of those whose cosignatures are taken.
	witnesses []string
}

// Claim takes down the completion of a task in the transaction of the mutation that made it. The task's completion facet is
// set already; Claim gives it an id and seals it at once if no photo is missing. said is the crew's word, whose signature, if it
// has one, CheckClaim has found good. Where the task was reopened, its former completion is superseded from then on: if its photos had
// not all come, it is never sealed. The caller saves the record.
func (s *Sealer) Claim(tx *store.Tx, record *storagev1.TaskRecord, by auth.Principal, revision uint64, said *fieldsyncv1.Complete) error {
	id, err := tx.NewID()
	if err != nil {
		return err
	}
	record.GetTask().GetCompletion().CompletionId = id
	completion := &storagev1.Completion{
		Id: id, TaskId: record.GetTask().GetId(), TicketId: record.GetTask().GetTicket().GetTicketId(),
		State:    fieldsyncv1.ProofState_PROOF_STATE_CLAIMED,
		MemberId: by.MemberID, DeviceId: by.DeviceID, CrewId: by.CrewID,
		AcceptedAt: tx.Timestamp(),
	}
	claimed := completionRecord(record.GetTask(), completion, nil)
	claimed.Notes = nil // They may be many, and the sealed record has them.
	if claimed.Corrects, err = supersede(tx, record, id); err != nil {
		return err
	}
	if err := signClaim(tx, claimed, said); err != nil {
		return err
	}
	if completion.ClaimedRecord, err = marshalRecord(claimed); err != nil {
		return err
	}
	if completion.ClaimedLeaf, err = appendLeaf(tx, record, id, receipt.Claimed, completion.GetClaimedRecord()); err != nil {
		return err
	}
	if err := s.advance(tx, record, revision, completion); err != nil || completion.GetState() != fieldsyncv1.ProofState_PROOF_STATE_CLAIMED {
		return err
	}
	return announce(tx, record, completion)
}

// announce gives a claim its place among those that the hotline is told of, where the ticket's category closes on the claim.
func announce(tx *store.Tx, record *storagev1.TaskRecord, completion *storagev1.Completion) error {
	closes, err := store.MayClose(tx, record.GetTask())
	if err != nil || !closes {
		return err
	}
	if completion.ClaimSequence, err = enter(tx, store.ClaimFeedHeadKey(), store.ClaimFeedKey, completion); err != nil {
		return err
	}
	return store.Put(tx, store.CompletionKey(completion.GetId()), completion)
}

// enter gives a completion the next place in a feed of the hotline's: dense, and in the order of the commits.
func enter(tx *store.Tx, head store.Key[storagev1.SequenceHead], place func(uint64) store.Key[storagev1.Completion], completion *storagev1.Completion) (uint64, error) {
	last, err := store.Get(tx, head)
	if err != nil {
		return 0, err
	}
	next := last.GetSequence() + 1
	if err := store.Put(tx, place(next), &storagev1.Completion{Id: completion.GetId()}); err != nil {
		return 0, err
	}
	tx.Signal(store.FeedTopic)
	return next, store.Put(tx, head, &storagev1.SequenceHead{Sequence: next})
}

// Deliver enters into the log that the hotline has acknowledged a sealed completion, in the transaction that takes it down.
// The caller saves both records.
func (s *Sealer) Deliver(tx *store.Tx, record *storagev1.TaskRecord, completion *storagev1.Completion) (err error) {
	completion.DeliveredLeaf, err = appendLeaf(tx, record, completion.GetId(), receipt.Delivered, completion.GetRecord())
	return err
}

// Advance brings the completion of a task as far as its photos allow, in the transaction that has verified one of them. A
// task without a claimed completion is left alone. The caller saves the record.
func (s *Sealer) Advance(tx *store.Tx, record *storagev1.TaskRecord, revision uint64) error {
	facet := record.GetTask().GetCompletion()
	if facet.GetProofState() != fieldsyncv1.ProofState_PROOF_STATE_CLAIMED {
		return nil
	}
	completion, err := store.Get(tx, store.CompletionKey(facet.GetCompletionId()))
	if err != nil {
		return err
	}
	if completion == nil {
		return fmt.Errorf("the task %s names the completion %s, which is not stored", record.GetTask().GetId(), facet.GetCompletionId())
	}
	return s.advance(tx, record, revision, completion)
}

func (s *Sealer) advance(tx *store.Tx, record *storagev1.TaskRecord, revision uint64, completion *storagev1.Completion) error {
	facet := record.GetTask().GetCompletion()
	photos := completionPhotos(record.GetTask())
	missing := 0
	for _, photo := range photos {
		if photo.GetState() != fieldsyncv1.PhotoState_PHOTO_STATE_VERIFIED {
			missing++
		}
	}
	facet.Revision = revision
	facet.PhotosVerified = uint32(len(photos) - missing) //nolint:gosec // At most 50.
	names, err := namesOf(tx, photos)
	if err != nil {
		return err
	}
	facet.Waiting = waiting(photos, names)
	if missing == 0 {
		if err := s.seal(tx, record, completion); err != nil {
			return err
		}
		facet.ProofState = fieldsyncv1.ProofState_PROOF_STATE_SEALED
	}
	return store.Put(tx, store.CompletionKey(completion.GetId()), completion)
}

// seal signs the record and gives it its place in the feed and its leaf in the log.
func (s *Sealer) seal(tx *store.Tx, record *storagev1.TaskRecord, completion *storagev1.Completion) error {
	sealed := completionRecord(record.GetTask(), completion, tx.Timestamp())
	claimed := &fieldsyncv1.CompletionRecord{} // Empty where it was claimed before there was a log.
	if err := proto.Unmarshal(completion.GetClaimedRecord(), claimed); err != nil {
		return fmt.Errorf("the claimed record of the completion %s is damaged: %w", completion.GetId(), err)
	}
	sealed.Claim, sealed.ClaimSignature, sealed.DeviceKey = claimed.GetClaim(), claimed.GetClaimSignature(), claimed.GetDeviceKey()
	sealed.Corrects = claimed.GetCorrects()
	signed, err := marshalRecord(sealed)
	if err != nil {
		return err
	}
	if completion.SealedLeaf, err = appendLeaf(tx, record, completion.GetId(), receipt.Sealed, signed); err != nil {
		return err
	}
	completion.State = fieldsyncv1.ProofState_PROOF_STATE_SEALED
	completion.Record, completion.Signature, completion.KeyId = signed, Sign(s.key, signed), s.kid
	completion.SealedAt = tx.Timestamp()
	completion.FeedSequence, err = enter(tx, store.FeedHeadKey(), store.FeedKey, completion)
	return err
}

func marshalRecord(record *fieldsyncv1.CompletionRecord) ([]byte, error) {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(record)
	if err != nil {
		return nil, fmt.Errorf("encoding the record of the completion %s: %w", record.GetCompletionId(), err)
	}
	return b, nil
}

// completionRecord gathers what is proven. It names members and devices by id and holds nothing of the citizen.
func completionRecord(task *fieldsyncv1.Task, completion *storagev1.Completion, sealed *timestamppb.Timestamp) *fieldsyncv1.CompletionRecord {
	facet := task.GetCompletion()
	record := &fieldsyncv1.CompletionRecord{
		CompletionId: completion.GetId(), TaskId: task.GetId(),
		TicketId: task.GetTicket().GetTicketId(), HotlineId: task.GetTicket().GetHotlineId(),
		CrewId: completion.GetCrewId(), MemberId: completion.GetMemberId(), DeviceId: completion.GetDeviceId(),
		Outcome: facet.GetOutcome(), Note: facet.GetNote(), Notes: task.GetNotes(),
		Completed: facet.GetCompleted(), Position: facet.GetPosition(),
		AcceptedAt: completion.GetAcceptedAt(), SealedAt: sealed,
		DueAt: task.GetAssignment().GetDueAt(), Deadline: judgeDeadline(facet.GetCompleted(), task.GetAssignment().GetDueAt()),
	}
	for _, photo := range completionPhotos(task) {
		record.Photos = append(record.Photos, &fieldsyncv1.PhotoFact{
			PhotoId: photo.GetId(), Sha256: photo.GetSha256(), SizeBytes: photo.GetSizeBytes(), Kind: photo.GetKind(),
			Captured: photo.GetCaptured(), Position: photo.GetPosition(), FromGallery: photo.GetFromGallery(),
			Findings: photo.GetFindings(),
		})
	}
	return record
}

// judgeDeadline tells whether something that happened between two bounds happened in time.
func judgeDeadline(at *fieldsyncv1.TimeInterval, due *timestamppb.Timestamp) fieldsyncv1.DeadlineVerdict {
	switch {
	case due == nil || at.GetLatest() == nil:
		return fieldsyncv1.DeadlineVerdict_DEADLINE_VERDICT_UNSPECIFIED
	case !at.GetLatest().AsTime().After(due.AsTime()):
		return fieldsyncv1.DeadlineVerdict_DEADLINE_VERDICT_MET
	case at.GetEarliest() != nil && at.GetEarliest().AsTime().After(due.AsTime()):
		return fieldsyncv1.DeadlineVerdict_DEADLINE_VERDICT_MISSED
	default:
		return fieldsyncv1.DeadlineVerdict_DEADLINE_VERDICT_OPEN
	}
}
