package demo_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/cong1022/fieldsync/internal/demo"
	"github.com/cong1022/fieldsync/phone"
)

// steps is the story in its order: what --json promises to those who read it with a program.
var steps = []string{
	"server", "people", "intake", "intake-again", "assign", "push", "first-sync", "foreign", "offline", "online", "reassign",
	"lost-answer", "exactly-once", "late-work", "photos-waiting", "upload", "sealed", "closed", "receipts", "at-rest",
}

type line struct {
	Step   string   `json:"step"`
	OK     *bool    `json:"ok"`
	MS     *float64 `json:"ms"`
	Detail string   `json:"detail"`
}

func readLines(t *testing.T, out []byte) []line {
	t.Helper()
	var lines []line
	decoder := json.NewDecoder(bytes.NewReader(out))
	decoder.DisallowUnknownFields()
	for {
		var l line
		err := decoder.Decode(&l)
		if errors.Is(err, io.EOF) {
			return lines
		}
		if err != nil {
			t.Fatalf("the output is not JSON lines: %v\n%s", err, out)
		}
		if l.OK == nil || l.MS == nil || *l.MS < 0 || l.Detail == "" {
			t.Fatalf("the line of %q lacks something: %+v", l.Step, l)
		}
		lines = append(lines, l)
	}
}

// Protects the demo's promise: nil only if every step was checked and held, in both languages, for people and for programs.
func TestStoryHolds(t *testing.T) {
	for _, c := range []struct {
		lang string
		json bool
		want string // In the detail of a step.
	}{
		{"vi", true, "mỗi máy một khóa riêng"},
		{"en", false, "The hotline acknowledges, tickets close"},
	} {
		name := c.lang + " for people"
		if c.json {
			name = c.lang + " as JSON"
		}
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			err := demo.Run(t.Context(), demo.Options{Data: t.TempDir(), Listen: "127.0.0.1:0", Once: true, JSON: c.json, Lang: c.lang, Out: &out})
			if err != nil {
				t.Fatalf("%v\n%s", err, out.Bytes())
			}
			if !strings.Contains(out.String(), c.want) {
				t.Errorf("%q is missing in\n%s", c.want, out.Bytes())
			}
			if !c.json {
				if held := regexp.MustCompile(`(?m)^✓ .* \d+\.\d ms  .+$`).FindAllString(out.String(), -1); len(held) != len(steps) || strings.Contains(out.String(), "✗") {
					t.Fatalf("%d lines tell of a step that held, %d steps are to be told of\n%s", len(held), len(steps), out.Bytes())
				}
				return
			}
			lines := readLines(t, out.Bytes())
			if len(lines) != len(steps) {
				t.Fatalf("%d steps, %d are expected", len(lines), len(steps))
			}
			for i, l := range lines {
				if l.Step != steps[i] || !*l.OK {
					t.Errorf("step %d is %q, ok %t; want %q that held", i+1, l.Step, *l.OK, steps[i])
				}
			}
		})
	}
}

// onLine is an output that does something once it has seen a text, in the middle of the demo.
type onLine struct {
	text string
	do   func(out string)

	mu  sync.Mutex
	out bytes.Buffer
}

// Write implements io.Writer.
func (o *onLine) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.out.Write(p)
	if o.do != nil && strings.Contains(o.out.String(), o.text) {
		o.do(o.out.String())
		o.do = nil
	}
	return len(p), nil
}

// Protects the demo from a story that says "ok" whatever happens: a photo that is changed on the phone's disk behind its back
// is not what was signed, so the step that compares the two fails, is told of, and is the last one.
func TestStepThatDoesNotHold(t *testing.T) {
	data := t.TempDir()
	out := &onLine{text: `"step":"upload"`, do: func(string) {
		if err := os.WriteFile(filepath.Join(data, "photo-1.jpg"), []byte("another picture"), 0o600); err != nil {
			t.Error(err)
		}
	}}
	err := demo.Run(t.Context(), demo.Options{Data: data, Listen: "127.0.0.1:0", Once: true, JSON: true, Lang: "en", Out: out})
	if !errors.Is(err, demo.ErrFailed) {
		t.Fatalf("Run returned %v, want ErrFailed", err)
	}
	lines := readLines(t, out.out.Bytes())
	for i, l := range lines {
		if failed := i == len(lines)-1; l.Step != steps[i] || *l.OK == failed {
			t.Errorf("step %d is %q, ok %t", i+1, l.Step, *l.OK)
		}
	}
	if last := lines[len(lines)-1]; last.Step != "sealed" || !strings.Contains(last.Detail, "another hash") {
		t.Errorf("the story ended with %q: %s", last.Step, last.Detail)
	}
}

// Protects what people do after the story: the server goes on until it is told to stop, and then stops in good order.
func TestServesOn(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var status int
	out := &onLine{text: "Ctrl-C ends it.", do: func(out string) {
		defer stop()
		url := regexp.MustCompile(`http://127\.0\.0\.1:\d+`).FindString(out)
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/grpc.health.v1.Health/Check", strings.NewReader("{}"))
		if err != nil {
			t.Error(err)
			return
		}
		req.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Errorf("the server does not serve on: %v", err)
			return
		}
		defer resp.Body.Close()
		status = resp.StatusCode
	}}
	if err := demo.Run(ctx, demo.Options{Data: t.TempDir(), Listen: "127.0.0.1:0", Lang: "en", Out: out}); err != nil {
		t.Fatalf("%v\n%s", err, out.out.Bytes())
	}
	if status != http.StatusOK {
		t.Errorf("the health check was answered with %d", status)
	}
}

// Protects an earlier demo's data, and whoever starts a second demo from a story that cannot begin: an error that says why,
// no step told of, nothing changed.
func TestCannotBegin(t *testing.T) {
	taken, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	used := t.TempDir()
	if err := os.Mkdir(filepath.Join(used, "server"), 0o700); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("not a folder"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, data, listen, want string }{
		{"the port is taken", t.TempDir(), taken.Addr().String(), "address already in use"},
		{"the folder holds an earlier demo", used, "127.0.0.1:0", "holds the data of an earlier demo"},
		{"the folder is a file", file, "127.0.0.1:0", "not a directory"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			err := demo.Run(t.Context(), demo.Options{Data: c.data, Listen: c.listen, Once: true, Lang: "en", Out: &out})
			if err == nil || errors.Is(err, demo.ErrFailed) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Run returned %v, want %q", err, c.want)
			}
			if out.Len() > 0 {
				t.Errorf("it told of\n%s", out.Bytes())
			}
			if _, err := os.Stat(filepath.Join(c.data, "server")); c.data != used && err == nil {
				t.Error("it left a data folder that the next demo would refuse")
			}
		})
	}
	if left, err := os.ReadDir(filepath.Join(used, "server")); err != nil || len(left) > 0 {
		t.Errorf("the earlier demo's folder holds %v, %v", left, err)
	}
}

// Protects whoever tries what the demo prints at its end: the folders of its people are free for the commands, while the
// server goes on.
func TestPrintedCommandsFindTheirFolders(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	dir := t.TempDir()
	var tried error
	out := &onLine{text: "Ctrl-C", do: func(string) {
		defer cancel()
		for _, folder := range []string{"dispatcher", "phone-an"} {
			p, err := phone.Open(filepath.Join(dir, folder), phone.Options{})
			if err == nil {
				_, err = p.Token(ctx)
				err = errors.Join(err, p.Close())
			}
			tried = errors.Join(tried, err)
		}
	}}
	if err := demo.Run(ctx, demo.Options{Data: dir, Listen: "127.0.0.1:0", Lang: "en", Out: out}); err != nil {
		t.Fatal(err)
	}
	if tried != nil || out.do != nil {
		t.Errorf("tried: %t, %v", out.do == nil, tried)
	}
}
