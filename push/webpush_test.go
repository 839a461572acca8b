package push

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"google.golang.org/protobuf/types/known/timestamppb"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/outward"
)

// browser is one with its push service: it checks VAPID as RFC 8292 says and decrypts as RFC 8291 and RFC 8188 say, with nothing
// of the library that sends.
type browser struct {
	*httptest.Server

	t      *testing.T
	key    *ecdh.PrivateKey
	auth   []byte
	server string
	status int
	header http.Header
	got    []string
}

func newBrowser(t *testing.T, server string) *browser {
	t.Helper()
	key, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	b := &browser{t: t, key: key, auth: make([]byte, 16), server: server, status: http.StatusCreated}
	_, _ = rand.Read(b.auth)
	b.Server = httptest.NewTLSServer(b)
	t.Cleanup(b.Close)
	return b
}

func (b *browser) address() *storagev1.PushAddress {
	return &storagev1.PushAddress{Kind: fieldsyncv1.PushKind_PUSH_KIND_WEB_PUSH, Language: "vi", WebPush: &fieldsyncv1.WebPushSubscription{
		Endpoint: b.URL + "/p/secret", P256Dh: b.key.PublicKey().Bytes(), Auth: b.auth,
	}}
}

func (b *browser) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		b.t.Error(err)
	}
	b.header = r.Header
	b.vapid(r.Header.Get("Authorization"))
	b.got = append(b.got, b.decrypt(body))
	w.Header().Set("Retry-After", "90")
	w.WriteHeader(b.status)
}

func (b *browser) vapid(header string) {
	token, key, ok := strings.Cut(strings.TrimPrefix(header, "vapid t="), ", k=")
	if !ok || key != b.server {
		b.t.Errorf("Authorization: %s", header)
		return
	}
	point, err := base64.RawURLEncoding.DecodeString(key)
	if err != nil {
		b.t.Error(err)
	}
	public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	if err != nil {
		b.t.Error(err)
	}
	claims := jwt.MapClaims{}
	_, err = jwt.ParseWithClaims(token, claims, func(*jwt.Token) (any, error) { return public, nil },
		jwt.WithValidMethods([]string{"ES256"}), jwt.WithAudience(b.URL), jwt.WithExpirationRequired())
	if err != nil || claims["sub"] != "mailto:ops@example.org" {
		b.t.Errorf("the VAPID token: %v %v", claims, err)
	}
}

func (b *browser) decrypt(body []byte) string {
	salt, rest := body[:16], body[16:]
	if binary.BigEndian.Uint32(rest) < uint32(len(rest)-4) || len(body) > 4096 {
		b.t.Errorf("record size %d of %d bytes", binary.BigEndian.Uint32(rest), len(body))
	}
	sender, sealed := rest[5:5+int(rest[4])], rest[5+int(rest[4]):]
	other, err := ecdh.P256().NewPublicKey(sender)
	if err != nil {
		b.t.Fatal(err)
	}
	shared, err := b.key.ECDH(other)
	if err != nil {
		b.t.Fatal(err)
	}
	derive := func(secret, salt []byte, info string, n int) []byte {
		key, err := hkdf.Key(sha256.New, secret, salt, info, n)
		if err != nil {
			b.t.Fatal(err)
		}
		return key
	}
	ikm := derive(shared, b.auth, "WebPush: info\x00"+string(slices.Concat(b.key.PublicKey().Bytes(), sender)), 32)
	block, err := aes.NewCipher(derive(ikm, salt, "Content-Encoding: aes128gcm\x00", 16))
	if err != nil {
		b.t.Fatal(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		b.t.Fatal(err)
	}
	plain, err := gcm.Open(nil, derive(ikm, salt, "Content-Encoding: nonce\x00", 12), sealed, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	return strings.TrimSuffix(strings.TrimRight(string(plain), "\x00"), "\x02")
}

func newWebPush(t *testing.T) (*WebPush, *browser) {
	t.Helper()
	w := newWorld(t)
	keys, err := OpenWebPushKeys(t.Context(), w.store)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := OpenWebPushKeys(t.Context(), w.store); err != nil || again.GetPrivateKey() != keys.GetPrivateKey() {
		t.Fatalf("the keys have changed: %v", err)
	}
	b := newBrowser(t, keys.GetPublicKey())
	return NewWebPush(WebPushOptions{Keys: keys, Contact: "ops@example.org", Client: b.Client()}), b
}

// A browser can read what is sent to it, its push service can check who sent it, and neither learns of whom or what it is about.
func TestWebPushReaches(t *testing.T) {
	sender, b := newWebPush(t)
	for _, visible := range []bool{false, true} {
		if err := sender.Send(t.Context(), Message{DeviceID: "device-1", Address: b.address(), Visible: visible}); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{`{"hint":"sync"}`, `{"hint":"sync","title":"Có công việc mới"}`}; !slices.Equal(b.got, want) {
		t.Errorf("got %q, want %q", b.got, want)
	}
	if b.header.Get("Topic") != "task" || b.header.Get("Urgency") != "high" || b.header.Get("TTL") != "86400" {
		t.Errorf("headers: %v", b.header)
	}
}

// What the worker does with a failure hangs on how the answer is read; and no error names the address.
func TestWebPushOutcomes(t *testing.T) {
	sender, b := newWebPush(t)
	for status, want := range map[int]error{
		404: ErrUnregistered, 410: ErrUnregistered, 400: ErrRejected, 413: ErrRejected, 429: &RetryError{}, 500: &RetryError{}, 403: &RetryError{},
	} {
		b.status = status
		err := sender.Send(t.Context(), Message{Address: b.address()})
		retry, isRetry := errors.AsType[*RetryError](err)
		_, wantRetry := errors.AsType[*RetryError](want)
		if isRetry != wantRetry || !wantRetry && !errors.Is(err, want) || isRetry && retry.After != 90*time.Second {
			t.Errorf("%d: %v", status, err)
		}
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("%d: %v names the address", status, err)
		}
	}
	b.Close()
	if err := sender.Send(t.Context(), Message{Address: b.address()}); err == nil || strings.Contains(err.Error(), b.URL) {
		t.Errorf("a service that is away: %v", err)
	}
}

// A browser chooses where the server posts: not into the server's own network.
func TestWebPushGoesOutOnly(t *testing.T) {
	sender, b := newWebPush(t)
	sender.o.Client = outward.NewClient(nil)
	if err := sender.Send(t.Context(), Message{Address: b.address()}); err == nil || len(b.got) != 0 {
		t.Errorf("it posted to loopback: %v", err)
	}
}

// A service that has asked for a pause is left alone by all messages, not only by the one that it asked.
func TestConsiderate(t *testing.T) {
	w := newWorld(t)
	sends := 0
	sender := NewConsiderate(sendFunc(func(context.Context, Message) error {
		sends++
		return &RetryError{After: time.Minute, Err: errors.New("quota")}
	}), w.clock.Now)
	for range 5 {
		w.device("a")
		w.enqueue("a", false)
		w.round(NewWorker(Options{Store: w.store, Sender: sender, Log: slog.New(slog.DiscardHandler)}))
	}
	if sends != 1 {
		t.Errorf("%d sends within the pause", sends)
	}
	w.clock.advance(time.Minute)
	if err := sender.Send(t.Context(), Message{}); err == nil || sends != 2 {
		t.Errorf("after the pause: %v, %d sends", err, sends)
	}
}

// Protects browsers from each other: the address is the browser's choice, so what one service asks for, or one member's own, must not
// silence those of all the others.
func TestConsiderateByService(t *testing.T) {
	w := newWorld(t)
	var sent []string
	sender := NewConsiderate(sendFunc(func(_ context.Context, m Message) error {
		sent = append(sent, m.Address.GetWebPush().GetEndpoint())
		return &RetryError{After: 24 * time.Hour, Err: errors.New("quota")}
	}), w.clock.Now)
	to := func(endpoint string) Message {
		return Message{Address: &storagev1.PushAddress{
			Kind: fieldsyncv1.PushKind_PUSH_KIND_WEB_PUSH, WebPush: &fieldsyncv1.WebPushSubscription{Endpoint: endpoint},
		}}
	}
	for _, endpoint := range []string{"https://own.example/a", "https://push.example/b", "https://own.example/c"} {
		if err := sender.Send(t.Context(), to(endpoint)); err == nil {
			t.Errorf("%s was sent", endpoint)
		}
	}
	if want := []string{"https://own.example/a", "https://push.example/b"}; !slices.Equal(sent, want) {
		t.Errorf("tried %v, want %v", sent, want)
	}
}

// An address that its device has not told for nine months is dead by the service's own rules, and is not tried.
func TestStaleAddress(t *testing.T) {
	w := newWorld(t)
	w.device("a", func(d *storagev1.Device) { d.Push.SeenAt = timestamppb.New(w.clock.Now()) })
	w.clock.advance(staleAfter + time.Hour)
	w.enqueue("a", false)
	w.round(w.worker(w.fcm))
	if n := w.fake.Attempts(); n != 0 || w.address("a") != nil {
		t.Errorf("%d sends to a stale address; it is %v", n, w.address("a"))
	}
	w.want(0, 0)
}
