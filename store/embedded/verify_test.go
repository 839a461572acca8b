package embedded

import (
	"errors"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dgraph-io/badger/v4"

	"github.com/cong1022/fieldsync/store/journal"
)

// Protects: one flipped bit in any file is an error at the start, or a finding of Verify, or changes nothing at all; and after
// a rebuild, or a new journal where it is the journal, everything is there again. Never is something missing without a word.
func TestFlippedBits(t *testing.T) {
	rounds := 60
	if testing.Short() {
		rounds = 10
		t.Log("-short: 10 bits are flipped, not 60")
	}
	dir := t.TempDir()
	e, want := written(t, dir, busy())
	shut(t, e)
	var files []string
	if err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if info, _ := d.Info(); err == nil && d.Type().IsRegular() && info.Size() > 0 {
			files = append(files, strings.TrimPrefix(path, dir))
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 1))
	refused, found, harmless := 0, 0, 0
	for round := range rounds {
		name := files[round%len(files)]
		copied := filepath.Join(t.TempDir(), "copy")
		if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(copied + name)
		if err != nil {
			t.Fatal(err)
		}
		at := random.Int64N(min(info.Size(), 64<<10))
		flip(t, copied+name, int(at))
		e, err := OpenWith(copied, busy())
		if err != nil {
			refused++
			mend(t, copied, err)
			if e, err = OpenWith(copied, busy()); err != nil {
				t.Fatalf("seed %d: bit in byte %d of %s: after mending: %v", seed, at, name, err)
			}
		}
		findings, err := e.Verify(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case len(findings) > 0:
			found++
			if !strings.Contains(errors.Join(findings...).Error(), filepath.Base(name)) && !strings.Contains(name, "/index/") {
				t.Errorf("bit in byte %d of %s: the finding names %v", at, name, findings)
			}
		case !maps.Equal(contents(t, e), want):
			t.Errorf("seed %d: bit in byte %d of %s: something is missing without a word", seed, at, name)
		default:
			harmless++
		}
		shut(t, e)
	}
	t.Logf("%d files: %d refused at the start and mended, %d found, %d changed nothing", len(files), refused, found, harmless)
}

// mend does what the error of a start tells to do.
func mend(t *testing.T, dir string, cause error) {
	t.Helper()
	var err error
	if index := new(IndexError); errors.As(cause, &index) {
		err = Rebuild(dir, busy())
	} else if damage := new(journal.DamageError); errors.As(cause, &damage) {
		_, err = RenewJournal(dir, busy())
	} else {
		t.Fatalf("an error that says nothing of what to do: %v", cause)
	}
	if err != nil {
		t.Fatalf("mending %v: %v", cause, err)
	}
}

// Protects: an index that has lost something with all its checksums right, as after a compaction that could not create its
// file, does not go unnoticed: the family and the count are named.
func TestVerifyFindsSilentLoss(t *testing.T) {
	dir := t.TempDir()
	e, want := written(t, dir, busy())
	if found, err := e.Verify(t.Context()); err != nil || len(found) > 0 {
		t.Fatalf("a whole store: %v, %v", found, err)
	}
	if err := e.db.Update(func(txn *badger.Txn) error { return txn.Delete([]byte("k199")) }); err != nil {
		t.Fatal(err)
	}
	found, err := e.Verify(t.Context())
	var index *IndexError
	if err != nil || len(found) != 1 || !errors.As(found[0], &index) || !strings.Contains(found[0].Error(), `"k199"`) {
		t.Errorf("with a key gone: %v, %v", found, err)
	}
	shut(t, e)
	if err := Rebuild(dir, busy()); err != nil {
		t.Fatal(err)
	}
	e = reopened(t, dir, busy(), want)
	if found, err := e.Verify(t.Context()); err != nil || len(found) > 0 {
		t.Errorf("after a rebuild: %v, %v", found, err)
	}
}
