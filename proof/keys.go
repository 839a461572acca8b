package proof

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/cong1022/fieldsync/auth"
	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	"github.com/cong1022/fieldsync/proof/receipt"
	"github.com/cong1022/fieldsync/store"
)

// Open returns a Sealer that signs with the store's proof key and the log's, which are made, durably, where there are none
// yet. Completions that were sealed before the store had a log get their leaves. witnesses are the verifier keys (C2SP signed-note)
// of those whose cosignatures AddCosignature takes. Errors: Invalid "witness_key_invalid".
func Open(ctx context.Context, st *store.Store, witnesses ...string) (*Sealer, error) {
	s := &Sealer{store: st, origin: origin(st), witnesses: witnesses}
	for _, witness := range witnesses {
		if _, err := receipt.ParseWitness(witness); err != nil {
			return nil, err
		}
	}
	var key *storagev1.SigningKey
	err := st.Update(ctx, func(tx *store.Tx) error {
		signing, _, err := s.logKeys(tx)
		if err != nil {
			return err
		}
		if len(signing) == 0 {
			if err := s.newLogKey(tx); err != nil {
				return err
			}
		}
		keys, err := auth.SigningKeys(tx, storagev1.KeyUse_KEY_USE_PROOF)
		if err != nil {
			return err
		}
		if len(keys) > 0 {
			key = keys[len(keys)-1]
			return nil
		}
		key, err = auth.NewSigningKey(tx, storagev1.KeyUse_KEY_USE_PROOF, tx.Now())
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("preparing the keys for proofs: %w", err)
	}
	s.key, s.kid = ed25519.NewKeyFromSeed(key.GetSeed()), key.GetKid()
	return s, s.adopt(ctx)
}

// Keys serves the public keys of all proofs that were ever sealed, as a JWK set (RFC 7517, RFC 8037); its place is
// /.well-known/fieldsync-proof-keys.json. It needs no token: with the key, anyone can check a completion.
func (s *Sealer) Keys(log *slog.Logger) http.Handler {
	return auth.KeySet(s.store, storagev1.KeyUse_KEY_USE_PROOF, log)
}
