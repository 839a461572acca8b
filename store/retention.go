package store

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
)

// Numbering names the numbers of a device under an install epoch, as the keys of its verdicts do.
type Numbering string

func (n Numbering) verdicts() Prefix[storagev1.VerdictRecord] {
	return newKey("verdict").raw([]byte(n)).bytes()
}

func judgedAt(pair Pair) (time.Time, error) {
	record, err := decode[storagev1.VerdictRecord](pair.Key, pair.Value)
	if err != nil {
		return time.Time{}, err
	}
	verdict := new(fieldsyncv1.Verdict)
	if err := proto.Unmarshal(record.GetVerdict(), verdict); err != nil {
		return time.Time{}, fmt.Errorf("the record of %q is damaged: %w", pair.Key, err)
	}
	return verdict.GetJudgedAt().AsTime(), nil
}

// Held counts what is kept for a time.
type Held struct {
	Count uint64
	// Oldest is when the oldest was made; zero where there is none.
	Oldest time.Time
}

func (h *Held) add(at time.Time) {
	if h.Count++; h.Oldest.IsZero() || at.Before(h.Oldest) {
		h.Oldest = at
	}
}

// HeldVerdicts counts the verdicts. They are dense, so only the oldest of each numbering is read.
func HeldVerdicts(tx *Tx) (held Held, err error) {
	for pair, err := range tx.scan(MutationHeads(), nil) {
		if err != nil {
			return held, err
		}
		head, err := decode[storagev1.MutationHead](pair.Key, pair.Value)
		if err != nil {
			return held, err
		}
		for verdict, err := range tx.scan(Numbering(pair.Key[len(MutationHeads()):]).verdicts(), nil) {
			if err != nil {
				return held, err
			}
			at, err := judgedAt(verdict)
			if err != nil {
				return held, err
			}
			held.add(at)
			held.Count += head.GetNumber() - head.GetForgotten() - 1
			break
		}
	}
	return held, nil
}

// HeldRemovals counts what the logs of all scopes remember to have left them. It reads the logs to their ends.
func HeldRemovals(tx *Tx) (held Held, err error) {
	for entry, err := range Scan[storagev1.ScopeEntry](tx, newKey("scope-log").bytes(), nil) {
		if err != nil {
			return held, err
		}
		if entry.GetRemoved() {
			held.add(entry.GetAt().AsTime())
		}
	}
	return held, nil
}

// HeldUploads counts the uploads that are not finished.
func HeldUploads(tx *Tx) (held Held, err error) {
	for open, err := range Scan(tx, AllOpenUploads(), nil) {
		if err != nil {
			return held, err
		}
		upload, err := Get(tx, UploadKey(open.GetId()))
		if err != nil {
			return held, err
		}
		if upload != nil {
			held.add(upload.GetCreatedAt().AsTime())
		}
	}
	return held, nil
}

// HeldAudit counts the entries of the audit log. It reads all of them.
func HeldAudit(tx *Tx) (held Held, err error) {
	for record, err := range Scan(tx, Audit(), nil) {
		if err != nil {
			return held, err
		}
		held.add(record.GetEntry().GetAt().AsTime())
	}
	return held, nil
}
