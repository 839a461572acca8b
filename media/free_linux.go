package media

import (
	"math"

	"golang.org/x/sys/unix"
)

// freeBytes is what an ordinary user may still write where dir lies; very much where that cannot be told.
func freeBytes(dir string) uint64 {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return math.MaxUint64
	}
	return fs.Bavail * uint64(fs.Bsize) //nolint:gosec // A block size is positive.
}
