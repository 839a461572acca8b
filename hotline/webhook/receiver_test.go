package webhook

import (
	"net/http"
	"slices"
	"strconv"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// Protects receivers that check with the standard's own library, by their own clock: what is posted passes, with both secrets during a
// rotation; a post that was forged in any part, one that is kept and sent again later, and one without a signature do not. A post that
// is repeated in time bears the id of the first, which is what a receiver tells it by.
func TestIndependentReceiver(t *testing.T) {
	h := newHouse(t)
	now := time.Now().UTC() // The library takes no other clock.
	h.now.Store(&now)
	verify := func(secret, body []byte, header http.Header) bool {
		t.Helper()
		receiver, err := standardwebhooks.NewWebhookRaw(secret)
		if err != nil {
			t.Fatal(err)
		}
		return receiver.Verify(body, header) == nil
	}
	// The answer to the first try is lost, so that it is repeated.
	tries := map[string]int{}
	h.say(func(w http.ResponseWriter, id string) bool {
		tries[id]++
		if tries[id] == 1 {
			w.WriteHeader(http.StatusBadGateway)
		}
		return tries[id] > 1
	})
	ids := h.seal(1)
	h.run(time.Minute)
	h.wantTaken(ids, 1)
	id, header, body := h.last.Header.Get("Webhook-Id"), h.last.Header.Clone(), h.body
	if tries[id] != 2 {
		t.Errorf("posted %d times under one id, want 2", tries[id])
	}
	if !verify(h.secret, body, header) {
		t.Errorf("the standard's library does not take %v", header)
	}
	at, err := strconv.ParseInt(header.Get("Webhook-Timestamp"), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	with := func(name, value string) http.Header {
		changed := header.Clone()
		changed.Set(name, value)
		return changed
	}
	stale := with("Webhook-Timestamp", strconv.FormatInt(at-3600, 10))
	stale.Set("Webhook-Signature", Sign(h.secret, id, at-3600, body))
	for name, forged := range map[string]struct {
		secret, body []byte
		header       http.Header
	}{
		"another id":        {h.secret, body, with("Webhook-Id", id+"x")},
		"another time":      {h.secret, body, with("Webhook-Timestamp", strconv.FormatInt(at+1, 10))},
		"another body":      {h.secret, append(slices.Clip(body), ' '), header},
		"another signature": {h.secret, body, with("Webhook-Signature", Sign(h.secret[1:], id, at, body))},
		"no signature":      {h.secret, body, with("Webhook-Signature", "")},
		"another secret":    {h.secret[1:], body, header},
		"an hour old":       {h.secret, body, stale},
	} {
		if verify(forged.secret, forged.body, forged.header) {
			t.Errorf("%s: taken", name)
		}
	}

	before := h.secret
	h.put(true)
	h.say(nil)
	h.seal(1)
	h.run(time.Minute)
	for name, secret := range map[string][]byte{"before": before, "after": h.secret} {
		if !verify(secret, h.body, h.last.Header) {
			t.Errorf("in a rotation the secret of %s does not do", name)
		}
	}
}
