package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/cong1022/fieldsync/store/embedded"
)

// victim is the process that is tortured.
type victim struct {
	cmd  *exec.Cmd
	done chan struct{} // Closed when all that it said was read.

	mu           sync.Mutex
	acknowledged *[writers]uint64
	since, turns int // Acknowledged and turned away since the start.
	// Of one that ships: how far its backup was said to go, and of each writer the places of what was acknowledged.
	reach  uint64
	places [writers][]place
}

// place is where in the journal a number is known to be.
type place struct{ number, position uint64 }

// start starts the writers over a folder; with a limit of descriptors unless it is 0.
func start(dir string, margins embedded.Margins, limit int, acknowledged *[writers]uint64) (*victim, error) {
	return startShipping(dir, "", margins, limit, acknowledged)
}

// startShipping is start for writers that ship to a repository unless it is empty. What acknowledged holds is then what the backup
// is to have, and grows with covered alone.
func startShipping(dir, repository string, margins embedded.Margins, limit int, acknowledged *[writers]uint64) (*victim, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	args := []string{self}
	if limit > 0 {
		args = []string{"/bin/sh", "-c", fmt.Sprintf(`ulimit -n %d && exec "$0"`, limit), self}
	}
	v := &victim{cmd: exec.Command(args[0], args[1:]...), done: make(chan struct{}), acknowledged: acknowledged} //nolint:noctx // This program itself; end ends it.
	v.cmd.Env = append(os.Environ(), childVariable+"="+childValue(dir, margins), repositoryVariable+"="+repository)
	v.cmd.Stderr = os.Stderr
	v.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // What a terminal interrupts is the torture, between two rounds.
	out, err := v.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := v.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(v.done)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			v.heard(lines.Text())
		}
	}()
	return v, nil
}

func (v *victim) heard(line string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	said := strings.Fields(line)
	if len(said) < 2 {
		v.turns++
		return
	}
	number, err := strconv.ParseUint(said[1], 10, 64)
	if err != nil {
		return // The kill has cut the line off.
	}
	if said[0] == "reach" {
		v.reach = number
		return
	}
	writer, err := strconv.Atoi(said[0])
	if err != nil || writer >= writers {
		return
	}
	v.since++
	if len(said) == 2 {
		v.acknowledged[writer] = max(v.acknowledged[writer], number)
	} else if position, err := strconv.ParseUint(said[2], 10, 64); err == nil {
		v.places[writer] = append(v.places[writer], place{number, position})
	}
}

func (v *victim) reached() uint64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.reach
}

// covered is what the backup was said to have.
func (v *victim) covered() [writers]uint64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	covered := *v.acknowledged
	for w, places := range v.places {
		for _, p := range places {
			if p.position <= v.reach {
				covered[w] = max(covered[w], p.number)
			}
		}
	}
	return covered
}

func (v *victim) counts() (since, turns int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.since, v.turns
}

// until waits for what the process says. An error where it ends before that.
func (v *victim) until(reached func(since, turns int) bool) error {
	for deadline := time.After(2 * time.Minute); ; {
		if reached(v.counts()) {
			return nil
		}
		select {
		case <-v.done:
			return errors.New("the writers ended by themselves")
		case <-deadline:
			return errors.New("the writers stand still")
		case <-time.After(time.Millisecond):
		}
	}
}

// stop returns when every thread of the process stands still.
func (v *victim) stop() error {
	if err := v.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(v.cmd.Process.Pid, &status, syscall.WUNTRACED, nil); err != nil {
		return err
	}
	if !status.Stopped() {
		return errors.New("the writers ended instead of standing still")
	}
	return nil
}

// end kills the process and returns when all that it had said is counted.
func (v *victim) end() error {
	err := v.cmd.Process.Kill()
	<-v.done
	_ = v.cmd.Wait() // It was killed.
	return err
}
