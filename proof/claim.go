package proof

import (
	"bytes"

	"google.golang.org/protobuf/proto"

	"github.com/cong1022/fieldsync/auth"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/proof/receipt"
	"github.com/cong1022/fieldsync/store"
)

// CheckClaim tells whether what the device signed with a completion is by its key and says what the mutation says. A completion
// without a signature, of a phone that does not sign yet, is good.
func (s *Sealer) CheckClaim(tx *store.Tx, by auth.Principal, m *fieldsyncv1.Mutation) (good bool, err error) {
	said := m.GetComplete()
	if len(said.GetClaim())+len(said.GetClaimSignature()) == 0 {
		return true, nil
	}
	device, err := store.Get(tx, store.DeviceKey(by.DeviceID))
	if err != nil {
		return false, err
	}
	claim, ok := receipt.OpenClaim(device.GetPublicKey(), said.GetClaim(), said.GetClaimSignature())
	return ok && claim.GetDeviceId() == by.DeviceID && claim.GetMemberId() == by.MemberID && claim.GetTaskId() == m.GetTaskId() &&
		claim.GetOutcome() == said.GetOutcome() && bytes.Equal(claim.GetNoteSha256(), receipt.NoteHash(said.GetNote())) &&
		proto.Equal(claim.GetRecorded(), m.GetRecorded()) && proto.Equal(claim.GetPosition(), m.GetPosition()), nil
}

// signClaim enters into a record what the device signed, with the key by which anyone can check it.
func signClaim(tx *store.Tx, record *fieldsyncv1.CompletionRecord, said *fieldsyncv1.Complete) error {
	if len(said.GetClaimSignature()) == 0 {
		return nil
	}
	device, err := store.Get(tx, store.DeviceKey(record.GetDeviceId()))
	record.Claim, record.ClaimSignature, record.DeviceKey = said.GetClaim(), said.GetClaimSignature(), device.GetPublicKey()
	return err
}
