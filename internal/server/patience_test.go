package server

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
)

// Protects: a client that asks for much and takes nothing does not hold its handler, over HTTP/1.1 and HTTP/2.
func TestSlowReader(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		failed := make(chan error, 1)
		p := patience{write: 200 * time.Millisecond, now: time.Now}
		server := httptest.NewUnstartedServer(p.handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			chunk := make([]byte, 1<<20)
			for range 1024 {
				if _, err := w.Write(chunk); err != nil {
					failed <- err
					return
				}
			}
			failed <- nil
		})))
		server.EnableHTTP2 = http2
		server.StartTLS()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := server.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if err := <-failed; err == nil {
			t.Errorf("HTTP/2 %v: a gigabyte was taken by nobody", http2)
		}
		resp.Body.Close()
		server.Close()
	}
}

// body gives so many bytes at each read, and moves the clock on before it.
type body struct {
	clock *time.Time
	pause time.Duration
	step  int
	left  int
}

func (b *body) Read(p []byte) (int, error) {
	*b.clock = b.clock.Add(b.pause)
	if b.left == 0 {
		return 0, io.EOF
	}
	n := min(b.step, b.left, len(p))
	b.left -= n
	return n, nil
}

func (*body) Close() error { return nil }

// Protects: a body may be as slow as the worst network, and no slower; a message has an end, a photo need not have one; a silent one
// is told from a broken one.
func TestBodyPace(t *testing.T) {
	for _, c := range []struct {
		name    string
		pause   time.Duration
		step    int
		size    int
		message bool
		slow    bool
	}{
		{"1 KiB a second", time.Second, 1 << 10, 64 << 10, true, false},
		{"200 bytes a second", time.Second, 200, 64 << 10, true, false},
		{"a byte a second", time.Second, 1, 4096, true, true},
		{"silence, then everything", 29 * time.Second, 64 << 10, 64 << 10, true, false},
		{"a message of 20 minutes", time.Second, 3500, 4 << 20, true, true},
		{"a photo of 20 minutes", time.Second, 3500, 4 << 20, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			clock := time.Now()
			p := patience{body: 30 * time.Second, now: func() time.Time { return clock }}
			paced := &pacedBody{
				ReadCloser: &body{clock: &clock, pause: c.pause, step: c.step, left: c.size}, patience: p, ctx: t.Context(),
				control: http.NewResponseController(httptest.NewRecorder()), message: c.message,
			}
			paced.wait(clock)
			n, err := io.Copy(io.Discard, paced)
			if c.slow != (connect.CodeOf(err) == connect.CodeUnavailable && err != nil) || !c.slow && (err != nil || int(n) != c.size) {
				t.Errorf("%d of %d bytes, %v", n, c.size, err)
			}
		})
	}
	for cause, want := range map[error]bool{os.ErrDeadlineExceeded: true, io.ErrUnexpectedEOF: false} {
		paced := &pacedBody{
			ReadCloser: io.NopCloser(io.MultiReader(strings.NewReader(""), failing{cause})), ctx: t.Context(),
			patience: patience{body: time.Second, now: time.Now}, control: http.NewResponseController(httptest.NewRecorder()),
		}
		paced.wait(time.Now())
		if _, err := io.ReadAll(paced); (connect.CodeOf(err) == connect.CodeUnavailable) != want || !want && !errors.Is(err, cause) {
			t.Errorf("%v becomes %v", cause, err)
		}
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }
