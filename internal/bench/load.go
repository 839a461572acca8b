package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/cong1022/fieldsync/phone"
)

// load is the child that is all the phones.
type load struct {
	// resident are clients that keep cursor and numbers from one order to the next.
	resident []*client
	wire     *wire
	watch    *watching
}

func newLoad(context.Context) worker { return &load{} }

// The orders of a load generator.
const (
	opSeats    = "seats"     // Here are seats, and where the server is.
	opEmpty    = "empty"     // Count clients call with nothing, for a time.
	opPull     = "pull"      // Each seat asks for the same delta of Tasks tasks, for a time.
	opPush     = "push"      // Each seat pushes batches, for a time.
	opFirst    = "first"     // Each of the first Count seats reads all Tasks tasks, at once, once.
	opComeBack = "come-back" // Each seat comes back at once, on a connection of its own, once.
	opKnock    = "knock"     // Count clients call with nothing at once, each on a connection of its own, once.
	opPhone    = "phone"     // A reference phone enrols with Code and syncs Tasks tasks.
	opWatch    = "watch"     // Each seat opens a stream.
	opChange   = "change"    // The desk changes one task of each of Count crews; or Count, the floor's.
	opUnwatch  = "unwatch"   // The streams are closed.
)

func (l *load) carryOut(ctx context.Context, o order) (answer, error) {
	switch o.Op {
	case opSeats:
		l.wire = &wire{}
		transport, api := l.wire.transport(), newAPI(o.URL)
		l.resident = make([]*client, len(o.Seats))
		for i, s := range o.Seats {
			l.resident[i] = newClient(s, transport, api)
		}
		return answer{}, nil
	case opEmpty:
		w := &wire{}
		transport, api := w.transport(), newAPI(o.URL)
		defer transport.CloseIdleConnections()
		clients := make([]*client, o.Count)
		for i := range clients {
			clients[i] = newClient(seat{}, transport, api)
		}
		return repeatedly(ctx, w, clients, o.For, (*client).empty), nil
	case opPull:
		return repeatedly(ctx, l.wire, l.resident, o.For, func(c *client, ctx context.Context) (done, error) {
			return c.pull(ctx, o.Tasks)
		}), nil
	case opPush:
		return repeatedly(ctx, l.wire, l.resident, o.For, (*client).push), nil
	case opFirst:
		w := &wire{}
		return atOnce(ctx, w, own(l.resident[:o.Count], w, o.URL), func(c *client, ctx context.Context) (done, error) {
			return c.first(ctx, o.Tasks)
		}), nil
	case opComeBack:
		w := &wire{}
		return atOnce(ctx, w, own(l.resident, w, o.URL), (*client).comeBack), nil
	case opKnock:
		w := &wire{}
		return atOnce(ctx, w, own(make([]*client, o.Count), w, o.URL), (*client).empty), nil
	case opPhone:
		return referencePhone(ctx, o)
	case opWatch:
		var err error
		l.watch, err = openWatches(ctx, l.resident)
		return answer{}, err
	case opChange:
		return l.watch.change(ctx, o)
	case opUnwatch:
		return answer{Received: l.wire.received.Load(), Sent: l.wire.sent.Load()}, l.watch.close()
	default:
		return answer{}, fmt.Errorf("no such order: %q", o.Op)
	}
}

func (l *load) close() error {
	if l.watch == nil {
		return nil
	}
	return l.watch.close()
}

// own gives each client a connection of its own, which it has not opened yet. A nil client has no seat.
func own(clients []*client, w *wire, url string) []*client {
	fresh, api := make([]*client, len(clients)), newAPI(url)
	for i, c := range clients {
		var s seat
		if c != nil {
			s = c.seat
		}
		fresh[i] = newClient(s, w.transport(), api)
	}
	return fresh
}

// tally adds up what clients do.
type tally struct {
	mu        sync.Mutex
	answer    answer
	latencies []float64
}

func (t *tally) failed(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.answer.Failed++; t.answer.Fault == "" {
		t.answer.Fault = err.Error()
	}
}

func (t *tally) add(d done, latencies ...float64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.answer.Mutations += d.mutations
	t.answer.Tasks += d.tasks
	t.latencies = append(t.latencies, latencies...)
}

// sum is what it all came to.
func (t *tally) sum(elapsed time.Duration, received, sent int64) answer {
	a := t.answer
	a.Calls, a.Seconds, a.Received, a.Sent = len(t.latencies), elapsed.Seconds(), received, sent
	a.P50, a.P99, a.Max = quantile(t.latencies, 0.5), quantile(t.latencies, 0.99), quantile(t.latencies, 1)
	return a
}

// repeatedly lets all clients work beside each other for a time, each one call after the other.
func repeatedly(ctx context.Context, w *wire, clients []*client, limit time.Duration, work func(*client, context.Context) (done, error)) answer {
	var t tally
	received, sent := w.received.Load(), w.sent.Load()
	begun := time.Now()
	var working sync.WaitGroup
	for _, c := range clients {
		working.Go(func() {
			var total done
			var latencies []float64
			for time.Since(begun) < limit && ctx.Err() == nil {
				called := time.Now()
				d, err := work(c, ctx)
				if err != nil {
					t.failed(err)
					break
				}
				latencies = append(latencies, milliseconds(time.Since(called)))
				total.mutations += d.mutations
				total.tasks += d.tasks
			}
			t.add(total, latencies...)
		})
	}
	working.Wait()
	return t.sum(time.Since(begun), w.received.Load()-received, w.sent.Load()-sent)
}

// atOnce lets all clients do one thing, all beginning together. The latencies count from that moment.
func atOnce(ctx context.Context, w *wire, clients []*client, work func(*client, context.Context) (done, error)) answer {
	var t tally
	var working sync.WaitGroup
	gun := make(chan struct{})
	var begun time.Time
	for _, c := range clients {
		working.Go(func() {
			<-gun
			d, err := work(c, ctx)
			if err != nil {
				t.failed(err)
				return
			}
			t.add(d, milliseconds(time.Since(begun)))
		})
	}
	begun = time.Now()
	close(gun)
	working.Wait()
	elapsed := time.Since(begun)
	for _, c := range clients {
		c.drop()
	}
	return t.sum(elapsed, w.received.Load(), w.sent.Load())
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// referencePhone is one of package phone on its own disk, from an empty folder to a replica whose digest agrees.
func referencePhone(ctx context.Context, o order) (_ answer, err error) {
	w := &wire{}
	transport := w.transport()
	defer transport.CloseIdleConnections()
	dir := filepath.Join(o.Dir, "phone")
	p, err := phone.Open(dir, phone.Options{HTTPClient: httpClient(transport)})
	if err != nil {
		return answer{}, err
	}
	defer func() { err = errors.Join(err, p.Close(), os.RemoveAll(dir)) }()
	if err := p.Enrol(ctx, o.URL, o.Code, "bench"); err != nil {
		return answer{}, err
	}
	received, sent, begun := w.received.Load(), w.sent.Load(), time.Now()
	report, err := p.Sync(ctx)
	if err != nil {
		return answer{}, err
	}
	if report.Changed != o.Tasks || report.Resynced {
		return answer{}, fmt.Errorf("the phone holds %d tasks, not %d", report.Changed, o.Tasks)
	}
	return answer{
		Calls: report.Calls, Tasks: report.Changed, Seconds: time.Since(begun).Seconds(),
		Received: w.received.Load() - received, Sent: w.sent.Load() - sent,
	}, nil
}
