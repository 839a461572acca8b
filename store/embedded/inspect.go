package embedded

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"github.com/dgraph-io/badger/v4/table"
	"github.com/dgraph-io/ristretto/v2/z"
	"golang.org/x/sync/errgroup"
)

// damagedFile lies in the index once a table was found damaged while the store was open. A compaction may have read of that
// table as much as could be read, and removed it: so the index stays damaged, whatever its tables look like, until it is
// made anew.
const damagedFile = "DAMAGED"

// inspectable is a table of Badger's that the manifest names.
type inspectable struct {
	path        string
	compression options.CompressionType
}

// inspect looks at the tables of the Badger in dir with Badger's own code, before Badger does: it meets a damaged one in a
// goroutine of its own and panics there, at each start anew. Where whole is false it looks at as much of each as Badger does
// when it opens, which takes no longer for large tables than for small ones; inspectLater looks at the rest.
func inspect(dir string, whole bool) ([]inspectable, error) {
	if found, err := os.ReadFile(filepath.Join(dir, damagedFile)); err == nil {
		return nil, &IndexError{errors.New(string(found))}
	}
	file, err := os.Open(filepath.Join(dir, badger.ManifestFilename))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // Badger is about to be made.
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	manifest, _, err := badger.ReplayManifestFile(file, 0, badger.DefaultOptions(dir))
	if err != nil {
		return nil, &IndexError{fmt.Errorf("%s: %w", file.Name(), err)}
	}
	var tables []inspectable
	var looks errgroup.Group
	looks.SetLimit(runtime.GOMAXPROCS(0)) // Whoever starts the server waits for it.
	for id, t := range manifest.Tables {
		one := inspectable{table.NewFilename(id, dir), t.Compression}
		tables = append(tables, one)
		looks.Go(func() error {
			if err := one.inspect(whole); err != nil {
				return &IndexError{fmt.Errorf("%s: %w", one.path, err)}
			}
			return nil
		})
	}
	return tables, looks.Wait()
}

func (t inspectable) inspect(whole bool) (err error) {
	file, err := z.OpenMmapFile(t.path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close(-1)) }() // The table has no other resources.
	mode := options.OnBlockRead
	if whole {
		mode = options.OnTableAndBlockRead
	}
	return unpanicked(func() error {
		_, err := table.OpenTable(file, table.Options{
			ReadOnly: true, BlockSize: badger.DefaultOptions("").BlockSize, Compression: t.compression, ChkMode: mode,
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

// inspectLater looks at all of the tables that there were when Badger was opened, beside the work, with a quarter of a
// processor. Until it is done no snapshot is written and nothing of the journal forgotten, so that whatever a damaged table
// has led to the index can be made anew. It returns at once; e.inspected is closed when all tables are known to be whole.
func (e *Engine) inspectLater(tables []inspectable) {
	// An iterator holds the tables that it goes over, also those that compactions replace: they stay where they are.
	s := e.snapshotAt(e.versions.begin())
	hold := s.txn.NewIterator(badger.IteratorOptions{})
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	e.stopInspecting = func() { stop(); <-ended }
	go func() {
		defer close(ended)
		err := inspectAll(ctx, tables)
		hold.Close()
		s.end()
		if errors.Is(err, fs.ErrNotExist) { // Compacted between Badger's opening and the iterator's.
			var found []error
			if found, err = e.verify(ctx); err == nil {
				err = errors.Join(found...)
			}
		}
		switch {
		case ctx.Err() != nil:
		case err != nil:
			e.log.Error("store: the index is damaged; nothing that was acknowledged is lost, since the journal holds it, but the store stops", "error", err)
			if err := os.WriteFile(filepath.Join(e.folder.index(), damagedFile), []byte(err.Error()), 0o600); err != nil {
				e.log.Error("store: noting that the index is damaged", "error", err)
			}
			e.fail()
		default:
			close(e.inspected)
		}
	}()
}

func inspectAll(ctx context.Context, tables []inspectable) error {
	for _, t := range tables {
		begun := time.Now() //nolint:forbidigo // It measures work.
		if err := t.inspect(true); err != nil {
			return fmt.Errorf("%s: %w", t.path, err)
		}
		select {
		case <-time.After(3 * time.Since(begun)): //nolint:forbidigo // As above.
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
