package phone

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"

	bolt "go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
)

// claimContext separates a signature under a claim from any other use of the device's key.
const claimContext = "fieldsync/claim/v1\n"

// signClaim signs what a completion asserts, with the device's key, at the moment of recording: whatever happens to it on its way
// and on the server, the receipt shows what this device said.
func signClaim(tx *bolt.Tx, st *state, task *fieldsyncv1.Task, m *fieldsyncv1.Mutation) error {
	key, err := parseKey(st.Key)
	if err != nil {
		return err
	}
	said := m.GetComplete()
	claim := &fieldsyncv1.CompletionClaim{
		DeviceId: st.DeviceID, MemberId: st.MemberID, TaskId: m.GetTaskId(), Outcome: said.GetOutcome(),
		Recorded: m.GetRecorded(), Position: m.GetPosition(),
	}
	if said.GetNote() != "" {
		sum := sha256.Sum256([]byte(said.GetNote()))
		claim.NoteSha256 = sum[:]
	}
	if claim.Photos, err = photosOf(tx, task); err != nil {
		return err
	}
	if said.Claim, err = (proto.MarshalOptions{Deterministic: true}).Marshal(claim); err != nil {
		return err
	}
	sum := sha256.Sum256(append([]byte(claimContext), said.GetClaim()...))
	r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
	if err != nil {
		return err
	}
	said.ClaimSignature = make([]byte, 64)
	r.FillBytes(said.GetClaimSignature()[:32])
	s.FillBytes(said.GetClaimSignature()[32:])
	return nil
}

// photosOf are the photos of a task that this phone knows of, those included whose attach still waits in the outbox.
func photosOf(tx *bolt.Tx, task *fieldsyncv1.Task) (claimed []*fieldsyncv1.ClaimedPhoto, err error) {
	known := make(map[string]bool)
	for _, photo := range task.GetPhotos() {
		known[photo.GetId()] = true
		claimed = append(claimed, &fieldsyncv1.ClaimedPhoto{PhotoId: photo.GetId(), Sha256: photo.GetSha256()})
	}
	for q, err := range outbox(tx) {
		if err != nil {
			return nil, err
		}
		if photo := q.mutation.GetAttachPhoto().GetPhoto(); photo != nil && q.mutation.GetTaskId() == task.GetId() && !known[photo.GetPhotoId()] {
			claimed = append(claimed, &fieldsyncv1.ClaimedPhoto{PhotoId: photo.GetPhotoId(), Sha256: photo.GetSha256()})
		}
	}
	return claimed, nil
}
