package auth

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"net/http"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/store"
)

// apiKeyPrefix makes a key known for what it is where it has been written down by mistake.
const apiKeyPrefix = "fsk_"

// IssueApiKey implements the IdentityService: for members of the role hotline, by an admin. The key is shown once and kept as
// its SHA-256, which needs no slow hash: it has 160 random bits.
func (s *Service) IssueApiKey(ctx context.Context, req *fieldsyncv1.IssueApiKeyRequest) (*fieldsyncv1.IssueApiKeyResponse, error) { //nolint:revive // As it is generated.
	p, err := PrincipalFrom(ctx)
	if err != nil {
		return nil, err
	}
	var key string
	err = s.st.Update(ctx, func(tx *store.Tx) error {
		member, err := store.Get(tx, store.MemberKey(req.GetMemberId()))
		if err != nil {
			return err
		}
		if member.GetRole() != hotline {
			return errMemberUnknown()
		}
		if req.GetReplace() {
			if err := dropAPIKeys(tx, member.GetId()); err != nil {
				return err
			}
		}
		random := make([]byte, 20)
		if err := tx.Random(random); err != nil {
			return err
		}
		key = apiKeyPrefix + base32.NewEncoding(codeAlphabet).WithPadding(base32.NoPadding).EncodeToString(random)
		sum := sha256.Sum256([]byte(key))
		return store.Put(tx, store.APIKeyKey(sum), &storagev1.ApiKey{
			MemberId: member.GetId(), CreatedAt: tx.Timestamp(), IssuedBy: p.MemberID, KeySha256: sum[:],
		})
	})
	if err != nil {
		return nil, err
	}
	s.o.Log.InfoContext(ctx, "API key issued", "member", req.GetMemberId(), "by", p.MemberID, "replacing", req.GetReplace())
	return &fieldsyncv1.IssueApiKeyResponse{ApiKey: key}, nil
}

func dropAPIKeys(tx *store.Tx, member string) error {
	var old [][sha256.Size]byte
	for key, err := range store.Scan(tx, store.APIKeys(), nil) {
		if err != nil {
			return err
		}
		if sum := key.GetKeySha256(); key.GetMemberId() == member && len(sum) == sha256.Size {
			old = append(old, [sha256.Size]byte(sum))
		}
	}
	for _, sum := range old {
		if err := store.Delete(tx, store.APIKeyKey(sum)); err != nil {
			return err
		}
	}
	return nil
}

// ByAPIKey returns whoever calls with an API key: its member, as long as that has the role hotline. For the GeoReport face,
// whose clients can do nothing else. Denied "api_key_invalid", which Options.Attempts hears of where a key was given.
func (s *Service) ByAPIKey(r *http.Request, key string) (p Principal, err error) {
	ctx := r.Context()
	err = s.st.View(ctx, func(tx *store.Tx) error {
		stored, err := store.Get(tx, store.APIKeyKey(sha256.Sum256([]byte(key))))
		if err != nil {
			return err
		}
		if stored == nil {
			return errAPIKeyInvalid()
		}
		member, err := store.Get(tx, store.MemberKey(stored.GetMemberId()))
		if err != nil {
			return err
		}
		if member.GetRole() != hotline {
			return errAPIKeyInvalid()
		}
		p = Principal{MemberID: member.GetId(), Role: hotline}
		return nil
	})
	switch {
	case err == nil:
		tellCaller(ctx, p)
	case fault.KindOf(err) == fault.Denied && key != "":
		s.tell(ctx, Attempt{Act: "api_key", Address: r.RemoteAddr, Outcome: fault.CodeOf(err)})
	}
	return p, err
}
