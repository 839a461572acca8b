// Package receipt checks what fieldsync proves of completions, without the server: receipts (C2SP tlog-proof), checkpoints
// (C2SP tlog-checkpoint) and the consistency of one checkpoint with another. All it needs is the log's public key. It is what
// `fieldsync verify` runs, and meant for the hotline's own software too.
//
// Everything a receipt says is either recomputed or signed, and there is one way to write it down: a receipt of which any bit
// was changed does not verify.
package receipt

import (
	"crypto/sha256"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"
	"google.golang.org/protobuf/proto"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
)

// leafContext begins every leaf, so that no leaf can be taken for anything else that is hashed.
const leafContext = "fieldsync/leaf/v1\n"

// Kind is what a leaf says of a completion.
type Kind byte

// The kinds. Once in a log, a number keeps its meaning.
const (
	// Claimed: a crew member said so, and the server accepted it. Photos may still be on the phone.
	Claimed Kind = 1
	// Sealed: every photo has arrived and has the hash that was declared.
	Sealed Kind = 2
	// Delivered: the hotline has acknowledged it.
	Delivered Kind = 3
	// Decided: whether the report was false was decided; the record says how, and on what.
	Decided Kind = 4
	// Reopened: the task was opened again, for the work was not done; the record says who did, why, and which leaf is taken back.
	Reopened Kind = 5
)

// String is the kind's name.
func (k Kind) String() string {
	switch k {
	case Claimed:
		return "claimed"
	case Sealed:
		return "sealed"
	case Delivered:
		return "delivered"
	case Decided:
		return "decided"
	case Reopened:
		return "reopened"
	default:
		return fmt.Sprintf("kind %d", byte(k))
	}
}

// Leaf is what stands in the log: hashes only. Its bytes are "fieldsync/leaf/v1\n", the kind (1 byte) and the four hashes (32
// bytes each) in the order of the fields.
type Leaf struct {
	Kind Kind
	// Record is the SHA-256 of the serialized fieldsync.v1.CompletionRecord.
	Record tlog.Hash
	// Photos is the SHA-256 of the photos' SHA-256 hashes, one behind the other in the order of the record.
	Photos tlog.Hash
	// Previous is the log's hash of the leaf that the same task had before this one: the task's history. Zero where it had none.
	Previous tlog.Hash
	// Ticket is the SHA-256 of fieldsync's id of the ticket, a newline, and the hotline's id of it.
	Ticket tlog.Hash
}

// NewLeaf makes the leaf of a serialized fieldsync.v1.CompletionRecord, and returns the record too.
func NewLeaf(kind Kind, record []byte, previous tlog.Hash) (Leaf, *fieldsyncv1.CompletionRecord, error) {
	decoded := &fieldsyncv1.CompletionRecord{}
	if err := proto.Unmarshal(record, decoded); err != nil {
		return Leaf{}, nil, fmt.Errorf("the record cannot be read: %w", err)
	}
	photos := sha256.New()
	for _, photo := range decoded.GetPhotos() {
		photos.Write(photo.GetSha256())
	}
	leaf := Leaf{
		Kind: kind, Record: sha256.Sum256(record), Previous: previous,
		Ticket: sha256.Sum256([]byte(decoded.GetTicketId() + "\n" + decoded.GetHotlineId())),
	}
	photos.Sum(leaf.Photos[:0])
	return leaf, decoded, nil
}

// Bytes is the leaf as the log hashes it.
func (l Leaf) Bytes() []byte {
	b := append(make([]byte, 0, len(leafContext)+1+4*tlog.HashSize), leafContext...)
	b = append(b, byte(l.Kind))
	for _, hash := range []tlog.Hash{l.Record, l.Photos, l.Previous, l.Ticket} {
		b = append(b, hash[:]...)
	}
	return b
}

// Hash is the leaf's hash in the log (RFC 6962, section 2.1).
func (l Leaf) Hash() tlog.Hash { return tlog.RecordHash(l.Bytes()) }
