package store

import (
	"encoding/base32"
	"encoding/binary"
)

// Lower-case Crockford base32 keeps the order of the bytes and leaves out the letters that people misread.
const idAlphabet = "0123456789abcdefghjkmnpqrstvwxyz"

// NewID returns a new id of 20 characters: the transaction's time in milliseconds (48 bits), so that ids sort by age, and
// 48 random bits: of a thousand ids made in one millisecond, two are the same once in 500 million times.
func (tx *Tx) NewID() (string, error) {
	var b [12]byte
	binary.BigEndian.PutUint64(b[:8], uint64(tx.now.UnixMilli())<<16)
	if err := tx.Random(b[6:]); err != nil {
		return "", err
	}
	return base32.NewEncoding(idAlphabet).WithPadding(base32.NoPadding).EncodeToString(b[:]), nil
}
