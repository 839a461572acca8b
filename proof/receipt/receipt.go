package receipt

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
)

const header = "c2sp.org/tlog-proof@v1"

// Receipt is a completion with its place in the log.
type Receipt struct {
	// Kind, Previous and Record are what the leaf follows from: NewLeaf.
	Kind     Kind
	Previous tlog.Hash
	// Record is a serialized fieldsync.v1.CompletionRecord.
	Record []byte
	// Index is the leaf's place in the log, from 0.
	Index int64
	// Path leads from the leaf to the checkpoint's root (RFC 6962, section 2.1.1).
	Path tlog.RecordProof
	// Checkpoint is the signed checkpoint, as it is.
	Checkpoint []byte
}

// Format writes the receipt as a C2SP tlog-proof. The extra data are the kind (1 byte), the previous leaf's hash (32 bytes) and
// the record.
func (r Receipt) Format() []byte {
	extra := append([]byte{byte(r.Kind)}, r.Previous[:]...)
	extra = append(extra, r.Record...)
	b := fmt.Appendf(nil, "%s\nextra %s\nindex %d\n", header, base64.StdEncoding.EncodeToString(extra), r.Index)
	for _, hash := range r.Path {
		b = fmt.Appendf(b, "%s\n", hash)
	}
	b = append(b, '\n')
	return append(b, r.Checkpoint...)
}

// Parse reads what Format wrote, and nothing else that would mean the same. It proves nothing: Verify does.
// Errors: Invalid "receipt_malformed".
func Parse(text []byte) (Receipt, error) {
	head, checkpoint, found := bytes.Cut(text, []byte("\n\n"))
	lines := strings.Split(string(head), "\n")
	if len(text) > maxSize || !found || len(lines) < 3 || len(lines) > 3+64 {
		return Receipt{}, malformed()
	}
	extra64, isExtra := strings.CutPrefix(lines[1], "extra ")
	extra, err := base64.StdEncoding.DecodeString(extra64)
	if err != nil || !isExtra || len(extra) < 1+tlog.HashSize {
		return Receipt{}, malformed()
	}
	index10, isIndex := strings.CutPrefix(lines[2], "index ")
	index, err := strconv.ParseInt(index10, 10, 64)
	if err != nil || !isIndex || index < 0 || index > maxLeaves {
		return Receipt{}, malformed()
	}
	r := Receipt{
		Kind: Kind(extra[0]), Previous: tlog.Hash(extra[1 : 1+tlog.HashSize]), Record: extra[1+tlog.HashSize:],
		Index: index, Checkpoint: checkpoint,
	}
	for _, line := range lines[3:] {
		hash, err := tlog.ParseHash(line)
		if err != nil {
			return Receipt{}, malformed()
		}
		r.Path = append(r.Path, hash)
	}
	if !bytes.Equal(r.Format(), text) { // Other headers, leading zeros, other base64 of the same bytes.
		return Receipt{}, malformed()
	}
	return r, nil
}

// Proven is what a receipt proves.
type Proven struct {
	// Kind says how far the completion had come.
	Kind Kind
	// Record is the completion.
	Record *fieldsyncv1.CompletionRecord
	// Leaf is the leaf's hash in the log (RFC 6962, section 2.1): what a correction names.
	Leaf tlog.Hash
	// Index is the leaf's place in the log, from 0.
	Index int64
	// Checkpoint is the log in which it stands.
	Checkpoint Signed
	// Claim is what the device signed when it was recorded, and the record says the same. Nil where it signed nothing.
	Claim *fieldsyncv1.CompletionClaim
}

// Verify checks a receipt: its log signed the checkpoint, the record's leaf stands in that checkpoint's tree, and what the device
// signed, if it did, is what the record says. It needs no server. Errors: Invalid "receipt_malformed", "checkpoint_malformed";
// DataLoss "checkpoint_unsigned", "receipt_unproven", "claim_unproven".
func Verify(text []byte, keys Keys) (*Proven, error) {
	r, err := Parse(text)
	if err != nil {
		return nil, err
	}
	checkpoint, err := OpenCheckpoint(r.Checkpoint, keys)
	if err != nil {
		return nil, err
	}
	leaf, record, err := NewLeaf(r.Kind, r.Record, r.Previous)
	if err != nil || tlog.CheckRecord(r.Path, checkpoint.Size, checkpoint.Root, r.Index, leaf.Hash()) != nil {
		return nil, fault.New(fault.DataLoss, "receipt_unproven",
			"Nội dung biên nhận không có trong nhật ký: tệp đã bị sửa.",
			"What the receipt says does not stand in the log: it was changed.")
	}
	claim, err := checkClaim(record)
	if err != nil {
		return nil, err
	}
	return &Proven{Kind: r.Kind, Record: record, Leaf: leaf.Hash(), Index: r.Index, Checkpoint: checkpoint, Claim: claim}, nil
}

// Photo returns the photo of the completion whose original has exactly these bytes. Errors: DataLoss "photo_unproven".
func (p *Proven) Photo(original []byte) (*fieldsyncv1.PhotoFact, error) {
	sum := sha256.Sum256(original)
	for _, photo := range p.Record.GetPhotos() {
		if bytes.Equal(photo.GetSha256(), sum[:]) {
			return photo, nil
		}
	}
	return nil, fault.New(fault.DataLoss, "photo_unproven",
		"Ảnh này không có trong biên nhận: không phải ảnh của báo cáo, hoặc đã bị sửa dù chỉ một bit.",
		"The receipt has no such photo: it is not the completion's, or at least one bit of it was changed.")
}

// Corrects tells whether this receipt takes back or replaces what an earlier one proves: it names that one's very leaf.
func (p *Proven) Corrects(earlier *Proven) bool {
	return bytes.Equal(p.Record.GetCorrects().GetLeaf(), earlier.Leaf[:])
}

func malformed() error {
	return fault.New(fault.Invalid, "receipt_malformed",
		"Đây không phải một biên nhận đúng dạng: tệp đã bị sửa hoặc bị cắt.",
		"This is not a receipt as it should be written: it was changed or cut.")
}
