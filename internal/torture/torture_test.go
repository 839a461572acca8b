package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestMain runs the tests, or is the process that one of them tortures.
func TestMain(m *testing.M) {
	if dir := os.Getenv(childVariable); dir != "" {
		fmt.Fprintln(os.Stderr, runChild(dir))
		os.Exit(3)
	}
	os.Exit(m.Run())
}

// Protects: promises 1 and 2 under each class of fault, in the small form.
func TestTorture(t *testing.T) {
	rounds := 3
	if testing.Short() {
		rounds = 1
		t.Log("-short: each fault is made once, not three times")
	}
	var report strings.Builder
	held, skipped, err := run(t.Context(), rounds, "", t.TempDir(), &report)
	t.Logf("\n%s", report.String())
	if skipped {
		t.Log("SKIPPED: this process has no right to mount the small file systems of a class above")
	}
	if err != nil || !held {
		t.Errorf("the promises did not hold: %v", err)
	}
}
