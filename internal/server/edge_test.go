package server

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/protobuf/types/known/timestamppb"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
	"github.com/cong1022/fieldsync/store"
)

const whoAmIPath = "/fieldsync.v1.IdentityService/WhoAmI"

// Protects: who calls is told by the peer, and by X-Forwarded-For only where a configured proxy has written it; what a client writes
// there itself is not believed.
func TestTrustedProxies(t *testing.T) {
	trusted, err := EdgeConfig{TrustedProxies: []string{"10.0.0.0/8", "fd00::1"}}.proxies()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, peer    string
		forwarded     []string
		proto         string
		address, want string
	}{
		{"no proxy", "203.0.113.7:4711", nil, "", "203.0.113.7:4711", "http"},
		{"a client that claims to be another", "203.0.113.7:4711", []string{"198.51.100.1"}, "https", "203.0.113.7:4711", "http"},
		{"behind a proxy", "10.1.1.1:80", []string{"198.51.100.1"}, "https", "198.51.100.1:0", "https"},
		{"behind two", "10.1.1.1:80", []string{"198.51.100.1, 10.2.2.2"}, "", "198.51.100.1:0", "http"},
		{"behind two that add headers", "10.1.1.1:80", []string{"198.51.100.1", "10.2.2.2"}, "", "198.51.100.1:0", "http"},
		{"a lie before the proxy's word", "10.1.1.1:80", []string{"127.0.0.1, 198.51.100.1"}, "http", "198.51.100.1:0", "http"},
		{"the proxy's own call", "10.1.1.1:80", []string{"10.3.3.3"}, "", "10.3.3.3:0", "http"},
		{"IPv6 through IPv6", "[fd00::1]:80", []string{"2001:db8::5"}, "", "[2001:db8::5]:0", "http"},
		{"IPv4 in IPv6", "[::ffff:10.1.1.1]:80", []string{"::ffff:198.51.100.1"}, "", "198.51.100.1:0", "http"},
		{"an address with a port", "10.1.1.1:80", []string{"198.51.100.1:5000"}, "", "198.51.100.1:0", "http"},
		{"no address", "10.1.1.1:80", []string{"unknown"}, "", "10.1.1.1:80", "http"},
		{"nothing forwarded", "10.1.1.1:80", nil, "", "10.1.1.1:80", "http"},
		{"no IP at all", "pipe", []string{"198.51.100.1"}, "", "pipe", "http"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", http.NoBody)
			r.RemoteAddr = c.peer
			for _, header := range c.forwarded {
				r.Header.Add("X-Forwarded-For", header)
			}
			r.Header.Set("X-Forwarded-Proto", c.proto)
			trusted.believed(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				if r.RemoteAddr != c.address || r.URL.Scheme != c.want {
					t.Errorf("%s by %s, want %s by %s", r.RemoteAddr, r.URL.Scheme, c.address, c.want)
				}
			})).ServeHTTP(httptest.NewRecorder(), r)
		})
	}
}

// Protects: HTTP/2 without TLS is taken from this machine and from configured proxies, and from nobody else.
func TestPlainHTTP2(t *testing.T) {
	trusted, err := EdgeConfig{TrustedProxies: []string{"10.0.0.0/8"}}.proxies()
	if err != nil {
		t.Fatal(err)
	}
	for peer, want := range map[string]int{"127.0.0.1:1": 200, "[::1]:1": 200, "10.0.0.1:1": 200, "203.0.113.7:1": 505} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", http.NoBody)
		r.RemoteAddr, r.ProtoMajor = peer, 2
		w := httptest.NewRecorder()
		trusted.believed(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})).ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("from %s: %d, want %d", peer, w.Code, want)
		}
	}
	open := testConfig(t)
	open.Listen = "0.0.0.0:0"
	r := start(t, open)
	_, port, err := net.SplitHostPort(r.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	url := "http://127.0.0.1:" + port + "/.well-known/jwks.json"
	if got := do(t, client(t, false, ""), http.MethodGet, url, "", nil); got.status != http.StatusOK {
		t.Errorf("HTTP/1.1: %d", got.status)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := client(t, true, "").Do(req); err == nil {
		resp.Body.Close()
		t.Errorf("a server that listens to all without a proxy speaks HTTP/2 without TLS: %d", resp.StatusCode)
	}
	if len(r.log.with("serving without TLS")) != 1 {
		t.Error("nobody is told that tokens travel in the clear")
	}
}

// raw is a connection that says what it likes.
func raw(tb testing.TB, r *running, text string) net.Conn {
	tb.Helper()
	conn, err := new(net.Dialer).DialContext(tb.Context(), "tcp", r.listener.Addr().String())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { conn.Close() })
	if _, err := io.WriteString(conn, text); err != nil {
		tb.Fatal(err)
	}
	return conn
}

// ended waits until the server has closed the connection, and returns what it said before.
func ended(tb testing.TB, conn net.Conn) string {
	tb.Helper()
	said, err := io.ReadAll(conn)
	if err != nil && !errors.Is(err, net.ErrClosed) && !strings.Contains(err.Error(), "reset") {
		tb.Fatal(err)
	}
	return string(said)
}

// Protects: a client that never finishes its headers, or its body, is cut off, and is told why where it can hear it.
func TestSlowClients(t *testing.T) {
	config := testConfig(t)
	config.Edge.HeaderTimeout, config.Edge.BodyTimeout = 500e6, 500e6
	r := settled(t, config)
	token := r.token(t, "an")
	head := "POST " + syncPath + " HTTP/1.1\r\nHost: x\r\nContent-Type: application/proto\r\nAuthorization: Bearer " + token + "\r\n"

	headers := raw(t, r, head+"X-More: ")
	body := raw(t, r, head+"Content-Length: 1000\r\n\r\n\x0a")
	chunked := raw(t, r, head+"Transfer-Encoding: chunked\r\n\r\n1\r\n\x0a\r\n")
	upload := raw(t, r, "PATCH /v1/uploads/0123456789abcdef0123456789abcdef HTTP/1.1\r\nHost: x\r\nContent-Type: application/offset+octet-stream\r\n"+
		"Tus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\nContent-Length: 1000000\r\nAuthorization: Bearer "+token+"\r\n\r\nx")
	// What a client smuggles in behind a body that it cuts short is part of that body, not a request.
	smuggled := raw(t, r, head+"Content-Length: 1000\r\n\r\nx")
	if said := ended(t, smuggled); strings.Count(said, "HTTP/1.1 ") != 1 || !strings.Contains(said, "Connection: close") {
		t.Errorf("a cut body leaves its connection open: %q", said)
	}
	if said := ended(t, headers); strings.Contains(said, "200 OK") {
		t.Errorf("half of the headers: %q", said)
	}
	for name, conn := range map[string]net.Conn{"a slow body": body, "a slow body in chunks": chunked} {
		if said := ended(t, conn); !strings.HasPrefix(said, "HTTP/1.1 503") || !strings.Contains(said, "body_too_slow") {
			t.Errorf("%s: %q", name, said)
		}
	}
	if said := ended(t, upload); !strings.HasPrefix(said, "HTTP/1.1 404") { // Refused, unread.
		t.Errorf("a slow upload that is none: %q", said)
	}
	ended(t, raw(t, r, "POST "+syncPath+" HTTP/1.1\r\nHost: x\r\nContent-Type: application/proto\r\nContent-Length: 1000\r\n\r\nx")) // Refused, unread.
	if got := do(t, client(t, false, token), http.MethodPost, r.url+whoAmIPath, jsonType, strings.NewReader("{}")); got.status != http.StatusOK {
		t.Errorf("afterwards: %d", got.status)
	}
}

// Protects: an upload that the server ends says why, with the status that clients of tus go by: they repeat after 503, and look for
// another token after 401. A 500 would be an error of the server's.
func TestEndedUploads(t *testing.T) {
	config := testConfig(t)
	config.Edge.BodyTimeout = 500e6
	r := settled(t, config)
	head := r.uploading(t, r.token(t, "an"))
	if said := ended(t, raw(t, r, head+"Transfer-Encoding: chunked\r\n\r\nzz\r\n")); !strings.HasPrefix(said, "HTTP/1.1 400") {
		t.Errorf("a malformed one: %q", said)
	}
	slow := raw(t, r, head+"Content-Length: 9\r\n\r\nx")
	time.Sleep(2 * config.Edge.BodyTimeout)
	if _, err := slow.Write([]byte("x")); err != nil { // The server takes a byte now and then for no pace; silence ends later, by tusd.
		t.Fatal(err)
	}
	if said := ended(t, slow); !strings.HasPrefix(said, "HTTP/1.1 503") || !strings.Contains(said, "body_too_slow") || !strings.Contains(said, "Retry-After") {
		t.Errorf("a slow one: %q", said)
	}
}

// Protects: a phone that is revoked while it sends a photo is told so, and not that it is slow.
func TestUploadOfARevokedDevice(t *testing.T) {
	r := settled(t, testConfig(t))
	token := r.token(t, "an")
	upload := raw(t, r, r.uploading(t, token)+"Expect: 100-continue\r\nContent-Length: 9\r\n\r\n")
	const goOn = "HTTP/1.1 100 Continue\r\n\r\n"
	if _, err := io.ReadFull(upload, make([]byte, len(goOn))); err != nil { // From now on the body is being read.
		t.Fatal(err)
	}
	admin := fieldsyncv1connect.NewIdentityServiceClient(r.enrol(t, "sep", t.TempDir()).Client(), r.url)
	if _, err := admin.RevokeDevice(t.Context(), &fieldsyncv1.RevokeDeviceRequest{DeviceId: r.deviceOf(t, token)}); err != nil {
		t.Fatal(err)
	}
	if said := ended(t, upload); !strings.HasPrefix(said, "HTTP/1.1 401") || !strings.Contains(said, "device_revoked") {
		t.Errorf("%q", said)
	}
}

func (r *running) deviceOf(tb testing.TB, token string) string {
	tb.Helper()
	who, err := fieldsyncv1connect.NewIdentityServiceClient(client(tb, false, token), r.url).WhoAmI(tb.Context(), &fieldsyncv1.WhoAmIRequest{})
	if err != nil {
		tb.Fatal(err)
	}
	return who.GetDeviceId()
}

// uploading is how a request begins that sends the bytes of a declared photo.
func (r *running) uploading(tb testing.TB, token string) string {
	tb.Helper()
	id := strings.Repeat("0c", 16)
	device := r.deviceOf(tb, token)
	r.update(tb, func(tx *store.Tx) error {
		return store.Put(tx, store.UploadKey(id), &storagev1.Upload{
			Id: id, DeviceId: device, SizeBytes: 10, ContentType: "image/jpeg", Sha256: make([]byte, 32),
			State: fieldsyncv1.PhotoState_PHOTO_STATE_ON_PHONE, CreatedAt: timestamppb.Now(),
		})
	})
	return "PATCH /v1/uploads/" + id + " HTTP/1.1\r\nHost: x\r\nContent-Type: application/offset+octet-stream\r\n" +
		"Tus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\nAuthorization: Bearer " + token + "\r\n"
}

// Protects: where all connections are taken, the one that has waited longest without a request makes room, so that half-open
// connections keep nobody out; one that is at a request never does.
func TestDoor(t *testing.T) {
	config := testConfig(t)
	config.Edge.Connections = 3
	r := settled(t, config)
	token := r.token(t, "an")
	open := func() fieldsyncv1connect.SyncServiceClient {
		return fieldsyncv1connect.NewSyncServiceClient(client(t, false, token), r.url)
	}
	type stream = connect.ServerStreamForClient[fieldsyncv1.WatchResponse]
	watch := func() *stream {
		s, err := open().Watch(t.Context(), &fieldsyncv1.WatchRequest{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		if !s.Receive() {
			t.Fatal(s.Err())
		}
		return s
	}
	halfOpen := []net.Conn{raw(t, r, "GET / HT"), raw(t, r, ""), raw(t, r, "GET / HTTP/1.1\r\n")}
	first := watch() // A fourth one.
	ended(t, halfOpen[0])
	second, third := watch(), watch()
	ended(t, halfOpen[1])
	ended(t, halfOpen[2])
	// All three are at a request: the newcomer goes.
	ended(t, raw(t, r, ""))
	for _, s := range []*stream{first, second, third} {
		if s.Err() != nil {
			t.Errorf("a stream that was served: %v", s.Err())
		}
	}
	_ = first.Close()
	watchUntilOpen(t, open())
}

// watchUntilOpen waits until the server has noticed that a place is free.
func watchUntilOpen(tb testing.TB, sync fieldsyncv1connect.SyncServiceClient) {
	tb.Helper()
	for {
		_, err := sync.Sync(tb.Context(), &fieldsyncv1.SyncRequest{InstallEpoch: firstInstall})
		if err == nil {
			return
		}
		// A connection that is cut while the call is being written reads as canceled.
		if code := connect.CodeOf(err); tb.Context().Err() != nil || code != connect.CodeUnavailable && code != connect.CodeCanceled {
			tb.Fatal(err)
		}
	}
}

// Protects: one connection carries so many calls at once as is configured and no more, and says so.
func TestStreamsPerConnection(t *testing.T) {
	config := testConfig(t)
	config.Edge.StreamsPerConnection = 3
	r := settled(t, config)
	conn := raw(t, r, http2.ClientPreface)
	framer := http2.NewFramer(conn, bufio.NewReader(conn))
	if err := framer.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	headers := &bytes.Buffer{}
	encoder := hpack.NewEncoder(headers)
	for _, field := range [][2]string{
		{":method", "POST"},
		{":path", syncPath},
		{":scheme", "http"},
		{":authority", "x"},
		{"content-type", protoType},
		{"authorization", "Bearer " + r.token(t, "an")},
		{"content-length", "10"},
	} {
		if err := encoder.WriteField(hpack.HeaderField{Name: field[0], Value: field[1], Sensitive: true}); err != nil { // Never indexed.
			t.Fatal(err)
		}
	}
	for id := uint32(1); id <= 7; id += 2 { // Four, whose bodies do not come.
		if err := framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: headers.Bytes(), EndHeaders: true}); err != nil {
			t.Fatal(err)
		}
	}
	told := false
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if most, ok := frame.Value(http2.SettingMaxConcurrentStreams); ok {
				if told = most == 3; !told {
					t.Errorf("the server allows %d", most)
				}
			}
		case *http2.RSTStreamFrame:
			if frame.StreamID != 7 || !told {
				t.Errorf("stream %d was refused, told %v", frame.StreamID, told)
			}
			return
		case *http2.GoAwayFrame:
			t.Fatalf("the connection was closed: %v", frame.ErrCode)
		}
	}
}

// Protects: calls that need no token take small messages only, decompressed too: nobody without a token makes the server work.
func TestPublicBodies(t *testing.T) {
	r := start(t, testConfig(t))
	for _, path := range []string{"/fieldsync.v1.IdentityService/Enrol", "/fieldsync.v1.IdentityService/Refresh", "/grpc.health.v1.Health/Check"} {
		for name, c := range map[string]struct {
			body    []byte
			headers []string
		}{
			"large":  {[]byte(fmt.Sprintf(`{"x":%q}`, strings.Repeat("a", maxPublicBytes))), nil},
			"a bomb": {gzipped(t, io.LimitReader(zeros{}, 8<<20)), []string{"Content-Encoding", "gzip"}},
		} {
			got := do(t, client(t, false, ""), http.MethodPost, r.url+path, jsonType, bytes.NewReader(c.body), c.headers...)
			if got.code() != "resource_exhausted" {
				t.Errorf("%s to %s: %d %s", name, path, got.status, got.body)
			}
		}
	}
}
