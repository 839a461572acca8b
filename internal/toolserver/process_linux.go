package toolserver

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

// endWithParent leaves no server behind when the test's process is killed or runs into its time limit, which no cleanup sees.
func endWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

// terminal is where the go command itself writes. It keeps what a test writes to itself until the package has failed, which
// would leave a long build without a word. A regular file is left alone: it has a place to write at, which is the go command's.
func terminal() *os.File {
	// Without NONBLOCK, opening a pipe that nobody reads any more would wait for ever.
	file, err := os.OpenFile(fmt.Sprintf("/proc/%d/fd/2", os.Getppid()), os.O_WRONLY|os.O_APPEND|syscall.O_NONBLOCK, 0)
	if err != nil {
		return os.Stderr
	}
	if info, err := file.Stat(); err != nil || info.Mode()&(os.ModeCharDevice|os.ModeNamedPipe) == 0 {
		file.Close()
		return os.Stderr
	}
	return file
}
