//go:build linux

package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// TestMain runs the tests, or is one of the processes that they start.
func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		fmt.Fprintln(os.Stderr, play(role))
		os.Exit(3)
	}
	os.Exit(m.Run())
}

// Protects: under each attack, in the small form, all is refused with the right word, slow connections are ended, a phone's calls do not
// fail, and the server's memory is bounded. How long the phone waits is told and not judged: a busy machine would spoil it.
func TestSiege(t *testing.T) {
	if testing.Short() {
		t.Skip("left out by -short: some 15 s")
	}
	p := plan{Requests: 2000, Connections: 200, Bombs: 20, Hold: 15 * time.Second, Idle: time.Second, Patience: 3 * time.Second}
	results, err := p.run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var told strings.Builder
	report(&told, results, false)
	t.Logf("\n%s", told.String())
	if len(results) != len(attacks) {
		t.Errorf("%d of %d attacks were made", len(results), len(attacks))
	}
	for _, r := range results {
		if failure := r.judge(); failure != "" {
			t.Errorf("%s: %s", r.Name, failure)
		}
		if (strings.HasPrefix(r.Name, "slow-") || r.Name == "half-open") && r.Closed != r.Sent {
			t.Errorf("%s: of %d connections %d were ended", r.Name, r.Sent, r.Closed)
		}
	}
}
