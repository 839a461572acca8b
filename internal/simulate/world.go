package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strings"
	"time"

	"connectrpc.com/connect"

	"github.com/cong1022/fieldsync/auth"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
)

// world is all that there is in a run: the server, the phones, the time, and what must be true of them. It runs in one
// goroutine, and everything in it follows from the seed and the actions.
type world struct {
	ctx    context.Context //nolint:containedctx // A world lives within one call, that of run.
	dir    string
	now    time.Time
	random *rand.ChaCha8
	house  *house
	codes  *auth.Service

	// sets are all phones that ever were. The first are the admin's, the dispatchers' and the hotline's; crews' follow.
	sets []*handset
	// late are requests that were given up by their phones and are still on their way.
	late []call

	facts []*fact
	byKey map[string]*fact
	texts int
	// orders that dispatchers gave, for repeats.
	lastOrder *order
	// tickets are the hotline's ids.
	tickets []string
	feed    feed
	model   model
	// known is the truth as it was after knownAt commits of knownOf; checked is the one that was looked at last.
	known, checked *truth
	knownOf        *faulty
	knownAt        int

	// The present step's faults.
	action   *action
	commits  int
	writes   int
	places   int
	waits    int
	cuts     []cut
	off      bool // No faults any more.
	harmed   bool // A commit of this step has met its fate.
	injected map[string]int

	// opening: a phone is being started, which is not a step's own work.
	opening bool
	// setBack is when the server's clock was last set back, zero while it never was.
	setBack time.Time
	seed    uint64

	trace strings.Builder
	depth int
	bad   *violation
}

// violation is a promise that did not hold.
type violation struct {
	// rule names the promise, so that shrinking does not end at another failure.
	rule   string
	detail string
}

// failf notes the first violation. The run ends behind the step.
func (w *world) failf(rule, format string, args ...any) {
	if w.bad == nil {
		w.bad = &violation{rule, fmt.Sprintf(format, args...)}
		w.logf("VIOLATION %s: %s", rule, w.bad.detail)
	}
}

func (w *world) logf(format string, args ...any) {
	w.trace.WriteString(strings.Repeat("  ", w.depth))
	fmt.Fprintf(&w.trace, format, args...)
	w.trace.WriteByte('\n')
}

// setting is what a run is made of besides its actions.
type setting struct {
	seed   uint64
	cities *cities
	mutant mutant
	badger bool
}

// result is how a run ended.
type result struct {
	trace    string
	steps    int
	injected map[string]int
	bad      *violation
}

// run plays the actions.
func run(ctx context.Context, s setting, actions []action) (_ result, err error) {
	w, err := s.cities.world(ctx, s)
	if err != nil {
		return result{}, fmt.Errorf("seed %d: %w", s.seed, err)
	}
	defer func() { err = errors.Join(err, w.close()) }()
	w.off = false
	played := 0
	for i := range actions {
		if w.bad != nil || ctx.Err() != nil {
			break
		}
		w.step(i, &actions[i])
		played++
	}
	w.off = true
	if w.bad == nil && ctx.Err() == nil {
		w.rest()
	}
	return result{w.trace.String(), played, w.injected, w.bad}, ctx.Err()
}

func newWorld(ctx context.Context, dir string, seed uint64) (_ *world, err error) {
	var key [32]byte
	binary.BigEndian.PutUint64(key[:], seed)
	w := &world{
		ctx: ctx, seed: seed,
		now: time.Date(2026, 3, 2, 1, 0, 0, 0, time.UTC), random: rand.NewChaCha8(key),
		byKey: make(map[string]*fact), injected: make(map[string]int), off: true,
	}
	w.model.reset()
	w.dir, err = os.MkdirTemp(dir, "world-*")
	return w, err
}

func (w *world) close() error {
	var errs []error
	for _, h := range w.sets {
		if h.phone != nil && !h.gone {
			errs = append(errs, h.phone.Close())
		}
	}
	if w.house.engine != nil {
		_ = w.house.engine.Close()
	}
	return errors.Join(append(errs, os.RemoveAll(w.dir))...)
}

// step performs one action with its faults, and then looks at everything.
func (w *world) step(number int, a *action) {
	w.now = w.now.Add(a.wait)
	w.action, w.commits, w.writes, w.places, w.waits, w.cuts, w.harmed = a, 0, 0, 0, 0, a.cuts, false
	w.logf("%d %s", number+1, a)
	w.depth++
	if a.how%2 == 0 { // What has fallen due meanwhile comes ahead of the action, or behind it.
		w.climb()
	}
	w.logf("%s", w.perform(a))
	w.climb()
	w.recover()
	w.climb()
	w.depth--
	w.check()
}

// recover brings back up what died in the step.
func (w *world) recover() {
	w.action = nil
	for _, h := range w.sets {
		if h.killed {
			h.killed = false
			if err := h.reopen("killed"); err != nil {
				w.failf("phone recovery", "%s: %v", h.name, err)
			}
			w.logf("%s starts again", h.name)
		}
	}
	if w.house.engine.dead {
		w.must("the server starts again", w.house.restart())
		w.logf("the server starts again")
		w.opened()
	}
}

// opened is called when the server has started.
func (w *world) opened() {
	codes, err := auth.Open(w.ctx, w.house.truth, auth.Options{Issuer: "simulated", Log: slog.New(slog.DiscardHandler)})
	w.must("opening the codes", err)
	w.codes = codes
}

// must ends the run where the harness itself, or a start, fails.
func (w *world) must(what string, err error) {
	if err != nil {
		w.failf("harness", "%s: %v", what, err)
	}
}

// nextCut is what befalls the next request.
func (w *world) nextCut() cut {
	if w.off || w.depth > 1 || len(w.cuts) == 0 {
		return pass
	}
	c := w.cuts[0]
	w.cuts = w.cuts[1:]
	if c != pass {
		w.injected[string(c)]++
	}
	return c
}

// nextFate is what becomes of the next commit.
func (w *world) nextFate() fate {
	if w.off || w.action == nil || w.action.fate == committed {
		return committed
	}
	w.commits++
	if w.commits != w.action.at+1 {
		return committed
	}
	w.harmed = true
	w.injected[string(w.action.fate)]++
	return w.action.fate
}

// aside performs what happens while the handset waits for an answer.
func (w *world) aside(waiting *handset) {
	if w.action == nil || w.action.during == nil || w.depth > 1 {
		return
	}
	w.now = w.now.Add(w.action.during.wait)
	w.meanwhile(waiting, w.action.during)
}

// meanwhile performs what somebody else does while the handset waits.
func (w *world) meanwhile(waiting *handset, a *action) {
	w.depth++
	waiting.busy = true
	w.logf("meanwhile %s: %s", a, w.perform(a))
	waiting.busy = false
	w.depth--
}

var (
	units = []string{auth.CityUnit, "q1", "q2"}
	crews = []string{"to-1", "to-2"}
)

func (w *world) desk() *handset { return w.sets[1] }

func (w *world) ward() *handset { return w.sets[2] }

func (w *world) hotline() *handset { return w.sets[3] }

// crewSets are the crews' phones that there still are.
func (w *world) crewSets() (sets []*handset) {
	for _, h := range w.sets[4:] {
		if !h.gone {
			sets = append(sets, h)
		}
	}
	return sets
}

// wireCode is the code of an error as a client sees it, "" where nobody answered.
func wireCode(err error) string {
	if code := fault.CodeOf(err); code != "" {
		return code
	}
	var ce *connect.Error
	if !errors.As(err, &ce) {
		return ""
	}
	for _, detail := range ce.Details() {
		value, derr := detail.Value()
		if info, ok := value.(*fieldsyncv1.ErrorInfo); ok && derr == nil {
			return info.GetCode()
		}
	}
	return ce.Code().String()
}
