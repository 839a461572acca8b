package proof

import (
	"crypto/sha256"
	"fmt"

	"google.golang.org/protobuf/proto"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/proof/receipt"
	"github.com/cong1022/fieldsync/store"
)

// Decide enters into the log what was decided about a sealed completion, in the transaction that takes it down, and returns the number
// of the leaf. Its record is the completion's with the decision, so that the receipt of it shows both. The caller saves the task.
func (s *Sealer) Decide(tx *store.Tx, record *storagev1.TaskRecord, completion *storagev1.Completion, decision *fieldsyncv1.FalseReportDecision) (leaf uint64, err error) {
	said := &fieldsyncv1.CompletionRecord{}
	if err := proto.Unmarshal(completion.GetRecord(), said); err != nil {
		return 0, fmt.Errorf("the record of the completion %s is damaged: %w", completion.GetId(), err)
	}
	sum := sha256.Sum256(completion.GetRecord())
	decision.CompletionId, decision.RecordSha256 = completion.GetId(), sum[:]
	said.Decision = decision
	encoded, err := marshalRecord(said)
	if err != nil {
		return 0, err
	}
	return appendLeaf(tx, record, completion.GetId(), receipt.Decided, encoded)
}

// DecisionReceipts are the receipts of a decision's leaf and of the completion that it is about. Call it in a View: it signs a
// checkpoint.
func (s *Sealer) DecisionReceipts(tx *store.Tx, completionID string, leaf uint64) (decision, seal []byte, err error) {
	entry, err := store.Get(tx, store.LogLeafKey(leaf))
	if err != nil {
		return nil, nil, err
	}
	if decision, err = s.receiptOf(tx, receipt.Decided, leaf, entry.GetSaid()); err != nil {
		return nil, nil, err
	}
	completion, err := store.Get(tx, store.CompletionKey(completionID))
	if err != nil {
		return nil, nil, err
	}
	seal, err = s.receipt(tx, completion)
	return decision, seal, err
}
