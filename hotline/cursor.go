package hotline

import (
	"encoding/binary"

	"github.com/cong1022/fieldsync/internal/fault"
)

const (
	cursorVersion = 1
	cursorBytes   = 1 + 4 + 8
)

// cursor is a place in the feed of completions: a version byte, the server epoch (4 bytes) and the sequence of the last
// completion that was read (8 bytes), big-endian.
type cursor struct {
	serverEpoch uint32
	sequence    uint64
}

func (c cursor) bytes() []byte {
	b := append(make([]byte, 0, cursorBytes), cursorVersion)
	b = binary.BigEndian.AppendUint32(b, c.serverEpoch)
	return binary.BigEndian.AppendUint64(b, c.sequence)
}

// parseCursor reads what bytes wrote; the empty cursor is the beginning. Invalid "cursor_invalid" for anything else.
func parseCursor(b []byte, serverEpoch uint32) (cursor, error) {
	if len(b) == 0 {
		return cursor{serverEpoch: serverEpoch}, nil
	}
	if len(b) != cursorBytes || b[0] != cursorVersion {
		return cursor{}, fault.New(fault.Invalid, "cursor_invalid",
			"Con trỏ không phải do máy chủ này cấp: hãy gửi lại nguyên văn con trỏ đã nhận, hoặc để trống để đọc từ đầu.",
			"The cursor is not one that this server gives: send back what it gave, or leave it empty to begin anew.")
	}
	return cursor{serverEpoch: binary.BigEndian.Uint32(b[1:5]), sequence: binary.BigEndian.Uint64(b[5:])}, nil
}

func cursorAhead() error {
	return fault.New(fault.OutOfRange, "cursor_ahead",
		"Máy chủ đã được khôi phục từ bản sao lưu sau khi cấp con trỏ này: hãy đọc lại từ đầu với con trỏ trống.",
		"The server was restored from a backup since it gave this cursor: begin again from the empty cursor.")
}
