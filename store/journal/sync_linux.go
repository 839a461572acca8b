package journal

import (
	"os"

	"golang.org/x/sys/unix"
)

// datasync has a file's bytes and its length on the disk, but not its times.
func datasync(file *os.File) error {
	for {
		if err := unix.Fdatasync(int(file.Fd())); err != unix.EINTR {
			return err
		}
	}
}
