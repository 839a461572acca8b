package media

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// spoolReserve is what the folder of unfinished uploads leaves free on its disk. The store of records turns writes away when less
// than half of it is left, and committing a photo needs room for it once more: a spool that took the last bytes could never be
// emptied again.
const spoolReserve = 1 << 30

// dirSpool is a Spool in a folder: a file an upload, named by its id, never synced.
type dirSpool struct {
	dir string
	// reserve is spoolReserve.
	reserve uint64
}

func openDirSpool(dir string) (dirSpool, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return dirSpool{}, fmt.Errorf("opening the spool: %w", err)
	}
	return dirSpool{dir, spoolReserve}, nil
}

func (s dirSpool) path(id string) string { return filepath.Join(s.dir, id) }

// List implements Spool.
func (s dirSpool) List(context.Context) (map[string]int64, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, err
	}
	kept := map[string]int64{}
	for _, entry := range entries {
		if !uploadID.MatchString(entry.Name()) {
			continue
		}
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // Committed meanwhile.
		}
		if err != nil {
			return nil, err
		}
		kept[entry.Name()] = info.Size()
	}
	return kept, nil
}

// stat returns nil where no byte has come.
func (s dirSpool) stat(id string) (fs.FileInfo, error) {
	info, err := os.Stat(s.path(id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // Absent is a normal answer here.
	}
	return info, err
}

// Size implements Spool.
func (s dirSpool) Size(_ context.Context, id string) (int64, error) {
	info, err := s.stat(id)
	if info == nil {
		return 0, err
	}
	return info.Size(), nil
}

// Changed implements Spool.
func (s dirSpool) Changed(_ context.Context, id string) (time.Time, error) {
	info, err := s.stat(id)
	if info == nil {
		return time.Time{}, err
	}
	return info.ModTime(), nil
}

// Append implements Spool. tusd's lock keeps the file from growing meanwhile, so offset is its end.
func (s dirSpool) Append(_ context.Context, id string, _ int64, src io.Reader) (int64, error) {
	file, err := os.OpenFile(s.path(id), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(file, src)
	return n, errors.Join(err, file.Close())
}

// Open implements Spool.
func (s dirSpool) Open(_ context.Context, id string) (io.ReadSeekCloser, int64, error) {
	file, err := os.Open(s.path(id))
	if err != nil {
		return nil, 0, err
	}
	info, err := file.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, file.Close())
	}
	return file, info.Size(), nil
}

// Remove implements Spool.
func (s dirSpool) Remove(_ context.Context, id string) error {
	if err := os.Remove(s.path(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Full implements Spool.
func (s dirSpool) Full() bool { return freeBytes(s.dir) < s.reserve }
