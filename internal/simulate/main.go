// Command simulate plays seeded runs of the whole house in one process: the real server with its rooms, reference phones,
// dispatchers and the hotline, under a virtual clock and every fault that the air, the disks and people can make. After each
// step it holds what there is against what was promised. docs/simulation.md says what is covered, and how to replay.
//
//	go run ./internal/simulate -from 1 -seeds 100000
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

func main() {
	if err := interruptible(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1) //nolint:forbidigo // Here is main.
	}
}

func interruptible() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return command(ctx, os.Args[1:], os.Stdout)
}

var errBroken = errors.New("a promise did not hold")

// command plays the seeds that the arguments name and returns nil only if everything held in all of them.
func command(ctx context.Context, args []string, out io.Writer) (err error) {
	flags := flag.NewFlagSet("simulate", flag.ContinueOnError)
	from := flags.Uint64("from", 1, "the first seed")
	seeds := flags.Uint64("seeds", 1000, "how many seeds")
	workers := flags.Int("workers", runtime.GOMAXPROCS(0), "how many runs at a time")
	dir := flags.String("dir", "", "where phones and photos lie while a run lasts (default: the system's folder for temporary files)")
	trace := flags.Bool("v", false, "print the log of every run")
	whole := flags.Bool("whole", false, "do not shrink a failure")
	if err := flags.Parse(args); err != nil {
		return err
	}
	debug.SetGCPercent(400) // Runs are short and leave much behind.
	cities := newCities(*dir)
	defer func() { err = errors.Join(err, cities.close()) }()
	s := &summary{injected: make(map[string]int)}
	began := time.Now() //nolint:forbidigo // For a person who waits.
	s.play(ctx, *from, *seeds, *workers, cities, func(seed uint64, r result) {
		if *trace {
			fmt.Fprintf(out, "seed %d\n%s", seed, r.trace)
		}
		if s.seeds%1000 == 0 {
			fmt.Fprintf(out, "%d seeds, %v\n", s.seeds, time.Since(began).Round(time.Second)) //nolint:forbidigo // As above.
		}
	})
	if s.err != nil {
		return s.err
	}
	if s.failed != 0 {
		if err := report(ctx, out, cities, s.failed, *whole); err != nil {
			return err
		}
		err = errBroken
	}
	if ctx.Err() != nil && s.seeds < *seeds {
		fmt.Fprintf(out, "stopped: %d of %d seeds were played\n", s.seeds, *seeds)
		err = errors.Join(err, context.Cause(ctx))
	}
	fmt.Fprintln(out, s)
	return err
}

// settingOf is how a seed is played: every hundredth on the real engine.
func settingOf(seed uint64, cities *cities) setting {
	return setting{seed: seed, cities: cities, badger: seed%100 == 50}
}

// summary counts what was played.
type summary struct {
	mu       sync.Mutex
	seeds    uint64
	steps    int
	injected map[string]int
	// failed is the lowest seed that broke a rule, 0 where none did.
	failed uint64
	err    error
}

// play runs the seeds, several at a time, and stops handing out new ones after the first failure. done is called after each,
// one at a time.
func (s *summary) play(ctx context.Context, from, seeds uint64, workers int, cities *cities, done func(seed uint64, r result)) {
	next := from
	var all sync.WaitGroup
	take := func() (seed uint64, ok bool) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if next >= from+seeds || s.failed != 0 || s.err != nil || ctx.Err() != nil {
			return 0, false
		}
		next++
		return next - 1, true
	}
	for range workers {
		all.Go(func() {
			for seed, ok := take(); ok; seed, ok = take() {
				r, err := run(ctx, settingOf(seed, cities), generate(seed))
				s.mu.Lock()
				switch {
				case err != nil && ctx.Err() == nil:
					s.err = err
				case err == nil:
					s.add(seed, r)
					done(seed, r)
				}
				s.mu.Unlock()
			}
		})
	}
	all.Wait()
}

func (s *summary) add(seed uint64, r result) {
	s.seeds++
	s.steps += r.steps
	for kind, n := range r.injected {
		s.injected[kind] += n
	}
	if r.bad != nil && (s.failed == 0 || seed < s.failed) {
		s.failed = seed
	}
}

// String is the last line of a session.
func (s *summary) String() string {
	held := "held"
	if s.failed != 0 {
		held = fmt.Sprintf("seed %d FAILED", s.failed)
	}
	var b strings.Builder
	total := 0
	for _, kind := range slices.Sorted(maps.Keys(s.injected)) {
		fmt.Fprintf(&b, ", %s %d", kind, s.injected[kind])
		total += s.injected[kind]
	}
	return fmt.Sprintf("%s: %d seeds, %d steps, %d faults%s", held, s.seeds, s.steps, total, b.String())
}

// report shrinks a failure and prints it with all that is needed to see it again.
func report(ctx context.Context, out io.Writer, cities *cities, seed uint64, whole bool) error {
	s, actions := settingOf(seed, cities), generate(seed)
	r, err := run(ctx, s, actions)
	if err != nil {
		return err
	}
	if r.bad == nil {
		return fmt.Errorf("seed %d failed, and did not when it was played again: the run is not deterministic", seed)
	}
	if !whole {
		if shorter, err := shrink(ctx, s, actions, r.bad); err != nil {
			return err
		} else if shorter.bad != nil {
			r = shorter
		}
	}
	fmt.Fprintf(out, "seed %d at commit %s broke the rule %q: %s\n\nThe shortest run found that does so, %d steps:\n\n%s\nAgain: go run ./internal/simulate -from %d -seeds 1\n\n",
		seed, commit(ctx), r.bad.rule, r.bad.detail, r.steps, r.trace, seed)
	return nil
}

// commit names the code that was played.
func commit(ctx context.Context) string {
	hash, err := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(hash))
}
