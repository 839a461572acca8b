package audit

import (
	"testing"

	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/store"
)

// Protects the log's pages: whatever stands in a token, it is refused by its code or is a place to read from.
func FuzzAuditToken(f *testing.F) {
	for _, seed := range []string{"", "AAAAAAAAAAAA", "_____________________w", "AAAAAAAAAAA", "AAAAAAAAAAAA=", "AAAAAAAAAAAA\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, token string) {
		at, id, err := parseToken(token)
		if err != nil {
			if fault.CodeOf(err) != "page_token_invalid" {
				t.Fatal(err)
			}
			return
		}
		if token != "" && id == "" {
			t.Fatalf("%q is taken without an id", token)
		}
		_ = store.AuditKey(at, id)
	})
}
