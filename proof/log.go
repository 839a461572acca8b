package proof

import (
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	"github.com/cong1022/fieldsync/proof/receipt"
	"github.com/cong1022/fieldsync/store"
)

// appendLeaf enters a leaf behind all others, in the transaction of what it says, and returns its number, from 1. The tree's
// hashes that the leaf completes lie beside it, so a leaf is one record more in the transaction (and the head's). The task's
// newest leaf is set in its record, which the caller saves.
func appendLeaf(tx *store.Tx, record *storagev1.TaskRecord, completion string, kind receipt.Kind, said []byte) (uint64, error) {
	head, err := logHead(tx)
	if err != nil {
		return 0, err
	}
	previous, err := leafHash(tx, record.GetLogLeaf())
	if err != nil {
		return 0, err
	}
	leaf, _, err := receipt.NewLeaf(kind, said, previous)
	if err != nil {
		return 0, err
	}
	completed, err := tlog.StoredHashesForRecordHash(int64(head.GetSize()), leaf.Hash(), tree{tx}) //nolint:gosec // Counted up from 0.
	if err != nil {
		return 0, fmt.Errorf("appending to the proof log: %w", err)
	}
	entry := &storagev1.LogLeaf{
		CompletionId: completion, Kind: uint32(kind), Previous: record.GetLogLeaf(),
		Hashes: make([]byte, 0, len(completed)*tlog.HashSize),
	}
	if kind == receipt.Decided || kind == receipt.Reopened {
		entry.Said = said
	}
	for _, hash := range completed {
		entry.Hashes = append(entry.Hashes, hash[:]...)
	}
	head.Size++
	record.LogLeaf = head.GetSize()
	if err := store.Put(tx, store.LogLeafKey(head.GetSize()), entry); err != nil {
		return 0, err
	}
	return head.GetSize(), store.Put(tx, store.LogHeadKey(), head)
}

func logHead(tx *store.Tx) (*storagev1.LogHead, error) {
	head, err := store.Get(tx, store.LogHeadKey())
	if err == nil && head == nil {
		head = &storagev1.LogHead{}
	}
	return head, err
}

// leafHash is the hash of the leaf with the number; zero for the number 0.
func leafHash(tx *store.Tx, number uint64) (tlog.Hash, error) {
	if number == 0 {
		return tlog.Hash{}, nil
	}
	entry, err := store.Get(tx, store.LogLeafKey(number))
	if err != nil {
		return tlog.Hash{}, err
	}
	return hashAt(entry, number, 0)
}

// hashAt is the hash at a level among those that a leaf completes.
func hashAt(entry *storagev1.LogLeaf, number uint64, level int) (tlog.Hash, error) {
	at := level * tlog.HashSize
	if len(entry.GetHashes()) < at+tlog.HashSize {
		return tlog.Hash{}, fmt.Errorf("the leaf %d of the proof log lacks its hash at level %d", number, level)
	}
	return tlog.Hash(entry.GetHashes()[at : at+tlog.HashSize]), nil
}

// tree reads the hashes of the log's tree in a transaction.
type tree struct{ tx *store.Tx }

// ReadHashes implements tlog.HashReader. The n-th hash of a level lies with the leaf that completes it, the last one below it.
func (t tree) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	hashes := make([]tlog.Hash, 0, len(indexes))
	for _, index := range indexes {
		level, n := tlog.SplitStoredHashIndex(index)
		number := uint64(n+1) << level //nolint:gosec // Not negative.
		entry, err := store.Get(t.tx, store.LogLeafKey(number))
		if err != nil {
			return nil, err
		}
		hash, err := hashAt(entry, number, level)
		if err != nil {
			return nil, err
		}
		hashes = append(hashes, hash)
	}
	return hashes, nil
}
