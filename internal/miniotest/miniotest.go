// Package miniotest gives tests a real S3 server: MinIO, built from module source and run on the loopback interface.
//
// MinIO is under the AGPL. It is a tool that tests run, never a library: the nested module internal/tools/minio pins it, and
// nothing of it is linked into fieldsync.
package miniotest

import (
	"bytes"
	"context"
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
	minioPackage = "github.com/minio/minio"
	startLimit   = 30 * time.Second
	startTries   = 3
)

// Server is a running MinIO with one empty drive: no bucket exists yet.
type Server struct {
	Endpoint  string // host:port, plain HTTP
	AccessKey string
	SecretKey string
}

// Start runs a MinIO of the test's own and stops it when the test ends; its data lies in the test's temporary folder. The first
// call on a machine builds the server, which takes minutes and is kept in the user's cache folder under its version; callers
// that must be fast skip themselves under [testing.Short]. A server that cannot be built or started fails the test.
func Start(tb testing.TB) Server {
	tb.Helper()

	binary, err := build(tb.Context())
	if err != nil {
		tb.Fatalf("miniotest: no MinIO to test against: %v", err)
	}
	home := tb.TempDir()
	for try := 1; ; try++ {
		server, err := start(tb, binary, home)
		if err == nil {
			return server
		}
		// Between the choice of a free port and MinIO's listening, another process may have taken the port.
		if try == startTries {
			tb.Fatalf("miniotest: MinIO did not start: %v", err)
		}
	}
}

// build returns the path of the server's binary. Test packages run as processes side by side, so the first to come holds a
// lock while it builds, and the binary appears under its name only when it is complete.
func build(ctx context.Context) (string, error) {
	module, err := moduleFolder(ctx)
	if err != nil {
		return "", err
	}
	version, err := run(ctx, module, "go", "list", "-m", "-f", "{{.Version}}", minioPackage)
	if err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no cache folder to build in: %w", err)
	}
	folder := filepath.Join(cache, "fieldsync", "minio", version)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return "", err
	}
	unlock, err := lockedfile.MutexAt(filepath.Join(folder, "lock")).Lock()
	if err != nil {
		return "", err
	}
	defer unlock()

	binary := filepath.Join(folder, "minio")
	if _, err := os.Stat(binary); !errors.Is(err, fs.ErrNotExist) {
		return binary, err
	}
	tellf("building MinIO %s from module source for the tests: once, about 3 to 6 minutes", version)
	begun := time.Now()
	unfinished := binary + ".unfinished"
	if _, err := run(ctx, module, "go", "build", "-ldflags", "-s -w", "-o", unfinished, minioPackage); err != nil {
		return "", err
	}
	if err := os.Rename(unfinished, binary); err != nil {
		return "", err
	}
	tellf("built MinIO in %s, kept as %s", time.Since(begun).Round(time.Second), binary)
	return binary, nil
}

// moduleFolder finds the nested module that pins MinIO. The go command runs a test in its package's folder, from which it also
// tells the root of the project.
func moduleFolder(ctx context.Context) (string, error) {
	root, err := run(ctx, "", "go", "env", "GOMOD")
	if err != nil {
		return "", err
	}
	return filepath.Join(filepath.Dir(root), "internal", "tools", "minio"), nil
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
	fmt.Fprintf(out, "miniotest: "+format+"\n", args...)
}

func start(tb testing.TB, binary, home string) (Server, error) {
	tb.Helper()

	address, err := freeAddress(tb.Context())
	if err != nil {
		return Server{}, err
	}
	server := Server{Endpoint: address, AccessKey: "fieldsync-test", SecretKey: "fieldsync-test-secret"}

	output, err := os.Create(filepath.Join(home, "output.txt"))
	if err != nil {
		return Server{}, err
	}
	defer output.Close()
	ctx, stop := context.WithCancel(tb.Context())
	cmd := exec.CommandContext(ctx, binary, "server", "--address", address,
		"--certs-dir", filepath.Join(home, "certs"), filepath.Join(home, "data"))
	// Nothing of the user's environment: MinIO takes its whole configuration from there.
	cmd.Env = []string{
		"HOME=" + home,
		"MINIO_ROOT_USER=" + server.AccessKey,
		"MINIO_ROOT_PASSWORD=" + server.SecretKey,
		"MINIO_BROWSER=off",
		"MINIO_UPDATE=off",
	}
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

	if err := waitReady(ctx, address, ended); err != nil {
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
func waitReady(ctx context.Context, address string, ended <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	for {
		err := ready(ctx, address)
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

func ready(ctx context.Context, address string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/minio/health/cluster", http.NoBody)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
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
