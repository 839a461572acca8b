package main

import (
	"bytes"
	"encoding/json"
	"math"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/cong1022/fieldsync/internal/bench"
)

// Protects: bench measures each workload on a real server in a process of its own and prints every figure in the shape that
// programs read. What the figures are is not looked at: this machine does other things at the same time.
func TestBenchQuick(t *testing.T) {
	names := []string{"first-sync", "delta", "push-16", "storm-1000", "watch-1000", "cold-start", "growth"}
	if testing.Short() {
		names = []string{"delta", "push-16"}
		t.Log("short: two workloads instead of seven")
	}
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(t.Context(), "fieldsync", append([]string{"bench", "--quick", "--json", "--data", t.TempDir()}, names...)...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s%s", err, &out, &errs)
	}
	var seen []string
	for line := range strings.Lines(out.String()) {
		var raw map[string]any
		var f bench.Figure
		if err := json.Unmarshal([]byte(line), &raw); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		for _, key := range []string{"name", "value", "unit", "floor", "ratio"} {
			if _, ok := raw[key]; !ok {
				t.Errorf("%q has no %s", line, key)
			}
		}
		if err := json.Unmarshal([]byte(line), &f); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if f.Name == "" || f.Unit == "" || math.IsNaN(f.Value) || math.IsInf(f.Value, 0) || f.Value < 0 {
			t.Errorf("%q says nothing", line)
		}
		if f.Floor != nil && (f.Ratio == nil || math.Abs(*f.Ratio**f.Floor-f.Value) > 1e-6*math.Abs(f.Value)) {
			t.Errorf("%q: the ratio is not value over floor", line)
		}
		if f.Met != nil {
			t.Errorf("%q judges an aim by a quick run", line)
		}
		seen = append(seen, f.Name)
	}
	for _, name := range names {
		if !slices.Contains(seen, name) {
			t.Errorf("no figure is called %s", name)
		}
	}
	if len(seen) != len(slices.Compact(slices.Sorted(slices.Values(seen)))) {
		t.Errorf("a figure comes twice: %v", seen)
	}
}
