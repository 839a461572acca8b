package server

import (
	"container/list"
	"context"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/cong1022/fieldsync/auth"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/internal/faultwire"
)

const (
	// failureDelay is how late an answer to one guess too many comes, and failuresHeld how many such answers wait at once.
	// Whoever guesses over 64 connections then guesses 640 times a second at most; whoever guesses over more is answered at once.
	failureDelay = 100 * time.Millisecond
	failuresHeld = 2048
	// bombsPerSecond and bombBurst bound how many messages of one device may turn out too large when they are decompressed, which costs
	// the server some milliseconds each. An honest device sends none.
	bombsPerSecond, bombBurst = 0.2, 8
	// bucketsAtOnce is after how many devices or addresses the older half is forgotten: it starts again with a full bucket.
	bucketsAtOnce = 65_536
)

// quotas bound what one device and one address may ask for (token buckets, golang.org/x/time/rate).
//
// Five thousand phones behind one carrier's address are normal. So the address counts for little: what all requests from one
// address may come to is far above such a storm, and failures (tokens, proofs, codes and keys that were never right) are counted
// by themselves. Where these are too many, only the answers to further failures change; whoever comes with a good token from the
// same address notices nothing. An expired token or a clock that is off is no failure: that is how phones come back.
//
// Loopback has no address: it is a proxy on the same machine that nobody configured, or this machine's own tools.
type quotas struct {
	c   EdgeConfig
	now func() time.Time

	devices, addresses, failures buckets
	uploads, answers, held       atomic.Int64

	mu        sync.Mutex // Guards all lists of strangers; whoever holds it takes no other.
	strangers list.List  // Of *underWay, the one that has been longest first.
}

func newQuotas(c EdgeConfig, now func() time.Time) *quotas {
	return &quotas{
		c: c, now: now,
		devices:   buckets{rate: rate.Limit(c.DevicePerSecond), burst: c.DeviceBurst},
		addresses: buckets{rate: rate.Limit(c.AddressPerSecond), burst: c.AddressBurst},
		failures:  buckets{rate: rate.Limit(c.FailuresPerSecond), burst: c.FailureBurst},
	}
}

// byAddress stands before authentication.
func (q *quotas) byAddress(s *Rooms) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			call := &underWay{}
			defer q.end(call, w, r)
			if waitsForRest(r) {
				// Whoever refuses a call closes its body, and end could not take the rest.
				r = r.WithContext(r.Context())
				r.Body = io.NopCloser(r.Body)
			}
			ctx := context.WithValue(r.Context(), underWayKey{}, call)
			addr, ok := addressOf(r.RemoteAddr)
			if ok {
				key := networkOf(addr)
				if !addr.IsLoopback() {
					call.address = q.addresses.of(key)
					if wait := call.address.take(q.now()); wait > 0 {
						call.beyond = true
						faultwire.WriteHTTP(w, r, s.log, errRateLimited(wait))
						return
					}
				}
				ctx = faultwire.WithJudge(ctx, func(f *fault.Error) *fault.Error { return q.judge(ctx, key, f) })
			}
			next.ServeHTTP(w, r.WithContext(ctx))
		})
	}
}

// networkOf is what one client can choose addresses from: of IPv6 a /64.
func networkOf(addr netip.Addr) string {
	if addr.Is6() {
		if prefix, err := addr.Prefix(64); err == nil {
			return prefix.String()
		}
	}
	return addr.String()
}

// guesses are the refusals of what was never right.
var guesses = []string{"token_invalid", "proof_invalid", "code_invalid", "api_key_invalid", "device_unknown", "provider_token_invalid"}

// judge counts a refusal that stands for a guess, and answers one too many late and with another word.
func (q *quotas) judge(ctx context.Context, key string, f *fault.Error) *fault.Error {
	if f.Kind != fault.Unauthenticated && f.Kind != fault.Denied || !slices.Contains(guesses, f.Code) {
		return f
	}
	wait := q.failures.of(key).take(q.now())
	if wait == 0 {
		return f
	}
	if q.held.Add(1) <= failuresHeld {
		timer := time.NewTimer(failureDelay)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
	q.held.Add(-1)
	limited := fault.New(fault.Exhausted, "failures_limited",
		"Từ địa chỉ này có quá nhiều lần thử không hợp lệ: hãy thử lại sau ít phút.",
		"Too many failed attempts came from this address: try again in a while.")
	limited.RetryAfter = wait
	return limited
}

// byDevice stands behind authentication, where it is known who calls.
func (q *quotas) byDevice(s *Rooms) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			call := callUnderWay(r.Context())
			p, err := auth.PrincipalFrom(r.Context())
			if err != nil { // The public procedures and routes: they are the address's.
				q.stranger(s.log, call, next, w, r)
				return
			}
			device := q.devices.of(p.MemberID + "/" + p.DeviceID)
			free := call.within(&device.calls, q.c.DeviceCalls)
			if wait := device.take(q.now()); wait > 0 {
				faultwire.WriteHTTP(w, r, s.log, errRateLimited(wait))
				return
			}
			if !free {
				faultwire.WriteHTTP(w, r, s.log, errDeviceBusy())
				return
			}
			if sendsPhoto(r) && (!call.within(&device.uploads, q.c.DeviceUploads) || !call.within(&q.uploads, q.c.Uploads)) {
				faultwire.WriteHTTP(w, r, s.log, errUploadsBusy())
				return
			}
			if !compressed(r.Header) {
				next.ServeHTTP(w, r)
				return
			}
			now := q.now()
			if device.bombs.TokensAt(now) < 1 {
				faultwire.WriteHTTP(w, r, s.log, errMessagesTooLarge())
				return
			}
			next.ServeHTTP(w, r)
			if tooLarge(w.Header()) {
				device.bombs.AllowN(now, 1)
			}
		})
	}
}

// sendsPhoto tells whether a request carries bytes of a photo: of tus, also in the form for clients that know no PATCH (tus 1.0,
// "X-HTTP-Method-Override").
func sendsPhoto(r *http.Request) bool {
	return r.Method == http.MethodPatch || r.Method == http.MethodPut ||
		r.Method == http.MethodPost && r.Header.Get("X-Http-Method-Override") != ""
}

// compressed tells whether a call's messages are or may be, in any of the three protocols.
func compressed(h http.Header) bool {
	return slices.ContainsFunc([]string{"Content-Encoding", "Connect-Content-Encoding", "Grpc-Encoding"}, func(name string) bool {
		encoding := h.Get(name)
		return encoding != "" && encoding != "identity"
	})
}

// tooLarge tells whether an answer is to a message that was too large when decompressed; in gRPC its trailer says so.
func tooLarge(h http.Header) bool {
	return h.Get(tooLargeHeader) != "" || h.Get(http.TrailerPrefix+tooLargeHeader) != ""
}

func errMessagesTooLarge() error {
	f := fault.New(fault.Exhausted, "messages_too_large",
		"Thiết bị này đã gửi nhiều gói nén quá lớn khi giải nén: hãy gửi gói nhỏ hơn sau ít giây, hoặc gửi không nén.",
		"This device has sent several messages that were too large when decompressed: send smaller ones in a few seconds, or uncompressed.")
	f.RetryAfter = time.Duration(float64(time.Second) / bombsPerSecond)
	return f
}

func errRateLimited(wait time.Duration) error {
	f := fault.New(fault.Exhausted, "rate_limited",
		"Quá nhiều yêu cầu trong thời gian ngắn: hãy chờ rồi thử lại.", "Too many requests in a short time: wait, then try again.")
	f.RetryAfter = wait
	return f
}

func errDeviceBusy() error {
	f := fault.New(fault.Exhausted, "device_busy",
		"Thiết bị này đang có quá nhiều yêu cầu cùng lúc: hãy chờ các yêu cầu trước xong.",
		"This device has too many calls under way: wait until earlier ones are over.")
	f.RetryAfter = time.Second
	return f
}

// errUploadsBusy is 503 and not 429: clients of tus repeat after the one and give up after the other.
func errUploadsBusy() error {
	f := fault.New(fault.Unavailable, "uploads_busy",
		"Đang có quá nhiều ảnh được gửi cùng lúc: hãy gửi tiếp sau ít giây.",
		"Too many photos are being sent at once: go on in a few seconds.")
	f.RetryAfter = 5 * time.Second
	return f
}

// bucket is a device's or an address's.
type bucket struct {
	limiter        *rate.Limiter // nil where there is no limit
	bombs          *rate.Limiter
	calls, uploads atomic.Int64
	strangers      list.List // See quotas.
}

// take takes a token, or tells after how long there will be one.
func (b *bucket) take(now time.Time) time.Duration {
	if b.limiter == nil {
		return 0
	}
	reservation := b.limiter.ReserveN(now, 1)
	wait := reservation.DelayFrom(now)
	if wait > 0 {
		reservation.CancelAt(now)
	}
	return wait
}

// buckets are those in use, in two generations. Safe for concurrent use.
type buckets struct {
	rate  rate.Limit
	burst int

	mu          sync.Mutex
	young, aged map[string]*bucket
}

func (b *buckets) of(key string) *bucket {
	b.mu.Lock()
	defer b.mu.Unlock()
	if found, ok := b.young[key]; ok {
		return found
	}
	found, ok := b.aged[key]
	if !ok {
		found = &bucket{bombs: rate.NewLimiter(bombsPerSecond, bombBurst)}
		if b.rate > 0 {
			found.limiter = rate.NewLimiter(b.rate, b.burst)
		}
	}
	if b.young == nil || len(b.young) >= bucketsAtOnce {
		b.young, b.aged = make(map[string]*bucket), b.young
	}
	b.young[key] = found
	return found
}
