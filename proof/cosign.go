package proof

import (
	"context"
	"encoding/base64"
	"encoding/binary"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/cong1022/fieldsync/auth"
	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/proof/receipt"
	"github.com/cong1022/fieldsync/store"
)

// cosignedKept is how many cosigned checkpoints are kept, the newest: witnesses that come at different times can still cosign the same.
const cosignedKept = 16

// AddCosignature implements fieldsync.v1.ProofService: it keeps the cosignatures of configured witnesses under a checkpoint that this log
// signed and that still is the log's beginning. Who brings it does not matter, the witness's signature does. Errors: Invalid
// "checkpoint_malformed", "witness_unknown"; DataLoss "checkpoint_unsigned", "log_inconsistent".
func (s *Sealer) AddCosignature(ctx context.Context, request *fieldsyncv1.AddCosignatureRequest) (*fieldsyncv1.AddCosignatureResponse, error) {
	if _, err := auth.PrincipalFrom(ctx); err != nil {
		return nil, err
	}
	published, err := s.publishedKeys(ctx)
	if err != nil {
		return nil, err
	}
	for _, witness := range s.witnesses {
		published += witness + "\n"
	}
	keys, err := receipt.ParseKeys([]byte(published))
	if err != nil {
		return nil, err
	}
	signed, err := receipt.OpenCheckpoint([]byte(request.GetCheckpoint()), keys)
	if err != nil {
		return nil, err
	}
	cosignatures, err := s.cosignatures(request.GetCheckpoint(), signed)
	if err != nil {
		return nil, err
	}
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		if err := s.ours(tx, signed.Checkpoint); err != nil {
			return err
		}
		return keepCosigned(tx, uint64(signed.Size), cosignatures) //nolint:gosec // Not negative.
	})
	if err != nil {
		return nil, err
	}
	response := &fieldsyncv1.AddCosignatureResponse{}
	return response, s.store.View(ctx, func(tx *store.Tx) error {
		text, err := s.checkpointAt(tx, signed.Size)
		response.Checkpoint = string(text)
		return err
	})
}

// cosignatures are those of configured witnesses under a checkpoint whose signatures were checked.
func (s *Sealer) cosignatures(text string, signed receipt.Signed) (found []*storagev1.Cosignature, err error) {
	var verifiers []note.Verifier
	for _, witness := range s.witnesses {
		verifier, err := receipt.ParseWitness(witness)
		if err != nil {
			return nil, err
		}
		if signed.CosignedBy(verifier) {
			verifiers = append(verifiers, verifier)
		}
	}
	if len(verifiers) == 0 {
		return nil, fault.New(fault.Invalid, "witness_unknown",
			"Điểm kiểm không mang chữ ký của bên chứng kiến nào được cấu hình (proof.witnesses).",
			"The checkpoint bears no cosignature by a witness that is configured (proof.witnesses).")
	}
	opened, err := note.Open([]byte(text), note.VerifierList(verifiers...))
	if err != nil {
		return nil, err // Nothing that OpenCheckpoint has not read already.
	}
	for _, signature := range opened.Sigs {
		raw, err := base64.StdEncoding.DecodeString(signature.Base64)
		if err != nil {
			return nil, err
		}
		found = append(found, &storagev1.Cosignature{Name: signature.Name, KeyHash: signature.Hash, Signature: raw[4:]})
	}
	return found, nil
}

// ours checks that a checkpoint is of this log, as it stands in the store.
func (s *Sealer) ours(tx *store.Tx, checkpoint receipt.Checkpoint) error {
	head, err := logHead(tx)
	if err != nil {
		return err
	}
	here := receipt.Checkpoint{Origin: s.origin, Size: min(checkpoint.Size, int64(head.GetSize()))} //nolint:gosec // Counted up from 0.
	if here.Root, err = tlog.TreeHash(here.Size, tree{tx}); err != nil {
		return err
	}
	return receipt.CheckConsistency(checkpoint, here, nil)
}

// keepCosigned adds cosignatures to those of a checkpoint, of each key the newest, and lets the oldest checkpoints go.
func keepCosigned(tx *store.Tx, size uint64, cosignatures []*storagev1.Cosignature) error {
	kept, err := store.Get(tx, store.LogCosignedKey(size))
	if err != nil {
		return err
	}
	if kept == nil {
		kept = &storagev1.Cosigned{Size: size}
	}
	for _, cosignature := range cosignatures {
		addCosignature(kept, cosignature)
	}
	if err := store.Put(tx, store.LogCosignedKey(size), kept); err != nil {
		return err
	}
	var sizes []uint64
	for cosigned, err := range store.Scan(tx, store.LogCosigned(), nil) {
		if err != nil {
			return err
		}
		sizes = append(sizes, cosigned.GetSize())
	}
	for _, old := range sizes[:max(0, len(sizes)-cosignedKept)] {
		if err := store.Delete(tx, store.LogCosignedKey(old)); err != nil {
			return err
		}
	}
	return nil
}

func addCosignature(kept *storagev1.Cosigned, cosignature *storagev1.Cosignature) {
	for i, known := range kept.GetCosignatures() {
		if known.GetName() == cosignature.GetName() && known.GetKeyHash() == cosignature.GetKeyHash() {
			if binary.BigEndian.Uint64(known.GetSignature()) < binary.BigEndian.Uint64(cosignature.GetSignature()) {
				kept.Cosignatures[i] = cosignature
			}
			return
		}
	}
	kept.Cosignatures = append(kept.Cosignatures, cosignature)
}

// bestCosigned is the size of the checkpoint that most witnesses have cosigned, of several the newest, among those with more than
// so many leaves. 0 where there is none.
func bestCosigned(tx *store.Tx, above int64) (size int64, err error) {
	most := 0
	for cosigned, err := range store.Scan(tx, store.LogCosigned(), nil) { // The newest is the last.
		if err != nil {
			return 0, err
		}
		if n := len(cosigned.GetCosignatures()); int64(cosigned.GetSize()) > above && n >= most { //nolint:gosec // Counted up from 0.
			size, most = int64(cosigned.GetSize()), n //nolint:gosec // As above.
		}
	}
	return size, nil
}

// cosigned are the cosignatures of a checkpoint as a note carries them.
func cosigned(tx *store.Tx, size int64) (signatures []note.Signature, err error) {
	kept, err := store.Get(tx, store.LogCosignedKey(uint64(size))) //nolint:gosec // Not negative.
	for _, cosignature := range kept.GetCosignatures() {
		raw := append(binary.BigEndian.AppendUint32(nil, cosignature.GetKeyHash()), cosignature.GetSignature()...)
		signatures = append(signatures, note.Signature{
			Name: cosignature.GetName(), Hash: cosignature.GetKeyHash(), Base64: base64.StdEncoding.EncodeToString(raw),
		})
	}
	return signatures, err
}
