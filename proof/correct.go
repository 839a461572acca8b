package proof

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/proof/receipt"
	"github.com/cong1022/fieldsync/store"
)

// Reopen enters into the log that a task was opened again after the completion on which it rested, in the transaction that opens it.
// The leaf's record is the completion's with the correction, which names the leaf that it takes back. A completion is reopened
// once: whatever ends the task afterwards is another one. The caller saves the record.
func (s *Sealer) Reopen(tx *store.Tx, record *storagev1.TaskRecord, member, reason string) error {
	id := record.GetTask().GetCompletion().GetCompletionId()
	completion, err := store.Get(tx, store.CompletionKey(id))
	if err != nil {
		return err
	}
	if completion == nil {
		return fmt.Errorf("the task %s names the completion %s, which is not stored", record.GetTask().GetId(), id)
	}
	said := completionRecord(record.GetTask(), completion, nil) // Where it was claimed before there was a log.
	if known := newestRecord(completion); len(known) > 0 {
		said = &fieldsyncv1.CompletionRecord{}
		if err := proto.Unmarshal(known, said); err != nil {
			return fmt.Errorf("the record of the completion %s is damaged: %w", id, err)
		}
	}
	if said.Corrects, err = correction(tx, completion); err != nil {
		return err
	}
	said.Corrects.MemberId, said.Corrects.Reason = member, reason
	encoded, err := marshalRecord(said)
	if err != nil {
		return err
	}
	if completion.ReopenedLeaf, err = appendLeaf(tx, record, id, receipt.Reopened, encoded); err != nil {
		return err
	}
	completion.Reopened = said.GetCorrects()
	return store.Put(tx, store.CompletionKey(id), completion)
}

// supersede lets a new completion of the task, by its id, take the place of the one before it, which was reopened, and returns the
// correction that this is. Nil where there was none. Of the task's completions only the last is ever sealed: one that was only
// claimed until now has come to its end, which is told by its reopening and by the leaves of the new one.
func supersede(tx *store.Tx, record *storagev1.TaskRecord, id string) (*fieldsyncv1.Correction, error) {
	if record.GetLogLeaf() == 0 {
		return nil, nil //nolint:nilnil // It replaces nothing, which is no error.
	}
	last, err := store.Get(tx, store.LogLeafKey(record.GetLogLeaf()))
	if err != nil {
		return nil, err
	}
	former, err := store.Get(tx, store.CompletionKey(last.GetCompletionId()))
	if err != nil {
		return nil, err
	}
	former.SupersededBy = id
	if err := store.Put(tx, store.CompletionKey(former.GetId()), former); err != nil {
		return nil, err
	}
	return correction(tx, former)
}

// correction names the leaf of a completion by which it stands: its seal's, before that its claim's.
func correction(tx *store.Tx, of *storagev1.Completion) (*fieldsyncv1.Correction, error) {
	number := of.GetSealedLeaf()
	if number == 0 {
		number = of.GetClaimedLeaf()
	}
	leaf, err := leafHash(tx, number)
	return &fieldsyncv1.Correction{CompletionId: of.GetId(), Leaf: leaf[:], At: tx.Timestamp()}, err
}

func newestRecord(completion *storagev1.Completion) []byte {
	if len(completion.GetRecord()) > 0 {
		return completion.GetRecord()
	}
	return completion.GetClaimedRecord()
}
