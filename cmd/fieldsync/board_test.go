package main

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
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

// Protects a dispatcher's live board from a server that is started anew: it connects again by itself and lists the board anew, and ends
// at once where the server says no.
func TestWatchOverRestart(t *testing.T) {
	h := newHouse(t, "--listen", "127.0.0.1:0")
	check(t, h.dispatcher.Close())
	out, in := io.Pipe()
	defer in.Close()
	ended := make(chan int)
	var said strings.Builder // Read after the end.
	go func() {
		ended <- Run(t.Context(), []string{"--lang", "en", "board", "--watch", "--profile", h.folder(houseDispatcher)}, strings.NewReader(""), in, &said)
	}()
	lines := make(chan string, 100)
	go func() {
		for said := bufio.NewScanner(out); said.Scan(); {
			lines <- said.Text()
		}
	}()
	listed := func() {
		t.Helper()
		if line := <-lines; !strings.HasPrefix(line, "TASK") {
			t.Fatalf("the watched board says %q", line)
		}
	}
	listed()
	h.server.kill()
	h.start("--listen", strings.TrimPrefix(h.server.url, "http://"))
	listed()
	devices, err := h.identity(h.admin).ListDevices(t.Context(), &fieldsyncv1.ListDevicesRequest{})
	check(t, err)
	for _, d := range devices.GetDevices() {
		if d.GetMemberId() == houseDispatcher {
			_, err := h.identity(h.admin).RevokeDevice(t.Context(), &fieldsyncv1.RevokeDeviceRequest{DeviceId: d.GetId()})
			check(t, err)
		}
	}
	if code := <-ended; code == 0 || !strings.Contains(said.String(), "connecting again") {
		t.Errorf("exit status %d, %s", code, said.String())
	}
}

// Protects a watched board behind a proxy that ends the stream before its first message: that is an error, and one to try again after.
func TestWatchThatNeverBegins(t *testing.T) {
	h := newHouse(t, "--listen", "127.0.0.1:0")
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/connect+proto")
		_, _ = w.Write([]byte("\x02\x00\x00\x00\x02{}")) // The end of a stream, and nothing before it.
	}))
	defer proxy.Close()
	stream, err := watchBoard(t.Context(), operator{h.dispatcher, proxy.URL}, nil)
	if stream != nil || err == nil || !again(err) {
		t.Errorf("%v, %v", stream, err)
	}
}
