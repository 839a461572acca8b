package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"

	"github.com/cong1022/fieldsync/backup"
	"github.com/cong1022/fieldsync/store/embedded"
	"github.com/cong1022/fieldsync/store/journal"
)

// rebuilt: the process is killed and the whole index deleted. It is made anew from snapshot and journal, the same by digest.
func rebuilt(work string, more more) (r result, err error) {
	dir := filepath.Join(work, "index")
	var acknowledged [writers]uint64
	for ; more(r.rounds); r.rounds++ {
		if err := killed(dir, "", &acknowledged, &r); err != nil {
			return r, err
		}
		before, err := digest(dir)
		if err != nil {
			return r, err
		}
		if err := os.RemoveAll(filepath.Join(dir, "index")); err != nil {
			return r, err
		}
		after, err := digest(dir)
		if err != nil {
			return r, err
		}
		if before != after {
			return r, fmt.Errorf("the index made anew is another one: %v, it was %v", after, before)
		}
		if err := settle(dir, &acknowledged, &r); err != nil {
			return r, err
		}
	}
	r.note = "the same by digest"
	return r, nil
}

func digest(dir string) (d journal.Digest, err error) {
	e, err := embedded.OpenWith(dir, engineOptions(embedded.Margins{Descriptors: 1}))
	if err != nil {
		return d, err
	}
	d, err = e.Digest()
	return d, errors.Join(err, e.Close())
}

// killed lets the writers write to dir, shipping to the repository unless it is empty, until a random moment, and kills them.
func killed(dir, repository string, acknowledged *[writers]uint64, r *result) error {
	v, err := startShipping(dir, repository, embedded.Margins{Descriptors: 1}, 0, acknowledged)
	if err != nil {
		return err
	}
	moment := 1 + rand.IntN(8000)
	err = v.until(func(since, _ int) bool { return since >= moment && (repository == "" || v.reached() > 0) })
	if err = errors.Join(err, v.end()); err != nil {
		return err
	}
	since, _ := v.counts()
	r.acknowledged += uint64(since)
	if repository != "" {
		*acknowledged = v.covered()
	}
	return nil
}

// folder: the process ships its backup; it is killed and its whole folder deleted, and the next round goes on with what is restored.
// Everything that the backup was said to have is there. What lies beyond is the writers' to offer again, as phones do.
func folder(work string, more more) (r result, err error) {
	dir, repository := filepath.Join(work, "folder"), filepath.Join(work, "repository")
	var covered [writers]uint64
	for ; more(r.rounds); r.rounds++ {
		if err := killed(dir, repository, &covered, &r); err != nil {
			return r, err
		}
		if err := os.RemoveAll(dir); err != nil {
			return r, err
		}
		if _, err := backup.Restore(context.Background(), dir, backup.RestoreOptions{Target: backup.Folder(repository)}); err != nil {
			return r, err
		}
		if err := settle(dir, &covered, &r); err != nil {
			return r, err
		}
	}
	r.note = "lost against what the backup was said to have"
	return r, nil
}

// backupBits: one bit of one object of a backup. It must be found, by its name.
func backupBits(work string, more more) (r result, err error) {
	repository := filepath.Join(work, "repository-bits")
	var covered [writers]uint64
	if err := killed(filepath.Join(work, "shipped"), repository, &covered, &r); err != nil {
		return r, err
	}
	for ; more(r.rounds); r.rounds++ {
		bit, err := flipBit(repository)
		if err != nil {
			return r, err
		}
		name, err := filepath.Rel(repository, bit.path)
		if err != nil {
			return r, err
		}
		found, err := backup.Verify(context.Background(), backup.Folder(repository), nil, nil)
		if err != nil {
			return r, err
		}
		if len(found) == 0 || !strings.Contains(found[0].Error(), filepath.ToSlash(name)) {
			return r, fmt.Errorf("%v was not named: %w", bit, errors.Join(found...))
		}
		if err := bit.write(bit.was); err != nil {
			return r, err
		}
	}
	r.note = "each named"
	return r, nil
}
