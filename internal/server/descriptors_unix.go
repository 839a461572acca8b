//go:build unix

package server

import "syscall"

// descriptors is how many files and connections the process may have open; 0 where nobody knows. Go has raised the soft limit to
// the hard one at the start.
func descriptors() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || limit.Cur > 1<<30 {
		return 0
	}
	return int(limit.Cur)
}
