//go:build !linux

package embedded

import (
	"errors"
	"math"
	"syscall"
)

func noRoom(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EMFILE) }

// free does not know: the guards are built for the system that servers run on.
func free(string) (Margins, error) {
	return Margins{Bytes: math.MaxUint64, Inodes: math.MaxUint64, Descriptors: math.MaxUint64}, nil
}

func freeBytes(string) (uint64, error) { return math.MaxUint64, nil }

// allocate makes no file: there is no reserve where nothing is known of what is free.
func allocate(string, int64) error { return errors.ErrUnsupported }

func back(string, int64) error { return errors.ErrUnsupported }
