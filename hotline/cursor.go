package hotline

import (
	"encoding/binary"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/store"
)

// The first byte of a cursor: its version, and of which list it is.
const (
	completionCursor = 1
	claimCursor      = 2 // Of the completions with the claims.
	changeCursor     = 0x81

	cursorBytes      = 1 + 4 + 8
	claimCursorBytes = cursorBytes + 8
)

// cursor is a place in a list: a byte that says which, the server epoch (4 bytes) and the sequence of the last entry that was
// read (8 bytes), big-endian.
type cursor struct {
	list        byte
	serverEpoch uint32
	sequence    uint64
}

func (c cursor) bytes() []byte {
	b := append(make([]byte, 0, cursorBytes), c.list)
	b = binary.BigEndian.AppendUint32(b, c.serverEpoch)
	return binary.BigEndian.AppendUint64(b, c.sequence)
}

// parseCursor reads what bytes wrote; the empty cursor is the beginning. Invalid "cursor_invalid" for anything else.
func parseCursor(list byte, b []byte, serverEpoch uint32) (cursor, error) {
	if len(b) == 0 {
		return cursor{list: list, serverEpoch: serverEpoch}, nil
	}
	if len(b) != cursorBytes || b[0] != list {
		return cursor{}, cursorInvalid()
	}
	return cursor{list: list, serverEpoch: binary.BigEndian.Uint32(b[1:5]), sequence: binary.BigEndian.Uint64(b[5:])}, nil
}

func cursorInvalid() error {
	return fault.New(fault.Invalid, "cursor_invalid",
		"Con trỏ không phải do máy chủ này cấp: hãy gửi lại nguyên văn con trỏ đã nhận, hoặc để trống để đọc từ đầu.",
		"The cursor is not one that this server gives: send back what it gave, or leave it empty to begin anew.")
}

// check finds out whether the cursor can be of this store, whose list ends at head. OutOfRange "cursor_ahead".
func (c cursor) check(serverEpoch uint32, head *storagev1.SequenceHead) error {
	if c.serverEpoch == serverEpoch && c.sequence <= head.GetSequence() {
		return nil
	}
	return fault.New(fault.OutOfRange, "cursor_ahead",
		"Máy chủ đã được khôi phục từ bản sao lưu sau khi cấp con trỏ này: hãy đọc lại từ đầu với con trỏ trống.",
		"The server was restored from a backup since it gave this cursor: begin again from the empty cursor.")
}

// feedCursor is a place in the list of completions: the server epoch, and the sequences of the last seal and of the last claim that
// were read.
type feedCursor struct {
	serverEpoch uint32
	// claims: they are listed as well.
	claims    bool
	sequences [2]uint64
}

// lists are the feeds that are read, as sequences has them.
func (c feedCursor) lists() []feed {
	if c.claims {
		return []feed{seals(), claims()}
	}
	return []feed{seals()}
}

func (c feedCursor) bytes() []byte {
	if !c.claims {
		return cursor{completionCursor, c.serverEpoch, c.sequences[0]}.bytes()
	}
	return binary.BigEndian.AppendUint64(cursor{claimCursor, c.serverEpoch, c.sequences[0]}.bytes(), c.sequences[1])
}

// parseFeedCursor reads what bytes wrote, with the claims or without: whoever asks for claims from now on may go on from where it is,
// with all claims that stand. Invalid "cursor_invalid" for anything else.
func parseFeedCursor(b []byte, serverEpoch uint32, withClaims bool) (feedCursor, error) {
	if len(b) == claimCursorBytes && b[0] == claimCursor {
		at, err := parseCursor(claimCursor, b[:cursorBytes], serverEpoch)
		return feedCursor{at.serverEpoch, withClaims, [2]uint64{at.sequence, binary.BigEndian.Uint64(b[cursorBytes:])}}, err
	}
	at, err := parseCursor(completionCursor, b, serverEpoch)
	return feedCursor{at.serverEpoch, withClaims, [2]uint64{at.sequence}}, err
}

// check finds out whether the cursor can be of this store. OutOfRange "cursor_ahead".
func (c feedCursor) check(tx *store.Tx, serverEpoch uint32) error {
	for i, list := range c.lists() {
		head, err := store.Get(tx, list.head)
		if err != nil {
			return err
		}
		if err := (cursor{serverEpoch: c.serverEpoch, sequence: c.sequences[i]}).check(serverEpoch, head); err != nil {
			return err
		}
	}
	return nil
}
