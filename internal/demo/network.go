package demo

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
)

// errNoSignal is what a phone without signal sees.
var errNoSignal = errors.New("no signal")

// network is the air between a phone and the server. It can be taken away, lose an answer, or break an upload in the middle.
type network struct {
	next http.RoundTripper

	mu         sync.Mutex
	offline    bool
	loseAnswer string // Of the next request whose path ends so: it reaches the server, the answer does not come back.
	cutUpload  int64  // After how many bytes the next upload breaks; 0: not at all.
	lost, cut  int
}

func newNetwork() *network { return &network{next: http.DefaultTransport.(*http.Transport).Clone()} } //nolint:errcheck,forcetypeassert // The standard library's.

func (n *network) setOffline(offline bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.offline = offline
}

func (n *network) loseNextAnswer(path string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.loseAnswer = path
}

func (n *network) cutNextUpload(after int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cutUpload = after
}

// counts tells how many answers were lost and how many uploads were cut.
func (n *network) counts() (lost, cut int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.lost, n.cut
}

// RoundTrip implements http.RoundTripper.
func (n *network) RoundTrip(r *http.Request) (*http.Response, error) {
	n.mu.Lock()
	offline := n.offline
	lose := n.loseAnswer != "" && strings.HasSuffix(r.URL.Path, n.loseAnswer)
	if lose {
		n.loseAnswer = ""
		n.lost++
	}
	if r.Method == http.MethodPatch && n.cutUpload > 0 && r.ContentLength > n.cutUpload {
		r = r.Clone(r.Context())
		r.Body = &brokenBody{body: r.Body, left: n.cutUpload}
		n.cutUpload = 0
		n.cut++
	}
	n.mu.Unlock()
	if offline {
		return nil, errNoSignal
	}
	resp, err := n.next.RoundTrip(r)
	if lose && err == nil {
		_ = resp.Body.Close()
		return nil, errNoSignal
	}
	return resp, err
}

// brokenBody is a request's body that ends in an error.
type brokenBody struct {
	body io.ReadCloser
	left int64
}

func (b *brokenBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errNoSignal
	}
	n, err := b.body.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

func (b *brokenBody) Close() error { return b.body.Close() }
