package auth

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/store"
)

const (
	// codeAlphabet is Crockford's base32: without I, L, O and U.
	codeAlphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
	// codeLength of 12 gives 60 random bits: a million guesses a second for ten minutes hit one of a thousand codes once in
	// two million times.
	codeLength = 12
	// codesLookedAt is how many codes each new one's transaction looks at for those that are over.
	codesLookedAt = 64
)

// IssueCode implements the IdentityService: for members of crews that the dispatcher dispatches for, as unit head
// also for dispatchers, for anyone as admin.
func (s *Service) IssueCode(ctx context.Context, req *fieldsyncv1.IssueCodeRequest) (*fieldsyncv1.IssueCodeResponse, error) {
	p, err := PrincipalFrom(ctx)
	if err != nil {
		return nil, err
	}
	var code string
	var expires time.Time
	err = s.st.Update(ctx, func(tx *store.Tx) error {
		member, err := store.Get(tx, store.MemberKey(req.GetMemberId()))
		if err != nil {
			return err
		}
		// A code makes its holder that member.
		allowed, err := p.seesMember(tx, member)
		if err != nil {
			return err
		}
		if !allowed || !p.Appoints(member.GetRole()) {
			return errMemberUnknown()
		}
		code, expires, err = s.issueCode(tx, member.GetId(), p.MemberID)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &fieldsyncv1.IssueCodeResponse{Code: code, ExpiresAt: timestamppb.New(expires)}, nil
}

// IssueCodeFor issues a one-time enrolment code for a member, on the authority of whoever may call it in this process.
// issuedBy is a member's id, empty for the server itself. The code is shown once and kept only as its hash. NotFound
// "member_unknown".
func (s *Service) IssueCodeFor(ctx context.Context, memberID, issuedBy string) (code string, expires time.Time, err error) {
	err = s.st.Update(ctx, func(tx *store.Tx) error {
		member, err := store.Get(tx, store.MemberKey(memberID))
		if err != nil {
			return err
		}
		if member == nil {
			return errMemberUnknown()
		}
		code, expires, err = s.issueCode(tx, memberID, issuedBy)
		return err
	})
	if err != nil {
		return "", time.Time{}, err
	}
	return code, expires, nil
}

func (s *Service) issueCode(tx *store.Tx, member, issuedBy string) (string, time.Time, error) {
	random := make([]byte, 8)
	if err := tx.Random(random); err != nil {
		return "", time.Time{}, err
	}
	code := base32.NewEncoding(codeAlphabet).WithPadding(base32.NoPadding).EncodeToString(random)[:codeLength]
	sum := sha256.Sum256([]byte(code))
	if err := sweepCodes(tx, sum); err != nil {
		return "", time.Time{}, err
	}
	expires := tx.Now().Add(s.o.CodeTTL)
	err := store.Put(tx, store.EnrolCodeKey(sum), &storagev1.EnrolCode{
		MemberId: member, ExpiresAt: timestamppb.New(expires), IssuedBy: issuedBy, CodeSha256: sum[:],
	})
	return code[:4] + "-" + code[4:8] + "-" + code[8:], expires, err
}

// sweepCodes removes codes that nobody used in time, of those whose hashes follow sum: hashes lie anywhere, so all get their turn. It looks
// at many times what it makes room for, so of all that are kept few are over, and it costs the same however many there are: a whole
// city may be enrolled in a morning.
func sweepCodes(tx *store.Tx, sum [sha256.Size]byte) error {
	var old [][sha256.Size]byte
	seen := 0
	for _, after := range []store.Key[storagev1.EnrolCode]{store.EnrolCodeKey(sum), nil} {
		for code, err := range store.Scan(tx, store.EnrolCodes(), after) {
			if err != nil {
				return err
			}
			if seen == codesLookedAt {
				break
			}
			seen++
			if sum := code.GetCodeSha256(); code.GetExpiresAt().AsTime().Before(tx.Now()) && len(sum) == sha256.Size {
				old = append(old, [sha256.Size]byte(sum))
			}
		}
	}
	for _, sum := range old {
		if err := store.Delete(tx, store.EnrolCodeKey(sum)); err != nil {
			return err
		}
	}
	return nil
}

// normalCode undoes what people do to a code that they read and type: lower case, dashes, blanks, and the letters that
// Crockford's alphabet leaves out because they look like digits. False if it cannot be a code.
func normalCode(typed string) (string, bool) {
	code := strings.NewReplacer("-", "", " ", "", "O", "0", "I", "1", "L", "1").Replace(strings.ToUpper(typed))
	return code, len(code) == codeLength
}
