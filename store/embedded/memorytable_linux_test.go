package embedded

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// Protects a server on a disk whose last bytes others take from the death that writing through a map without blocks behind it is: Badger's
// newest memory table has them, after the first, after each new one, and after a start.
func TestMemoryTableHasBlocks(t *testing.T) {
	dir := t.TempDir()
	if err := allocate(filepath.Join(dir, "probe"), 1); err != nil {
		t.Skipf("SKIPPED: this file system cannot allocate without writing: %v", err)
	}
	e, err := OpenWith(filepath.Join(dir, "store"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { shut(t, e) }()
	seen := make(map[int]bool)
	backed := func() {
		t.Helper()
		seen[e.memoryTable] = true
		path := filepath.Join(e.folder.index(), fmt.Sprintf("%05d.mem", e.memoryTable))
		if _, err := os.Stat(filepath.Join(e.folder.index(), fmt.Sprintf("%05d.mem", e.memoryTable+1))); err == nil {
			t.Errorf("%s is not the newest", path)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		system, ok := info.Sys().(*syscall.Stat_t)
		if !ok || system.Blocks*512 < backedBytes {
			t.Errorf("%s has %d bytes on the disk", path, system.Blocks*512)
		}
	}
	backed()
	value := make([]byte, 512<<10)
	for i := range 80 { // 40 MiB, of which a memory table takes 16.
		for j := range value {
			value[j] = byte(rand.Uint32())
		}
		if err := set(e, fmt.Sprintf("k/%02d", i), string(value)); err != nil {
			t.Fatal(err)
		}
		backed()
	}
	shut(t, e)
	if e, err = OpenWith(filepath.Join(dir, "store"), Options{}); err != nil {
		t.Fatal(err)
	}
	backed()
	if len(seen) < 3 {
		t.Errorf("only the memory tables %v were seen", seen)
	}
}
