package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cong1022/fieldsync/store/embedded"
	"github.com/cong1022/fieldsync/store/journal"
)

// fault is a class of faults.
type fault struct {
	name string
	make func(work string, rounds int) (result, error)
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
func kill(work string, rounds int) (r result, err error) {
	dir := filepath.Join(work, "kill")
	var acknowledged [writers]uint64
	for ; r.rounds < rounds; r.rounds++ {
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
func power(work string, rounds int) (r result, err error) {
	dir := filepath.Join(work, "power-0")
	var acknowledged [writers]uint64
	for ; r.rounds < rounds; r.rounds++ {
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
func starve(dir string, margins embedded.Margins, limit, rounds int, take func() (give func() error, err error)) (r result, err error) {
	var acknowledged [writers]uint64
	for ; r.rounds < rounds; r.rounds++ {
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
func disk(work string, rounds int) (r result, err error) {
	err = mounted(work, "disk", "size=768m", func(disk string) error {
		r, err = starve(filepath.Join(disk, "store"), embedded.Margins{Bytes: 160 << 20}, 0, rounds, func() (func() error, error) {
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
func inodes(work string, rounds int) (r result, err error) {
	err = mounted(work, "inodes", "size=2g,nr_inodes=400", func(disk string) error {
		r, err = starve(filepath.Join(disk, "store"), embedded.Margins{Inodes: 100}, 0, rounds, func() (func() error, error) {
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
func descriptors(work string, rounds int) (r result, err error) {
	dir := filepath.Join(work, "descriptors")
	var acknowledged [writers]uint64
	for ; r.rounds < rounds; r.rounds++ {
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

// bits: one bit of one file. It must be an error at the start or a finding; then the folder is mended as the error says.
func bits(work string, rounds int) (r result, err error) {
	dir := filepath.Join(work, "bits")
	var acknowledged [writers]uint64
	v, err := start(dir, embedded.Margins{Descriptors: 1}, 0, &acknowledged)
	if err != nil {
		return r, err
	}
	err = v.until(func(since, _ int) bool { return since >= 30_000 })
	if err = errors.Join(err, v.end()); err != nil {
		return r, err
	}
	since, _ := v.counts()
	r.acknowledged = uint64(since)
	if err := settle(dir, &acknowledged, &r); err != nil {
		return r, err
	}
	named := 0
	for ; r.rounds < rounds; r.rounds++ {
		copied := filepath.Join(work, "bits-copy")
		if err := errors.Join(os.RemoveAll(copied), copyFolder(copied, dir)); err != nil {
			return r, err
		}
		bit, err := flipBit(copied)
		if err != nil {
			return r, err
		}
		found, err := mend(copied)
		if err != nil {
			return r, fmt.Errorf("%v: %w", bit, err)
		}
		if found {
			named++
		}
		if err := settle(copied, &acknowledged, &r); err != nil {
			return r, fmt.Errorf("%v: %w", bit, err)
		}
	}
	r.note = fmt.Sprintf("%d named and mended, the others changed nothing", named)
	return r, nil
}

// flipped is a byte of a file that was changed.
type flipped struct {
	path string
	at   int64
	was  byte
}

func (f flipped) String() string { return fmt.Sprintf("a bit in byte %d of %s", f.at, f.path) }

// write puts a byte in its place.
func (f flipped) write(b byte) error {
	if err := os.Chmod(f.path, 0o600); err != nil { // Originals are read-only.
		return err
	}
	file, err := os.OpenFile(f.path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	_, err = file.WriteAt([]byte{b}, f.at)
	return errors.Join(err, file.Close())
}

// flipBit flips a random bit of a random file in dir.
func flipBit(dir string) (f flipped, err error) {
	var files []string
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		info, err := entry.Info()
		if err == nil && info.Size() > 0 {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		return f, err
	}
	f.path = files[rand.IntN(len(files))]
	content, err := os.ReadFile(f.path)
	if err != nil {
		return f, err
	}
	f.at = rand.Int64N(int64(len(content)))
	f.was = content[f.at]
	return f, f.write(f.was ^ 1<<rand.IntN(8))
}

// mend opens the folder, has it verified, and does what the errors tell an operator to do.
func mend(dir string) (found bool, err error) {
	o := engineOptions(embedded.Margins{Descriptors: 1})
	e, err := embedded.OpenWith(dir, o)
	if err != nil {
		return true, repair(dir, o, err)
	}
	damaged, err := e.Verify(context.Background())
	if err = errors.Join(err, e.Close()); err != nil || len(damaged) == 0 {
		return false, err
	}
	return true, repair(dir, o, errors.Join(damaged...))
}

func repair(dir string, o embedded.Options, cause error) error {
	if index := new(embedded.IndexError); errors.As(cause, &index) {
		return embedded.Rebuild(dir, o)
	}
	if damage := new(journal.DamageError); errors.As(cause, &damage) {
		_, err := embedded.RenewJournal(dir, o)
		return err
	}
	return fmt.Errorf("an error that does not say what to do: %w", cause)
}
