// Package fcmtest is a local Firebase Cloud Messaging for tests: Google's token endpoint and the HTTP v1 messages:send method,
// as strict as the real ones, and stricter where the real one stays silent and the phone pays for it. The Firebase Admin SDK
// speaks to it unchanged. See https://firebase.google.com/docs/reference/fcm/rest/v1/projects.messages.
package fcmtest

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
)

// Server is the fake. All methods are safe for concurrent use.
type Server struct {
	http *httptest.Server
	key  *rsa.PrivateKey

	mu       sync.Mutex
	bearers  map[string]struct{}
	script   []Failure
	choose   func(address string) Failure
	dead     map[string]struct{}
	messages []Message
	attempts int
	arrived  chan struct{} // Closed and replaced at each message.
}

// Start starts a Server, which ends with the test.
func Start(tb testing.TB) *Server {
	tb.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		tb.Fatalf("making the service account's key: %v", err)
	}
	s := &Server{
		key:     key,
		bearers: make(map[string]struct{}),
		dead:    make(map[string]struct{}),
		arrived: make(chan struct{}),
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /token", s.grant)
	mux.HandleFunc("POST /v1/projects/"+project+"/{method}", s.send)
	s.http = httptest.NewServer(mux)
	tb.Cleanup(s.http.Close)
	return s
}

// Endpoint is what the SDK takes in the place of https://fcm.googleapis.com/v1.
func (s *Server) Endpoint() string { return s.http.URL + "/v1" }

// Fail makes the next sends that are in order fail, one after the other. Pass lets one through.
func (s *Server) Fail(failures ...Failure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.script = append(s.script, failures...)
}

// Choose lets choose say what becomes of each send that is in order and for which the script has nothing. It is called for sends that
// come at the same time, at the same time.
func (s *Server) Choose(choose func(address string) Failure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.choose = choose
}

// Kill makes every send to this address fail with UNREGISTERED from now on.
func (s *Server) Kill(address string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dead[address] = struct{}{}
}

// Attempts is how many sends have come in, whatever became of them.
func (s *Server) Attempts() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.attempts
}

// Messages returns what was accepted, oldest first.
func (s *Server) Messages() []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.messages)
}

// Await returns as Messages once at least n were accepted, and fails when ctx ends before.
func (s *Server) Await(ctx context.Context, n int) ([]Message, error) {
	for {
		s.mu.Lock()
		messages, arrived := slices.Clone(s.messages), s.arrived
		s.mu.Unlock()
		if len(messages) >= n {
			return messages, nil
		}
		select {
		case <-arrived:
		case <-ctx.Done():
			return nil, fmt.Errorf("%d of %d messages have come: %w", len(messages), n, context.Cause(ctx))
		}
	}
}

func (s *Server) send(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.attempts++
	s.mu.Unlock()
	if r.PathValue("method") != "messages:send" {
		http.NotFound(w, r)
		return
	}
	if !s.authorized(r) {
		unauthenticated.answer(w)
		return
	}
	message, refusal := readMessage(w, r)
	if refusal != nil {
		refusal.answer(w)
		return
	}
	failure := s.decide(message.Address())
	if failure == Cut {
		panic(http.ErrAbortHandler) // The server closes the connection without an answer.
	}
	if failure == Stall {
		<-r.Context().Done()
		return
	}
	if failure != Pass && failure != Lost {
		failure.answer(w)
		return
	}
	name := s.accept(message)
	if failure == Lost {
		panic(http.ErrAbortHandler)
	}
	writeJSON(w, http.StatusOK, map[string]string{"name": name})
}

// decide takes the next step of the script. A dead address is dead whatever the script says.
func (s *Server) decide(address string) Failure {
	next, choose := s.scripted(address)
	if choose != nil {
		return choose(address)
	}
	return next
}

// scripted is what needs no asking; where it does, choose is who to ask.
func (s *Server) scripted(address string) (next Failure, choose func(string) Failure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, dead := s.dead[address]; dead {
		return Unregistered, nil
	}
	if len(s.script) == 0 {
		return Pass, s.choose
	}
	next, s.script = s.script[0], s.script[1:]
	return next, nil
}

func (s *Server) accept(message Message) (name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.messages = append(s.messages, message)
	close(s.arrived)
	s.arrived = make(chan struct{})
	return fmt.Sprintf("projects/%s/messages/0:%d%%%s", project, 1758000000000000+len(s.messages), rand.Text()[:16])
}
