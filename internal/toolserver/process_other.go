//go:build !linux

package toolserver

import (
	"os"
	"os/exec"
)

// endWithParent does nothing where the kernel cannot end a process with its parent: a test that is killed leaves a server behind.
func endWithParent(*exec.Cmd) {}

// terminal is the test's own standard error, which the go command shows under -v or for a single package.
func terminal() *os.File { return os.Stderr }
