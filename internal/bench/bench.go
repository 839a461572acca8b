// Package bench measures the house under load, over real HTTP on loopback, and sets each figure beside its floor: what the
// same machine does in the same minutes without the house. Server, floor and load generator are processes of their own (the
// same binary started again), so that memory and processor time are each one's own. docs/performance.md tells how to read
// the figures.
package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/term"
)

// Options of a run.
type Options struct {
	// Names are the workloads to run, in the order of Workloads. None: all.
	Names []string
	// Quick shrinks the sizes until everything takes seconds. The figures then say that it works, and nothing else, so no
	// aims are judged.
	Quick bool
	// JSON prints one object a figure: {name, value, unit, floor, ratio, aim, met}.
	JSON bool
	// Data is the folder in which the stores are made: its disk is what is measured. Empty: the system's for temporary files.
	// What a run makes there it removes.
	Data string
	// Limit ends the run: what has not been measured by then is named, and is an error. 0: none.
	Limit time.Duration
	// Profile is a folder for the server's CPU profiles, one a server process. Empty: none.
	Profile string
	Out     io.Writer
	// Progress shows what is going on if it is a terminal.
	Progress io.Writer
}

// Workload is what can be measured by name.
type Workload struct {
	Name string
	What string

	run func(context.Context, *bench) error
}

// Workloads lists them all.
func Workloads() []Workload {
	return []Workload{
		{"first-sync", "1,000 tasks of about 1 KB to one phone, and to 50 at once", firstSync},
		{"delta", "20 tasks of 1,000 changed by one facet each, 32 phones", delta},
		{"push-16", "16 phones send batches of 10 updates, each fsynced before its answer", pushBy(16)},
		{"push-64", "the same with 64 phones", pushBy(64)},
		{"storm-1000", "1,000 phones come back at once, each with 10 edits and 20 changes waiting", stormOf(1000)},
		{"storm-5000", "the same with 5,000 phones", stormOf(5000)},
		{"watch-1000", "1,000 idle phones on the stream while a dispatcher changes 200 tasks", watchOf(1000)},
		{"watch-10000", "the same with 10,000 phones", watchOf(10000)},
		{"cold-start", "process start to first answered sync with 100,000 tasks stored", coldStart},
		{"board", "a dispatcher's first page, a search, and a change on the screen, over 100,000 tasks", dispatchBoard},
		{"growth", "the cost of one sync at 10,000, 100,000 and 1,000,000 tasks", growth},
	}
}

// bench is one run.
type bench struct {
	o       Options
	dir     string
	out     *report
	load    *child
	floor   *child
	serial  int
	started time.Time
}

// errLimit is why a run ends by itself.
var errLimit = errors.New("the time was over (--limit)")

// Run measures. It prints a figure as soon as it is known; those measured before an error or the end of ctx stand. A figure
// that misses its aim is shown as missed and is no error. A workload that fails does not keep the others from being
// measured; the error names all that were not.
func Run(ctx context.Context, o Options) (err error) {
	chosen, err := choose(o.Names)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(o.Data, "fieldsync-bench-*")
	if err != nil {
		return fmt.Errorf("making a folder for the stores: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if o.Profile != "" {
		if err := os.MkdirAll(o.Profile, 0o700); err != nil {
			return err
		}
	}
	b := &bench{o: o, dir: dir, out: newReport(o), started: time.Now()}
	limited := ctx
	if o.Limit > 0 {
		var cancel context.CancelFunc
		limited, cancel = context.WithTimeoutCause(ctx, o.Limit, errLimit)
		defer cancel()
	}
	var failed []error
	for _, w := range chosen {
		err := context.Cause(limited)
		if err == nil {
			err = b.measure(limited, w)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			if cause := context.Cause(limited); cause != nil {
				err = cause // What the end of the time has led to says nothing more.
			}
			failed = append(failed, fmt.Errorf("not measured: %s: %w", w.Name, err))
		}
	}
	return errors.Join(append(failed, b.out.end())...)
}

// measure runs one workload with a load generator and a floor of its own: none inherits the other's heap.
func (b *bench) measure(ctx context.Context, w Workload) (err error) {
	defer func() { b.out.progress("") }()
	b.out.begin(w.Name)
	for _, start := range []struct {
		role  string
		child **child
	}{{roleLoad, &b.load}, {roleFloor, &b.floor}} {
		c, err := startChild(ctx, start.role)
		if err != nil {
			return err
		}
		*start.child = c
		defer func() { err = errors.Join(err, c.stop()) }()
	}
	return w.run(ctx, b)
}

func choose(names []string) ([]Workload, error) {
	all := Workloads()
	if len(names) == 0 {
		return all, nil
	}
	var known []string
	for _, w := range all {
		known = append(known, w.Name)
	}
	for _, name := range names {
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("no workload is called %q; there are %s", name, strings.Join(known, ", "))
		}
	}
	return slices.DeleteFunc(all, func(w Workload) bool { return !slices.Contains(names, w.Name) }), nil
}

// size is full, or much less for a quick run.
func (b *bench) size(full, quick int) int {
	if b.o.Quick {
		return quick
	}
	return full
}

// round is how long one side is measured before the other has its turn, and rounds how often.
func (b *bench) round() time.Duration {
	if b.o.Quick {
		return 100 * time.Millisecond
	}
	return 1500 * time.Millisecond
}

func (b *bench) rounds() int { return b.size(4, 1) }

// folder names a fresh folder for a store.
func (b *bench) folder() string {
	b.serial++
	return filepath.Join(b.dir, fmt.Sprintf("data-%d", b.serial))
}

// Figure is one result.
type Figure struct {
	// Name is the workload's, with a suffix for all but its main figure.
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
	// Floor is the same measured without the house, in the same unit. Absent where there is no such thing.
	Floor *float64 `json:"floor"`
	// Ratio is value over floor.
	Ratio *float64 `json:"ratio"`
	// Aim is what the figure should reach, in words. Absent where nothing was promised, and in a quick run.
	Aim string `json:"aim,omitempty"`
	// Met tells whether it does.
	Met *bool `json:"met,omitempty"`
}

// aim is what a figure should reach.
type aim struct {
	ofRatio, atLeast bool
	bound            float64
}

func atMost(bound float64) *aim       { return &aim{bound: bound} }
func atLeast(bound float64) *aim      { return &aim{bound: bound, atLeast: true} }
func ratioAtMost(bound float64) *aim  { return &aim{bound: bound, ofRatio: true} }
func ratioAtLeast(bound float64) *aim { return &aim{bound: bound, ofRatio: true, atLeast: true} }

// figure reports a result. floor is 0 where there is none, the aim nil.
func (b *bench) figure(name string, value float64, unit string, floor float64, a *aim) {
	f := Figure{Name: name, Value: value, Unit: unit}
	judged := value
	if floor != 0 {
		ratio := value / floor
		f.Floor, f.Ratio = &floor, &ratio
		if a != nil && a.ofRatio {
			judged = ratio
		}
	}
	if a != nil && !b.o.Quick {
		word, met := "at most", judged <= a.bound
		if a.atLeast {
			word, met = "at least", judged >= a.bound
		}
		f.Aim, f.Met = fmt.Sprintf("%s %s %s", word, number(a.bound), unit), &met
		if a.ofRatio {
			f.Aim = fmt.Sprintf("%s %s of the floor", word, number(a.bound))
		}
	}
	b.out.figure(f)
}

// report prints figures.
type report struct {
	o        Options
	terminal io.Writer
	workload string
	missed   int
	failed   error
}

func newReport(o Options) *report {
	r := &report{o: o}
	if f, ok := o.Progress.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		r.terminal = f
	}
	if !o.JSON {
		if o.Quick {
			fmt.Fprintln(o.Out, "Quick: small sizes, for checking that it works. The figures mean nothing.")
		}
		fmt.Fprintf(o.Out, "%-28s %12s %-14s %12s %7s  %s\n", "FIGURE", "VALUE", "UNIT", "FLOOR", "RATIO", "AIM")
	}
	return r
}

func (r *report) begin(workload string) { r.workload = workload }

// progress shows what is being done, in the place of what was shown before.
func (r *report) progress(what string) {
	if r.terminal == nil {
		return
	}
	line := ""
	if what != "" {
		line = r.workload + ": " + what
	}
	fmt.Fprintf(r.terminal, "\r\x1b[K%s", line)
}

func (r *report) figure(f Figure) {
	r.progress("")
	if r.o.JSON {
		if err := json.NewEncoder(r.o.Out).Encode(f); err != nil && r.failed == nil {
			r.failed = fmt.Errorf("printing the figure %s: %w", f.Name, err)
		}
		return
	}
	floor, ratio, verdict := "", "", f.Aim
	if f.Floor != nil {
		floor, ratio = number(*f.Floor), fmt.Sprintf("%.2f", *f.Ratio)
	}
	if f.Met != nil && *f.Met {
		verdict = "met: " + f.Aim
	} else if f.Met != nil {
		verdict = "MISSED: " + f.Aim
		r.missed++
	}
	fmt.Fprintf(r.o.Out, "%-28s %12s %-14s %12s %7s  %s\n", f.Name, number(f.Value), f.Unit, floor, ratio, verdict)
}

func (r *report) end() error {
	if r.o.JSON || r.missed == 0 {
		return r.failed
	}
	_, err := fmt.Fprintf(r.o.Out, "%d missed\n", r.missed)
	return err
}

// number prints with three digits or so, and large ones whole.
func number(v float64) string {
	switch {
	case v >= 100 || v == float64(int64(v)):
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.3g", v)
	}
}
