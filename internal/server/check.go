package server

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/cong1022/fieldsync/media"
	"github.com/cong1022/fieldsync/media/folder"
	"github.com/cong1022/fieldsync/store"
	"github.com/cong1022/fieldsync/store/embedded"
	"github.com/cong1022/fieldsync/store/journal"
)

// checkFile is where in the data folder the newest full check's outcome lies, so that a start does not forget a finding.
const checkFile = "last-check.json"

// Checked is what a check has found.
type Checked struct {
	At   time.Time     `json:"at"`
	Took time.Duration `json:"took_ns"`
	// Findings name file and place, or a record by its ids: no names of persons.
	Findings []string `json:"findings"`
}

// CheckOptions say how far CheckData goes.
type CheckOptions struct {
	// Quick leaves out the photos, and journal and index as such: only the records are held against each other.
	Quick bool
	// Damaged hears of each original that is missing or not what its hash says.
	Damaged func(sum [sha256.Size]byte)
	// Progress hears how many photos were read.
	Progress func(photos int64)
	// Records hears how many records were read.
	Records func(records int64)
	// Rest is how many times as long as it has read records it pauses. 0: it does not pause.
	Rest int
}

// CheckData reads everything that a server keeps, beside its work, and tells what is not as it was written. The error is for
// when it could not go on.
func CheckData(ctx context.Context, engine *embedded.Engine, st *store.Store, blobs media.Blobs, o CheckOptions) (c Checked, err error) {
	begun := time.Now()
	options := store.CheckOptions{Rest: o.Rest, Progress: o.Records}
	if !o.Quick {
		damaged, err := engine.Verify(ctx)
		for _, d := range damaged {
			c.Findings = append(c.Findings, d.Error())
		}
		if err != nil {
			return c, err
		}
		var photos int64
		options.Evidence = func(ctx context.Context, sum [sha256.Size]byte, bytes uint64) error {
			err := checkOriginal(ctx, blobs, sum, bytes)
			if err != nil && ctx.Err() == nil && o.Damaged != nil {
				o.Damaged(sum)
			}
			if photos++; o.Progress != nil {
				o.Progress(photos)
			}
			return err
		}
	}
	findings, err := store.Check(ctx, st, options)
	for _, f := range findings {
		c.Findings = append(c.Findings, f.String())
	}
	if ctx.Err() != nil {
		return c, ctx.Err()
	}
	c.At = time.Now()
	c.Took = c.At.Sub(begun)
	return c, err
}

// checkOriginal reads an original and tells what is wrong with it.
func checkOriginal(ctx context.Context, blobs media.Blobs, sum [sha256.Size]byte, bytes uint64) error {
	content, _, err := blobs.Open(ctx, sum)
	if err != nil {
		return err
	}
	defer content.Close()
	hash := sha256.New()
	size, err := io.Copy(hash, content)
	switch {
	case err != nil:
		return err
	case uint64(size) != bytes: //nolint:gosec // A size.
		return fmt.Errorf("the original has %d bytes, not %d", size, bytes)
	case [sha256.Size]byte(hash.Sum(nil)) != sum:
		return errors.New("the original does not have its hash")
	}
	return nil
}

// SaveCheck keeps the outcome of a full check in the data folder.
func SaveCheck(data string, c Checked) error {
	text, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	path := filepath.Join(data, checkFile)
	if err := os.WriteFile(path+".unfinished", append(text, '\n'), 0o600); err != nil {
		return err
	}
	if err := os.Rename(path+".unfinished", path); err != nil {
		return err
	}
	return journal.SyncDir(data)
}

// loadCheck returns the newest full check's outcome: nil where there is none, or none that can be read.
func loadCheck(data string) (*Checked, error) {
	text, err := os.ReadFile(filepath.Join(data, checkFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // There was no check, and that is no error.
	}
	c := new(Checked)
	if err == nil {
		err = json.Unmarshal(text, c)
	}
	if err != nil {
		return nil, fmt.Errorf("the last check's outcome: %w", err)
	}
	return c, nil
}

// ReplacePhoto puts a whole original in the place of a damaged one, which is kept beside it. It is for photos in a folder: an object
// store has its own means, and its objects may be locked.
func ReplacePhoto(ctx context.Context, blobs media.Blobs, sum [sha256.Size]byte, whole io.ReadSeeker) error {
	kept, ok := blobs.(*folder.Blobs)
	if !ok {
		return errors.New("photos are replaced in a folder only")
	}
	if err := kept.SetAside(sum); err != nil {
		return err
	}
	return kept.Put(ctx, sum, whole)
}
