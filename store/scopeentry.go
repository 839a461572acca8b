package store

import (
	"encoding/binary"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/timestamppb"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
)

// The numbers of the fields of ScopeEntry and Step.
const (
	entryTask     = 1
	entryRevision = 2
	entryEntered  = 3
	entrySteps    = 4
	entryRemoved  = 5
	entryReason   = 6
	entryAt       = 7

	stepSequence = 1
	stepRevision = 2
)

// step is a storage.Step: sixteen of them lie side by side, where messages of their own would take a kilobyte.
type step struct{ sequence, revision uint64 }

// decodeEntry decodes an entry of a scope's log, its steps apart. It is what each change of a task and each line of each delta costs. What
// is not written as this version writes it is left to the general decoder.
func decodeEntry(key Key[storagev1.ScopeEntry], value []byte) (*storagev1.ScopeEntry, []step, error) {
	if entry, steps := plainEntry(value); entry != nil {
		return entry, steps, nil
	}
	entry, err := decode[storagev1.ScopeEntry](key, value)
	if err != nil {
		return nil, nil, err
	}
	steps := make([]step, 0, len(entry.GetSteps())+1)
	for _, s := range entry.GetSteps() {
		steps = append(steps, step{s.GetSequence(), s.GetRevision()})
	}
	entry.Steps = nil
	return entry, steps, nil
}

// plainEntry returns nil where there is anything that it does not know.
func plainEntry(value []byte) (*storagev1.ScopeEntry, []step) {
	entry := &storagev1.ScopeEntry{}
	var steps []step
	for rest := value; len(rest) > 0; {
		number, kind, n := protowire.ConsumeTag(rest)
		if n < 0 {
			return nil, nil
		}
		rest = rest[n:]
		switch kind {
		case protowire.VarintType:
			v, n := protowire.ConsumeVarint(rest)
			if n < 0 || !setNumber(entry, number, v) {
				return nil, nil
			}
			rest = rest[n:]
		case protowire.BytesType:
			b, n := protowire.ConsumeBytes(rest)
			if n < 0 {
				return nil, nil
			}
			switch number {
			case entryTask:
				if !utf8.Valid(b) {
					return nil, nil
				}
				entry.TaskId = string(b)
			case entrySteps:
				sequence, revision, ok := twoNumbers(b)
				if !ok {
					return nil, nil
				}
				if steps == nil { // The rest is at least so many of them; and one is appended when the entry moves.
					steps = make([]step, 0, min(maxSteps, len(rest)/(n+1)+1)+1)
				}
				steps = append(steps, step{sequence, revision})
			case entryAt:
				seconds, nanos, ok := twoNumbers(b)
				if !ok || entry.GetAt() != nil {
					return nil, nil
				}
				entry.At = &timestamppb.Timestamp{Seconds: int64(seconds), Nanos: int32(nanos)} //nolint:gosec // As they were encoded.
			default:
				return nil, nil
			}
			rest = rest[n:]
		default:
			return nil, nil
		}
	}
	return entry, steps
}

func setNumber(entry *storagev1.ScopeEntry, number protowire.Number, v uint64) bool {
	switch number {
	case entryRevision:
		entry.Revision = v
	case entryEntered:
		entry.Entered = v
	case entryRemoved:
		entry.Removed = protowire.DecodeBool(v)
	case entryReason:
		entry.Reason = fieldsyncv1.RemovalReason(v) //nolint:gosec // As it was encoded.
	default:
		return false
	}
	return true
}

// twoNumbers are the fields 1 and 2 of a message that has no others: of a Step, and of a Timestamp.
func twoNumbers(b []byte) (first, second uint64, ok bool) {
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 || kind != protowire.VarintType {
			return 0, 0, false
		}
		v, m := protowire.ConsumeVarint(b[n:])
		if m < 0 {
			return 0, 0, false
		}
		switch b = b[n+m:]; number {
		case stepSequence:
			first = v
		case stepRevision:
			second = v
		default:
			return 0, 0, false
		}
	}
	return first, second, true
}

// encodeEntry encodes an entry with its steps as the general encoder does it, in one pass.
func encodeEntry(entry *storagev1.ScopeEntry, steps []step) []byte {
	to := make([]byte, 0, 64+len(entry.GetTaskId())+len(steps)*24)
	if id := entry.GetTaskId(); id != "" {
		to = protowire.AppendString(protowire.AppendTag(to, entryTask, protowire.BytesType), id)
	}
	to = appendNumber(to, entryRevision, entry.GetRevision())
	to = appendNumber(to, entryEntered, entry.GetEntered())
	for _, s := range steps {
		to = appendTwo(to, entrySteps, s.sequence, s.revision)
	}
	to = appendNumber(to, entryRemoved, protowire.EncodeBool(entry.GetRemoved()))
	to = appendNumber(to, entryReason, uint64(entry.GetReason())) //nolint:gosec // An enum is encoded like this, a negative one in ten bytes.
	if at := entry.GetAt(); at != nil {
		to = appendTwo(to, entryAt, uint64(at.GetSeconds()), uint64(at.GetNanos())) //nolint:gosec // The same.
	}
	return append(to, entry.ProtoReflect().GetUnknown()...) // What a later version has added.
}

func appendNumber(to []byte, number protowire.Number, v uint64) []byte {
	if v == 0 {
		return to
	}
	return protowire.AppendVarint(protowire.AppendTag(to, number, protowire.VarintType), v)
}

// appendTwo appends a message of the two numbers that twoNumbers reads.
func appendTwo(to []byte, number protowire.Number, first, second uint64) []byte {
	var two [2 * (1 + binary.MaxVarintLen64)]byte
	return protowire.AppendBytes(protowire.AppendTag(to, number, protowire.BytesType),
		appendNumber(appendNumber(two[:0], stepSequence, first), stepRevision, second))
}

// getEntry returns the entry at a place of a scope's log, nil where there is none, with its steps.
func getEntry(tx *Tx, scope Scope, place uint64) (*storagev1.ScopeEntry, []step, error) {
	key := ScopeEntryKey(scope, place)
	value, err := tx.get(key)
	if err != nil || value == nil {
		return nil, nil, err
	}
	return decodeEntry(key, value)
}

// putEntry stores it.
func putEntry(tx *Tx, scope Scope, place uint64, entry *storagev1.ScopeEntry, steps []step) error {
	key, value := ScopeEntryKey(scope, place), encodeEntry(entry, steps)
	tx.wrote(key, value)
	return tx.kv.Set(key, value)
}
