package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// The roles of child processes.
const (
	roleServe = "serve"
	roleFloor = "floor"
	roleLoad  = "load"
)

// order is what a child is told to do: one JSON line on its standard input.
type order struct {
	Op      string        `json:"op"`
	URL     string        `json:"url,omitempty"`
	Dir     string        `json:"dir,omitempty"`
	Profile string        `json:"profile,omitempty"`
	Seats   []seat        `json:"seats,omitempty"`
	Desk    *seat         `json:"desk,omitempty"`
	Count   int           `json:"count,omitempty"`
	Tasks   int           `json:"tasks,omitempty"`
	For     time.Duration `json:"for,omitempty"`
	Code    string        `json:"code,omitempty"`
}

// answer is how it went: one JSON line on its standard output.
type answer struct {
	Error string `json:"error,omitempty"`
	URL   string `json:"url,omitempty"`
	// Calls, Mutations and Tasks count what was done: calls answered, mutations with a verdict, task deltas received.
	Calls     int `json:"calls,omitempty"`
	Mutations int `json:"mutations,omitempty"`
	Tasks     int `json:"tasks,omitempty"`
	// Failed counts the clients that did not come to an end, and Fault says why the first one did not.
	Failed int    `json:"failed,omitempty"`
	Fault  string `json:"fault,omitempty"`
	// Seconds is the time for all of it; P50, P99 and Max are of a call, in milliseconds.
	Seconds float64 `json:"seconds,omitempty"`
	P50     float64 `json:"p50,omitempty"`
	P99     float64 `json:"p99,omitempty"`
	Max     float64 `json:"max,omitempty"`
	// Received and Sent are bytes on the wire, headers included.
	Received int64 `json:"received,omitempty"`
	Sent     int64 `json:"sent,omitempty"`
}

// Child is the other side: the process that a run starts with a role. It takes orders until in ends or ctx does.
func Child(ctx context.Context, role string, in io.Reader, out io.Writer) (err error) {
	handlers := map[string]func(context.Context) worker{roleServe: newServing, roleFloor: newFloor, roleLoad: newLoad}
	if handlers[role] == nil {
		return fmt.Errorf("no such role: %q", role)
	}
	w := handlers[role](ctx)
	defer func() { err = errors.Join(err, w.close()) }()
	orders := make(chan order)
	go func() { // It ends with the process: a read of standard input cannot be called off.
		defer close(orders)
		for decoder := json.NewDecoder(in); ; {
			var o order
			if decoder.Decode(&o) != nil {
				return
			}
			select {
			case orders <- o:
			case <-ctx.Done():
				return
			}
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return nil
		case o, ok := <-orders:
			if !ok {
				return nil
			}
			a, err := w.carryOut(ctx, o)
			if err != nil {
				a.Error = err.Error()
			}
			if err := json.NewEncoder(out).Encode(a); err != nil {
				return err
			}
		}
	}
}

// worker is what a child does in its role.
type worker interface {
	carryOut(ctx context.Context, o order) (answer, error)
	close() error
}

// child is a process that was started.
type child struct {
	role    string
	cmd     *exec.Cmd
	stdin   io.Closer
	encoder *json.Encoder
	decoder *json.Decoder
	stderr  bytes.Buffer
}

// startChild starts this program again in a role. The child ends when stop is called, when ctx ends, and when this process
// dies, since then its standard input ends.
func startChild(ctx context.Context, role string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := &child{role: role, cmd: exec.CommandContext(ctx, self)} //nolint:gosec // This program itself.
	c.cmd.Args = []string{os.Args[0], "bench", "child", role}
	c.cmd.Stderr = &c.stderr
	c.cmd.WaitDelay = 20 * time.Second
	in, err := c.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	c.cmd.Cancel = in.Close // Which it takes as the end, in good order; after WaitDelay it is killed.
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.stdin, c.encoder, c.decoder = in, json.NewEncoder(in), json.NewDecoder(out)
	return c, c.cmd.Start()
}

// do has the child carry an order out. What it answers with an error is an error here.
func (c *child) do(ctx context.Context, o order) (answer, error) {
	var a answer
	err := c.encoder.Encode(o)
	if err == nil {
		err = c.decoder.Decode(&a)
	}
	switch {
	case ctx.Err() != nil:
		return a, context.Cause(ctx)
	case err != nil:
		return a, fmt.Errorf("the process %s: %w %s", c.role, err, strings.TrimSpace(c.stderr.String()))
	case a.Error != "":
		return a, fmt.Errorf("the process %s, order %s: %s", c.role, o.Op, a.Error)
	}
	return a, nil
}

// stop ends the child in good order and waits for it.
func (c *child) stop() error {
	_ = c.stdin.Close() // It may have ended by itself.
	if err := c.cmd.Wait(); err != nil && c.cmd.ProcessState.ExitCode() != 0 {
		return fmt.Errorf("the process %s: %w %s", c.role, err, strings.TrimSpace(c.stderr.String()))
	}
	return nil
}

// usage is what a process has used so far.
type usage struct {
	// cpu is user and system time.
	cpu time.Duration
	// resident and peak are memory in bytes.
	resident, peak float64
}

// clockTick is the unit of processor time in /proc: 1/100 s on every Linux that Go runs on.
const clockTick = 10 * time.Millisecond

// usage reads /proc. Everything is 0 where there is none.
func (c *child) usage() usage {
	var u usage
	proc := "/proc/" + strconv.Itoa(c.cmd.Process.Pid)
	status, err := os.ReadFile(proc + "/status")
	if err != nil {
		return u
	}
	for line := range strings.Lines(string(status)) {
		name, rest, _ := strings.Cut(line, ":")
		fields := strings.Fields(rest)
		if len(fields) != 2 {
			continue
		}
		kib, err := strconv.ParseFloat(fields[0], 64)
		if err != nil {
			continue
		}
		switch name {
		case "VmRSS":
			u.resident = kib * 1024
		case "VmHWM":
			u.peak = kib * 1024
		}
	}
	stat, err := os.ReadFile(proc + "/stat")
	if err != nil {
		return u
	}
	// The second field is the program's name in parentheses; utime and stime are the 14th and 15th.
	_, rest, _ := strings.Cut(string(stat), ") ")
	if fields := strings.Fields(rest); len(fields) > 12 {
		user, _ := strconv.ParseInt(fields[11], 10, 64)
		system, _ := strconv.ParseInt(fields[12], 10, 64)
		u.cpu = time.Duration(user+system) * clockTick
	}
	return u
}
