package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"
)

// Protects what people type and read: each script in testdata/script is a session at a shell with the real program. Beside
// testscript's own commands there are those of scriptCommands.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		Cmds:                scriptCommands,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("XDG_CONFIG_HOME", filepath.Join(env.WorkDir, "config"))
			env.Setenv("LC_ALL", "en_US.UTF-8")
			env.Values[serversKey{}] = make(servers)
			for i, name := range []string{"before.jpg", "after.jpg"} {
				if err := os.WriteFile(filepath.Join(env.WorkDir, name), jpegBytes(uint64(i)), 0o600); err != nil {
					return err
				}
			}
			return nil
		},
	})
}

// servers are a script's, by name. They are kept among the script's values under serversKey.
type servers map[string]*process

type serversKey struct{}

var scriptCommands = map[string]func(ts *testscript.TestScript, neg bool, args []string){
	// start NAME [KEY=VALUE...] [flags...]: a server in the background, on a free port unless the flags say another. Sets $URL and
	// $ADDR.
	"start": func(ts *testscript.TestScript, neg bool, args []string) {
		refuseNot(ts, neg)
		name, env, flags := args[0], []string(nil), args[1:]
		for len(flags) > 0 && regexp.MustCompile(`^[A-Z0-9_]+=`).MatchString(flags[0]) {
			env, flags = append(env, flags[0]), flags[1:]
		}
		if !strings.Contains(strings.Join(flags, " "), "--listen") {
			flags = append(flags, "--listen", "127.0.0.1:0")
		}
		p, err := startServer(ts.MkAbs("."), env, flags...)
		ts.Check(err)
		ts.Defer(p.kill)
		serversOf(ts)[name] = p
		ts.Setenv("URL", p.url)
		ts.Setenv("ADDR", strings.TrimPrefix(p.url, "http://"))
	},
	// admincode NAME: sets $CODE to the code for the first admin.
	"admincode": func(ts *testscript.TestScript, neg bool, args []string) {
		refuseNot(ts, neg)
		code, err := running(ts, args[0]).await(enrolLine)
		ts.Check(err)
		ts.Setenv("CODE", code)
	},
	// interrupt NAME: Ctrl-C. Waits for an orderly stop and leaves what was said in NAME.stdout and NAME.stderr.
	"interrupt": func(ts *testscript.TestScript, neg bool, args []string) {
		refuseNot(ts, neg)
		p := running(ts, args[0])
		ts.Check(p.interrupt())
		out, _ := p.out.look()
		log, _ := p.log.look()
		ts.Check(os.WriteFile(ts.MkAbs(args[0]+".stdout"), []byte(out), 0o600))
		ts.Check(os.WriteFile(ts.MkAbs(args[0]+".stderr"), []byte(log), 0o600))
	},
	// capture NAME [PATTERN]: sets $NAME to what was printed last, or to the pattern's first group in it.
	"capture": func(ts *testscript.TestScript, neg bool, args []string) {
		refuseNot(ts, neg)
		text := strings.TrimSpace(ts.ReadFile("stdout"))
		if len(args) > 1 {
			match := regexp.MustCompile("(?m)" + args[1]).FindStringSubmatch(text)
			if match == nil {
				ts.Fatalf("%q does not match\n%s", args[1], text)
			}
			text = match[1]
		}
		ts.Setenv(args[0], text)
	},
	// scan VAR FILE: sets $VAR to what the QR code in the PNG file, or drawn on stdout, says.
	"scan": func(ts *testscript.TestScript, neg bool, args []string) {
		refuseNot(ts, neg)
		text, err := scanFile([]byte(ts.ReadFile(args[1])))
		ts.Check(err)
		ts.Setenv(args[0], text)
	},
	// [!] call PROCEDURE TOKEN BODY: a Connect call with JSON, as curl makes it. The answer is on stdout. Without ! it must be 200.
	"call": func(ts *testscript.TestScript, neg bool, args []string) {
		req, err := http.NewRequest(http.MethodPost, ts.Getenv("URL")+"/fieldsync.v1."+args[0], strings.NewReader(args[2]))
		ts.Check(err)
		req.Header.Set("Content-Type", "application/json")
		if args[1] != "" {
			req.Header.Set("Authorization", "Bearer "+args[1])
		}
		resp, err := http.DefaultClient.Do(req)
		ts.Check(err)
		body, err := io.ReadAll(resp.Body)
		ts.Check(errors.Join(err, resp.Body.Close()))
		var compact bytes.Buffer // protojson puts spaces here and there, so that nobody relies on them.
		ts.Check(json.Compact(&compact, body))
		fmt.Fprintf(ts.Stdout(), "%d %s\n", resp.StatusCode, compact.Bytes())
		if (resp.StatusCode == http.StatusOK) == neg {
			ts.Fatalf("HTTP %d: %s", resp.StatusCode, body)
		}
	},
	// taken VAR: takes a port until the script ends and sets $VAR to its address.
	"taken": func(ts *testscript.TestScript, neg bool, args []string) {
		refuseNot(ts, neg)
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		ts.Check(err)
		ts.Defer(func() { _ = listener.Close() })
		ts.Setenv(args[0], listener.Addr().String())
	},
}

func refuseNot(ts *testscript.TestScript, neg bool) {
	if neg {
		ts.Fatalf("there is no ! for this command")
	}
}

func serversOf(ts *testscript.TestScript) servers {
	all, ok := ts.Value(serversKey{}).(servers)
	if !ok {
		ts.Fatalf("the script was not set up")
	}
	return all
}

func running(ts *testscript.TestScript, name string) *process {
	p := serversOf(ts)[name]
	if p == nil {
		ts.Fatalf("no server %q was started", name)
	}
	return p
}

// jpegBytes is a small picture, another one for each seed.
func jpegBytes(seed uint64) []byte {
	picture := image.NewRGBA(image.Rect(0, 0, 160, 120))
	for y := range 120 {
		for x := range 160 {
			picture.Set(x, y, color.RGBA{R: uint8(uint64(x) * (seed + 1)), G: uint8(uint64(y) ^ seed), B: uint8(seed >> 8), A: 255})
		}
	}
	var b bytes.Buffer
	if err := jpeg.Encode(&b, picture, nil); err != nil {
		panic(err) // It is a picture, into memory.
	}
	return b.Bytes()
}

// Protects whoever asks for help: every command has an example and a short text, and --help of it succeeds.
func TestHelp(t *testing.T) {
	var visit func(cmd *cobra.Command)
	visit = func(cmd *cobra.Command) {
		t.Run(cmd.CommandPath(), func(t *testing.T) {
			if cmd.Short == "" || !strings.Contains(cmd.Example, cmd.CommandPath()) {
				t.Errorf("short %q, example %q", cmd.Short, cmd.Example)
			}
			var out, errOut bytes.Buffer
			args := strings.Fields(cmd.CommandPath() + " --help")[1:]
			if code := Run(t.Context(), args, strings.NewReader(""), &out, &errOut); code != 0 || errOut.Len() > 0 {
				t.Fatalf("%v: exit status %d\n%s", args, code, errOut.Bytes())
			}
			if !strings.Contains(out.String(), "Examples:") {
				t.Errorf("no examples in\n%s", out.Bytes())
			}
		})
		for _, sub := range cmd.Commands() {
			if sub.Hidden {
				continue // Nobody is meant to call it.
			}
			visit(sub)
		}
	}
	visit(newRootCommand())
}
