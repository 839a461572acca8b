package server

import (
	"errors"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"connectrpc.com/connect"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
	"github.com/cong1022/fieldsync/store/embedded"
)

// Protects: a server that cannot have what it needs does not start, says which key to look at, and leaves nothing open.
func TestCannotStart(t *testing.T) {
	r := start(t, testConfig(t))
	refused := func(change func(*Config)) error {
		config := testConfig(t)
		change(&config)
		s, err := Open(t.Context(), config, slog.New(slog.DiscardHandler))
		if err == nil {
			t.Fatalf("started: %v", s.URL())
		}
		return err
	}

	data := t.TempDir()
	if err := refused(func(c *Config) { c.Data, c.Listen = data, strings.TrimPrefix(r.url, "http://") }); !strings.Contains(err.Error(), "key listen") {
		t.Errorf("the port is taken: %v", err)
	}
	again := testConfig(t)
	again.Data = data
	start(t, again) // What the refused one had opened is free.

	if err := refused(func(c *Config) { c.Data = r.config.Data }); !errors.Is(err, embedded.ErrInUse) || !strings.Contains(err.Error(), r.config.Data) {
		t.Errorf("the data folder is in use: %v", err)
	}
	// Permissions do not stop root, under whom tests may run: a file where a folder should be does.
	if err := refused(func(c *Config) { c.Data = filepath.Join(write(t, ""), "data") }); !strings.Contains(err.Error(), "key data") {
		t.Errorf("the data folder cannot be made: %v", err)
	}
	if err := refused(func(c *Config) { c.Push.FCMCredentialsFile = "/nowhere" }); !strings.Contains(err.Error(), "push.fcm_credentials_file") {
		t.Errorf("no credentials: %v", err)
	}
	if err := refused(func(c *Config) { c.Push.FCMCredentialsFile = write(t, "{}") }); !strings.Contains(err.Error(), "FCM credentials") {
		t.Errorf("empty credentials: %v", err)
	}
}

// Protects: a stop ends streams with a word, lets Serve return nil, and frees port and folder.
func TestOrderlyStop(t *testing.T) {
	r := settled(t, testConfig(t))
	token := r.token(t, "an")
	type watch = connect.ServerStreamForClient[fieldsyncv1.WatchResponse]
	streams := map[string]*watch{}
	for name, options := range map[string][]connect.ClientOption{"connect": nil, "gRPC": {connect.WithGRPC()}} {
		stream, err := fieldsyncv1connect.NewSyncServiceClient(client(t, name == "gRPC", token), r.url, options...).
			Watch(t.Context(), &fieldsyncv1.WatchRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if !stream.Receive() {
			t.Fatal(stream.Err())
		}
		streams[name] = stream
	}
	if err := r.stop(); err != nil {
		t.Errorf("Serve returned %v", err)
	}
	for name, stream := range streams {
		for stream.Receive() {
		}
		var ended *connect.Error
		if !errors.As(stream.Err(), &ended) || ended.Code() != connect.CodeUnavailable || info(ended).GetCode() != "shutting_down" {
			t.Errorf("%s: the stream ended with %v", name, stream.Err())
		}
		if err := stream.Close(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	next := testConfig(t)
	next.Data, next.Listen = r.config.Data, strings.TrimPrefix(r.url, "http://")
	start(t, next)
}

// Protects: a restart on the same data is the same server: its epoch, its keys, its tokens, its cursors.
func TestRestart(t *testing.T) {
	config := testConfig(t)
	first := settled(t, config)
	task, folder := first.assigned(t), t.TempDir()
	p := first.enrol(t, "an", folder)
	if _, err := p.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	token, err := p.Token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	keysOf := func(r *running) (all string) {
		for _, path := range []string{"/.well-known/jwks.json", "/.well-known/fieldsync-proof-keys.json"} {
			all += do(t, client(t, false, ""), http.MethodGet, r.url+path, "", nil).body
		}
		return all
	}
	epoch, published := first.store.ServerEpoch(), keysOf(first)
	if err := first.stop(); err != nil {
		t.Fatal(err)
	}

	config.Listen = strings.TrimPrefix(first.url, "http://")
	second := start(t, config)
	if second.store.ServerEpoch() != epoch || keysOf(second) != published || !strings.Contains(published, "kid") {
		t.Errorf("epoch %d, was %d; keys %s, were %s", second.store.ServerEpoch(), epoch, keysOf(second), published)
	}
	if got := do(t, client(t, false, token), http.MethodPost, second.url+"/fieldsync.v1.IdentityService/WhoAmI", "application/json", strings.NewReader("{}")); got.status != http.StatusOK {
		t.Errorf("the token of before: %d %s", got.status, got.body)
	}
	if err := p.Note(task, "Đã đến nơi"); err != nil {
		t.Fatal(err)
	}
	report, err := p.Sync(t.Context())
	if err != nil || report.Reset || report.Sent != 1 || report.Changed != 1 {
		t.Errorf("the sync after the restart: %+v %v", report, err)
	}
}

// Protects: a fresh server can be entered with one code, and no further code is given out once an admin has a device.
func TestAdminCode(t *testing.T) {
	r := start(t, testConfig(t))
	code, _, err := r.AdminCode(t.Context())
	if err != nil || code == "" {
		t.Fatalf("a fresh server gives the code %q, %v", code, err)
	}
	p := openPhone(t, t.TempDir())
	if err := p.Enrol(t.Context(), r.url, code, "shell"); err != nil {
		t.Fatal(err)
	}
	if code, _, err := r.AdminCode(t.Context()); err != nil || code != "" {
		t.Errorf("once an admin is enrolled it gives %q, %v", code, err)
	}
}
