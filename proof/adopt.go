package proof

import (
	"context"
	"fmt"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/proof/receipt"
	"github.com/cong1022/fieldsync/store"
)

// adoptAtOnce bounds a transaction of adopt by what it writes: its completions have at most this many bytes together, unless
// one alone has more.
const adoptAtOnce = 128 << 10

// adopt enters completions that were sealed before the store had a log, in the order of the feed, until none is left. It is
// for the start, before anything else is sealed; what a crash leaves the next start finishes. A log that begins so proves
// that these completions have not changed since, not that they were the same before.
func (s *Sealer) adopt(ctx context.Context) error {
	for more := true; more; {
		err := s.store.Update(ctx, func(tx *store.Tx) (err error) {
			more, err = adoptSome(tx)
			return err
		})
		if err != nil {
			return fmt.Errorf("entering former completions into the proof log: %w", err)
		}
	}
	return nil
}

func adoptSome(tx *store.Tx) (more bool, err error) {
	head, err := logHead(tx)
	if err != nil {
		return false, err
	}
	if head.GetWhole() {
		return false, nil
	}
	adopted, size := head.GetAdopted(), 0
	for stub, err := range store.Scan(tx, store.Feed(), store.FeedKey(adopted)) {
		if err != nil {
			return false, err
		}
		if size >= adoptAtOnce {
			more = true
			break
		}
		completion, err := store.Get(tx, store.CompletionKey(stub.GetId()))
		if err != nil {
			return false, err
		}
		adopted = completion.GetFeedSequence()
		if completion.GetSealedLeaf() != 0 {
			continue
		}
		size += len(completion.GetRecord())
		if err := adoptCompletion(tx, completion); err != nil {
			return false, err
		}
	}
	if head, err = logHead(tx); err != nil { // The leaves have moved it.
		return false, err
	}
	head.Adopted, head.Whole = adopted, !more
	return more, store.Put(tx, store.LogHeadKey(), head)
}

func adoptCompletion(tx *store.Tx, completion *storagev1.Completion) error {
	record, err := store.Get(tx, store.TaskKey(completion.GetTaskId()))
	if err != nil {
		return err
	}
	if record == nil {
		return fmt.Errorf("the completion %s is of the task %q, which is not stored", completion.GetId(), completion.GetTaskId())
	}
	if completion.SealedLeaf, err = appendLeaf(tx, record, completion.GetId(), receipt.Sealed, completion.GetRecord()); err != nil {
		return err
	}
	if completion.GetState() == fieldsyncv1.ProofState_PROOF_STATE_DELIVERED {
		if completion.DeliveredLeaf, err = appendLeaf(tx, record, completion.GetId(), receipt.Delivered, completion.GetRecord()); err != nil {
			return err
		}
	}
	if err := store.Put(tx, store.CompletionKey(completion.GetId()), completion); err != nil {
		return err
	}
	// The task has changed for nobody who syncs it, so its revision stays.
	return store.Put(tx, store.TaskKey(completion.GetTaskId()), record)
}
