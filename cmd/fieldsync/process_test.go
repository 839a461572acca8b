package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain lets the test binary be the program itself: "fieldsync" in the PATH of the tests runs main.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"fieldsync": main})
}

// process is a real `fieldsync serve`.
type process struct {
	cmd    *exec.Cmd
	url    string
	code   string // For the first admin; empty once there is one.
	exited chan struct{}
	err    error // Of the exit, once exited is closed.

	mu          sync.Mutex
	out, errOut bytes.Buffer
}

// startTimeout is generous: it only decides when a server that never comes up fails the test.
const startTimeout = time.Minute

// startServer starts a server and returns once it serves.
func startServer(dir string, env []string, args ...string) (*process, error) {
	p := &process{cmd: exec.Command("fieldsync", append([]string{"serve"}, args...)...), exited: make(chan struct{})}
	p.cmd.Dir = dir
	p.cmd.Env = append(os.Environ(), env...)
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	ready := make(chan struct{})
	var reading sync.WaitGroup
	reading.Go(func() { p.read(stdout, ready) })
	reading.Go(func() { p.copyErrors(stderr) })
	go func() {
		reading.Wait() // Wait closes the pipes, whatever is left in them.
		p.err = p.cmd.Wait()
		close(p.exited)
	}()
	select {
	case <-ready:
		return p, nil
	case <-p.exited:
		return nil, fmt.Errorf("the server ended (%w):\n%s", p.err, p.errors())
	case <-time.After(startTimeout):
		p.kill()
		return nil, fmt.Errorf("the server did not start:\n%s", p.errors())
	}
}

var enrolLine = regexp.MustCompile(`--code (\S+)`)

// read takes the URL and the admin's code out of what the server says to the terminal. It says them in one go.
func (p *process) read(stdout io.Reader, ready chan<- struct{}) {
	lines := bufio.NewReader(stdout)
	for {
		line, err := lines.ReadString('\n')
		p.mu.Lock()
		p.out.WriteString(line)
		p.mu.Unlock()
		if err != nil {
			return
		}
		if match := enrolLine.FindStringSubmatch(line); match != nil {
			p.code = match[1]
		}
		if url, ok := strings.CutPrefix(line, "fieldsync serves at "); ok {
			p.url, _, _ = strings.Cut(url, ",")
		}
		if ready != nil && p.url != "" && (p.code != "" || !strings.Contains(line, "No admin")) && !p.awaitsCode(line) {
			close(ready)
			ready = nil
		}
	}
}

func (p *process) copyErrors(stderr io.Reader) {
	buffer := make([]byte, 4096)
	for {
		n, err := stderr.Read(buffer)
		p.mu.Lock()
		p.errOut.Write(buffer[:n])
		p.mu.Unlock()
		if err != nil {
			return
		}
	}
}
