package hotline

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"strings"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/store"
)

// ReporterMarks makes marks of telephone numbers, by which reports of the same person are known to belong together without telling
// whose they are. The marks are this server's own.
type ReporterMarks []byte

// OpenReporterMarks reads the secret, or makes it where there is none yet.
func OpenReporterMarks(tx *store.Tx) (ReporterMarks, error) {
	stored, err := store.Get(tx, store.ReporterSecretKey())
	if err != nil || stored != nil {
		return stored.GetKey(), err
	}
	key := make([]byte, sha256.Size)
	if err := tx.Random(key); err != nil {
		return nil, err
	}
	return key, store.Put(tx, store.ReporterSecretKey(), &storagev1.ReporterSecret{Key: key})
}

// Of is the same for the same number, however it is written: +84 and 0 are one, and only digits count. Empty where there is none. A
// hash without a secret would be found by trying all numbers.
func (m ReporterMarks) Of(reporter *fieldsyncv1.Reporter) string {
	number := subscriber(reporter.GetPhone())
	if number == "" {
		return ""
	}
	mac := hmac.New(sha256.New, m)
	mac.Write([]byte(number))
	return hex.EncodeToString(mac.Sum(nil)[:8])
}

// subscriber is what all ways of writing a Vietnamese telephone number have in common: its digits, without the country's 84 or the
// first 0.
func subscriber(phone string) string {
	digits := strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return r
		}
		return -1
	}, phone)
	return strings.TrimLeft(strings.TrimPrefix(digits, "84"), "0")
}
