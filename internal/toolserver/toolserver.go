// Package toolserver builds servers that tests run from module source, once a machine, and runs them on the loopback interface.
// They are tools, pinned each by a nested module below internal/tools, and nothing of them is linked into fieldsync.
package toolserver

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/lockedfile"
)

const (
	startLimit = 30 * time.Second
	startTries = 3
)

// Tool is a server that can be built and run.
type Tool struct {
	// Name is that of the folder below internal/tools with the module that pins it, of its binary, and for people.
	Name string
	// Package is its main package, and Module the module that the package belongs to.
	Package, Module string
	// BuildTime says for people how long the first build takes.
	BuildTime string
	// Command returns the arguments and the whole environment for a server that listens on address and keeps its data in home,
	// which is empty and the server's own.
	Command func(address, home string, keys Server) (args, env []string, err error)
	// HealthPath is what answers 200 when the server takes requests.
	HealthPath string
	// TLS is how to reach HealthPath where the server speaks nothing but TLS.
	TLS *tls.Config
}

// Server is a running object store. No bucket exists yet.
type Server struct {
	Endpoint  string // host:port, plain HTTP
	AccessKey string
	SecretKey string
}

// Start runs a server of the test's own and stops it when the test ends; its data lies in the test's temporary folder. The first
// call on a machine builds the server, which takes minutes and is kept in the user's cache folder under its version; callers
// that must be fast skip themselves under [testing.Short]. A server that cannot be built or started fails the test.
func Start(tb testing.TB, tool Tool) Server {
	tb.Helper()

	binary, err := tool.build(tb.Context())
	if err != nil {
		tb.Fatalf("no %s to test against: %v", tool.Name, err)
	}
	for try := 1; ; try++ {
		server, err := tool.start(tb, binary, tb.TempDir())
		if err == nil {
			return server
		}
		// Between the choice of a free port and the server's listening, another process may have taken the port.
		if try == startTries {
			tb.Fatalf("%s did not start: %v", tool.Name, err)
		}
	}
}

// build returns the path of the server's binary. Test packages run as processes side by side, so the first to come holds a
// lock while it builds, and the binary appears under its name only when it is complete.
func (tool Tool) build(ctx context.Context) (string, error) {
	module, err := tool.folder(ctx)
	if err != nil {
		return "", err
	}
	version, err := run(ctx, module, "go", "list", "-m", "-f", "{{.Version}}", tool.Module)
	if err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no cache folder to build in: %w", err)
	}
	folder := filepath.Join(cache, "fieldsync", tool.Name, version)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return "", err
	}
	unlock, err := lockedfile.MutexAt(filepath.Join(folder, "lock")).Lock()
	if err != nil {
		return "", err
	}
	defer unlock()

	binary := filepath.Join(folder, tool.Name)
	if _, err := os.Stat(binary); !errors.Is(err, fs.ErrNotExist) {
		return binary, err
	}
	tellf("building %s %s from module source for the tests: once, %s", tool.Name, version, tool.BuildTime)
	begun := time.Now()
	unfinished := binary + ".unfinished"
	if _, err := run(ctx, module, "go", "build", "-ldflags", "-s -w", "-o", unfinished, tool.Package); err != nil {
		return "", err
	}
	if err := os.Rename(unfinished, binary); err != nil {
		return "", err
	}
	tellf("built %s in %s, kept as %s", tool.Name, time.Since(begun).Round(time.Second), binary)
	return binary, nil
}

// folder finds the nested module that pins the server. The go command runs a test in its package's folder, from which it also
// tells the root of the project.
func (tool Tool) folder(ctx context.Context) (string, error) {
	root, err := run(ctx, "", "go", "env", "GOMOD")
	if err != nil {
		return "", err
	}
	return filepath.Join(filepath.Dir(root), "internal", "tools", tool.Name), nil
}

// run returns what a command of the toolchain printed. The flags and workspaces that a user has set for the project's own build
// (a vendor folder, the race detector) do not reach it, and no C compiler is needed.
func run(ctx context.Context, folder, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = folder
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=readonly -trimpath -buildvcs=false", "GOWORK=off", "CGO_ENABLED=0")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s in %s: %w\n%s", strings.Join(cmd.Args, " "), folder, err, stderr.Bytes())
	}
	return strings.TrimSpace(stdout.String()), nil
}

// tellf prints a line for whoever waits at the terminal.
func tellf(format string, args ...any) {
	out := terminal()
	if out != os.Stderr {
		defer out.Close()
	}
	fmt.Fprintf(out, "fieldsync tests: "+format+"\n", args...)
}

func (tool Tool) start(tb testing.TB, binary, home string) (Server, error) {
	tb.Helper()

	address, err := freeAddress(tb.Context())
	if err != nil {
		return Server{}, err
	}
	server := Server{Endpoint: address, AccessKey: "fieldsync-test", SecretKey: "fieldsync-test-secret"}
	args, env, err := tool.Command(address, home, server)
	if err != nil {
		return Server{}, err
	}

	output, err := os.Create(filepath.Join(home, "output.txt"))
	if err != nil {
		return Server{}, err
	}
	defer output.Close()
	ctx, stop := context.WithCancel(tb.Context())
	cmd := exec.CommandContext(ctx, binary, args...)
	// Nothing of the user's environment: such servers take their configuration from there.
	cmd.Env = append([]string{"HOME=" + home}, env...)
	cmd.Stdout, cmd.Stderr = output, output
	ended, err := spawn(cmd)
	if err != nil {
		stop()
		return Server{}, err
	}
	tb.Cleanup(func() {
		stop() // kills it: its data goes with the test, so there is nothing to close in order
		<-ended
	})

	if err := tool.waitReady(ctx, address, ended); err != nil {
		stop()
		<-ended
		said, _ := os.ReadFile(output.Name())
		return Server{}, fmt.Errorf("%w\n%s", err, said)
	}
	return server, nil
}

// spawn starts a process and closes the channel when it has ended. One thread does both, and lives as long as the process:
// where the kernel ends a process together with its parent, the parent is the thread that started it.
func spawn(cmd *exec.Cmd) (<-chan struct{}, error) {
	started, ended := make(chan error), make(chan struct{})
	go func() {
		defer close(ended)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		endWithParent(cmd)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // killed on purpose, or seen by waitReady, which reports what the server said
		}
	}()
	return ended, <-started
}

func freeAddress(ctx context.Context) (string, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}

// waitReady returns when the server accepts writes.
func (tool Tool) waitReady(ctx context.Context, address string, ended <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	health, client := "http://"+address+tool.HealthPath, http.DefaultClient
	if tool.TLS != nil {
		transport := &http.Transport{TLSClientConfig: tool.TLS}
		defer transport.CloseIdleConnections()
		health, client = "https://"+address+tool.HealthPath, &http.Client{Transport: transport}
	}
	for {
		err := ready(ctx, client, health)
		if err == nil {
			return nil
		}
		select {
		case <-ended:
			return errors.New("the server ended")
		case <-ctx.Done():
			return fmt.Errorf("not ready after %s: %w", startLimit, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func ready(ctx context.Context, client *http.Client, health string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, health, http.NoBody)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("health check answers %s", response.Status)
	}
	return nil
}
