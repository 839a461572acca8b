//go:build linux

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
)

const nobody = 65534

var faults = map[string]func(dir string){"unwritable": openWithoutRights, "starve": writeWithoutDescriptors}

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
