package server

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"

	"connectrpc.com/connect"
	"go.uber.org/goleak"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
	"github.com/cong1022/fieldsync/phone"
	"github.com/cong1022/fieldsync/store"
)

// Protects: whatever a server started has ended when Serve returns.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func noEnv(string) (string, bool) { return "", false }

// testConfig is the default configuration on a free port and a folder of its own.
func testConfig(tb testing.TB) Config {
	tb.Helper()
	config, err := LoadConfig("", noEnv)
	if err != nil {
		tb.Fatal(err)
	}
	config.Listen, config.Data = "127.0.0.1:0", tb.TempDir()
	return config
}

// running is a server as serve runs it.
type running struct {
	*Server

	url string
	log *logLines
	// stop ends it in good order and returns what Serve returned. The end of the test calls it too.
	stop func() error
}

func start(tb testing.TB, config Config, prepare ...func(*Server)) *running {
	tb.Helper()
	log := &logLines{}
	s, err := Open(tb.Context(), config, slog.New(slog.NewJSONHandler(log, nil)))
	if err != nil {
		tb.Fatal(err)
	}
	for _, f := range prepare {
		f(s)
	}
	ctx, cancel := context.WithCancel(context.Background()) //nolint:usetesting // It outlives tb.Context, which ends before the cleanups.
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx) }()
	stop := sync.OnceValue(func() error {
		cancel()
		return <-served
	})
	tb.Cleanup(func() {
		if err := stop(); err != nil {
			tb.Error(err)
		}
	})
	return &running{Server: s, url: s.URL(), log: log, stop: stop}
}

// settled is a running server with a unit, a crew and a member of each role: an (crew), chi (dispatcher), tong-dai (hotline),
// sep (admin).
func settled(tb testing.TB, config Config, prepare ...func(*Server)) *running {
	tb.Helper()
	r := start(tb, config, prepare...)
	r.update(tb, func(tx *store.Tx) error {
		for _, m := range []*fieldsyncv1.Member{
			{Id: "an", Name: "An", Role: fieldsyncv1.Role_ROLE_CREW, CrewId: "to-1"},
			{Id: "chi", Name: "Chi", Role: fieldsyncv1.Role_ROLE_DISPATCHER, UnitId: "city"},
			{Id: "tong-dai", Name: "1022", Role: fieldsyncv1.Role_ROLE_HOTLINE},
			{Id: "sep", Name: "Sếp", Role: fieldsyncv1.Role_ROLE_ADMIN},
		} {
			if err := store.Put(tx, store.MemberKey(m.GetId()), m); err != nil {
				return err
			}
		}
		return store.Put(tx, store.CrewKey("to-1"), &fieldsyncv1.Crew{Id: "to-1", UnitId: "city", Name: "Tổ 1"})
	})
	return r
}

func (r *running) update(tb testing.TB, fn func(*store.Tx) error) {
	tb.Helper()
	if err := r.store.Update(tb.Context(), fn); err != nil {
		tb.Fatal(err)
	}
}

// enrol is a device of the member, in the folder.
func (r *running) enrol(tb testing.TB, member, folder string) *phone.Phone {
	tb.Helper()
	code, _, err := r.auth.IssueCodeFor(tb.Context(), member, "")
	if err != nil {
		tb.Fatal(err)
	}
	p := openPhone(tb, folder)
	if err := p.Enrol(tb.Context(), r.url, code, member); err != nil {
		tb.Fatal(err)
	}
	return p
}

func openPhone(tb testing.TB, folder string) *phone.Phone {
	tb.Helper()
	p, err := phone.Open(folder, phone.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := p.Close(); err != nil {
			tb.Error(err)
		}
	})
	return p
}

// token is an access token of a fresh device of the member.
func (r *running) token(tb testing.TB, member string) string {
	tb.Helper()
	token, err := r.enrol(tb, member, tb.TempDir()).Token(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	return token
}

// assigned is a task that the crew to-1 has.
func (r *running) assigned(tb testing.TB) string {
	tb.Helper()
	admin := r.enrol(tb, "sep", tb.TempDir()).Client()
	desk := fieldsyncv1connect.NewDispatchServiceClient(admin, r.url)
	tickets, err := fieldsyncv1connect.NewHotlineServiceClient(admin, r.url).SubmitTickets(tb.Context(), &fieldsyncv1.SubmitTicketsRequest{
		Tickets: []*fieldsyncv1.TicketIntake{{HotlineId: "1022-1", Category: "fallen-tree", Title: "Cây đổ"}},
	})
	if err != nil {
		tb.Fatal(err)
	}
	created, err := desk.CreateTask(tb.Context(), &fieldsyncv1.CreateTaskRequest{TicketId: tickets.GetResults()[0].GetTicketId()})
	if err != nil {
		tb.Fatal(err)
	}
	id := created.GetTask().GetId()
	if _, err := desk.AssignTask(tb.Context(), &fieldsyncv1.AssignTaskRequest{TaskId: id, CrewId: "to-1"}); err != nil {
		tb.Fatal(err)
	}
	return id
}

// client is an HTTP client of the test's own over HTTP/1.1, or over HTTP/2 without TLS. It adds the token where there is one.
func client(tb testing.TB, http2 bool, token string) *http.Client {
	tb.Helper()
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetHTTP1(!http2)
	transport.Protocols.SetUnencryptedHTTP2(http2)
	tb.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: bearer{token, transport}}
}

type bearer struct {
	token string
	next  http.RoundTripper
}

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	if b.token != "" {
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", "Bearer "+b.token)
	}
	return b.next.RoundTrip(r)
}

// answer is what a plain HTTP request brought.
type answer struct {
	status int
	header http.Header
	body   string
}

// code is the Connect code in an answer of the Connect protocol.
func (a answer) code() string {
	var body struct {
		Code string `json:"code"`
	}
	if json.Unmarshal([]byte(a.body), &body) != nil {
		return ""
	}
	return body.Code
}

func do(tb testing.TB, c *http.Client, method, url, contentType string, body io.Reader, headers ...string) answer {
	tb.Helper()
	req, err := http.NewRequestWithContext(tb.Context(), method, url, body)
	if err != nil {
		tb.Fatal(err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := c.Do(req)
	if err != nil {
		tb.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		tb.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(text)}
}

// info is the ErrorInfo that rides on a Connect error; nil where there is none.
func info(err *connect.Error) *fieldsyncv1.ErrorInfo {
	for _, detail := range err.Details() {
		if value, derr := detail.Value(); derr == nil {
			if i, ok := value.(*fieldsyncv1.ErrorInfo); ok {
				return i
			}
		}
	}
	return nil
}

// logLines keeps what a server logs.
type logLines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements io.Writer.
func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

// with returns the lines that contain text.
func (l *logLines) with(text string) (lines []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.buf.String()) {
		if strings.Contains(line, text) {
			lines = append(lines, line)
		}
	}
	return lines
}
