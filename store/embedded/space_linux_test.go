package embedded

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/store"
)

// hasty is a clock on which each look is a second after the one before: no answer of the guard is an old one.
func hasty() func() time.Time {
	now := time.Unix(1_700_000_000, 0)
	return func() time.Time { now = now.Add(time.Second); return now }
}

// smallDisk mounts a file system of its own.
func smallDisk(t *testing.T, options string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("fieldsync-test", dir, "tmpfs", 0, options); err != nil {
		t.Skipf("SKIPPED: mounting a small file system takes rights that this process does not have: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// guarded opens an engine on the disk, writes until the guard turns a write away, checks that reading goes on, has room made,
// and checks that writing does too and that nothing acknowledged is missing, now and after a restart.
func guarded(t *testing.T, disk string, margins Margins, take func(n int) error, give func()) {
	t.Helper()
	dir := filepath.Join(disk, "store")
	o := Options{Margins: margins, Clock: hasty(), SegmentBytes: 1 << 20, CheckpointBytes: 4 << 20, SnapshotBytes: 1 << 40}
	e, err := OpenWith(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	closed := false
	defer func() {
		if !closed {
			_ = e.Close()
		}
	}()
	var acknowledged []string
	write := func() error {
		key := fmt.Sprintf("k/%06d", len(acknowledged))
		err := set(e, key, strings.Repeat("v", 10<<10))
		if err == nil {
			acknowledged = append(acknowledged, key)
		}
		return err
	}
	all := func() {
		t.Helper()
		for _, key := range acknowledged {
			if value, err := get(e, key); err != nil || len(value) != 10<<10 {
				t.Fatalf("%s was acknowledged and has %d bytes, %v", key, len(value), err)
			}
		}
	}
	for n := 0; err == nil; n++ {
		if err = take(n); err != nil {
			t.Fatal(err)
		}
		if err = write(); n > 100_000 {
			t.Fatal("nothing was ever turned away")
		}
	}
	var f *fault.Error
	if !errors.Is(err, store.ErrNoSpace) || !errors.As(err, &f) || f.Kind != fault.Unavailable || f.RetryAfter == 0 || f.Vi == "" {
		t.Fatalf("turned away with %v", err)
	}
	t.Logf("after %d writes: %v", len(acknowledged), err)
	for range 3 {
		if err := write(); !errors.Is(err, store.ErrNoSpace) {
			t.Fatalf("a further write: %v", err)
		}
	}
	all()
	select {
	case <-e.Failed():
		t.Fatal("the engine stopped")
	default:
	}
	give()
	for range 10 {
		if err := write(); err != nil {
			t.Fatalf("with room again: %v", err)
		}
	}
	all()
	closed = true
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if e, err = OpenWith(dir, o); err != nil {
		t.Fatal(err)
	}
	closed = false
	all()
}

// Protects: a disk that others fill, to the last byte, turns writes away and nothing else: no crash, no loss, and it goes on
// by itself when there is room.
func TestFullDisk(t *testing.T) {
	disk := smallDisk(t, "size=256m")
	ballast := filepath.Join(disk, "ballast")
	guarded(t, disk, Margins{Bytes: 96 << 20}, func(n int) error {
		if n == 500 {
			file, err := os.Create(ballast)
			if err != nil {
				return err
			}
			defer file.Close()
			var fs unix.Statfs_t
			if err := unix.Statfs(disk, &fs); err != nil {
				return err
			}
			// Below the margin, and then all of it, while the engine stands.
			return unix.Fallocate(int(file.Fd()), 0, 0, int64(fs.Bavail)*fs.Bsize)
		}
		return nil
	}, func() {
		if err := os.Remove(ballast); err != nil {
			t.Error(err)
		}
	})
}

// Protects: the same by the engine's own writing, which stops at the margin.
func TestDiskFilledByItself(t *testing.T) {
	disk := smallDisk(t, "size=256m")
	ballast := filepath.Join(disk, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 60<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	guarded(t, disk, Margins{Bytes: 96 << 20}, func(int) error { return nil }, func() {
		if err := os.Remove(ballast); err != nil {
			t.Error(err)
		}
	})
}

// Protects: a file system without inodes turns writes away and nothing else.
func TestNoInodes(t *testing.T) {
	disk := smallDisk(t, "size=256m,nr_inodes=200")
	taken := 0
	guarded(t, disk, Margins{Inodes: 50}, func(n int) error {
		if n < 200 {
			return nil
		}
		for { // Others take all that are left.
			file, err := os.Create(filepath.Join(disk, fmt.Sprint("taken-", taken)))
			if err != nil {
				return nil //nolint:nilerr // None is left.
			}
			taken++
			if err := file.Close(); err != nil {
				return err
			}
		}
	}, func() {
		for i := range taken {
			if err := os.Remove(filepath.Join(disk, fmt.Sprint("taken-", i))); err != nil {
				t.Error(err)
			}
		}
	})
}

// A start on a disk that is full is an error that says so, and not a crash.
func TestOpenOnFullDisk(t *testing.T) {
	disk := smallDisk(t, "size=16m")
	_, err := OpenWith(filepath.Join(disk, "store"), Options{Margins: Margins{Bytes: 96 << 20}})
	if !errors.Is(err, store.ErrNoSpace) {
		t.Errorf("it says %v", err)
	}
}

// Protects: a start after a crash on a disk that has room to open the store, and none for what the journal has to put into the index, is an
// error too, which gives the reserve before; and the next start, with room, has everything.
func TestOpenWithoutRoomToReplay(t *testing.T) {
	disk := smallDisk(t, "size=512m")
	dir, copied := t.TempDir(), filepath.Join(disk, "copy")
	o := Options{Margins: Margins{Bytes: 1 << 20}, CheckpointBytes: 1 << 40}
	e, err := OpenWith(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	value := make([]byte, 512<<10)
	for i := range 48 {
		_, _ = rand.Read(value) // It never fails. What Badger cannot compress.
		if err := set(e, fmt.Sprintf("k/%02d", i), string(value)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil { // As after kill -9.
		t.Fatal(err)
	}
	shut(t, e)
	o.ReserveBytes = 8 << 20
	if err := allocate(folder(copied).reserve(), int64(o.ReserveBytes)); err != nil {
		t.Fatal(err)
	}
	left, err := freeBytes(disk)
	if err != nil {
		t.Fatal(err)
	}
	filler := filepath.Join(disk, "filler")
	if err := allocate(filler, int64(left)-12<<20); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenWith(copied, o); !errors.Is(err, store.ErrNoSpace) {
		t.Fatalf("with 12 MiB and a reserve of 8: %v", err)
	}
	if left, err := freeBytes(disk); err != nil || left < 20<<20 {
		t.Errorf("%d bytes are free, %v: the reserve was not given", left, err)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if e, err = OpenWith(copied, o); err != nil {
		t.Fatal(err)
	}
	defer shut(t, e)
	for i := range 48 {
		if _, err := get(e, fmt.Sprintf("k/%02d", i)); err != nil {
			t.Errorf("k/%02d: %v", i, err)
		}
	}
}

// writeWithoutDescriptors writes with 40 descriptors, then with none of them free, then with all of them.
func writeWithoutDescriptors(dir string) {
	e, err := OpenWith(dir, Options{Margins: Margins{Descriptors: 10}, Clock: hasty()})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 40, Max: 40}); err != nil {
		fmt.Println(err)
		return
	}
	value := strings.Repeat("v", 100<<10)
	n := 0
	write := func() error {
		err := set(e, fmt.Sprintf("k/%08d", n), value)
		if err == nil {
			n++
		}
		return err
	}
	var taken []*os.File
	for range 200 { // Several memory tables.
		if err = write(); err != nil {
			break
		}
	}
	for err == nil {
		var file *os.File
		if file, err = os.Open(os.DevNull); err != nil {
			err = write()
			break
		}
		taken = append(taken, file)
	}
	fmt.Println("turned away", errors.Is(err, store.ErrNoSpace), errors.Is(write(), store.ErrNoSpace))
	first, err := get(e, "k/00000000")
	fmt.Println("read", len(first), err)
	for _, file := range taken {
		_ = file.Close()
	}
	for range 200 {
		if err := write(); err != nil {
			fmt.Println(err)
			break
		}
	}
	fmt.Println("acknowledged", n, e.Close())
}

// Protects: a process with 40 descriptors, and then without any, turns writes away and nothing else.
func TestNoDescriptors(t *testing.T) {
	dir := t.TempDir()
	out, err := child(t, "starve", dir).Output()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if want := "turned away true true\nread 102400 <nil>\nacknowledged 400 <nil>\n"; string(out) != want {
		t.Fatalf("it says %s", out)
	}
	e := opened(t, dir)
	for n := range 400 {
		if value, err := get(e, fmt.Sprintf("k/%08d", n)); err != nil || len(value) != 100<<10 {
			t.Errorf("%d was acknowledged and has %d bytes, %v", n, len(value), err)
		}
	}
}

// Protects: what is written to a folder that somebody has removed or moved away is not acknowledged, reads go on, and writes are taken again
// when it is back.
func TestFolderRemoved(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	e, err := OpenWith(dir, Options{Margins: Margins{Descriptors: 1}, Clock: hasty()})
	if err != nil {
		t.Fatal(err)
	}
	if err := set(e, "k", "v"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	if err := set(e, "k", "w"); fault.CodeOf(err) != "storage_gone" {
		t.Errorf("writing: %v", err)
	}
	if value, err := get(e, "k"); err != nil || string(value) != "v" {
		t.Errorf("reading: %q, %v", value, err)
	}
	if err := os.Rename(dir+".away", dir); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(set(e, "k", "w"), e.Close()); err != nil {
		t.Error(err)
	}
}

// Protects: a process whose index cannot be written any more ends all the same, and nothing is lost by that.
func TestCloseWithoutInodes(t *testing.T) {
	disk := smallDisk(t, "size=64m,nr_inodes=200")
	dir := filepath.Join(disk, "store")
	o := Options{Margins: Margins{Descriptors: 1}}
	e, err := OpenWith(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	e.patience = time.Second
	if err := set(e, "k", "v"); err != nil {
		t.Fatal(err)
	}
	var taken []string
	for {
		path := filepath.Join(disk, fmt.Sprint("f", len(taken)))
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			break
		}
		taken = append(taken, path)
	}
	if err := e.Close(); err == nil {
		t.Error("closed as if the index had been written")
	}
	for _, path := range taken { // Now it can, and Badger ends, which the next one that opens the folder waits for.
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	for e, err = OpenWith(dir, o); err != nil && t.Context().Err() == nil; e, err = OpenWith(dir, o) {
		time.Sleep(10 * time.Millisecond)
	}
	if value, err := get(e, "k"); err != nil || string(value) != "v" {
		t.Errorf("%q, %v", value, err)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}

// Protects: a file that may not grow is a disk that is full.
func TestFileSizeLimit(t *testing.T) {
	if !noRoom(fmt.Errorf("writing: %w", unix.EFBIG)) {
		t.Error("EFBIG is told as something else")
	}
}

// Protects: a disk whose end is met before its margin is told once, and once more when there is room.
func TestFullIsToldOnce(t *testing.T) {
	var told strings.Builder
	s := newSpace(t.TempDir(), Margins{}, time.Now, slog.New(slog.NewTextHandler(&told, nil)))
	for range 5 {
		if err := s.full(unix.ENOSPC); !errors.Is(err, store.ErrNoSpace) {
			t.Error(err)
		}
	}
	s.wrote()
	s.wrote()
	if n := strings.Count(told.String(), "\n"); n != 2 {
		t.Errorf("told %d times: %s", n, told.String())
	}
}
