package receipt

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"math/big"

	"google.golang.org/protobuf/proto"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
)

// claimContext separates a device's signature under a claim from any other use of its key.
const claimContext = "fieldsync/claim/v1\n"

// OpenClaim checks what a device signed: ECDSA P-256 with SHA-256 over "fieldsync/claim/v1\n" and the claim, r and s of 32 bytes
// each, by the key given as a SubjectPublicKeyInfo. ok is false where anything is wrong.
func OpenClaim(deviceKey, claim, signature []byte) (opened *fieldsyncv1.CompletionClaim, ok bool) {
	parsed, err := x509.ParsePKIXPublicKey(deviceKey)
	key, isECDSA := parsed.(*ecdsa.PublicKey)
	if err != nil || !isECDSA || key.Curve != elliptic.P256() || len(signature) != 64 {
		return nil, false
	}
	sum := sha256.Sum256(append([]byte(claimContext), claim...))
	opened = &fieldsyncv1.CompletionClaim{}
	if !ecdsa.Verify(key, sum[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])) ||
		proto.Unmarshal(claim, opened) != nil {
		return nil, false
	}
	return opened, true
}

// NoteHash is a completion's note as a claim has it.
func NoteHash(note string) []byte {
	if note == "" {
		return nil
	}
	sum := sha256.Sum256([]byte(note))
	return sum[:]
}

// checkClaim returns the claim that the device signed, nil where it signed none, and checks that the record says the same.
// Errors: DataLoss "claim_unproven".
func checkClaim(record *fieldsyncv1.CompletionRecord) (*fieldsyncv1.CompletionClaim, error) {
	if len(record.GetClaim())+len(record.GetClaimSignature())+len(record.GetDeviceKey()) == 0 {
		return nil, nil //nolint:nilnil // Nothing was signed, which is no error.
	}
	claim, ok := OpenClaim(record.GetDeviceKey(), record.GetClaim(), record.GetClaimSignature())
	if !ok || claim.GetDeviceId() != record.GetDeviceId() || claim.GetMemberId() != record.GetMemberId() ||
		claim.GetTaskId() != record.GetTaskId() || claim.GetOutcome() != record.GetOutcome() ||
		!bytes.Equal(claim.GetNoteSha256(), NoteHash(record.GetNote())) ||
		// A record has times in whole seconds.
		(claim.GetRecorded().GetWall() == nil) != (record.GetCompleted().GetWall() == nil) ||
		claim.GetRecorded().GetWall().GetSeconds() != record.GetCompleted().GetWall().GetSeconds() ||
		!proto.Equal(claim.GetPosition(), record.GetPosition()) {
		return nil, fault.New(fault.DataLoss, "claim_unproven",
			"Nhật ký ghi một điều mà chữ ký của máy hiện trường không xác nhận: bên vận hành đã sửa lời khai.",
			"The log says what the device's signature does not: whoever runs the server has changed the claim.")
	}
	return claim, nil
}

// Vouches tells whether the device signed for a photo of the record.
func (p *Proven) Vouches(photo *fieldsyncv1.PhotoFact) bool {
	for _, claimed := range p.Claim.GetPhotos() {
		if bytes.Equal(claimed.GetSha256(), photo.GetSha256()) {
			return true
		}
	}
	return false
}
