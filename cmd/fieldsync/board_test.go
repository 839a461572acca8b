package main

import (
	"bufio"
	"context"
	"io"
	"strings"
	"testing"
)

// Protects whoever looks on in one terminal and works in another: a watched board lets go of the shell's identity.
func TestWatchLetsOthersWork(t *testing.T) {
	h := newHouse(t, "--listen", "127.0.0.1:0")
	check(t, h.dispatcher.Close()) // From here on the command line opens its folder.
	ctx, stop := context.WithCancel(t.Context())
	out, in := io.Pipe()
	ended := make(chan int)
	go func() {
		ended <- Run(ctx, []string{"--lang", "en", "board", "--watch", "--profile", h.folder(houseDispatcher)}, strings.NewReader(""), in, io.Discard)
	}()
	lines := bufio.NewReader(out)
	if line, err := lines.ReadString('\n'); err != nil || !strings.HasPrefix(line, "TASK") {
		t.Fatalf("the watched board says %q, %v", line, err)
	}
	go func() { _, _ = io.Copy(io.Discard, lines) }() // Else it would wait to be read, and watch nothing.
	h.shell("board", "--profile", h.folder(houseDispatcher))
	stop()
	defer in.Close()
	if code := <-ended; code != 0 {
		t.Errorf("exit status %d", code)
	}
}
