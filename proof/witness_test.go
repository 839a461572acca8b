package proof

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
)

const cosignedAt = 1763974800 // 2025-11-24 09:00 UTC.

func newWitness(name string, seed byte) witness {
	key := ed25519.NewKeyFromSeed(append(make([]byte, ed25519.SeedSize-1), seed))
	material := append([]byte{4}, key[ed25519.SeedSize:]...)
	sum := sha256.Sum256(append([]byte(name+"\n"), material...))
	hash := binary.BigEndian.Uint32(sum[:])
	return witness{name, fmt.Sprintf("%s+%08x+%s", name, hash, base64.StdEncoding.EncodeToString(material)), hash, key}
}

// Name implements note.Signer.
func (w witness) Name() string { return w.name }

// KeyHash implements note.Signer.
func (w witness) KeyHash() uint32 { return w.hash }

// Sign implements note.Signer.
func (w witness) Sign(text []byte) ([]byte, error) {
	signature := ed25519.Sign(w.key, fmt.Appendf(nil, "cosignature/v1\ntime %d\n%s", cosignedAt, text))
	return append(binary.BigEndian.AppendUint64(nil, cosignedAt), signature...), nil
}
