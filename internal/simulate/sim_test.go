package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// runs are worlds for one test.
func runs(tb testing.TB) *cities {
	tb.Helper()
	c := newCities(tb.TempDir())
	tb.Cleanup(func() {
		if err := c.close(); err != nil {
			tb.Error(err)
		}
	})
	return c
}

// Protects everything that docs/simulation.md lists, under everything that it lists.
func TestSeeds(t *testing.T) {
	seeds := "1000"
	if testing.Short() {
		seeds = "100"
		t.Log("short: 100 seeds instead of 1,000")
	}
	var out bytes.Buffer
	if err := command(t.Context(), []string{"-seeds", seeds, "-dir", t.TempDir()}, &out); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	t.Log(strings.TrimSpace(out.String()))
}

// Protects replays: a seed is the same run, to the letter, in another process.
func TestReplay(t *testing.T) {
	here, there := runs(t), runs(t)
	for seed := uint64(1); seed <= 20; seed++ {
		first, err := run(t.Context(), settingOf(seed, here), generate(seed))
		if err != nil {
			t.Fatal(err)
		}
		second, err := run(t.Context(), settingOf(seed, there), generate(seed))
		if err != nil {
			t.Fatal(err)
		}
		if first.trace != second.trace {
			a, b := strings.Split(first.trace, "\n"), strings.Split(second.trace, "\n")
			for i := range min(len(a), len(b)) {
				if a[i] != b[i] {
					t.Fatalf("seed %d differs in line %d:\n%s\n%s", seed, i+1, a[i], b[i])
				}
			}
			t.Fatalf("seed %d has %d lines, then %d", seed, len(a), len(b))
		}
	}
}

// Protects the real engine's place in the simulation: some runs are played on it.
func TestRealEngine(t *testing.T) {
	c := runs(t)
	for _, seed := range []uint64{50, 150} {
		s := settingOf(seed, c)
		if !s.badger {
			t.Errorf("seed %d is not played on the real engine", seed)
		}
		r, err := run(t.Context(), s, generate(seed))
		if err != nil {
			t.Fatal(err)
		}
		if r.bad != nil {
			t.Errorf("seed %d: %s: %s\n%s", seed, r.bad.rule, r.bad.detail, r.trace)
		}
	}
}

// Protects the promise that device time never decides: the same days with phones whose clocks are decades off end with the
// same verdicts and the same states. Without faults, for a wrong clock costs a call more, and faults count calls.
func TestWrongClocksChangeNothing(t *testing.T) {
	c := runs(t)
	for seed := uint64(1); seed <= 20; seed++ {
		var right, wrong []action
		for _, a := range generate(seed) {
			a.cuts, a.fate, a.during, a.disk = nil, committed, nil, 0
			if a.op == opSkew || a.op == opWatch { // For how long streams are known to die is told by the wall clock.
				continue
			}
			right = append(right, a)
			wrong = append(wrong, action{op: opSkew, who: a.who, how: len(wrong)}, a)
		}
		var logs []string
		for _, actions := range [][]action{right, wrong} {
			r, err := run(t.Context(), setting{seed: seed, cities: c}, actions)
			if err != nil {
				t.Fatal(err)
			}
			if r.bad != nil {
				t.Fatalf("seed %d: %s: %s\n%s", seed, r.bad.rule, r.bad.detail, r.trace)
			}
			logs = append(logs, outcomes(r.trace))
		}
		if logs[0] != logs[1] {
			t.Fatalf("seed %d with right clocks:\n%s\nwith wrong ones:\n%s", seed, logs[0], logs[1])
		}
	}
}

// outcomes are the lines of a log that tell how something was judged, without the steps that set clocks. Ids are numbered: a
// call more draws other random bytes.
func outcomes(trace string) string {
	var kept []string
	for line := range strings.Lines(trace) {
		if strings.HasPrefix(line, "  ") && !strings.Contains(line, " is off by ") {
			kept = append(kept, line)
		}
	}
	seen := make(map[string]string)
	return regexp.MustCompile(`\b[0-9a-z]{20,26}\b`).ReplaceAllStringFunc(strings.Join(kept, ""), func(id string) string {
		if seen[id] == "" {
			seen[id] = fmt.Sprintf("id-%d", len(seen))
		}
		return seen[id]
	})
}

// Protects whoever stops a long night: what was played until then is counted, and the exit is not that of success.
func TestStop(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("enough"))
	var out bytes.Buffer
	if err := command(ctx, []string{"-seeds", "5", "-dir", t.TempDir()}, &out); err == nil || !strings.Contains(out.String(), "0 of 5 seeds") {
		t.Errorf("%v\n%s", err, out.String())
	}
}

// How long one run takes.
func BenchmarkSeeds(b *testing.B) {
	c := runs(b)
	seed := uint64(0)
	for b.Loop() {
		seed++
		if _, err := run(b.Context(), setting{seed: seed, cities: c}, generate(seed)); err != nil {
			b.Fatal(err)
		}
	}
}
