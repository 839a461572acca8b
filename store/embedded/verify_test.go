package embedded

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dgraph-io/badger/v4"

	"github.com/cong1022/fieldsync/store"
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
		select {
		case <-e.inspected:
		case <-e.Failed():
			refused++
			e = afterFinding(t, e, copied)
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

// afterFinding mends a store that stopped because a table was found damaged, and opens it again.
func afterFinding(t *testing.T, e *Engine, dir string) *Engine {
	t.Helper()
	if err := e.Snapshot(); !errors.Is(err, store.ErrClosed) {
		t.Errorf("a snapshot of a damaged index: %v", err)
	}
	shut(t, e)
	_, err := OpenWith(dir, busy())
	if index := new(IndexError); !errors.As(err, &index) || !strings.Contains(err.Error(), ".sst") {
		t.Fatalf("the next start after a damaged table was found: %v", err)
	}
	mend(t, dir, err)
	if e, err = OpenWith(dir, busy()); err != nil {
		t.Fatal(err)
	}
	return e
}

// Protects: after a stop in good order a start does not wait until all tables are read, and one that is damaged where Badger does
// not look when it opens is found all the same: the store stops, says so at the next start, and loses nothing.
func TestDamageFoundLater(t *testing.T) {
	dir := t.TempDir()
	e := opened(t, dir)
	random := rand.New(rand.NewPCG(1, 1))
	for i := range 100 {
		value := make([]byte, 1000)
		for at := range value {
			value[at] = byte(random.Uint32())
		}
		if err := set(e, fmt.Sprintf("k%03d", i), string(value)); err != nil {
			t.Fatal(err)
		}
	}
	want := contents(t, e)
	shut(t, e)
	tables, err := filepath.Glob(filepath.Join(folder(dir).index(), "*.sst"))
	if err != nil || len(tables) != 1 {
		t.Fatalf("%q, %v", tables, err)
	}
	flip(t, tables[0], 10_000)
	e, err = Open(dir, quiet())
	if err != nil {
		t.Fatalf("a start that looks at all of it: %v", err)
	}
	<-e.Failed()
	e = afterFinding(t, e, dir)
	if got := contents(t, e); !maps.Equal(got, want) {
		t.Errorf("%d keys are not the %d that were written", len(got), len(want))
	}
	shut(t, e)
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
	if err := e.commitAlone(func(txn *badger.Txn) error { return txn.Delete([]byte("k199")) }); err != nil {
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
