package audit

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cong1022/fieldsync/auth"
	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/store"
)

// attempted is a house with a client of the hotline's, in which attempts are made.
func attempted(t *testing.T) *house {
	t.Helper()
	h := newHouse(t)
	if err := h.store.Update(t.Context(), func(tx *store.Tx) error {
		return errors.Join(
			store.Put(tx, store.DeviceKey("client-1"), &storagev1.Device{Id: "client-1", MemberId: "1022", Client: true}),
			store.Put(tx, store.MemberKey("1022"), &fieldsyncv1.Member{Id: "1022", Role: fieldsyncv1.Role_ROLE_HOTLINE}),
		)
	}); err != nil {
		t.Fatal(err)
	}
	return h
}

const bearer = "Authorization: Bearer"

// Protects: like attempts of a minute are one entry, which is there with the first of them and has their number when the minute is over;
// another minute, address or outcome is another one.
func TestAttemptsAreCounted(t *testing.T) {
	h := attempted(t)
	begun := h.now
	refuse := func(address, code string) {
		h.log.Attempt(t.Context(), auth.Attempt{Act: bearer, Address: address + ":1", Outcome: code})
	}
	want := func(when string, all ...*fieldsyncv1.AuditEntry) {
		t.Helper()
		got := h.list(&fieldsyncv1.ListAuditEntriesRequest{Act: bearer})
		found := 0
		for _, w := range all {
			for _, g := range got {
				w.Id = g.GetId()
				if proto.Equal(g, w) {
					found++
				}
			}
		}
		if len(got) != len(all) || found != len(all) {
			t.Errorf("%s: %v, want %v", when, got, all)
		}
	}
	entry := func(at time.Time, address, code string, count uint64) *fieldsyncv1.AuditEntry {
		return &fieldsyncv1.AuditEntry{At: timestamppb.New(at), Act: bearer, Address: address, Outcome: code, Count: count}
	}
	refuse("203.0.113.1", "token_invalid")
	want("the first", entry(begun, "203.0.113.1", "token_invalid", 0))
	h.now = begun.Add(59 * time.Second)
	for range 999 {
		refuse("203.0.113.1", "token_invalid")
	}
	refuse("203.0.113.2", "token_invalid")
	h.now = begun.Add(time.Minute)
	refuse("203.0.113.1", "token_invalid")
	want("a minute later", entry(begun, "203.0.113.1", "token_invalid", 1000), entry(begun.Add(59*time.Second), "203.0.113.2", "token_invalid", 0),
		entry(h.now, "203.0.113.1", "token_invalid", 0))
}

// Protects: a flood from ever new addresses fills no disk and no memory, what is left out is told, and what succeeds is never left out.
func TestFloodOfAttempts(t *testing.T) {
	h := attempted(t)
	for i := range 5000 {
		h.log.Attempt(t.Context(), auth.Attempt{Act: bearer, Address: fmt.Sprintf("2001:db8::%x", i), Outcome: "token_invalid"})
	}
	if n := len(h.list(&fieldsyncv1.ListAuditEntriesRequest{Act: bearer})); n != strangersBurst {
		t.Errorf("5000 addresses made %d entries", n)
	}
	if n := len(h.log.attempts.known); n != strangersBurst {
		t.Errorf("5000 addresses are %d in memory", n)
	}
	h.log.Attempt(t.Context(), auth.Attempt{Act: "POST /oauth/token", Address: "198.51.100.7", Device: "client-1", Proven: true, Outcome: "ok"})
	if all := h.list(&fieldsyncv1.ListAuditEntriesRequest{DeviceId: "client-1"}); len(all) != 1 || all[0].GetMemberId() != "1022" || all[0].GetRole() != fieldsyncv1.Role_ROLE_HOTLINE {
		t.Errorf("what succeeds amid the flood: %v", all)
	}
	h.now = h.now.Add(time.Minute)
	h.log.Attempt(t.Context(), auth.Attempt{Act: bearer, Address: "203.0.113.9", Outcome: "token_invalid"})
	if last := h.list(&fieldsyncv1.ListAuditEntriesRequest{Act: bearer, Limit: 1})[0]; last.GetLeftOut() != 5000-strangersBurst {
		t.Errorf("the next entry: %v", last)
	}
}

// Protects: whoever only says to be a device is not taken for it: the entry is about the device and by nobody. A device that has proven
// itself has one entry a minute, from however many addresses.
func TestWhoAttempted(t *testing.T) {
	h := attempted(t)
	said := auth.Attempt{Act: "POST /oauth/token", Address: "203.0.113.1", Device: "client-1", Outcome: "invalid_client"}
	h.log.Attempt(t.Context(), said)
	for _, by := range []*fieldsyncv1.ListAuditEntriesRequest{{DeviceId: "client-1"}, {MemberId: "1022"}} {
		if all := h.list(by); len(all) != 1 || all[0].GetDeviceId() != "" || all[0].GetMemberId() != "" || len(all[0].GetSubjects()) != 2 {
			t.Errorf("refused: %v", all)
		}
	}
	said.Device = "nobody"
	h.log.Attempt(t.Context(), said)
	if all := h.list(&fieldsyncv1.ListAuditEntriesRequest{Limit: 1}); len(all[0].GetSubjects()) != 0 && len(h.list(&fieldsyncv1.ListAuditEntriesRequest{DeviceId: "nobody"})) != 0 {
		t.Errorf("of nobody: %v", all)
	}
	for i := range 100 {
		h.log.Attempt(t.Context(), auth.Attempt{Act: "POST /oauth/token", Address: fmt.Sprintf("203.0.113.%d", i), Device: "client-1", Proven: true, Outcome: "ok"})
	}
	h.log.settle(t.Context(), h.log.attempts.all()) // As Run does when the server stops.
	all := h.list(&fieldsyncv1.ListAuditEntriesRequest{DeviceId: "client-1", Limit: 500})
	if len(all) != 2 || all[0].GetCount()+all[1].GetCount() != 100 {
		t.Errorf("100 from 100 addresses: %v", all)
	}
}
