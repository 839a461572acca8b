package webhook

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/hotline"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/internal/outward"
	"github.com/cong1022/fieldsync/store"
	"github.com/cong1022/fieldsync/store/embedded"
)

var start = time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC)

// house is a worker over a real store with a clock to turn, and a receiver that answers as it is told.
type house struct {
	*Worker

	t    *testing.T
	room *hotline.Service
	now  atomic.Pointer[time.Time]

	url    string
	secret []byte

	mu sync.Mutex
	// answer decides about a post; nil takes it.
	answer func(w http.ResponseWriter, id string) (taken bool)
	// taken counts the posts that were answered with 2xx, by id; order has them as they came first. tried counts all.
	taken map[string]int
	order []string
	tried int
	last  *http.Request
	body  []byte
}

func newHouse(t *testing.T) *house {
	t.Helper()
	h := &house{t: t, taken: map[string]int{}}
	now := start
	h.now.Store(&now)
	log := slog.New(slog.DiscardHandler)
	engine, err := embedded.Open(t.TempDir(), log)
	if err != nil {
		t.Fatal(err)
	}
	st, err := store.Open(t.Context(), engine, store.Options{Clock: func() time.Time { return *h.now.Load() }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	h.room = hotline.New(hotline.Options{Store: st, Log: log, PlainWebhooks: true})
	h.Worker = New(Options{Store: st, Log: log, Source: "fieldsync", Allowed: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}})
	t.Cleanup(h.client.CloseIdleConnections)
	receiver := httptest.NewServer(http.HandlerFunc(h.receive))
	t.Cleanup(receiver.Close)
	h.url = receiver.URL + "/hook?token=secret-of-theirs"
	h.put(false)
	return h
}

func (h *house) put(rotate bool) {
	h.t.Helper()
	made, err := h.room.PutWebhook(h.t.Context(), &fieldsyncv1.PutWebhookRequest{Id: "w", Url: h.url, Completions: true, TicketChanges: true, RotateSecret: rotate})
	if err != nil {
		h.t.Fatal(err)
	}
	if made.GetSecret() != "" {
		if h.secret, err = base64.StdEncoding.DecodeString(strings.TrimPrefix(made.GetSecret(), "whsec_")); err != nil || len(h.secret) != 32 {
			h.t.Fatalf("the secret is %s", made.GetSecret())
		}
	}
}

func (h *house) receive(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	id := r.Header.Get("Webhook-Id")
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tried++
	h.last, h.body = r, body
	if h.answer != nil && !h.answer(w, id) {
		return
	}
	if h.taken[id]++; h.taken[id] == 1 {
		h.order = append(h.order, id)
	}
}

func (h *house) say(answer func(w http.ResponseWriter, id string) bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.answer = answer
}

func status(code int) func(http.ResponseWriter, string) bool {
	return func(w http.ResponseWriter, _ string) bool { w.WriteHeader(code); return false }
}

// run lets the worker post until it has nothing left to do for so long, by the turned clock.
func (h *house) run(d time.Duration) {
	h.t.Helper()
	end := h.now.Load().Add(d)
	for {
		more, next, err := h.turn(h.t.Context())
		if err != nil {
			h.t.Fatal(err)
		}
		if more {
			continue
		}
		now := h.now.Load().Add(max(next, time.Second))
		if now.After(end) {
			h.now.Store(&end)
			return
		}
		h.now.Store(&now)
	}
}

// seal brings n sealed completions into the feed, and changes of their tickets into the log, and returns all their ids.
func (h *house) seal(n int) (ids []string) {
	h.t.Helper()
	for range n {
		err := h.o.Store.Update(h.t.Context(), func(tx *store.Tx) error {
			ids = ids[:len(ids)-len(ids)%2]
			id, err := tx.NewID()
			if err != nil {
				return err
			}
			head, err := store.Get(tx, store.FeedHeadKey())
			if err != nil {
				return err
			}
			record, err := proto.Marshal(&fieldsyncv1.CompletionRecord{CompletionId: id, HotlineId: "1022-" + id})
			if err != nil {
				return err
			}
			next := head.GetSequence() + 1
			change := &fieldsyncv1.TicketChange{TicketId: id, HotlineId: "1022-" + id}
			ids = append(ids, id)
			tx.Signal(store.FeedTopic)
			err = errors.Join(
				store.Put(tx, store.FeedHeadKey(), &storagev1.SequenceHead{Sequence: next}),
				store.Put(tx, store.FeedKey(next), &storagev1.Completion{Id: id}),
				store.Put(tx, store.CompletionKey(id), &storagev1.Completion{
					Id: id, Record: record, Signature: []byte("s"), KeyId: "k", State: fieldsyncv1.ProofState_PROOF_STATE_SEALED, FeedSequence: next, SealedAt: tx.Timestamp(),
				}),
				store.LogTicket(tx, change))
			ids = append(ids, change.GetId())
			return err
		})
		if err != nil {
			h.t.Fatal(err)
		}
	}
	return ids
}

func (h *house) wantTaken(ids []string, times int) {
	h.t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, id := range ids {
		if h.taken[id] != times {
			h.t.Errorf("%s was taken %d times, want %d", id, h.taken[id], times)
		}
	}
}

func (h *house) shown() *fieldsyncv1.Webhook {
	h.t.Helper()
	list, err := h.room.ListWebhooks(h.t.Context(), &fieldsyncv1.ListWebhooksRequest{})
	if err != nil || len(list.GetWebhooks()) != 1 {
		h.t.Fatalf("%v %v", list, err)
	}
	return list.GetWebhooks()[0]
}

// Protects the signature by the vector that Standard Webhooks publishes.
func TestSign(t *testing.T) {
	secret, err := base64.StdEncoding.DecodeString("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		t.Fatal(err)
	}
	const want = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
	if got := Sign(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, []byte(`{"test": 2432232314}`)); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// Protects the receiver: what is posted is a CloudEvent with the id of the pull feed, signed over exactly the bytes that came, in
// the order of the feed, and only what came after the registration.
func TestPosts(t *testing.T) {
	h := newHouse(t)
	before := h.seal(1)
	if _, err := h.room.DeleteWebhook(t.Context(), &fieldsyncv1.DeleteWebhookRequest{Id: "w"}); err != nil {
		t.Fatal(err)
	}
	h.put(false)
	ids := h.seal(60) // More than a batch.
	h.run(time.Minute)
	h.wantTaken(before, 0)
	h.wantTaken(ids, 1)
	for i := range 60 {
		if h.order[i] != ids[2*i] && i < 50 {
			t.Fatalf("completion %d came out of order", i)
		}
	}

	var got struct {
		SpecVersion     string          `json:"specversion"`
		ID              string          `json:"id"`
		Source          string          `json:"source"`
		Type            string          `json:"type"`
		Subject         string          `json:"subject"`
		DataContentType string          `json:"datacontenttype"`
		Data            json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(h.body, &got); err != nil {
		t.Fatal(err)
	}
	change := &fieldsyncv1.TicketChange{}
	if err := protojson.Unmarshal(got.Data, change); err != nil || change.GetId() != got.ID || got.ID != ids[119] {
		t.Errorf("the data is %s (%v)", got.Data, err)
	}
	if got.SpecVersion != "1.0" || got.Source != "fieldsync" || got.Type != TypeTicketChanged || got.Subject != change.GetHotlineId() || got.DataContentType != "application/json" {
		t.Errorf("the event is %+v", got)
	}
	header := h.last.Header
	at, err := strconv.ParseInt(header.Get("Webhook-Timestamp"), 10, 64)
	if err != nil || header.Get("Webhook-Signature") != Sign(h.secret, got.ID, at, h.body) || header.Get("Webhook-Id") != got.ID ||
		!strings.HasPrefix(header.Get("Content-Type"), "application/cloudevents+json") {
		t.Errorf("the headers are %v", header)
	}
	if time.Unix(at, 0).Sub(*h.now.Load()).Abs() > time.Minute {
		t.Errorf("the time is %d", at)
	}
	h.run(time.Hour)
	h.wantTaken(ids, 1)
	// A signature over other bytes, another id or another time is another one.
	for _, forged := range []string{Sign(h.secret, "x", at, h.body), Sign(h.secret, got.ID, at+1, h.body), Sign(h.secret, got.ID, at, h.body[1:]), Sign(h.secret[1:], got.ID, at, h.body)} {
		if forged == header.Get("Webhook-Signature") {
			t.Error("a forged post has the same signature")
		}
	}
}

// Protects against loss by a receiver that fails in every way: each post is repeated until it is taken, after the pauses, and what
// is behind it is not held up for long.
func TestFailingReceiver(t *testing.T) {
	var redirected atomic.Int32
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { redirected.Add(1) }))
	defer elsewhere.Close()
	for name, fail := range map[string]func(http.ResponseWriter, string) bool{
		"500":       status(500),
		"400":       status(400),
		"404":       status(404),
		"unchanged": status(304),
		"redirect": func(w http.ResponseWriter, _ string) bool {
			w.Header().Set("Location", elsewhere.URL)
			w.WriteHeader(http.StatusTemporaryRedirect)
			return false
		},
		"cut": func(http.ResponseWriter, string) bool { panic(http.ErrAbortHandler) },
		"nonsense": func(w http.ResponseWriter, _ string) bool {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				_, _ = conn.Write([]byte("HELLO\r\n\r\n"))
				_ = conn.Close()
			}
			return false
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			h.say(fail)
			ids := h.seal(3)
			h.run(time.Minute)
			h.wantTaken(ids, 0)
			if shown := h.shown(); shown.GetLastError() == "" || strings.Contains(shown.GetLastError(), "secret-of-theirs") || shown.GetWaiting() == 0 {
				t.Errorf("it is shown as %v", shown)
			}
			h.say(nil)
			h.run(3 * time.Hour)
			h.wantTaken(ids, 1)
			if shown := h.shown(); shown.GetLastError() != "" || shown.GetWaiting() != 0 || shown.GetPausedUntil() != nil || shown.GetDeliveredAt() == nil {
				t.Errorf("it is shown as %v", shown)
			}
		})
	}
	if redirected.Load() != 0 {
		t.Error("a redirect was followed")
	}
}

// Protects what stands behind an event that the receiver cannot take.
func TestPoison(t *testing.T) {
	h := newHouse(t)
	ids := h.seal(20)
	h.say(func(w http.ResponseWriter, id string) bool {
		if id == ids[2] {
			w.WriteHeader(http.StatusBadRequest)
			return false
		}
		return true
	})
	h.run(10 * time.Second)
	h.wantTaken(ids[2:3], 0)
	h.wantTaken(ids[3:], 1)
	h.run(4 * 24 * time.Hour)
	if shown := h.shown(); shown.GetWaiting() != 0 || shown.GetGivenUp() != 1 {
		t.Errorf("after four days: %v", shown)
	}
	if h.tried != len(ids)-1+len(pauses)+1 {
		t.Errorf("%d posts", h.tried)
	}
	// Given up is not lost: a replay brings it again, under its id.
	h.say(nil)
	replayed, err := h.room.ReplayWebhook(t.Context(), &fieldsyncv1.ReplayWebhookRequest{Id: "w"})
	if err != nil || replayed.GetEvents() != uint64(len(ids)) {
		t.Errorf("the replay says %v %v", replayed, err)
	}
	h.run(time.Minute)
	h.wantTaken(ids[2:3], 1)
	h.wantTaken(ids[3:], 2)
	if shown := h.shown(); shown.GetGivenUp() != 0 {
		t.Errorf("after the replay: %v", shown)
	}
}

// Protects a hotline that is down for three days while crews go on: it catches up without loss soon after it is back, and was not
// hammered meanwhile.
func TestThreeDaysDown(t *testing.T) {
	h := newHouse(t)
	h.say(status(http.StatusBadGateway))
	var ids []string
	for range 72 {
		ids = append(ids, h.seal(5)...)
		h.run(time.Hour)
	}
	if h.tried > 400 || h.shown().GetWaiting() > maxWaiting+batch {
		t.Errorf("%d posts while it was down, %d wait", h.tried, h.shown().GetWaiting())
	}
	h.say(nil)
	h.run(31 * time.Minute)
	h.run(25 * time.Hour) // What waits for its own turn.
	h.wantTaken(ids, 1)
	if shown := h.shown(); shown.GetGivenUp() != 0 || shown.GetWaiting() != 0 {
		t.Errorf("it is shown as %v", shown)
	}
}

// Protects those who say what they want: 410 ends a webhook until it is put again, and Retry-After is kept to, up to an hour.
func TestGoneAndBusy(t *testing.T) {
	h := newHouse(t)
	h.say(status(http.StatusGone))
	ids := h.seal(2)
	h.run(24 * time.Hour)
	if h.tried != 1 || h.shown().GetEndedAt() == nil {
		t.Errorf("%d posts after 410, %v", h.tried, h.shown())
	}
	h.say(nil)
	h.put(false)
	h.run(time.Minute)
	h.wantTaken(ids, 1)

	for _, c := range []struct {
		header string
		pause  time.Duration
	}{
		{"120", 2 * time.Minute},
		{"999999", time.Hour},
		{"", 0},
		{"-5", 0},
		{"soon", 0},
		{start.Add(10 * time.Minute).Format(http.TimeFormat), 10 * time.Minute},
		{start.Add(-time.Hour).Format(http.TimeFormat), 0},
	} {
		if got := retryAfter(c.header, start); got != c.pause {
			t.Errorf("Retry-After %q: %v, want %v", c.header, got, c.pause)
		}
	}
	h.say(func(w http.ResponseWriter, _ string) bool {
		w.Header().Set("Retry-After", "1800")
		w.WriteHeader(http.StatusTooManyRequests)
		return false
	})
	h.tried = 0
	ids = h.seal(2)
	h.run(29 * time.Minute)
	if h.tried != 1 {
		t.Errorf("%d posts within the pause", h.tried)
	}
	h.say(nil)
	h.run(time.Hour)
	h.wantTaken(ids, 1)
}

// Protects a change of secrets: for a day a post bears both signatures, the new one first, and then the new one alone.
func TestRotation(t *testing.T) {
	h := newHouse(t)
	former := h.secret
	h.put(true)
	for _, c := range []struct {
		after   time.Duration
		secrets [][]byte
	}{{time.Minute, [][]byte{h.secret, former}}, {23 * time.Hour, [][]byte{h.secret, former}}, {time.Hour, [][]byte{h.secret}}} {
		h.run(c.after)
		h.seal(1)
		h.run(time.Second)
		at, _ := strconv.ParseInt(h.last.Header.Get("Webhook-Timestamp"), 10, 64)
		var want []string
		for _, secret := range c.secrets {
			want = append(want, Sign(secret, h.last.Header.Get("Webhook-Id"), at, h.body))
		}
		if got := h.last.Header.Get("Webhook-Signature"); got != strings.Join(want, " ") {
			t.Errorf("after %v: %s, want %d signatures", c.after, got, len(want))
		}
	}
}

// Protects the city's own network: nothing is posted to an address that is not public, whatever name leads there, unless the
// operator allows its network.
func TestPrivateAddresses(t *testing.T) {
	for text, want := range map[string]bool{
		"8.8.8.8": true, "113.160.0.1": true, "2606:4700::1111": true, "::ffff:8.8.8.8": true,
		"127.0.0.1": false, "127.8.8.8": false, "10.0.0.1": false, "172.16.0.1": false, "192.168.1.1": false, "169.254.169.254": false,
		"0.0.0.0": false, "100.64.0.1": false, "192.0.0.1": false, "198.18.0.1": false, "224.0.0.1": false, "240.0.0.1": false, "255.255.255.255": false,
		"::": false, "::1": false, "fe80::1": false, "fe80::1%eth0": false, "fc00::1": false, "fd12::1": false, "ff02::1": false, "fec0::1": false,
		"::ffff:127.0.0.1": false, "::ffff:10.0.0.1": false, "::127.0.0.1": false, "64:ff9b::7f00:1": false, "64:ff9b::a00:1": false,
		"2002:7f00:1::": false, "2001:db8::1": false, "2001::1": false,
	} {
		if got := outward.Public(netip.MustParseAddr(text), nil); got != want {
			t.Errorf("%s is public: %v", text, got)
		}
	}
	if !outward.Public(netip.MustParseAddr("10.1.2.3"), []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}) || outward.Public(netip.MustParseAddr("10.2.2.3"), []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}) {
		t.Error("an allowed network")
	}

	h := newHouse(t)
	h.client = outward.NewClient(nil)
	port := h.url[strings.LastIndex(h.url, ":")+1:]
	for _, host := range []string{"127.0.0.1", "localhost", "[::1]", "0.0.0.0", "[::ffff:127.0.0.1]", "127.1", "2130706433"} {
		o := h.post(t.Context(), &storagev1.Webhook{Shown: &fieldsyncv1.Webhook{Url: "http://" + host + ":" + port}}, &event{ID: "x"})
		if o == nil || strings.Contains(o.why, port) {
			t.Errorf("%s: %v", host, o)
		}
	}
	if h.tried != 0 {
		t.Errorf("%d posts arrived", h.tried)
	}
	strict := hotline.New(hotline.Options{Store: h.o.Store, Log: h.o.Log})
	for _, address := range []string{"http://a.example", "ftp://a.example", "https://", "https://u:p@a.example", "https://a.example/#x", "a.example", "https://a.example:x"} {
		if _, err := strict.PutWebhook(t.Context(), &fieldsyncv1.PutWebhookRequest{Id: "x", Url: address}); fault.CodeOf(err) != "webhook_url_invalid" {
			t.Errorf("%s: %v", address, err)
		}
	}
}

// Protects the registry: at most twenty, a replay begins at its time, and what does not exist cannot be replayed.
func TestRegistry(t *testing.T) {
	h := newHouse(t)
	for i := range 20 {
		_, err := h.room.PutWebhook(t.Context(), &fieldsyncv1.PutWebhookRequest{Id: fmt.Sprint("n", i), Url: "https://a.example"})
		if want := map[bool]string{true: "webhooks_full"}[i == 19]; fault.CodeOf(err) != want {
			t.Errorf("number %d: %v", i+2, err)
		}
	}
	if _, err := h.room.ReplayWebhook(t.Context(), &fieldsyncv1.ReplayWebhookRequest{Id: "none"}); fault.CodeOf(err) != "webhook_unknown" {
		t.Error(err)
	}
	for i := range 20 {
		if _, err := h.room.DeleteWebhook(t.Context(), &fieldsyncv1.DeleteWebhookRequest{Id: fmt.Sprint("n", i)}); err != nil {
			t.Error(err)
		}
	}
	old := h.seal(7)
	h.run(time.Hour)
	since := *h.now.Load()
	fresh := h.seal(6)
	h.run(time.Minute)
	for _, c := range []struct {
		since time.Time
		want  uint64
	}{{since, 12}, {start, 26}, {since.Add(time.Hour), 0}} {
		request := &fieldsyncv1.ReplayWebhookRequest{Id: "w", Since: timestamppb.New(c.since)}
		if got, err := h.room.ReplayWebhook(t.Context(), request); err != nil || got.GetEvents() != c.want {
			t.Errorf("since %v: %v %v, want %d", c.since, got, err, c.want)
		}
		h.run(time.Minute)
	}
	h.wantTaken(old, 2)
	h.wantTaken(fresh, 3)
}
