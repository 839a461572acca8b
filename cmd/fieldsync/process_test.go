package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"regexp"
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
	cmd      *exec.Cmd
	url      string
	out, log output
	exited   chan struct{}
	err      error // Of the exit, once exited is closed.
}

// Lines that the server says on its terminal.
var (
	serveLine = regexp.MustCompile(`fieldsync serves at (http://\S+),`)
	enrolLine = regexp.MustCompile(`--code (\S+)`)
)

// startServer starts a server and returns once it serves.
func startServer(dir string, env []string, args ...string) (*process, error) {
	p := &process{cmd: exec.Command("fieldsync", append([]string{"serve"}, args...)...), exited: make(chan struct{})} //nolint:noctx // kill and interrupt end it.
	p.cmd.Dir = dir
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.log
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.exited)
	}()
	var err error
	if p.url, err = p.await(serveLine); err != nil {
		p.kill()
		return nil, err
	}
	return p, nil
}

// await returns what pattern's group matches in the server's output, as soon as it does.
func (p *process) await(pattern *regexp.Regexp) (string, error) {
	deadline := time.After(time.Minute) // Only decides when a server that never comes up fails the test.
	for {
		text, changed := p.out.look()
		if match := pattern.FindStringSubmatch(text); match != nil {
			return match[1], nil
		}
		log, _ := p.log.look()
		select {
		case <-changed:
		case <-p.exited:
			return "", fmt.Errorf("the server ended: %w\n%s", p.err, log)
		case <-deadline:
			return "", fmt.Errorf("the server does not say %v\n%s", pattern, log)
		}
	}
}

// kill ends the server as a power cut would, and returns when it is gone.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // It may have ended by itself.
	<-p.exited
}

// interrupt ends the server as Ctrl-C does. A server that has not stopped in good order is an error.
func (p *process) interrupt() error {
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		return err
	}
	<-p.exited
	return p.err
}

// output keeps what is written and tells of it.
type output struct {
	mu      sync.Mutex
	text    bytes.Buffer
	changed chan struct{}
}

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.changed != nil {
		close(o.changed)
		o.changed = nil
	}
	return o.text.Write(p)
}

// look returns what was written, and a channel that is closed when there is more.
func (o *output) look() (string, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.changed == nil {
		o.changed = make(chan struct{})
	}
	return o.text.String(), o.changed
}
