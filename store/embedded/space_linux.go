package embedded

import (
	"errors"
	"math"
	"os"

	"golang.org/x/sys/unix"
)

// noRoom tells the errors of a disk without bytes, inodes or quota, of a process that may not make files of that length (RLIMIT_FSIZE), and of
// a process or a system without descriptors.
func noRoom(err error) bool {
	for _, full := range []error{unix.ENOSPC, unix.EDQUOT, unix.EFBIG, unix.EMFILE, unix.ENFILE} {
		if errors.Is(err, full) {
			return true
		}
	}
	return false
}

// free asks the file system of dir and the process. EMFILE where not even that is possible any more.
func free(dir string) (Margins, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return Margins{}, err
	}
	left := Margins{
		Bytes:  fs.Bavail * uint64(fs.Bsize), //nolint:gosec // A block size is positive.
		Inodes: fs.Ffree, Descriptors: math.MaxUint64,
	}
	if fs.Files == 0 { // btrfs and others do not count them.
		left.Inodes = math.MaxUint64
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return Margins{}, err
	}
	if limit.Cur == unix.RLIM_INFINITY {
		return left, nil
	}
	used, err := openDescriptors()
	if err != nil {
		return Margins{}, err
	}
	left.Descriptors = 0
	if used < limit.Cur {
		left.Descriptors = limit.Cur - used
	}
	return left, nil
}

// openDescriptors counts what the process has open. Since Linux 6.2 the size of the folder says it (proc(5), /proc/pid/fd/); before,
// it is 0, and the folder is read: with ten thousand phones connected that is work, and it is asked ten times a second.
func openDescriptors() (uint64, error) {
	const folder = "/proc/self/fd"
	if info, err := os.Stat(folder); err == nil && info.Size() > 0 {
		return uint64(info.Size()), nil //nolint:gosec // More than 0.
	}
	open, err := os.ReadDir(folder)
	return uint64(len(open)), err
}

// freeBytes asks the file system of dir.
func freeBytes(dir string) (uint64, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return 0, err
	}
	return fs.Bavail * uint64(fs.Bsize), nil //nolint:gosec // A block size is positive.
}

// allocate makes a file whose blocks are there. They are not written.
func allocate(path string, size int64) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if err := unix.Fallocate(int(file.Fd()), 0, 0, size); err != nil {
		return errors.Join(err, file.Close(), os.Remove(path))
	}
	return file.Close()
}

// back has blocks behind the first bytes of a file that is there. What it holds stays.
func back(path string, bytes int64) error {
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	return errors.Join(unix.Fallocate(int(file.Fd()), 0, 0, bytes), file.Close())
}
