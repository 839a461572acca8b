package sync

import (
	"encoding/binary"
	"hash/fnv"

	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/store"
)

// cursorVersion is the first byte of every cursor.
const cursorVersion = 1

// cursor is how far a replica has come. Its bytes are opaque to phones: version, server epoch (4 bytes), fingerprint of the
// scope (4 bytes), then as varints scope epoch and sequence, and while a reading is under way what that adds. It is not
// signed: it opens nothing, since the scope that is read comes from the caller's identity, and what it claims to hold
// concerns only the caller's own replica.
type cursor struct {
	serverEpoch uint32
	scope       uint32
	scopeEpoch  uint32
	// sequence is where the replica stands: it holds the scope as of that sequence. While reading it stays where the reading
	// began, 0 for a replica that began from nothing: a task may move in the log between two pages, past what was read, so
	// nothing more is known for sure until the end is reached.
	sequence uint64

	// reading: the last answer was a page with more behind it.
	reading bool
	// start is the head when the reading began. A replica that began from nothing need not hear of what had left by then.
	start uint64
	// lanes is up to where each lane of the log was read.
	lanes [lanes]uint64
}

func (c cursor) encode() []byte {
	b := []byte{cursorVersion}
	b = binary.BigEndian.AppendUint32(b, c.serverEpoch)
	b = binary.BigEndian.AppendUint32(b, c.scope)
	b = binary.AppendUvarint(b, uint64(c.scopeEpoch))
	b = binary.AppendUvarint(b, c.sequence)
	if c.reading {
		b = binary.AppendUvarint(b, c.start)
		for _, lane := range c.lanes {
			b = binary.AppendUvarint(b, lane)
		}
	}
	return b
}

// decodeCursor reads a cursor; the empty one is the zero cursor, which fits no server. Invalid "cursor_invalid" for bytes
// that are no cursor of this version.
func decodeCursor(b []byte) (cursor, error) {
	invalid := fault.New(fault.Invalid, "cursor_invalid",
		"Con trỏ đồng bộ không hợp lệ; hãy gửi con trỏ rỗng để tải lại từ đầu.",
		"Not a cursor of this server; send an empty one to begin again.")
	if len(b) == 0 {
		return cursor{}, nil
	}
	if len(b) < 9 || b[0] != cursorVersion {
		return cursor{}, invalid
	}
	c := cursor{serverEpoch: binary.BigEndian.Uint32(b[1:]), scope: binary.BigEndian.Uint32(b[5:])}
	b = b[9:]
	epoch, b := uvarint(b)
	sequence, b := uvarint(b)
	if b == nil || epoch > 1<<32-1 {
		return cursor{}, invalid
	}
	c.scopeEpoch, c.sequence = uint32(epoch), sequence
	if c.reading = len(b) > 0; c.reading {
		c.start, b = uvarint(b)
		for i := range c.lanes {
			c.lanes[i], b = uvarint(b)
		}
		if b == nil || len(b) > 0 {
			return cursor{}, invalid
		}
	}
	return c, nil
}

// uvarint takes a number off b. The rest is nil where there was none.
func uvarint(b []byte) (value uint64, rest []byte) {
	value, n := binary.Uvarint(b)
	if n <= 0 {
		return 0, nil
	}
	return value, b[n:]
}

// fingerprint tells scopes apart in a cursor: FNV-1a. A collision means a phone that changed crews keeps its cursor, and
// the digest shows it.
func fingerprint(scope store.Scope) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(scope)) // Never fails.
	return h.Sum32()
}
