//go:build unix

package embedded

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/cong1022/fieldsync/store"
)

const nobody = 65534

var faults = map[string]func(dir string){"unwritable": openWithoutRights, "starve": writeUntilStarved}

// openWithoutRights opens the folder as nobody in particular.
func openWithoutRights(dir string) {
	if os.Getuid() == 0 { // The superuser may write anywhere.
		if err := syscall.Setuid(nobody); err != nil {
			fmt.Print("setuid: ", err)
			return
		}
	}
	_, err := Open(dir, quiet())
	fmt.Print(errors.Is(err, fs.ErrPermission), " ", err)
}

// A folder in which this process may not write is said to be just that.
func TestNotWritable(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "theirs")
	if err := os.Mkdir(dir, 0o555); err != nil {
		t.Fatal(err)
	}
	for _, open := range []string{parent, filepath.Dir(parent)} { // So that nobody gets there.
		if err := os.Chmod(open, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{dir, filepath.Join(dir, "below")} {
		out, err := child(t, "unwritable", path).Output()
		if err != nil {
			t.Fatal(err)
		}
		if got := string(out); !strings.HasPrefix(got, "true opening the store in "+path) || !strings.Contains(got, "permission denied") {
			t.Errorf("%s: %s", path, got)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// writeUntilStarved writes until Badger needs a new file and the process may not open any, and tells how the engine took it.
func writeUntilStarved(dir string) {
	e, err := Open(dir, quiet())
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 3, Max: 3}); err != nil {
		fmt.Println(err)
		return
	}
	value := strings.Repeat("v", 100<<10)
	for n := 0; ; n++ {
		err := set(e, fmt.Sprintf("k/%08d", n), value)
		if err == nil {
			fmt.Println("acknowledged", n)
			continue
		}
		select {
		case <-e.Failed():
		default:
			fmt.Println("Failed is not closed")
		}
		fmt.Println("unknown", errors.Is(err, store.ErrOutcomeUnknown))
		break
	}
	_, err = get(e, "k/00000000")
	fmt.Println("view", errors.Is(err, store.ErrClosed))
	fmt.Println("update", errors.Is(set(e, "later", "1"), store.ErrClosed))
}

// When the ground fails under Badger (here it finds no file descriptor for its next file) the engine stops instead of going
// on with what it does not have, and all that it acknowledged is there after the next start.
func TestStarved(t *testing.T) {
	dir := t.TempDir()
	out, err := child(t, "starve", dir).Output()
	if err != nil {
		t.Fatal(err)
	}
	said := strings.Split(strings.TrimSpace(string(out)), "\n")
	acknowledged := 0
	for acknowledged < len(said) && said[acknowledged] == fmt.Sprint("acknowledged ", acknowledged) {
		acknowledged++
	}
	if got, want := strings.Join(said[acknowledged:], ", "), "unknown true, view true, update true"; got != want || acknowledged == 0 {
		t.Fatalf("after %d acknowledged: %s", acknowledged, got)
	}
	e := opened(t, dir)
	for n := range acknowledged {
		if value, err := get(e, fmt.Sprintf("k/%08d", n)); err != nil || len(value) != 100<<10 {
			t.Errorf("%d was acknowledged and has %d bytes, %v", n, len(value), err)
		}
	}
	if value, err := get(e, "later"); err != nil || value != nil {
		t.Errorf("what was refused is there: %q, %v", value, err)
	}
	t.Logf("%d acknowledged before the file descriptors ran out", acknowledged)
}
