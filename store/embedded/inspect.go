package embedded

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"github.com/dgraph-io/badger/v4/table"
	"github.com/dgraph-io/ristretto/v2/z"
)

// inspect reads all tables of the Badger in dir with Badger's own code, before Badger does: it meets a damaged one in a
// goroutine of its own and panics there, at each start anew.
func inspect(dir string) error {
	file, err := os.Open(filepath.Join(dir, badger.ManifestFilename))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // Badger is about to be made.
	}
	if err != nil {
		return err
	}
	defer file.Close()
	manifest, _, err := badger.ReplayManifestFile(file, 0, badger.DefaultOptions(dir))
	if err != nil {
		return &IndexError{fmt.Errorf("%s: %w", file.Name(), err)}
	}
	for id, t := range manifest.Tables {
		path := table.NewFilename(id, dir)
		if err := inspectTable(path, t.Compression); err != nil {
			return &IndexError{fmt.Errorf("%s: %w", path, err)}
		}
	}
	return nil
}

func inspectTable(path string, compression options.CompressionType) (err error) {
	file, err := z.OpenMmapFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close(-1)) }() // The table has no other resources.
	return unpanicked(func() error {
		_, err := table.OpenTable(file, table.Options{
			ReadOnly: true, BlockSize: badger.DefaultOptions("").BlockSize, Compression: compression, ChkMode: options.OnTableAndBlockRead,
		})
		return err
	})
}

// unpanicked runs what reads tables: Badger panics over one that it cannot parse. What it panics with may be the table.
func unpanicked(read func() error) (err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("it cannot be parsed")
		}
	}()
	return read()
}
