package proof

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"
	"google.golang.org/protobuf/proto"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/proof/receipt"
	"github.com/cong1022/fieldsync/store"
)

// ErrAudit means that a store's log and its completions do not say the same.
var ErrAudit = errors.New("the proof log is not what the completions say")

// Audit reads the whole log of a store, in one snapshot, and makes every leaf and every hash of the tree anew from the
// completions. Its cost grows with the log. ErrAudit where anything differs: a leaf without a completion or with another one,
// a completion without its leaves; a leaf without the decision on a false report that it speaks of, such a decision without its leaf.
func Audit(ctx context.Context, st *store.Store) error {
	return st.View(ctx, func(tx *store.Tx) error {
		head, err := logHead(tx)
		if err != nil {
			return err
		}
		var number uint64
		for entry, err := range store.Scan(tx, store.LogLeaves(), nil) {
			if err != nil {
				return err
			}
			number++
			if err := auditLeaf(tx, entry, number); err != nil {
				return err
			}
		}
		if number != head.GetSize() {
			return fmt.Errorf("%w: %d leaves are stored, %d were written", ErrAudit, number, head.GetSize())
		}
		if err := auditCompletions(tx); err != nil {
			return err
		}
		return auditDecisions(tx)
	})
}

func auditLeaf(tx *store.Tx, entry *storagev1.LogLeaf, number uint64) error {
	completion, err := store.Get(tx, store.CompletionKey(entry.GetCompletionId()))
	if err != nil {
		return err
	}
	kind, said, own := receipt.Kind(entry.GetKind()), completion.GetRecord(), uint64(0) //nolint:gosec // Compared below.
	switch kind {
	case receipt.Claimed:
		said, own = completion.GetClaimedRecord(), completion.GetClaimedLeaf()
	case receipt.Sealed:
		own = completion.GetSealedLeaf()
	case receipt.Delivered:
		own = completion.GetDeliveredLeaf()
	case receipt.Decided:
		said = entry.GetSaid()
		if own, err = decidedLeaf(tx, completion, said); err != nil {
			return err
		}
	case receipt.Reopened:
		said, own = entry.GetSaid(), completion.GetReopenedLeaf()
	}
	if own != number || entry.GetPrevious() >= number {
		return fmt.Errorf("%w: leaf %d (%v of %s)", ErrAudit, number, kind, entry.GetCompletionId())
	}
	previous, err := leafHash(tx, entry.GetPrevious())
	if err != nil {
		return errors.Join(ErrAudit, err)
	}
	leaf, _, err := receipt.NewLeaf(kind, said, previous)
	if err != nil {
		return errors.Join(ErrAudit, err)
	}
	hashes, err := tlog.StoredHashesForRecordHash(int64(number)-1, leaf.Hash(), tree{tx}) //nolint:gosec // Counted up from 1.
	if err != nil {
		return errors.Join(ErrAudit, err)
	}
	for level, want := range hashes {
		if got, err := hashAt(entry, number, level); err != nil || got != want {
			return fmt.Errorf("%w: leaf %d (%v of %s), level %d", ErrAudit, number, kind, entry.GetCompletionId(), level)
		}
	}
	return nil
}

// auditCompletions looks for what has no leaf, and for what took another's place and does not say so. A claim from before there was a
// log needs none: it has no record either.
func auditCompletions(tx *store.Tx) error {
	for completion, err := range store.Scan(tx, store.Completions(), nil) {
		if err != nil {
			return err
		}
		state := completion.GetState()
		if len(completion.GetClaimedRecord()) > 0 && completion.GetClaimedLeaf() == 0 ||
			state >= fieldsyncv1.ProofState_PROOF_STATE_SEALED && completion.GetSealedLeaf() == 0 ||
			state >= fieldsyncv1.ProofState_PROOF_STATE_DELIVERED && completion.GetDeliveredLeaf() == 0 ||
			completion.GetReopened() != nil && completion.GetReopenedLeaf() == 0 {
			return fmt.Errorf("%w: the completion %s is %v and lacks a leaf", ErrAudit, completion.GetId(), state)
		}
		if completion.GetSupersededBy() == "" {
			continue
		}
		by, err := store.Get(tx, store.CompletionKey(completion.GetSupersededBy()))
		if err != nil {
			return err
		}
		record := &fieldsyncv1.CompletionRecord{}
		if err := proto.Unmarshal(by.GetClaimedRecord(), record); err != nil || record.GetCorrects().GetCompletionId() != completion.GetId() {
			return fmt.Errorf("%w: the completion %s is superseded by %q, which does not say so", ErrAudit, completion.GetId(), completion.GetSupersededBy())
		}
	}
	return nil
}

// decidedLeaf is the number of the leaf that is noted with the decision that a record holds. 0 where no such decision was taken down.
func decidedLeaf(tx *store.Tx, completion *storagev1.Completion, said []byte) (uint64, error) {
	record := &fieldsyncv1.CompletionRecord{}
	if err := proto.Unmarshal(said, record); err != nil {
		return 0, errors.Join(ErrAudit, err)
	}
	report, err := store.Get(tx, store.FalseReportKey(completion.GetTicketId()))
	for _, decided := range report.GetDecided() {
		if proto.Equal(decided.GetDecision(), record.GetDecision()) {
			return decided.GetLeaf(), err
		}
	}
	return 0, err
}

// auditDecisions looks for decisions without a leaf. That each leaf has its decision is seen from the leaf's side.
func auditDecisions(tx *store.Tx) error {
	for report, err := range store.Scan(tx, store.FalseReports(), nil) {
		if err != nil {
			return err
		}
		for _, decided := range report.GetDecided() {
			entry, err := store.Get(tx, store.LogLeafKey(decided.GetLeaf()))
			if err != nil {
				return err
			}
			if receipt.Kind(entry.GetKind()) != receipt.Decided { //nolint:gosec // Compared.
				return fmt.Errorf("%w: a decision on the false report of the ticket %s has no leaf", ErrAudit, report.GetTicketId())
			}
		}
	}
	return nil
}

// CheckCheckpoint tells whether a checkpoint is of this store's log: whether the log, at the checkpoint's size, had its root.
// DataLoss "log_inconsistent" where it is not.
func CheckCheckpoint(ctx context.Context, st *store.Store, checkpoint receipt.Checkpoint) error {
	return st.View(ctx, func(tx *store.Tx) error {
		head, err := logHead(tx)
		if err != nil {
			return err
		}
		size := int64(head.GetSize()) //nolint:gosec // Counted up from 0.
		now := receipt.Checkpoint{Origin: checkpoint.Origin, Size: min(size, checkpoint.Size)}
		if now.Root, err = tlog.TreeHash(now.Size, tree{tx}); err != nil {
			return err
		}
		return receipt.CheckConsistency(checkpoint, now, nil)
	})
}
