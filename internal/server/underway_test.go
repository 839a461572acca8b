package server

import (
	"bufio"
	"bytes"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// streams is a connection over HTTP/2 without TLS that reads and takes only what the test wants.
type streams struct {
	*http2.Framer

	conn    net.Conn
	headers bytes.Buffer
	encoder *hpack.Encoder
	last    uint32
}

// openStreams gives the server so much room for the bytes of each answer.
func openStreams(tb testing.TB, r *running, window uint32) *streams {
	tb.Helper()
	conn := raw(tb, r, http2.ClientPreface)
	s := &streams{Framer: http2.NewFramer(conn, bufio.NewReader(conn)), conn: conn}
	s.encoder = hpack.NewEncoder(&s.headers)
	s.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	if err := s.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: window}); err != nil {
		tb.Fatal(err)
	}
	return s
}

// call begins a call; a POST says that it has a body, which does not come.
func (s *streams) call(tb testing.TB, method, path string, headers ...string) {
	tb.Helper()
	s.headers.Reset()
	fields := append([]string{":method", method, ":path", path, ":scheme", "http", ":authority", "x"}, headers...)
	if method == http.MethodPost {
		kind := protoType
		if strings.HasPrefix(path, "/open311/") {
			kind = "application/x-www-form-urlencoded"
		}
		fields = append(fields, "content-type", kind, "content-length", "10")
	}
	for i := 0; i < len(fields); i += 2 {
		if err := s.encoder.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]}); err != nil {
			tb.Fatal(err)
		}
	}
	s.last = max(s.last, 1) + 2
	if err := s.WriteHeaders(http2.HeadersFrameParam{
		StreamID: s.last, BlockFragment: s.headers.Bytes(), EndHeaders: true, EndStream: method == http.MethodGet,
	}); err != nil {
		tb.Fatal(err)
	}
}

// answers reads the heads of so many answers, in the order of their status.
func (s *streams) answers(tb testing.TB, count int) (heads []string) {
	tb.Helper()
	for len(heads) < count {
		frame, err := s.ReadFrame()
		if err != nil {
			tb.Fatal(err)
		}
		switch frame := frame.(type) {
		case *http2.MetaHeadersFrame:
			head := frame.PseudoValue("status")
			for _, field := range frame.RegularFields() {
				if field.Name == "retry-after" {
					head += " after " + field.Value
				}
			}
			heads = append(heads, head)
		case *http2.GoAwayFrame:
			tb.Fatalf("the connection was closed: %v", frame.ErrCode)
		}
	}
	slices.Sort(heads)
	return heads
}

// body reads the first bytes of the body of an answer.
func (s *streams) body(tb testing.TB) string {
	tb.Helper()
	for {
		frame, err := s.ReadFrame()
		if err != nil {
			tb.Fatal(err)
		}
		if data, ok := frame.(*http2.DataFrame); ok {
			return string(data.Data())
		}
	}
}

const (
	refreshPath = "/fieldsync.v1.IdentityService/Refresh"
	jwksPath    = "/.well-known/jwks.json"
	someone     = "203.0.113.1"
)

// Protects: of callers without a good token so many calls are under way as are configured, of an address as of all: the one that has been
// longest goes, is told so and when to come again, and whoever comes is served.
func TestStrangersUnderWay(t *testing.T) {
	config := testConfig(t)
	config.Edge.TrustedProxies = []string{"127.0.0.0/8"}
	config.Edge.AddressCalls, config.Edge.AnonymousCalls = 3, 4
	r := settled(t, config)
	token := r.token(t, "an")
	served := func(path, token, address string, want int) {
		t.Helper()
		got := do(t, client(t, false, token), http.MethodPost, r.url+path, jsonType, strings.NewReader("{}"), "X-Forwarded-For", address)
		if got.status != want {
			t.Errorf("from %s: %d %s", address, got.status, got.body)
		}
	}
	s := openStreams(t, r, 1<<16)
	for range 5 {
		s.call(t, http.MethodPost, refreshPath, "x-forwarded-for", someone)
	}
	if heads := s.answers(t, 2); !slices.Equal(heads, []string{"429 after 1", "429 after 1"}) {
		t.Errorf("five of one address: %q", heads)
	}
	for range 2 {
		s.call(t, http.MethodPost, "/open311/v2/requests.json", "x-forwarded-for", "203.0.113.2")
	}
	if heads := s.answers(t, 1); !slices.Equal(heads, []string{"503 after 5"}) {
		t.Errorf("five in all: %q", heads)
	}
	served(refreshPath, "", someone, http.StatusBadRequest) // By turning out the one that has waited longest.
	if heads := s.answers(t, 1); heads[0] != "429 after 1" && heads[0] != "503 after 5" {
		t.Errorf("a fourth of the address: %q", heads)
	}
	served(whoAmIPath, token, someone, http.StatusOK)
	// Each face says it in its own shape.
	for _, path := range []string{refreshPath, "/open311/v2/requests.json"} {
		s := openStreams(t, r, 1<<16)
		for range 4 {
			s.call(t, http.MethodPost, path, "x-forwarded-for", "203.0.113.4")
		}
		if body := s.body(t); !strings.Contains(body, "address_busy") {
			t.Errorf("%s: %s", path, body)
		}
		s.conn.Close()
	}
}

// Protects: so many answers wait to be taken by those whom nobody knows, as refusals do; one more is taken soon or its stream is reset.
func TestStrangersTakeTheirAnswers(t *testing.T) {
	config := testConfig(t)
	config.Edge.TrustedProxies = []string{"127.0.0.0/8"}
	config.Edge.AddressCalls = 3
	r := start(t, config)
	for _, headers := range [][]string{nil, {"authorization", "Bearer guess"}} {
		s := openStreams(t, r, 0)
		for range 4 {
			s.call(t, http.MethodGet, jwksPath, append(headers, "x-forwarded-for", someone)...)
		}
		for resets := 0; resets < 1; {
			frame, err := s.ReadFrame()
			if err != nil {
				t.Fatal(err)
			}
			if _, ok := frame.(*http2.RSTStreamFrame); ok {
				resets++
			}
		}
		s.conn.Close()
	}
}

// Protects: a device gets no further call while it takes the answers to so many as it may have under way.
func TestAnswersOfADeviceAreTaken(t *testing.T) {
	config := testConfig(t)
	config.Edge.DeviceCalls = 2
	r := settled(t, config)
	s := openStreams(t, r, 0)
	for range 3 {
		s.call(t, http.MethodGet, jwksPath, "authorization", "Bearer "+r.token(t, "an"))
	}
	if heads := s.answers(t, 3); !slices.Equal(heads, []string{"200", "200", "200"}) {
		t.Errorf("three devices: %q", heads)
	}
	token := r.token(t, "an")
	for range 3 {
		s.call(t, http.MethodGet, jwksPath, "authorization", "Bearer "+token)
	}
	if heads := s.answers(t, 3); !slices.Equal(heads, []string{"200", "200", "429 after 1"}) {
		t.Errorf("one device: %q", heads)
	}
}

// Protects: over HTTP/2 as over HTTP/1.1 a refusal waits for a short body that is on its way, and the stream is not reset, wherever the
// call is refused: for its token, or for its right.
func TestRefusedWhileSending(t *testing.T) {
	r := settled(t, testConfig(t))
	s := openStreams(t, r, 1<<16)
	const calls = 20
	for i := range calls {
		authorization := []string{"authorization", "Bearer guess"}
		if i%2 == 1 {
			authorization = nil
		}
		s.call(t, http.MethodPost, whoAmIPath, authorization...)
	}
	time.Sleep(50 * time.Millisecond) // Whoever does not wait for the bodies has answered by now.
	for i := range uint32(calls) {
		if err := s.WriteData(s.last-2*i, true, make([]byte, 10)); err != nil {
			t.Fatal(err)
		}
	}
	for ended := 0; ended < calls; {
		frame, err := s.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		switch frame := frame.(type) {
		case *http2.RSTStreamFrame:
			t.Fatalf("reset: %v", frame.ErrCode)
		case *http2.DataFrame:
			if frame.StreamEnded() {
				ended++
			}
		}
	}
}

// Protects: a question of CORS with a body that never comes ends like any other call.
func TestSlowPreflight(t *testing.T) {
	config := testConfig(t)
	config.Edge.BodyTimeout = 500e6
	r := start(t, config)
	said := ended(t, raw(t, r, "OPTIONS "+syncPath+" HTTP/1.1\r\nHost: x\r\nOrigin: https://x.example\r\nAccess-Control-Request-Method: POST\r\n"+
		"Content-Length: 1000\r\n\r\nx"))
	if !strings.HasPrefix(said, "HTTP/1.1 204") || !strings.Contains(said, "Connection: close") {
		t.Errorf("%q", said)
	}
}
