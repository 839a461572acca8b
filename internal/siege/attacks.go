//go:build linux

package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/klauspost/compress/zstd"
)

const (
	attackersNiceness = 10
	begunLine         = "begun\n"
	syncPath          = "/fieldsync.v1.SyncService/Sync"
	// bombSize is what each bomb would be when decompressed.
	bombSize = 1 << 30
	// hands is how many requests an attacker has under way.
	hands = 32
)

// attack is one class of attacks.
type attack struct {
	name string
	make func(o *orders, begun func()) (attackResult, error)
	// floods tells that it costs the attackers' own processor, so that there is a floor to measure: see orders.Pace.
	floods bool
}

var attacks = []attack{
	{"bad-tokens", (*orders).badTokens, true},
	{"gzip-bombs", func(o *orders, begun func()) (attackResult, error) { return o.bombs("gzip", gzipBomb, begun) }, true},
	{"zstd-bombs", func(o *orders, begun func()) (attackResult, error) { return o.bombs("zstd", zstdBomb(1<<20), begun) }, true},
	// It wants half a GiB to be kept in memory, which the server has to refuse before it does.
	{"zstd-windows", func(o *orders, begun func()) (attackResult, error) {
		return o.bombs("zstd", zstdBomb(zstd.MaxWindowSize), begun)
	}, true},
	{"half-open", func(o *orders, begun func()) (attackResult, error) { return o.slow("", 0, begun) }, false},
	{"slow-headers", func(o *orders, begun func()) (attackResult, error) {
		return o.slow("POST "+syncPath+" HTTP/1.1\r\nHost: fieldsync\r\nX-Slow: ", 'a', begun)
	}, false},
	{"slow-bodies", func(o *orders, begun func()) (attackResult, error) {
		return o.slow("POST "+syncPath+" HTTP/1.1\r\nHost: fieldsync\r\nContent-Type: application/proto\r\nContent-Length: 1000000\r\nX-Forwarded-For: 203.0.113.9\r\nAuthorization: Bearer "+o.Token+"\r\n\r\n", 0, begun)
	}, false},
}

// orders are what the attackers' process is to do.
type orders struct {
	Name  string `json:"name"`
	URL   string `json:"url"`
	Token string `json:"token"`
	Plan  plan   `json:"plan"`
	// Pace, where it is not 0, makes the floor of a flood instead: the same requests, one each so often, to a path that is none, which
	// the server refuses at the header. What the phone then waits, it waits for the attackers' own work beside it on this machine.
	Pace time.Duration `json:"pace,omitempty"`
}

// attackResult is what became of it.
type attackResult struct {
	Sent       int    `json:"sent"`       // Requests, or connections.
	Refused    int    `json:"refused"`    // Answered as they should be.
	Closed     int    `json:"closed"`     // Connections that the server has ended.
	Unexpected int    `json:"unexpected"` // Answered otherwise, or not at all.
	Example    string `json:"example,omitempty"`
	Scaled     int    `json:"scaled_to,omitempty"` // How many connections there were at once, where the machine permits fewer than wanted.
}

func (o *orders) carryOut(out io.Writer) error {
	for _, a := range attacks {
		if a.name != o.Name {
			continue
		}
		r, err := a.make(o, sync.OnceFunc(func() { fmt.Fprint(out, begunLine) }))
		if err != nil {
			return err
		}
		if err := json.NewEncoder(out).Encode(r); err != nil {
			return err
		}
		time.Sleep(time.Hour) // Until it is ended: what is still open is closed with the process.
	}
	return fmt.Errorf("no attack %q", o.Name)
}

// flood sends so many requests, a few at a time, and looks whether each is refused as it should be.
func (o *orders) flood(count int, request func(i int) (*http.Request, error), refused func(status int, body string) bool) (attackResult, error) {
	transport := &http.Transport{MaxIdleConnsPerHost: hands, MaxConnsPerHost: hands}
	var mu sync.Mutex
	r, next, begun := attackResult{Sent: count}, 0, time.Now()
	if o.Pace > 0 {
		refused = func(status int, _ string) bool { return status == http.StatusNotFound }
	}
	var all sync.WaitGroup
	for range hands {
		all.Go(func() {
			for {
				mu.Lock()
				i := next
				next++
				mu.Unlock()
				if i >= count {
					return
				}
				time.Sleep(time.Until(begun.Add(time.Duration(i) * o.Pace))) // Not at all where there is none.
				said, ok, err := attempt(transport, i, request, refused)
				mu.Lock()
				switch {
				case ok:
					r.Refused++
				case errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET): // Refused at the header while the body still came.
					r.Closed++
				default:
					r.Unexpected++
					r.Example = said
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	return r, nil
}

func attempt(transport *http.Transport, i int, request func(i int) (*http.Request, error), refused func(status int, body string) bool) (said string, ok bool, err error) {
	req, err := request(i)
	if err != nil {
		return err.Error(), false, err
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return err.Error(), false, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	if err != nil {
		return err.Error(), false, err
	}
	return fmt.Sprintf("%d %.100s", resp.StatusCode, body), refused(resp.StatusCode, string(body)), nil
}

func (o *orders) request(body []byte, address string) (*http.Request, error) {
	path := syncPath
	if o.Pace > 0 {
		path = "/nowhere"
	}
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, o.URL+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/proto")
	req.Header.Set("X-Forwarded-For", address)
	return req, nil
}

// badTokens guesses from a hundred addresses.
func (o *orders) badTokens(begun func()) (attackResult, error) {
	begun()
	return o.flood(o.Plan.Requests, func(i int) (*http.Request, error) {
		req, err := o.request(nil, fmt.Sprintf("203.0.113.%d", i%100+1))
		if err == nil && o.Pace == 0 {
			req.Header.Set("Authorization", fmt.Sprintf("Bearer %s%08d", o.Token[:len(o.Token)-8], i))
		}
		return req, err
	}, func(status int, body string) bool {
		return status == http.StatusUnauthorized && strings.Contains(body, "token_invalid") ||
			status == http.StatusTooManyRequests && strings.Contains(body, "failures_limited")
	})
}

// bombs sends a message that is small until it is decompressed, with a stolen phone's good token.
func (o *orders) bombs(encoding string, build func() ([]byte, error), begun func()) (attackResult, error) {
	bomb, err := build()
	if err != nil {
		return attackResult{}, err
	}
	begun()
	return o.flood(o.Plan.Bombs, func(i int) (*http.Request, error) {
		req, err := o.request(bomb, fmt.Sprintf("203.0.113.%d", i%100+1))
		if err == nil {
			req.Header.Set("Authorization", "Bearer "+o.Token)
			req.Header.Set("Content-Encoding", encoding)
		}
		return req, err
	}, func(status int, _ string) bool {
		return status == http.StatusTooManyRequests || status == http.StatusBadRequest || status == http.StatusRequestEntityTooLarge
	})
}

// part is what a bomb repeats: a sixteenth of a GiB of zeros.
const part = bombSize / 16

func gzipBomb() ([]byte, error) {
	var once bytes.Buffer
	w, err := gzip.NewWriterLevel(&once, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(make([]byte, part)); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return bytes.Repeat(once.Bytes(), bombSize/part), nil // Members of one file (RFC 1952, 2.2).
}

func zstdBomb(window int) func() ([]byte, error) {
	return func() ([]byte, error) {
		var once bytes.Buffer
		w, err := zstd.NewWriter(&once, zstd.WithWindowSize(window), zstd.WithEncoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		if _, err := w.Write(make([]byte, part)); err != nil {
			return nil, err
		}
		if err := w.Close(); err != nil {
			return nil, err
		}
		return bytes.Repeat(once.Bytes(), bombSize/part), nil // Frames of one stream (RFC 8878, 3).
	}
}

// slow opens connections, sends the head over each and then a byte a second, or nothing at all where head is empty, and holds them until
// the server has ended all.
func (o *orders) slow(head string, drip byte, begun func()) (attackResult, error) {
	r := attackResult{}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return r, err
	}
	wanted := o.Plan.Connections
	if most := int(min(limit.Cur, 1<<30)) - 256; wanted > most {
		wanted, r.Scaled = most, most
	}
	address := strings.TrimPrefix(o.URL, "http://")
	var closed atomic.Int64
	open := make([]net.Conn, 0, wanted)
	for range wanted {
		conn, err := net.DialTimeout("tcp", address, 10*time.Second) //nolint:noctx // It ends with the process.
		if err != nil {
			r.Unexpected++
			r.Example = err.Error()
			continue
		}
		open = append(open, conn)
		go func() {
			_, _ = io.Copy(io.Discard, conn) // Until the server closes it.
			closed.Add(1)
		}()
		_, _ = io.WriteString(conn, head) // Where it is closed already, that is counted above.
	}
	r.Sent = wanted
	begun()
	deadline := time.Now().Add(o.Plan.Hold)
	for time.Now().Before(deadline) && int(closed.Load()) < len(open) {
		time.Sleep(min(time.Second, time.Until(deadline)))
		for _, conn := range open {
			if head != "" {
				_, _ = conn.Write([]byte{drip})
			}
		}
	}
	r.Closed = int(closed.Load())
	return r, nil
}
