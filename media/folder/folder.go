// Package folder keeps originals in a folder: media.Blobs over a file system. One process at a time may use a folder.
package folder

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"sync"

	"github.com/cong1022/fieldsync/media"
)

// Blobs is a folder of originals: <ab>/<cd>/<SHA-256 in hexadecimal>, where ab and cd are the first two bytes of the hash,
// so that a million originals make 65,536 folders of some fifteen files.
type Blobs struct {
	root       string
	unfinished string
	// syncing is held while something is made durable. Eight originals synced at once keep the disk busy for so long that the records,
	// whose syncs crews wait for, come late by a dozen times; one after the other they are through as soon, and the records slip between.
	syncing sync.Mutex
}

// Open makes the folder where it is missing, and removes what a crash has left unfinished in it.
func Open(root string) (*Blobs, error) {
	b := &Blobs{root: root, unfinished: filepath.Join(root, "unfinished")}
	if err := os.RemoveAll(b.unfinished); err != nil {
		return nil, fmt.Errorf("opening the folder of originals: %w", err)
	}
	if err := os.MkdirAll(b.unfinished, 0o700); err != nil {
		return nil, fmt.Errorf("opening the folder of originals: %w", err)
	}
	return b, nil
}

// Put implements media.Blobs. It needs room for the content a second time until it returns.
func (b *Blobs) Put(_ context.Context, sum [sha256.Size]byte, content io.ReadSeeker) error {
	file, err := os.CreateTemp(b.unfinished, "")
	if err != nil {
		return fmt.Errorf("keeping an original: %w", err)
	}
	// After the rename there is nothing under this name any more. A crash before leaves it to Open.
	defer func() { _ = os.Remove(file.Name()) }()
	size, err := b.fill(file, sum, content)
	if err != nil {
		return fmt.Errorf("keeping an original: %w", err)
	}
	if err := b.place(file.Name(), sum, size); err != nil {
		return fmt.Errorf("keeping an original: %w", err)
	}
	return nil
}

// Open implements media.Blobs.
func (b *Blobs) Open(_ context.Context, sum [sha256.Size]byte) (io.ReadSeekCloser, int64, error) {
	file, err := os.Open(filepath.Join(b.path(sum)...))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, media.ErrBlobNotFound
	}
	if err != nil {
		return nil, 0, fmt.Errorf("opening an original: %w", err)
	}
	info, err := file.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, file.Close())
	}
	return file, info.Size(), nil
}

// List implements media.Blobs. Since is when the file was written.
func (b *Blobs) List(ctx context.Context) iter.Seq2[media.Kept, error] {
	return func(yield func(media.Kept, error) bool) {
		err := filepath.WalkDir(b.root, func(path string, entry fs.DirEntry, err error) error {
			if err = errors.Join(err, ctx.Err()); err != nil {
				return err
			}
			if entry.IsDir() {
				if path == b.unfinished {
					return fs.SkipDir
				}
				return nil
			}
			kept, ok := b.kept(path)
			if !ok {
				return nil // Not ours.
			}
			info, err := entry.Info()
			if errors.Is(err, fs.ErrNotExist) {
				return nil // Removed meanwhile.
			}
			if err != nil {
				return err
			}
			kept.Since = info.ModTime()
			if !yield(kept, nil) {
				return fs.SkipAll
			}
			return nil
		})
		if err != nil {
			yield(media.Kept{}, fmt.Errorf("listing the originals: %w", err))
		}
	}
}

// kept tells which content lies at path, if it is the place of one.
func (b *Blobs) kept(path string) (kept media.Kept, ok bool) {
	sum, err := hex.DecodeString(filepath.Base(path))
	if err != nil || len(sum) != sha256.Size {
		return kept, false
	}
	kept.Sum = [sha256.Size]byte(sum)
	return kept, path == filepath.Join(b.path(kept.Sum)...)
}

// Remove implements media.Blobs. After a power cut the content may be there again.
func (b *Blobs) Remove(_ context.Context, sum [sha256.Size]byte) error {
	if err := os.Remove(filepath.Join(b.path(sum)...)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing content: %w", err)
	}
	return nil
}

// SetAside moves what lies under sum out of the way, beside its place: an original that has rotted on the disk, so that a whole one
// can be put there. Where nothing lies there, nothing changes. Nobody may write under sum meanwhile.
func (b *Blobs) SetAside(sum [sha256.Size]byte) error {
	name := filepath.Join(b.path(sum)...)
	if err := os.Rename(name, name+".damaged"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("setting an original aside: %w", err)
	}
	return nil
}

// Hold implements media.Blobs: a folder has no hold of its own.
func (b *Blobs) Hold(_ context.Context, sum [sha256.Size]byte, _ bool) error {
	_, err := os.Stat(filepath.Join(b.path(sum)...))
	if errors.Is(err, fs.ErrNotExist) {
		return media.ErrBlobNotFound
	}
	return err
}

// path is the root, the two folders and the name.
func (b *Blobs) path(sum [sha256.Size]byte) []string {
	name := hex.EncodeToString(sum[:])
	return []string{b.root, name[:2], name[2:4], name}
}

// fill writes the content to file, closes it, and has it on the disk.
func (b *Blobs) fill(file *os.File, sum [sha256.Size]byte, content io.ReadSeeker) (size int64, err error) {
	defer func() { err = errors.Join(err, file.Close()) }()
	if _, err := content.Seek(0, io.SeekStart); err != nil {
		return 0, err
	}
	hash := sha256.New()
	if size, err = io.Copy(io.MultiWriter(file, hash), content); err != nil {
		return 0, err
	}
	if [sha256.Size]byte(hash.Sum(nil)) != sum {
		return 0, media.ErrBlobMismatch
	}
	// Nobody has a reason to write to an original again.
	if err := file.Chmod(0o400); err != nil {
		return 0, err
	}
	b.syncing.Lock()
	defer b.syncing.Unlock()
	return size, file.Sync()
}

// place gives the finished file its name.
func (b *Blobs) place(finished string, sum [sha256.Size]byte, size int64) error {
	path := b.path(sum)
	for depth := 2; depth < len(path); depth++ {
		if err := os.Mkdir(filepath.Join(path[:depth]...), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	// Another size under this name is what a damaged disk left: the good copy takes its place.
	name := filepath.Join(path...)
	if kept, err := os.Stat(name); err != nil || kept.Size() != size {
		if err := os.Rename(finished, name); err != nil {
			return err
		}
	}
	// Until each folder on the way is synced, a power cut may forget the name. Whoever finds the name or a folder there
	// already syncs all the same: the one who made it may not have come to that yet.
	for depth := len(path) - 1; depth > 0; depth-- {
		if err := b.syncFolder(filepath.Join(path[:depth]...)); err != nil {
			return err
		}
	}
	return nil
}

func (b *Blobs) syncFolder(path string) error {
	folder, err := os.Open(path)
	if err != nil {
		return err
	}
	b.syncing.Lock()
	defer b.syncing.Unlock()
	return errors.Join(folder.Sync(), folder.Close())
}
