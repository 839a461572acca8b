package auth

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/store"
)

// Protects the door for systems that cannot enrol: a key is the hotline's alone, is stored only as its hash, ends with its
// replacement, and is worth nothing once its member has another role.
func TestAPIKeys(t *testing.T) {
	h := openHouse(t)
	ctx := WithPrincipal(t.Context(), Principal{MemberID: "boss", Role: admin})
	issue := func(member string, replace bool) string {
		t.Helper()
		resp, err := h.IssueApiKey(ctx, &fieldsyncv1.IssueApiKeyRequest{MemberId: member, Replace: replace})
		if err != nil {
			t.Fatal(err)
		}
		return resp.GetApiKey()
	}
	refused := func(name, key string) {
		t.Helper()
		if _, err := h.ByAPIKey(httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil), key); fault.CodeOf(err) != "api_key_invalid" {
			t.Errorf("%s: %v", name, err)
		}
	}
	first, second := issue("hotline", false), issue("hotline", false)
	for _, key := range []string{first, second} {
		if p, err := h.ByAPIKey(httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil), key); err != nil || p != (Principal{MemberID: "hotline", Role: hotline}) {
			t.Errorf("a good key: %+v %v", p, err)
		}
	}
	refused("none", "")
	refused("another", first+"0")
	refused("in lower case", strings.ToLower(first))
	h.update(t, func(tx *store.Tx) error {
		for stored, err := range store.Scan(tx, store.APIKeys(), nil) {
			if err != nil {
				return err
			}
			if strings.Contains(stored.String(), first[4:]) {
				t.Error("the key lies in the store")
			}
		}
		return nil
	})
	third := issue("hotline", true)
	refused("replaced", first)
	refused("replaced too", second)
	h.update(t, func(tx *store.Tx) error {
		return store.Put(tx, store.MemberKey("hotline"), &fieldsyncv1.Member{Id: "hotline", Role: crew, CrewId: "a1"})
	})
	refused("of a member who has another role", third)
	for _, member := range []string{"hotline", "boss", "nobody"} {
		if _, err := h.IssueApiKey(ctx, &fieldsyncv1.IssueApiKeyRequest{MemberId: member}); fault.CodeOf(err) != "member_unknown" {
			t.Errorf("a key for %s: %v", member, err)
		}
	}
	h.update(t, func(tx *store.Tx) error { return store.Put(tx, store.APIKeyKey([32]byte{}), &storagev1.ApiKey{}) })
	if err := h.st.Update(t.Context(), func(tx *store.Tx) error { return dropAPIKeys(tx, "nobody") }); err != nil {
		t.Errorf("a damaged record in the way: %v", err)
	}
}
