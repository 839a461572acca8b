package embedded

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	// memoryTableBytes is at which size Badger begins another memory table.
	memoryTableBytes = 16 << 20
	// backedBytes is how far the file of one is written: what fills it may be two transactions, of 15 % of it each.
	backedBytes = memoryTableBytes + 5<<20
)

// backMemoryTable has blocks behind the file of Badger's newest memory table. Badger makes it without any and writes through a map, each
// entry, and where others have taken the disk's last bytes that kills the process: this is what is written to all the time, where tables are
// written now and then. It is looked for after each commit, since Badger tells nobody; so only the commit that has made it has
// written to it before. Where there is no room for it, the next look of the guard finds that, too.
func (e *Engine) backMemoryTable() {
	for {
		next := filepath.Join(e.folder.index(), fmt.Sprintf("%05d.mem", e.memoryTable+1))
		if _, err := os.Stat(next); err != nil {
			return
		}
		e.memoryTable++
		if err := back(next, backedBytes); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errors.ErrUnsupported) && !noRoom(err) {
			e.log.Info("store: nothing is allocated behind a memory table", "file", next, "error", err)
		}
	}
}

// findMemoryTable begins with the newest that Badger has opened.
func (e *Engine) findMemoryTable() error {
	files, err := filepath.Glob(filepath.Join(e.folder.index(), "*.mem"))
	if err != nil {
		return err
	}
	newest := 0
	for _, file := range files {
		var number int
		if _, err := fmt.Sscanf(filepath.Base(file), "%d.mem", &number); err != nil {
			return err
		}
		newest = max(newest, number)
	}
	e.memoryTable = newest - 1
	e.backMemoryTable()
	return nil
}
