package proof

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cong1022/fieldsync/auth"
	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/faultwire"
	"github.com/cong1022/fieldsync/proof/receipt"
	"github.com/cong1022/fieldsync/store"
)

// logKeyOverlap is how long a key that is replaced goes on signing beside the new one: the time in which everybody who checks
// gets the new key.
const logKeyOverlap = 90 * 24 * time.Hour

// origin names the log. A store that was restored from a backup has another epoch, so it goes on under another name: leaves
// that were lost can never lead to two checkpoints of one log that contradict each other.
func origin(st *store.Store) string { return fmt.Sprintf("fieldsync/log/%08x", st.ServerEpoch()) }

// logKeys are the keys of this log that sign now, the oldest first, and those of all logs that this store ever signed.
func (s *Sealer) logKeys(tx *store.Tx) (signing, all []*storagev1.SigningKey, err error) {
	all, err = auth.SigningKeys(tx, storagev1.KeyUse_KEY_USE_LOG)
	for _, key := range all {
		retired := key.GetRetiresAt() != nil && !key.GetRetiresAt().AsTime().After(tx.Now())
		if key.GetName() == s.origin && !retired && !key.GetSignsFrom().AsTime().After(tx.Now()) {
			signing = append(signing, key)
		}
	}
	return signing, all, err
}

func (s *Sealer) newLogKey(tx *store.Tx) error {
	key, err := auth.NewSigningKey(tx, storagev1.KeyUse_KEY_USE_LOG, tx.Now())
	if err != nil {
		return err
	}
	key.Name = s.origin
	return store.Put(tx, store.SigningKeyKey(key.GetKid()), key)
}

// RotateLogKey implements fieldsync.v1.ProofService: it makes a new key for checkpoints, which signs from now on. Those before it
// sign beside it for 90 days more and stay published for good: a receipt verifies with any key that signed it.
func (s *Sealer) RotateLogKey(ctx context.Context, _ *fieldsyncv1.RotateLogKeyRequest) (*fieldsyncv1.RotateLogKeyResponse, error) {
	if _, err := auth.PrincipalFrom(ctx); err != nil {
		return nil, err
	}
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		signing, _, err := s.logKeys(tx)
		if err != nil {
			return err
		}
		for _, key := range signing {
			if key.GetRetiresAt() != nil {
				continue
			}
			key.RetiresAt = timestamppb.New(tx.Now().Add(logKeyOverlap))
			if err := store.Put(tx, store.SigningKeyKey(key.GetKid()), key); err != nil {
				return err
			}
		}
		return s.newLogKey(tx)
	})
	if err != nil {
		return nil, err
	}
	keys, err := s.publishedKeys(ctx)
	return &fieldsyncv1.RotateLogKeyResponse{Keys: keys}, err
}

// checkpoint signs the log as the transaction sees it. Only what is committed may be signed: call it in a View.
func (s *Sealer) checkpoint(tx *store.Tx) (size int64, signed []byte, err error) {
	head, err := logHead(tx)
	if err != nil {
		return 0, nil, err
	}
	size = int64(head.GetSize()) //nolint:gosec // Counted up from 0.
	signed, err = s.checkpointAt(tx, size)
	return size, signed, err
}

// checkpointAt signs the log as it was at a size that it has had, with the keys that sign now, beside what witnesses have cosigned of it.
// Call it in a View.
func (s *Sealer) checkpointAt(tx *store.Tx, size int64) ([]byte, error) {
	root, err := tlog.TreeHash(size, tree{tx})
	if err != nil {
		return nil, fmt.Errorf("hashing the proof log: %w", err)
	}
	keys, _, err := s.logKeys(tx)
	if err != nil {
		return nil, err
	}
	cosignatures, err := cosigned(tx, size)
	if err != nil {
		return nil, err
	}
	signers := make([]note.Signer, 0, len(keys))
	for _, key := range keys {
		signer, err := newNoteSigner(key)
		if err != nil {
			return nil, err
		}
		signers = append(signers, signer)
	}
	text := receipt.Checkpoint{Origin: s.origin, Size: size, Root: root}.Text()
	return note.Sign(&note.Note{Text: text, UnverifiedSigs: cosignatures}, signers...)
}

// noteSigner signs notes (C2SP signed-note, Ed25519) with a key of the store.
type noteSigner struct {
	note.Verifier

	key  ed25519.PrivateKey
	text string // The verifier key.
}

// Sign implements note.Signer.
func (s noteSigner) Sign(message []byte) ([]byte, error) { return ed25519.Sign(s.key, message), nil }

func newNoteSigner(key *storagev1.SigningKey) (noteSigner, error) {
	private := ed25519.NewKeyFromSeed(key.GetSeed())
	text, err := note.NewEd25519VerifierKey(key.GetName(), ed25519.PublicKey(private[ed25519.SeedSize:]))
	if err != nil {
		return noteSigner{}, err
	}
	verifier, err := note.NewVerifier(text)
	return noteSigner{Verifier: verifier, key: private, text: text}, err
}

// LogKeys serves the public keys of the log as verifier keys (C2SP signed-note), one a line, former ones included: the file
// that `fieldsync verify --key` takes. Its place is /.well-known/fieldsync-log-keys.txt. It needs no token.
func (s *Sealer) LogKeys(log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		lines, err := s.publishedKeys(r.Context())
		if err != nil {
			faultwire.WriteHTTP(w, r, log, err)
			return
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "public, max-age=3600")
		if _, err := io.WriteString(w, lines); err != nil {
			log.DebugContext(r.Context(), "answering with the log's keys", "error", err)
		}
	})
}

func (s *Sealer) publishedKeys(ctx context.Context) (lines string, err error) {
	err = s.store.View(ctx, func(tx *store.Tx) error {
		_, all, err := s.logKeys(tx)
		if err != nil {
			return err
		}
		for _, key := range all {
			signer, err := newNoteSigner(key)
			if err != nil {
				return err
			}
			lines += signer.text + "\n"
		}
		return nil
	})
	return lines, err
}
