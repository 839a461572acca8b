package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
)

var (
	errCut  = errors.New("simulated: no answer")
	errDown = errors.New("simulated: connection refused")
)

// call is a request on its way.
type call struct {
	set    *handset
	method string
	url    string
	header http.Header
	body   []byte
	// cut is one more than the number of bytes of the body that arrive, 0 for all.
	cut int
	// late: the phone has given it up, and may hold something else by now.
	late bool
}

// link is the air between one phone and the server. A request runs in the caller's goroutine from end to end, so a run has
// one order of events and no other.
type link struct {
	w   *world
	set *handset
}

// RoundTrip implements http.RoundTripper.
func (l *link) RoundTrip(r *http.Request) (*http.Response, error) {
	w := l.w
	if l.set.killed {
		return nil, errCut // A dead process sends nothing.
	}
	c := call{set: l.set, method: r.Method, url: r.URL.String(), header: r.Header.Clone()}
	if r.Body != nil {
		var err error
		if c.body, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
		_ = r.Body.Close()
	}
	w.now = w.now.Add(40 * time.Millisecond)
	switch r.URL.Path {
	case fieldsyncv1connect.SyncServiceWatchProcedure:
		return l.stream(c)
	case fieldsyncv1connect.SyncServiceAwaitChangeProcedure:
		return l.poll(c)
	case fieldsyncv1connect.SyncServiceSyncProcedure:
		w.otherVersion(&c)
	}
	answer, err := l.unary(c)
	if answer != nil {
		answer.Request = r
	}
	return answer, err
}

// unary is a call with one answer.
func (l *link) unary(c call) (*http.Response, error) {
	w := l.w
	meets := w.nextCut()
	if meets == dropRequest {
		return nil, errCut
	}
	if meets == late {
		w.late = append(w.late, c)
		return nil, errCut
	}
	if meets == cutRequest {
		c.cut = 1 + int(w.somewhere(len(c.body)))
		_ = w.serve(c)
		return nil, errCut
	}
	answer := w.serve(c)
	_, member := bearer(c)
	scope := string(w.truth().scope(member))
	if meets == twice && answer != nil {
		answer = w.serve(c)
	}
	w.now = w.now.Add(40 * time.Millisecond)
	switch meets {
	case held:
		w.aside(l.set)
	case dropAnswer:
		return nil, errCut
	case killed:
		l.set.die()
		return nil, errCut
	default:
	}
	if answer == nil {
		return nil, errDown
	}
	if meets == cutAnswer {
		whole, err := io.ReadAll(answer.Body)
		w.must("reading an answer", err)
		answer.Body = io.NopCloser(io.MultiReader(bytes.NewReader(whole[:w.somewhere(len(whole))]), brokenReader{}))
		return answer, nil
	}
	if strings.HasSuffix(c.url, fieldsyncv1connect.SyncServiceSyncProcedure) && answer.StatusCode == http.StatusOK {
		l.set.told = scope
	}
	return answer, nil
}

// somewhere is a place in so many bytes: another one in each call of the step.
func (w *world) somewhere(size int) int64 {
	w.places++
	return int64((w.action.how*31 + w.action.what + 7*w.places) % (size + 1))
}

// serve lets the server answer, and looks at what it has answered. Nil where the server is down or dies over it.
func (w *world) serve(c call) *http.Response {
	h := w.house
	if h.engine.dead {
		return nil
	}
	r, err := w.request(w.ctx, c)
	if err != nil {
		return nil
	}
	rec := httptest.NewRecorder()
	compare := w.fence(c, r.URL.Path)
	aborted := w.pass(rec, r, c)
	compare()
	if aborted || h.engine.crashed {
		return nil
	}
	body, err := plain(rec.Header(), rec.Body.Bytes())
	w.must("reading an answer", err)
	w.seen(c, r.URL.Path, rec.Code, body)
	return rec.Result()
}

// request is the call as the server gets it.
func (w *world) request(ctx context.Context, c call) (*http.Request, error) {
	body := io.Reader(bytes.NewReader(c.body))
	if c.cut > 0 {
		body = io.MultiReader(bytes.NewReader(c.body[:c.cut-1]), brokenReader{})
	}
	r, err := http.NewRequestWithContext(ctx, c.method, c.url, body)
	if err != nil {
		w.failf("harness", "making a request: %v", err)
		return nil, err
	}
	r.ContentLength = int64(len(c.body))
	r.Header, r.RemoteAddr, r.RequestURI = c.header.Clone(), "192.0.2.1:1", r.URL.RequestURI()
	return r, nil
}

// pass lets the server's handler answer. aborted: it has cut the connection.
func (w *world) pass(to http.ResponseWriter, r *http.Request, c call) (aborted bool) {
	h := w.house
	h.log.text = ""
	aborted = func() (aborted bool) {
		defer func() {
			if reason := recover(); reason != nil {
				aborted = true
				if reason != http.ErrAbortHandler { //nolint:errorlint // The very same.
					w.failf("panic", "%s %s: %v", c.method, r.URL.Path, reason)
				}
			}
		}()
		h.handler.ServeHTTP(to, r)
		return false
	}()
	if h.log.text != "" && !w.harmed {
		w.failf("internal error", "%s %s: %s", c.method, r.URL.Path, h.log.text)
	}
	return aborted
}

// plain returns a body as it was before compression.
func plain(header http.Header, body []byte) ([]byte, error) {
	switch header.Get("Content-Encoding") {
	case "gzip":
		z, err := gzip.NewReader(bytes.NewReader(body))
		if err != nil {
			return nil, fmt.Errorf("reading a compressed body: %w", err)
		}
		return io.ReadAll(z)
	case "zstd":
		z, err := zstd.NewReader(bytes.NewReader(body), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, fmt.Errorf("reading a compressed body: %w", err)
		}
		defer z.Close()
		return io.ReadAll(z)
	default:
		return body, nil
	}
}
