package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/cong1022/fieldsync/store/embedded"
	"github.com/cong1022/fieldsync/store/journal"
)

// bits: one bit of one file. It must be an error at the start or a finding; then the folder is mended as the error says.
func bits(work string, more more) (r result, err error) {
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
	for ; more(r.rounds); r.rounds++ {
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
