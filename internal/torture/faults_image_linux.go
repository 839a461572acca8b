package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/cong1022/fieldsync/store/embedded"
)

// imageBytes is the size of the block image: small, so that the file system's own journal wraps within a round.
const imageBytes = 512 << 20

// image: power cut on a file system of its own. The writers stand still, the image under their ext4 is copied as it is, with what the
// kernel has not written back missing, and the next round begins on the copy.
func image(work string, more more) (r result, err error) {
	current := filepath.Join(work, "image-0")
	file, err := os.Create(current)
	if err != nil {
		return r, err
	}
	if err := errors.Join(file.Truncate(imageBytes), file.Close()); err != nil {
		return r, err
	}
	if out, err := exec.Command("mkfs.ext4", "-q", current).CombinedOutput(); err != nil { //nolint:noctx // A second.
		return r, fmt.Errorf("%w: no ext4 can be made: %w %s", errSkipped, err, out)
	}
	var acknowledged [writers]uint64
	for ; more(r.rounds); r.rounds++ {
		next := filepath.Join(work, fmt.Sprint("image-", r.rounds+1))
		err := onImage(work, current, func(disk string) error {
			dir := filepath.Join(disk, "store")
			if r.rounds > 0 { // What the cut has left.
				if err := settle(dir, &acknowledged, &r); err != nil {
					return err
				}
			}
			v, err := start(dir, embedded.Margins{Descriptors: 1}, 0, &acknowledged)
			if err != nil {
				return err
			}
			moment := 1 + rand.IntN(8000)
			err = v.until(func(since, _ int) bool { return since >= moment })
			if err == nil {
				err = v.stop()
			}
			if err == nil {
				err = copySparse(next, current)
			}
			if err = errors.Join(err, v.end()); err != nil {
				return err
			}
			since, _ := v.counts()
			r.acknowledged += uint64(since)
			return nil
		})
		if err != nil {
			return r, err
		}
		if err := os.Remove(current); err != nil {
			return r, err
		}
		current = next
	}
	return r, onImage(work, current, func(disk string) error { return settle(filepath.Join(disk, "store"), &acknowledged, &r) })
}

// onImage mounts the image, which ext4 recovers, for as long as do lasts.
func onImage(work, image string, do func(disk string) error) error {
	disk := filepath.Join(work, "image-disk")
	if err := os.MkdirAll(disk, 0o700); err != nil {
		return err
	}
	if out, err := exec.Command("mount", "-o", "loop", image, disk).CombinedOutput(); err != nil { //nolint:noctx // A second.
		return fmt.Errorf("%w: an image cannot be mounted: %w %s", errSkipped, err, out)
	}
	err := do(disk)
	if out, uerr := exec.Command("umount", disk).CombinedOutput(); uerr != nil { //nolint:noctx // Seconds.
		err = errors.Join(err, fmt.Errorf("unmounting: %w %s", uerr, out))
	}
	return err
}

// copySparse copies a file without making its holes real.
func copySparse(to, from string) error {
	out, err := exec.Command("cp", "--sparse=always", from, to).CombinedOutput() //nolint:noctx // Seconds.
	if err != nil {
		return fmt.Errorf("copying the image: %w %s", err, out)
	}
	return nil
}
