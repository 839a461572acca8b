package media_test

import (
	"encoding/json"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cong1022/fieldsync/internal/toolserver"
)

// Protects: the client that web apps upload with, tus-js-client from npm, gets its photo through a network that keeps
// cutting it, in chunks and in one piece, with nothing made to fit it.
func TestTusJSClient(t *testing.T) {
	if testing.Short() {
		t.Skip("left out by -short: runs node, and npm on a new machine")
	}
	tool := tusJS(t)
	for _, chunk := range []int{64 << 10, 1 << 30} {
		t.Run(strconv.Itoa(chunk>>10)+" KiB a request", func(t *testing.T) {
			h := newHouse(t, newFolder(t))
			photo := sceneJPEG(t, 9, 2600, 95)
			h.task("t1", photo)
			phone := h.as("phone-1")
			upload := phone.declare("t1", "p0")
			file := filepath.Join(t.TempDir(), "photo.jpg")
			if err := os.WriteFile(file, photo, 0o600); err != nil {
				t.Fatal(err)
			}
			proxy := startCutting(t, h.server.Listener.Addr().String(), len(photo)/5, 6)
			cmd := exec.CommandContext(t.Context(), "node", filepath.Join(tool, "upload.js"),
				"http://"+proxy.address+upload.GetUploadPath(), "phone-1", file, strconv.Itoa(chunk))
			said, err := cmd.CombinedOutput()
			var outcome struct {
				OK      bool  `json:"ok"`
				Retries []int `json:"retries"`
			}
			if jsonErr := json.Unmarshal([]byte(lastLine(said)), &outcome); err != nil || jsonErr != nil || !outcome.OK {
				t.Fatalf("%v, %v: %s", err, jsonErr, said)
			}
			if proxy.cuts.Load() < 3 || len(outcome.Retries) == 0 {
				t.Errorf("%d cuts, retries %v: the network was too good to show anything", proxy.cuts.Load(), outcome.Retries)
			}
			phone.commit(upload.GetUploadId())
			h.mustBe("t1", verified)
			if got := h.as("desk-1").do("GET", "/v1/tasks/t1/photos/p0", nil); got.body != string(photo) {
				t.Errorf("%d bytes arrived, %d were sent, or others", len(got.body), len(photo))
			}
		})
	}
}

// tusJS returns the folder of the pinned client and installs what it needs when it is not there.
func tusJS(tb testing.TB) string {
	tb.Helper()
	toolserver.NeedNode(tb)
	tool, err := filepath.Abs("../internal/tools/tusjs")
	if err != nil {
		tb.Fatal(err)
	}
	// npm writes its own copy of the lock file last, so an interrupted or outdated installation is seen.
	installed, err := os.Stat(filepath.Join(tool, "node_modules", ".package-lock.json"))
	wanted, wantedErr := os.Stat(filepath.Join(tool, "package-lock.json"))
	if wantedErr != nil {
		tb.Fatal(wantedErr)
	}
	if err != nil || installed.ModTime().Before(wanted.ModTime()) {
		npm := exec.CommandContext(tb.Context(), "npm", "--prefix", tool, "ci", "--ignore-scripts", "--loglevel=error")
		if said, err := npm.CombinedOutput(); err != nil {
			tb.Fatalf("npm ci in internal/tools/tusjs: %v\n%s", err, said)
		}
	}
	return tool
}

func lastLine(said []byte) string {
	lines := strings.Split(strings.TrimSpace(string(said)), "\n")
	return lines[len(lines)-1]
}

// cutting is a proxy on the way to the server that cuts its first connections after some bytes each.
type cutting struct {
	address string
	cuts    atomic.Int32
}

func startCutting(tb testing.TB, server string, after, times int) *cutting {
	tb.Helper()
	listener, err := new(net.ListenConfig).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	c := &cutting{address: listener.Addr().String()}
	var all sync.WaitGroup
	tb.Cleanup(func() {
		listener.Close()
		all.Wait()
	})
	all.Go(func() {
		for {
			down, err := listener.Accept()
			if err != nil {
				return
			}
			up, err := new(net.Dialer).Dial("tcp", server)
			if err != nil {
				down.Close()
				continue
			}
			all.Go(func() {
				defer down.Close()
				defer up.Close()
				if int(c.cuts.Load()) >= times {
					_, _ = io.Copy(up, down)
					return
				}
				if n, _ := io.CopyN(up, down, int64(after)); n == int64(after) {
					c.cuts.Add(1)
				}
			})
			all.Go(func() {
				_, _ = io.Copy(down, up)
				down.Close()
			})
		}
	})
	return c
}
