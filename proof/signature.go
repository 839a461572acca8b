package proof

import (
	"crypto/ed25519"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
)

// signingContext separates these signatures from any other use of the key.
const signingContext = "fieldsync/completion/v1\n"

// ErrSignature means that a completion is not what was signed, or was signed by another key.
var ErrSignature = errors.New("the signature does not fit the completion's record")

// Sign signs the bytes of a CompletionRecord: Ed25519 (RFC 8032) over "fieldsync/completion/v1\n" and the bytes.
func Sign(key ed25519.PrivateKey, record []byte) []byte {
	return ed25519.Sign(key, append([]byte(signingContext), record...))
}

// Verify checks a completion with the public key that its key_id names, and returns what it proves. It needs no server.
// ErrSignature where a bit was changed.
func Verify(key ed25519.PublicKey, completion *fieldsyncv1.Completion) (*fieldsyncv1.CompletionRecord, error) {
	if len(key) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("the public key has %d bytes, an Ed25519 key has %d", len(key), ed25519.PublicKeySize)
	}
	if !ed25519.Verify(key, append([]byte(signingContext), completion.GetRecord()...), completion.GetSignature()) {
		return nil, ErrSignature
	}
	record := &fieldsyncv1.CompletionRecord{}
	if err := proto.Unmarshal(completion.GetRecord(), record); err != nil {
		return nil, fmt.Errorf("the signed record cannot be read: %w", err)
	}
	return record, nil
}
