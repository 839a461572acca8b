package hotline

import (
	"encoding/binary"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	"github.com/cong1022/fieldsync/internal/fault"
)

// The first byte of a cursor: its version, and of which list it is.
const (
	completionCursor = 1
	changeCursor     = 0x81

	cursorBytes = 1 + 4 + 8
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
		return cursor{}, fault.New(fault.Invalid, "cursor_invalid",
			"Con trỏ không phải do máy chủ này cấp: hãy gửi lại nguyên văn con trỏ đã nhận, hoặc để trống để đọc từ đầu.",
			"The cursor is not one that this server gives: send back what it gave, or leave it empty to begin anew.")
	}
	return cursor{list: list, serverEpoch: binary.BigEndian.Uint32(b[1:5]), sequence: binary.BigEndian.Uint64(b[5:])}, nil
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
