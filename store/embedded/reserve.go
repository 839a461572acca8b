package embedded

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"time"
)

const (
	// reservePieces is in how many steps the reserve is given away: whoever takes the disk's last bytes at full speed would take
	// all of it at once, too.
	reservePieces = 8
	// openingShare is which part of the reserve is left for the next start: a store on a full disk must open.
	openingShare = 2
	// reserveFloor is how little is free when a piece is given. Whoever fills a disk stops at its end; what is given before is taken, too.
	reserveFloor = 2 << 20
	// reserveEvery is how often the file system is asked whether somebody has taken its last bytes, and reserveSoon how often while less than
	// the margin is free. Asking takes a microsecond.
	reserveEvery = 20 * time.Millisecond
	reserveSoon  = 2 * time.Millisecond
)

// reserve is a file whose blocks are there and hold nothing: room that others cannot take while a compaction of Badger is under way,
// which writes through a map and kills the process where there is no block behind it. When the disk runs empty, the file is
// made shorter, a piece at a time, down to what the next start needs; when there is room again, it is made whole. Where blocks cannot be had without writing them there is
// none.
type reserve struct {
	dir  folder
	log  *slog.Logger
	size int64
	held int64
	// margin is what must be free, beside the reserve, before it is made: holding it must not turn writes away.
	margin uint64
	free   func(dir string) (bytes uint64, err error)

	stop, stopped chan struct{}
}

func newReserve(dir folder, o Options) *reserve {
	return &reserve{
		dir: dir, log: o.Log, size: int64(o.ReserveBytes), margin: o.Margins.Bytes, free: freeBytes, //nolint:gosec // Bounded by the configuration.
		stop: make(chan struct{}), stopped: make(chan struct{}),
	}
}

// find takes over what a process before has left.
func (r *reserve) find() error {
	info, err := os.Stat(r.dir.reserve())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	}
	r.held = info.Size()
	if r.size == 0 {
		return r.shorten(r.held)
	}
	return nil
}

// giveAll gives the whole of it: a store on a full disk needs it to open.
func (r *reserve) giveAll() error {
	if r.held == 0 {
		return nil
	}
	r.log.Warn("store: the disk is full, the reserve is used to open the store", "bytes", r.held)
	return r.shorten(r.held)
}

// shorten gives some of it back to the file system.
func (r *reserve) shorten(by int64) error {
	r.held = max(0, r.held-by)
	if r.held == 0 {
		return os.Remove(r.dir.reserve())
	}
	return os.Truncate(r.dir.reserve(), r.held)
}

// watch keeps the reserve until close.
func (r *reserve) watch() {
	defer close(r.stopped)
	if r.size == 0 {
		return
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-r.stop:
			return
		case <-timer.C:
			next := reserveEvery
			if r.look() < r.margin {
				next = reserveSoon
			}
			if r.size == 0 {
				return // There can be none here.
			}
			timer.Reset(next)
		}
	}
}

func (r *reserve) close() {
	close(r.stop)
	<-r.stopped
}

// look gives a piece where hardly anything is free, and takes all where there is plenty. It returns what was free.
func (r *reserve) look() (left uint64) {
	left, err := r.free(string(r.dir))
	piece := r.size / reservePieces
	switch {
	case err != nil:
		return r.margin
	case r.held > r.size/openingShare && left < reserveFloor:
		if r.held == r.size {
			r.log.Warn("store: others have taken the disk's last bytes, the reserve is given to what is under way", "bytes", r.held)
		}
		if err := r.shorten(piece); err != nil {
			r.log.Warn("store: the reserve cannot be given", "error", err)
		}
	case r.held < r.size && left > r.margin+uint64(r.size-r.held): //nolint:gosec // Not negative.
		if err := allocate(r.dir.reserve(), r.size); err != nil {
			r.log.Info("store: there is no reserve of disk space here", "error", err)
			r.size = 0
			return left
		}
		r.held = r.size
	}
	return left
}
