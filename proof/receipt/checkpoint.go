package receipt

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/cong1022/fieldsync/internal/fault"
)

// maxSize bounds what is read as a checkpoint or a receipt, in bytes. The store bounds what it is made of to less.
const maxSize = 4 << 20

// maxLeaves bounds a tree: JSON and JavaScript carry whole numbers up to here.
const maxLeaves = 1<<53 - 1

// Checkpoint is a log at a size (C2SP tlog-checkpoint).
type Checkpoint struct {
	// Origin names the log.
	Origin string
	// Size is how many leaves it has.
	Size int64
	// Root is the hash of the whole tree (RFC 6962).
	Root tlog.Hash
}

// Text is what is signed.
func (c Checkpoint) Text() string {
	return fmt.Sprintf("%s\n%d\n%s\n", c.Origin, c.Size, c.Root)
}

// Signed is a checkpoint whose signatures were checked.
type Signed struct {
	Checkpoint

	// Witnesses are the names of the witnesses in the key file that have cosigned it, in the order of their signatures.
	Witnesses []string

	cosigners []nameHash
}

// CosignedBy tells whether a witness of the key file has cosigned it: with this very key, not only under this name.
func (s Signed) CosignedBy(witness note.Verifier) bool {
	return slices.Contains(s.cosigners, nameHash{witness.Name(), witness.KeyHash()})
}

// OpenCheckpoint reads a signed checkpoint and checks that its log signed it. Signatures by unknown keys are ignored, as the
// format wants it; one by a known key that does not fit is an error.
// Errors: Invalid "checkpoint_malformed", DataLoss "checkpoint_unsigned".
func OpenCheckpoint(text []byte, keys Keys) (Signed, error) {
	if len(text) > maxSize {
		return Signed{}, checkpointMalformed()
	}
	opened, err := note.Open(text, keys.known)
	var unverified *note.UnverifiedNoteError
	var invalid *note.InvalidSignatureError
	switch {
	case errors.As(err, &unverified), errors.As(err, &invalid):
		return Signed{}, checkpointUnsigned()
	case err != nil:
		return Signed{}, checkpointMalformed()
	}
	checkpoint, ok := parseCheckpoint(opened.Text)
	if !ok || !canonicalSignatures(text, opened) {
		return Signed{}, checkpointMalformed()
	}
	signed, byLog := Signed{Checkpoint: checkpoint}, false
	for _, signature := range opened.Sigs {
		id := nameHash{signature.Name, signature.Hash}
		if keys.witnesses[id] {
			signed.Witnesses, signed.cosigners = append(signed.Witnesses, signature.Name), append(signed.cosigners, id)
		}
		byLog = byLog || keys.logs[id] && signature.Name == checkpoint.Origin
	}
	if !byLog {
		return Signed{}, checkpointUnsigned()
	}
	return signed, nil
}

func parseCheckpoint(text string) (Checkpoint, bool) {
	lines := strings.Split(text, "\n")
	if len(lines) != 4 || lines[0] == "" { // Three lines, and nothing behind the last newline: this log writes no extensions.
		return Checkpoint{}, false
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 0 || size > maxLeaves {
		return Checkpoint{}, false
	}
	root, err := tlog.ParseHash(lines[2])
	c := Checkpoint{Origin: lines[0], Size: size, Root: root}
	return c, err == nil && c.Text() == text
}

// canonicalSignatures refuses what the note package reads beside the one way to write a note: base64 that says the same with
// other bits, and a second signature by one key, which it drops unseen.
func canonicalSignatures(text []byte, n *note.Note) bool {
	if bytes.Count(text[len(n.Text):], []byte("\n")) != 1+len(n.Sigs)+len(n.UnverifiedSigs) {
		return false
	}
	for _, signatures := range [][]note.Signature{n.Sigs, n.UnverifiedSigs} {
		for _, signature := range signatures {
			raw, err := base64.StdEncoding.DecodeString(signature.Base64)
			if err != nil || base64.StdEncoding.EncodeToString(raw) != signature.Base64 {
				return false
			}
		}
	}
	return true
}

// CheckConsistency checks that the log of the earlier checkpoint is the beginning of the later one's. proof is what the log
// gives for it (RFC 6962, section 2.1.2); none is needed for equal sizes and for an empty beginning.
// Errors: DataLoss "log_inconsistent".
func CheckConsistency(earlier, later Checkpoint, proof []tlog.Hash) error {
	var err error
	switch {
	case earlier.Origin != later.Origin:
		err = fmt.Errorf("they are of two logs, %q and %q", earlier.Origin, later.Origin)
	case earlier.Size > later.Size:
		err = fmt.Errorf("the later one has %d leaves, the earlier one %d", later.Size, earlier.Size)
	case earlier.Size == later.Size:
		if earlier.Root != later.Root {
			err = errors.New("one size, two roots")
		}
	case earlier.Size > 0:
		err = tlog.CheckTree(proof, later.Size, later.Root, earlier.Size, earlier.Root)
	}
	if err == nil {
		return nil
	}
	return fault.New(fault.DataLoss, "log_inconsistent",
		fmt.Sprintf("Hai điểm kiểm không khớp nhau: nhật ký đã bị viết lại, hoặc bằng chứng sai (%v). Hãy giữ cả hai tệp và hỏi đơn vị vận hành.", err),
		fmt.Sprintf("The two checkpoints do not fit together: the log was rewritten, or the proof is wrong (%v). Keep both files and ask who runs the log.", err))
}

func checkpointMalformed() error {
	return fault.New(fault.Invalid, "checkpoint_malformed",
		"Đây không phải một điểm kiểm đúng dạng.", "This is not a checkpoint as it should be written.")
}

func checkpointUnsigned() error {
	return fault.New(fault.DataLoss, "checkpoint_unsigned",
		"Điểm kiểm không mang chữ ký đúng của nhật ký: tệp đã bị sửa, hoặc tệp khóa là của nhật ký khác.",
		"The checkpoint bears no good signature of its log: it was changed, or the key file is of another log.")
}
