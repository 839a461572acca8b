package proof

import (
	"context"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/cong1022/fieldsync/auth"
	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/proof/receipt"
	"github.com/cong1022/fieldsync/store"
)

var _ fieldsyncv1connect.ProofServiceHandler = (*Sealer)(nil)

// GetReceipt implements fieldsync.v1.ProofService: the receipt of a completion under the log's newest checkpoint, and that of
// its reopening, where it has one.
// Errors: NotFound "completion_unknown".
func (s *Sealer) GetReceipt(ctx context.Context, request *fieldsyncv1.GetReceiptRequest) (*fieldsyncv1.GetReceiptResponse, error) {
	p, err := auth.PrincipalFrom(ctx)
	if err != nil {
		return nil, err
	}
	response := &fieldsyncv1.GetReceiptResponse{}
	err = s.store.View(ctx, func(tx *store.Tx) error {
		completion, err := store.Get(tx, store.CompletionKey(request.GetCompletionId()))
		if err != nil {
			return err
		}
		sees, err := seesCompletion(tx, p, completion)
		if err != nil {
			return err
		}
		if !sees || completion.GetSealedLeaf()+completion.GetClaimedLeaf() == 0 {
			return fault.New(fault.NotFound, "completion_unknown",
				"Không có kết quả này, hoặc kết quả chưa có biên nhận.", "There is no such completion, or it has no receipt yet.")
		}
		response.SupersededBy = completion.GetSupersededBy()
		if response.Receipt, err = s.receipt(tx, completion); err != nil || completion.GetReopenedLeaf() == 0 {
			return err
		}
		entry, err := store.Get(tx, store.LogLeafKey(completion.GetReopenedLeaf()))
		if err != nil {
			return err
		}
		response.Reopened, err = s.receiptOf(tx, receipt.Reopened, completion.GetReopenedLeaf(), entry.GetSaid())
		return err
	})
	if err != nil {
		return nil, err
	}
	return response, nil
}

// seesCompletion tells whether p may have the receipt. A crew member keeps the right to what they, their device or their crew
// completed, whoever has the task now.
func seesCompletion(tx *store.Tx, p auth.Principal, completion *storagev1.Completion) (bool, error) {
	switch {
	case completion == nil:
		return false, nil
	case p.Role == fieldsyncv1.Role_ROLE_HOTLINE:
		return true, nil
	case p.InCrew():
		return completion.GetMemberId() == p.MemberID || p.CrewID != "" && completion.GetCrewId() == p.CrewID, nil
	}
	record, err := store.Get(tx, store.TaskKey(completion.GetTaskId()))
	return p.SeesTask(record), err
}

// receipt writes the newest receipt of a completion that has a leaf.
func (s *Sealer) receipt(tx *store.Tx, completion *storagev1.Completion) ([]byte, error) {
	kind, number, said := receipt.Sealed, completion.GetSealedLeaf(), completion.GetRecord()
	if number == 0 {
		kind, number, said = receipt.Claimed, completion.GetClaimedLeaf(), completion.GetClaimedRecord()
	}
	return s.receiptOf(tx, kind, number, said)
}

func (s *Sealer) receiptOf(tx *store.Tx, kind receipt.Kind, number uint64, said []byte) ([]byte, error) {
	entry, err := store.Get(tx, store.LogLeafKey(number))
	if err != nil {
		return nil, err
	}
	previous, err := leafHash(tx, entry.GetPrevious())
	if err != nil {
		return nil, err
	}
	index := int64(number) - 1 //nolint:gosec // Counted up from 1.
	size, checkpoint, err := s.checkpointFor(tx, index)
	if err != nil {
		return nil, err
	}
	path, err := tlog.ProveRecord(size, index, tree{tx})
	if err != nil {
		return nil, fmt.Errorf("proving the leaf %d of the log: %w", number, err)
	}
	return receipt.Receipt{
		Kind: kind, Previous: previous, Record: said, Index: index, Path: path, Checkpoint: checkpoint,
	}.Format(), nil
}

// checkpointFor is the checkpoint for the receipt of a leaf: one that covers it and that witnesses have cosigned, else the newest.
func (s *Sealer) checkpointFor(tx *store.Tx, index int64) (size int64, signed []byte, err error) {
	if size, err = bestCosigned(tx, index); err != nil || size == 0 {
		if err != nil {
			return 0, nil, err
		}
		return s.checkpoint(tx)
	}
	signed, err = s.checkpointAt(tx, size)
	return size, signed, err
}

// askedCheckpoint is the log's newest checkpoint, or the one that witnesses have cosigned.
func (s *Sealer) askedCheckpoint(tx *store.Tx, cosigned bool) (size int64, signed []byte, err error) {
	if !cosigned {
		return s.checkpoint(tx)
	}
	if size, err = bestCosigned(tx, 0); err != nil {
		return 0, nil, err
	}
	if size == 0 {
		return 0, nil, fault.New(fault.NotFound, "checkpoint_not_cosigned",
			"Chưa bên chứng kiến nào ký điểm kiểm của nhật ký này.", "No witness has cosigned a checkpoint of this log yet.")
	}
	signed, err = s.checkpointAt(tx, size)
	return size, signed, err
}

// GetCheckpoint implements fieldsync.v1.ProofService: the log's newest checkpoint, or the cosigned one, and its consistency with an
// earlier size. Errors: OutOfRange "log_ahead", NotFound "checkpoint_not_cosigned".
func (s *Sealer) GetCheckpoint(ctx context.Context, request *fieldsyncv1.GetCheckpointRequest) (*fieldsyncv1.GetCheckpointResponse, error) {
	response := &fieldsyncv1.GetCheckpointResponse{}
	err := s.store.View(ctx, func(tx *store.Tx) error {
		size, checkpoint, err := s.askedCheckpoint(tx, request.GetCosigned())
		if err != nil {
			return err
		}
		since := int64(request.GetSinceSize()) //nolint:gosec // The request's rules bound it.
		if since > size {
			return fault.New(fault.OutOfRange, "log_ahead",
				fmt.Sprintf("Nhật ký của máy chủ chỉ có %d mục: máy chủ đã được khôi phục từ bản sao lưu, hoặc là máy chủ khác.", size),
				fmt.Sprintf("The server's log has %d leaves only: it was restored from a backup, or is another server.", size))
		}
		response.Checkpoint = string(checkpoint)
		if since == 0 || since == size {
			return nil
		}
		hashes, err := tlog.ProveTree(size, since, tree{tx})
		for _, hash := range hashes {
			response.Consistency = append(response.Consistency, hash[:])
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return response, nil
}
