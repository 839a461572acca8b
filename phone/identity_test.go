package phone

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
)

// A lost answer of an enrolment locks nobody out: the same key with a fresh code is the same device.
func TestEnrolAnswerLost(t *testing.T) {
	for name, way := range map[string]trouble{"request": lostRequest, "answer": lostAnswer} {
		t.Run(name, func(t *testing.T) {
			r := rigAt(t, newFake(t), t.TempDir())
			r.server.expect(way)
			wantCode(t, r.Enrol(t.Context(), r.server.url, "GOOD-CODE-0001", "x"), "server_unreachable")
			r.restart()
			r.enrol()
			r.assign("t1")
			r.sync()
			must(t, r.Start("t1"))
			r.sync()
		})
	}
	r := rigAt(t, newFake(t), t.TempDir())
	wantCode(t, r.Enrol(t.Context(), r.server.url, "BAD-CODE-00001", "x"), "code_invalid")
}

// What was recorded before the same device enrols again goes out under its own epoch, so that a server which has judged it
// already (the answer was lost) knows the repeat; what comes after goes out behind it under the new one.
func TestEnrolAgainWithOutbox(t *testing.T) {
	r := newRig(t)
	r.assign("t1")
	r.sync()
	must(t, r.Note("t1", "a"))
	r.server.expect(lostAnswer)
	_, err := r.Sync(t.Context())
	wantCode(t, err, "server_unreachable")
	r.enrol()
	must(t, r.Note("t1", "b"))
	r.restart()
	if report := r.sync(); report.Sent != 2 || report.Calls != 2 {
		t.Fatalf("got %+v", report)
	}
	r.server.do(func() {
		if len(r.server.applied) != 2 || r.server.heads[1] != 1 || r.server.heads[2] != 1 {
			t.Errorf("took effect: %v, heads %v", r.server.applied, r.server.heads)
		}
	})
}

// A phone with something left to send does not become another member's or another server's; afterwards it does, and holds
// nothing of before.
func TestEnrolElsewhere(t *testing.T) {
	r := newRig(t)
	r.assign("t1")
	r.sync()
	must(t, r.Note("t1", "của Lan"))
	r.server.do(func() { r.server.memberID = "minh" })
	wantCode(t, r.Enrol(t.Context(), r.server.url, "GOOD-CODE-0001", "x"), "outbox_not_empty")
	other := newFake(t)
	wantCode(t, r.Enrol(t.Context(), other.url, "GOOD-CODE-0001", "x"), "outbox_not_empty")
	other.do(func() {
		if len(other.calls) != 0 {
			t.Error("a code was used up for nothing")
		}
	})
	r.sync()
	must(t, r.Enrol(t.Context(), other.url, "GOOD-CODE-0001", "x"))
	if s := r.status(); s.Tasks != 0 || s.Whole || s.InstallEpoch != 1 {
		t.Errorf("status after enrolling elsewhere: %+v", s)
	}
}

// A server that was set up anew knows nothing of the device's epochs: all that waits is numbered under the one that it gives.
func TestEnrolAfterServerFellBack(t *testing.T) {
	r := newRig(t)
	r.assign("t1")
	r.sync()
	must(t, r.Note("t1", "a"))
	r.sync()
	must(t, r.Note("t1", "b"))
	r.server.do(func() {
		r.server.epoch = 0
		clear(r.server.heads)
		clear(r.server.verdicts)
	})
	r.enrol()
	must(t, r.Note("t1", "c"))
	if report := r.sync(); report.Sent != 2 || report.Renumbered {
		t.Fatalf("got %+v", report)
	}
}

// Tokens are replaced by proof before they end, after they were refused, and with the server's time where the phone's clock
// is wrong; a locked-out phone is told and keeps its outbox.
func TestTokens(t *testing.T) {
	r := newRig(t)
	r.assign("t1")
	r.sync()
	refreshes := func() (n int) {
		r.server.do(func() { n = r.server.tokens - 1 })
		return n
	}
	r.sync()
	if refreshes() != 0 {
		t.Fatal("a good token was replaced")
	}
	r.server.do(func() { r.server.now = r.server.now.Add(14*time.Minute + 30*time.Second) })
	r.sync()
	if refreshes() != 1 {
		t.Fatal("a token about to end was not replaced")
	}
	r.server.do(func() { r.server.good = "the server's keys changed" })
	r.sync()
	if refreshes() != 2 {
		t.Fatal("a refused token was not replaced")
	}
	// The answer of a refresh is lost: nothing is locked out.
	r.server.do(func() { r.server.good = "changed again" })
	r.server.expect(none, lostAnswer)
	_, err := r.Sync(t.Context())
	wantCode(t, err, "server_unreachable")
	r.sync()
	must(t, r.Note("t1", "a"))
	r.server.do(func() { r.server.revoked = true })
	_, err = r.Sync(t.Context())
	wantCode(t, err, "device_revoked")
	if r.status().Queued != 1 {
		t.Error("the outbox is gone")
	}
}

// A phone that was enrolled and revoked before it heard of either enrols with another key; one that is enrolled first hears that it is
// revoked, and delivers.
func TestRevokedUnheard(t *testing.T) {
	r := rigAt(t, newFake(t), t.TempDir())
	r.server.expect(lostAnswer)
	wantCode(t, r.Enrol(t.Context(), r.server.url, "GOOD-CODE-0001", "test"), "server_unreachable")
	revoke := func() { r.server.do(func() { r.server.void, r.server.key = r.server.key, nil }) }
	revoke()
	r.enrol()
	revoke()
	wantCode(t, r.Enrol(t.Context(), r.server.url, "GOOD-CODE-0001", "test"), "device_revoked")
}

// A phone whose clock is a day off enrols and refreshes with the server's time after one refusal, and remembers it.
func TestWrongClock(t *testing.T) {
	r := rigAt(t, newFake(t), t.TempDir())
	r.server.do(func() { r.server.skew = true })
	r.o.Clock = func() (now time.Time) {
		r.server.do(func() { now = r.server.now.Add(-24 * time.Hour) })
		return now
	}
	r.restart()
	r.enrol()
	r.assign("t1")
	r.sync()
	r.restart()
	r.server.do(func() { r.server.now = r.server.now.Add(time.Hour); r.server.calls = nil })
	r.sync()
	r.server.do(func() {
		if len(r.server.calls) != 2 {
			t.Errorf("want Refresh and Sync, got %v", r.server.calls)
		}
	})
}

// The client that calls as this device gives its token to its own server, and to no other that a redirect leads to.
func TestClientKeepsItsToken(t *testing.T) {
	r := newRig(t)
	seen := make(chan string, 2)
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, q *http.Request) {
		seen <- "other:" + q.Header.Get("Authorization")
	}))
	defer other.Close()
	home := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		seen <- "home:" + q.Header.Get("Authorization")
		http.Redirect(w, q, other.URL, http.StatusTemporaryRedirect)
	}))
	defer home.Close()
	must(t, r.update(func(_ *bolt.Tx, st *state) error { st.Server = home.URL; return nil }))
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, home.URL, nil)
	must(t, err)
	answer, err := r.Client().Do(request)
	must(t, err)
	must(t, answer.Body.Close())
	if got := <-seen + " " + <-seen; got != "home:Bearer token-1 other:" {
		t.Errorf("tokens seen: %s", got)
	}
}

// A token that the server does not take, be it that the phone's clock has jumped and takes it for good, is renewed by the client
// that calls as this device, which has no sync of its own to find it out.
func TestClientRenewsARefusedToken(t *testing.T) {
	r := newRig(t)
	r.server.do(func() { r.server.good = "changed" })
	client := fieldsyncv1connect.NewSyncServiceClient(r.Client(), r.server.url)
	if _, err := client.Sync(t.Context(), &fieldsyncv1.SyncRequest{}); err != nil {
		t.Error(err)
	}
}

// A database of a later version is refused, not misread.
func TestFormat(t *testing.T) {
	r := newRig(t)
	must(t, r.update(func(_ *bolt.Tx, st *state) error { st.Format = 2; return nil }))
	must(t, r.Close())
	if _, err := Open(r.dir, r.o); err == nil {
		t.Fatal("opened a database of format 2")
	}
	db, err := bolt.Open(r.dir+"/phone.db", 0o600, nil)
	must(t, err)
	r.db = db // For the rig's own Close.
}
