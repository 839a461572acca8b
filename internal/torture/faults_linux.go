package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cong1022/fieldsync/store/embedded"
)

// fault is a class of faults.
type fault struct {
	name string
	make func(work string, more more) (result, error)
}

var faults = []fault{
	{"kill", kill},
	{"power", power},
	{"image", image},
	{"disk", disk},
	{"inodes", inodes},
	{"descriptors", descriptors},
	{"bits", bits},
	{"index", rebuilt},
	{"folder", folder},
	{"backup-bits", backupBits},
	{"photo-bits", photoBits},
}

// settle opens a folder and counts.
func settle(dir string, acknowledged *[writers]uint64, r *result) error {
	e, err := embedded.OpenWith(dir, engineOptions(embedded.Margins{Descriptors: 1}))
	if err != nil {
		return err
	}
	lost, doubled, err := tally(e, acknowledged)
	r.lost += lost
	r.doubled += doubled
	return errors.Join(err, e.Close())
}

// kill: kill -9 at random moments.
func kill(work string, more more) (r result, err error) {
	dir := filepath.Join(work, "kill")
	var acknowledged [writers]uint64
	for ; more(r.rounds); r.rounds++ {
		v, err := start(dir, embedded.Margins{Descriptors: 1}, 0, &acknowledged)
		if err != nil {
			return r, err
		}
		moment := 1 + rand.IntN(8000)
		err = v.until(func(since, _ int) bool { return since >= moment })
		if err = errors.Join(err, v.end()); err != nil {
			return r, err
		}
		since, _ := v.counts()
		r.acknowledged += uint64(since)
		if err := settle(dir, &acknowledged, &r); err != nil {
			return r, err
		}
	}
	return r, nil
}

// power: the process is stopped, its folder copied, and the copy loses what was not synced: of the index, which nothing syncs
// before an answer, the memory tables lose a random part. The copy is the next round's folder.
func power(work string, more more) (r result, err error) {
	dir := filepath.Join(work, "power-0")
	var acknowledged [writers]uint64
	for ; more(r.rounds); r.rounds++ {
		v, err := start(dir, embedded.Margins{Descriptors: 1}, 0, &acknowledged)
		if err != nil {
			return r, err
		}
		moment := 1 + rand.IntN(8000)
		err = v.until(func(since, _ int) bool { return since >= moment })
		if err == nil {
			err = v.stop()
		}
		next := filepath.Join(work, fmt.Sprint("power-", r.rounds+1))
		if err == nil {
			err = copyFolder(next, dir)
		}
		if err = errors.Join(err, v.end()); err != nil {
			return r, err
		}
		since, _ := v.counts()
		r.acknowledged += uint64(since)
		if err := errors.Join(loseUnsynced(next), os.RemoveAll(dir)); err != nil {
			return r, err
		}
		dir = next
		if err := settle(dir, &acknowledged, &r); err != nil {
			return r, err
		}
	}
	return r, nil
}

// copyFolder copies a folder whose process stands still.
func copyFolder(to, from string) error { return os.CopyFS(to, os.DirFS(from)) }

// loseUnsynced takes a random part of the pages of each memory table away. What a checkpoint had synced may be among it: then
// the engine must say so, or have it from the journal; so only tables newer than the checkpoint are hit.
func loseUnsynced(dir string) error {
	checkpoint, err := os.Stat(filepath.Join(dir, "journal", "checkpoint"))
	if err != nil {
		return err
	}
	tables, err := filepath.Glob(filepath.Join(dir, "index", "*.mem"))
	if err != nil {
		return err
	}
	for _, path := range tables {
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		if info.ModTime().Before(checkpoint.ModTime()) {
			continue
		}
		if err := os.Truncate(path, rand.Int64N(info.Size())); err != nil {
			return err
		}
	}
	return nil
}

// mounted runs do on a small file system.
func mounted(work, name, options string, do func(disk string) error) error {
	disk := filepath.Join(work, name)
	if err := os.Mkdir(disk, 0o700); err != nil {
		return err
	}
	if err := unix.Mount("fieldsync-torture", disk, "tmpfs", 0, options); err != nil {
		return fmt.Errorf("%w: a small file system cannot be mounted: %w", errSkipped, err)
	}
	return errors.Join(do(disk), unix.Unmount(disk, 0))
}

// starve lets the writers write, takes from them what take takes, waits until they are turned away, gives it back, and waits
// until they go on: all in one life of the process. Then it is killed and its folder counted.
func starve(dir string, margins embedded.Margins, limit int, more more, take func() (give func() error, err error)) (r result, err error) {
	var acknowledged [writers]uint64
	for ; more(r.rounds); r.rounds++ {
		v, err := start(dir, margins, limit, &acknowledged)
		if err != nil {
			return r, err
		}
		err = func() error {
			if err := v.until(func(since, _ int) bool { return since >= 200 }); err != nil {
				return fmt.Errorf("before: %w", err)
			}
			give, err := take()
			if err != nil {
				return err
			}
			_, before := v.counts()
			err = v.until(func(_, turns int) bool { return turns >= before+writers })
			if err = errors.Join(err, give()); err != nil {
				return fmt.Errorf("without room: %w", err)
			}
			after, _ := v.counts()
			if err := v.until(func(since, _ int) bool { return since >= after+200 }); err != nil {
				return fmt.Errorf("with room again: %w", err)
			}
			return nil
		}()
		if err = errors.Join(err, v.end()); err != nil {
			return r, err
		}
		since, _ := v.counts()
		r.acknowledged += uint64(since)
		if err := settle(dir, &acknowledged, &r); err != nil {
			return r, err
		}
	}
	return r, nil
}

// settling is how long the margin lasts before others take what is left of it. The guard looks every 100 ms; a compaction of
// Badger that has begun by then needs its room until it ends. The engine's reserve helps it where the last byte goes earlier, but
// not always: see store/DESIGN.md.
const settling = 3 * time.Second

// disk: others take the last byte of the disk.
func disk(work string, more more) (r result, err error) {
	err = mounted(work, "disk", "size=768m", func(disk string) error {
		r, err = starve(filepath.Join(disk, "store"), embedded.Margins{Bytes: 160 << 20}, 0, more, func() (func() error, error) {
			path := filepath.Join(disk, "ballast")
			file, err := os.Create(path)
			if err != nil {
				return nil, err
			}
			defer file.Close()
			var free unix.Statfs_t
			if err := unix.Statfs(disk, &free); err != nil {
				return nil, err
			}
			// Below the margin first, as a disk fills; then all of it.
			give := func() error { return os.Remove(path) }
			most := int64(free.Bavail)*free.Bsize - 150<<20
			if err := unix.Fallocate(int(file.Fd()), 0, 0, most); err != nil {
				return give, err
			}
			time.Sleep(settling)
			for unix.Fallocate(int(file.Fd()), unix.FALLOC_FL_KEEP_SIZE, most, 1<<20) == nil {
				most += 1 << 20
			}
			return give, nil
		})
		return err
	})
	return r, err
}

// inodes: others take the last inode.
func inodes(work string, more more) (r result, err error) {
	err = mounted(work, "inodes", "size=2g,nr_inodes=400", func(disk string) error {
		r, err = starve(filepath.Join(disk, "store"), embedded.Margins{Inodes: 100}, 0, more, func() (func() error, error) {
			taken := 0
			name := func(n int) string { return filepath.Join(disk, fmt.Sprint("taken-", n)) }
			grab := func(leave uint64) {
				for {
					var free unix.Statfs_t
					if unix.Statfs(disk, &free) != nil || free.Ffree <= leave {
						return
					}
					file, err := os.Create(name(taken))
					if err != nil {
						return
					}
					_ = file.Close()
					taken++
				}
			}
			grab(90)
			time.Sleep(settling)
			grab(0)
			return func() (err error) {
				for n := range taken {
					err = errors.Join(err, os.Remove(name(n)))
				}
				return err
			}, nil
		})
		return err
	})
	return r, err
}

// descriptors: a process that may open 40, with a margin that leaves few to spare: it is turned away as its tables grow.
func descriptors(work string, more more) (r result, err error) {
	dir := filepath.Join(work, "descriptors")
	var acknowledged [writers]uint64
	for ; more(r.rounds); r.rounds++ {
		v, err := start(dir, embedded.Margins{Descriptors: 12}, 40, &acknowledged)
		if err != nil {
			return r, err
		}
		// Either it goes on for long, or it is turned away: both are right, an end is not.
		err = v.until(func(since, turns int) bool { return since >= 20_000 || turns >= writers })
		if err = errors.Join(err, v.end()); err != nil {
			return r, err
		}
		since, turns := v.counts()
		r.acknowledged += uint64(since)
		if turns > 0 {
			r.note = "some were turned away"
		}
		if err := settle(dir, &acknowledged, &r); err != nil {
			return r, err
		}
	}
	return r, nil
}
