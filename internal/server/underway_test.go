package server

import (
	"bufio"
	"bytes"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

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
		fields = append(fields, "content-type", protoType, "content-length", "10")
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

const (
	refreshPath = "/fieldsync.v1.IdentityService/Refresh"
	jwksPath    = "/.well-known/jwks.json"
	someone     = "203.0.113.1"
)

// Protects: of callers without a good token so many calls are under way as are configured, of an address as of all, whether they do not send
// what they announce or do not take what they asked for; those beyond are told so and when to come again; good tokens and the question
// whether the server lives pass; and a place is free when its call is over.
func TestStrangersUnderWay(t *testing.T) {
	config := testConfig(t)
	config.Edge.TrustedProxies = []string{"127.0.0.0/8"}
	config.Edge.AddressCalls, config.Edge.AnonymousCalls = 3, 4
	r := settled(t, config)
	token := r.token(t, "an")
	ask := func(path, token, address string) answer {
		return do(t, client(t, false, token), http.MethodPost, r.url+path, jsonType, strings.NewReader("{}"), "X-Forwarded-For", address)
	}
	until := func(path, address string, status int) answer {
		t.Helper()
		for {
			if got := ask(path, "", address); got.status == status || t.Context().Err() != nil {
				return got
			}
		}
	}
	for _, c := range []struct {
		name  string
		hold  func(s *streams) // Three calls.
		heads []string
	}{
		{"bodies that do not come", func(s *streams) {
			for range 3 {
				s.call(t, http.MethodPost, refreshPath, "x-forwarded-for", someone)
			}
		}, nil},
		{"answers that are not taken", func(s *streams) {
			for range 3 {
				s.call(t, http.MethodGet, jwksPath, "x-forwarded-for", someone)
			}
		}, []string{"200", "200", "200"}},
		{"refusals that are not taken", func(s *streams) {
			for range 3 {
				s.call(t, http.MethodGet, jwksPath, "x-forwarded-for", someone, "authorization", "Bearer guess")
			}
		}, []string{"401", "401", "401"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := openStreams(t, r, 0)
			c.hold(s)
			heads := s.answers(t, len(c.heads))
			s.call(t, http.MethodPost, refreshPath, "x-forwarded-for", someone)
			// Whichever came to its turn last.
			if heads = append(heads, s.answers(t, 1)...); !slices.Equal(heads, append(c.heads, "429 after 1")) {
				t.Errorf("answered with %q", heads)
			}
			got := until(refreshPath, someone, http.StatusTooManyRequests)
			if !strings.Contains(got.body, "address_busy") || got.header.Get("Retry-After") != "1" {
				t.Errorf("one more, over another connection: %d %v %s", got.status, got.header, got.body)
			}
			if got := ask(whoAmIPath, token, someone); got.status != http.StatusOK {
				t.Errorf("a good token from there: %d %s", got.status, got.body)
			}
			// Another address has the last place of all, and then nobody has one.
			s.call(t, http.MethodPost, refreshPath, "x-forwarded-for", "203.0.113.2")
			got = until(refreshPath, "203.0.113.3", http.StatusServiceUnavailable)
			if !strings.Contains(got.body, "anonymous_busy") || got.header.Get("Retry-After") != "5" {
				t.Errorf("a third address: %d %v %s", got.status, got.header, got.body)
			}
			if got := ask(whoAmIPath, token, "203.0.113.3"); got.status != http.StatusOK {
				t.Errorf("a good token from there: %d %s", got.status, got.body)
			}
			if got := do(t, client(t, false, ""), http.MethodGet, r.url+"/livez", "", nil, "X-Forwarded-For", "203.0.113.3"); got.status != http.StatusOK {
				t.Errorf("whether the server lives: %d %s", got.status, got.body)
			}
			s.conn.Close()
			until(refreshPath, someone, http.StatusBadRequest)
		})
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

// Protects: over HTTP/2 as over HTTP/1.1 a refusal waits for a short body that is on its way, and the stream is not reset.
func TestRefusedWhileSending(t *testing.T) {
	r := start(t, testConfig(t))
	s := openStreams(t, r, 1<<16)
	for range 20 {
		s.call(t, http.MethodPost, whoAmIPath, "authorization", "Bearer guess")
		if err := s.WriteData(s.last, true, make([]byte, 10)); err != nil {
			t.Fatal(err)
		}
	}
	for ended := 0; ended < 20; {
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
