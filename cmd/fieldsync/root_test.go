package main

import (
	"bytes"
	"strings"
	"testing"
)

// Protects the first screen that a user sees: each command stands there once, and it can be asked for in either order of flags.
func TestHelpNamesEachCommandOnce(t *testing.T) {
	var out bytes.Buffer
	if code := Run(t.Context(), []string{"--help", "--lang", "en"}, nil, &out, &out); code != 0 {
		t.Fatalf("exit status %d:\n%s", code, &out)
	}
	_, list, _ := strings.Cut(out.String(), "Available Commands:\n")
	list, _, _ = strings.Cut(list, "\n\n")
	seen := make(map[string]bool)
	for line := range strings.Lines(list) {
		name := strings.Fields(line)[0]
		if seen[name] {
			t.Errorf("%s stands there twice", name)
		}
		seen[name] = true
	}
	if len(seen) < 20 {
		t.Errorf("%d commands", len(seen))
	}
}
