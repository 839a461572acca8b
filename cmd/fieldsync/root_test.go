package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
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

// Protects dispatchers from a bare error of the network, in English, where the server does not run.
func TestUnreachableServer(t *testing.T) {
	err := connect.NewError(connect.CodeUnavailable, errors.New("dial tcp 127.0.0.1:8022: connect: connection refused"))
	if got, want := explain(err, "vi"), "Không gọi được máy chủ: dial tcp 127.0.0.1:8022: connect: connection refused"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Protects whoever looks why nothing is posted: a webhook that rests says so, one that has rested says it no more.
func TestWebhookHeldUp(t *testing.T) {
	now := time.Date(2026, 11, 26, 5, 0, 0, 0, time.UTC)
	hook := &fieldsyncv1.Webhook{LastError: "HTTP 500", PausedUntil: timestamppb.New(now.Add(5 * time.Minute))}
	if got, want := heldUpBy(hook, now, "vi"), "HTTP 500, nghỉ đến 2026-11-26 12:05:00"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := heldUpBy(hook, now.Add(time.Hour), "vi"), "HTTP 500"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
