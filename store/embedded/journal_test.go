package embedded

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dgraph-io/badger/v4"

	"github.com/cong1022/fieldsync/store"
	"github.com/cong1022/fieldsync/store/journal"
)

// busy are options under which files are full, synced and superfluous every few writes.
func busy() Options {
	return Options{SegmentBytes: 16 << 10, CheckpointBytes: 32 << 10, SnapshotBytes: 64 << 10, Margins: Margins{Descriptors: 1}}
}

// contents is all that the engine holds.
func contents(t *testing.T, e *Engine) map[string]string {
	t.Helper()
	all := make(map[string]string)
	err := e.View(t.Context(), func(kv store.KV) error {
		for pair, err := range kv.Range([]byte{0}, []byte(strings.Repeat("\xff", 9))) {
			if err != nil {
				return err
			}
			all[string(pair.Key)] = string(pair.Value)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// written opens the folder, writes some, overwrites and deletes, and returns the open engine with what it should hold.
func written(t *testing.T, dir string, o Options) (*Engine, map[string]string) {
	t.Helper()
	e, err := OpenWith(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	for i := range 300 {
		err := e.Update(t.Context(), func(kv store.KV) error {
			return errors.Join(kv.Set(fmt.Appendf(nil, "k%03d", i%200), []byte(strings.Repeat(fmt.Sprint(i), 100))),
				kv.Delete(fmt.Appendf(nil, "k%03d", (i+50)%200)), kv.Set(fmt.Appendf(nil, "empty%03d", i%7), []byte{}))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return e, contents(t, e)
}

func reopened(t *testing.T, dir string, o Options, want map[string]string) *Engine {
	t.Helper()
	e, err := OpenWith(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	if got := contents(t, e); !maps.Equal(got, want) {
		t.Fatalf("%d keys are not the %d that were written", len(got), len(want))
	}
	return e
}

func shut(t *testing.T, e *Engine) {
	t.Helper()
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
}

// Protects: the index is only an index. Deleted, it is made anew from snapshot and journal, at a start and by Rebuild, the
// same to the last byte; and a snapshot that is damaged is named and the one before it used.
func TestIndexDeleted(t *testing.T) {
	dir := t.TempDir()
	e, want := written(t, dir, busy())
	shut(t, e)
	if err := os.RemoveAll(folder(dir).index()); err != nil {
		t.Fatal(err)
	}
	shut(t, reopened(t, dir, busy(), want))
	if err := Rebuild(dir, busy()); err != nil {
		t.Fatal(err)
	}
	shut(t, reopened(t, dir, busy(), want))

	snapshots, err := journal.Snapshots(folder(dir).journal())
	if err != nil || len(snapshots) != 2 {
		t.Fatalf("%d snapshots, %v", len(snapshots), err)
	}
	flip(t, snapshots[1].Path, int(snapshots[1].Bytes/2))
	if err := Rebuild(dir, busy()); err != nil {
		t.Fatal(err)
	}
	shut(t, reopened(t, dir, busy(), want))
	flip(t, snapshots[0].Path, int(snapshots[0].Bytes/2))
	var d *journal.DamageError
	if err := Rebuild(dir, busy()); !errors.As(err, &d) || d.File != snapshots[0].Path {
		t.Errorf("with both snapshots damaged: %v", err)
	}
	shut(t, reopened(t, dir, busy(), want)) // The old index stayed.
}

func flip(t *testing.T, path string, at int) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[at] ^= 4
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// Protects: what Badger had not synced when the power went is in the journal. Here its memory tables are lost, cut or full of
// zeros, while newer ones may be whole.
func TestIndexLags(t *testing.T) {
	for name, lose := range map[string]func(path string) error{
		"lost":   os.Remove,
		"zeroed": func(path string) error { return os.WriteFile(path, make([]byte, 32<<20), 0o600) },
		"cut":    func(path string) error { return os.Truncate(path, 1000) },
		"empty":  func(path string) error { return os.Truncate(path, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			dir, copied := t.TempDir(), filepath.Join(t.TempDir(), "copy")
			_, want := written(t, dir, Options{})
			if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
				t.Fatal(err)
			}
			tables, err := filepath.Glob(filepath.Join(folder(copied).index(), "*.mem"))
			if err != nil || len(tables) == 0 {
				t.Fatalf("%q, %v", tables, err)
			}
			for _, path := range tables {
				if err := lose(path); err != nil {
					t.Fatal(err)
				}
			}
			reopened(t, copied, Options{}, want)
		})
	}
}

// Protects a start after a kill within Badger's making or removing of a file: such a file is empty, and Badger alone does not open with it.
func TestEmptiedFiles(t *testing.T) {
	dir := t.TempDir()
	e, want := written(t, dir, Options{})
	shut(t, e)
	for _, name := range []string{"00001.mem", "00077.mem", "000077.vlog"} {
		if err := os.WriteFile(filepath.Join(folder(dir).index(), name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	e = reopened(t, dir, Options{}, want)
	if err := set(e, "k", "v"); err != nil {
		t.Error(err)
	}
	shut(t, e)
}

// Protects: the journal is bounded: what two snapshots hold is forgotten.
func TestJournalIsBounded(t *testing.T) {
	dir := t.TempDir()
	e, want := written(t, dir, busy())
	for i := range 5 { // Each at a place of its own, wherever those were that the engine has made by itself.
		want["more"] = fmt.Sprint(i)
		if err := errors.Join(set(e, "more", want["more"]), e.Snapshot()); err != nil {
			t.Fatal(err)
		}
	}
	if first := e.journal.First(); first < 200 {
		t.Errorf("after snapshots of 300 records the journal begins at %d", first)
	}
	if snapshots, err := journal.Snapshots(folder(dir).journal()); err != nil || len(snapshots) > 2 {
		t.Errorf("%d snapshots, %v", len(snapshots), err)
	}
	shut(t, e)
	reopened(t, dir, busy(), want)
}

// Protects: a data folder from before there was a journal is taken over whole, also when that was interrupted at any file.
func TestTakeOver(t *testing.T) {
	made := t.TempDir()
	db, err := badger.Open(badgerOptions(made, quiet()).WithSyncWrites(true))
	if err != nil {
		t.Fatal(err)
	}
	want := make(map[string]string)
	for i := range 100 {
		key, value := fmt.Sprintf("old%03d", i), strings.Repeat("v", i)
		want[key] = value
		if err := db.Update(func(txn *badger.Txn) error { return txn.Set([]byte(key), []byte(value)) }); err != nil {
			t.Fatal(err)
		}
	}
	killed := filepath.Join(t.TempDir(), "killed") // As it lies there after kill -9.
	if err := os.CopyFS(killed, os.DirFS(made)); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for name, dir := range map[string]string{"closed": made, "killed": killed} {
		t.Run(name, func(t *testing.T) {
			e := reopened(t, dir, Options{}, want)
			if err := set(e, "new", "1"); err != nil {
				t.Fatal(err)
			}
			shut(t, e)
			if _, err := os.Stat(folder(dir).oldManifest()); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the old manifest: %v", err)
			}
			// As if the moving had been interrupted: the manifest and one more file are where they were.
			for _, name := range []string{badger.ManifestFilename, "KEYREGISTRY"} {
				if err := os.Rename(filepath.Join(folder(dir).index(), name), filepath.Join(dir, name)); err != nil {
					t.Fatal(err)
				}
			}
			with := maps.Clone(want)
			with["new"] = "1"
			shut(t, reopened(t, dir, Options{}, with))
			// Its first snapshot holds what no journal has.
			if err := os.RemoveAll(folder(dir).index()); err != nil {
				t.Fatal(err)
			}
			shut(t, reopened(t, dir, Options{}, with))
		})
	}
}

// Protects: where journal and index do not fit together nothing is dropped without a word: a journal that is shorter than
// the index, missing, or damaged is named, and a new one can be begun from the index.
func TestJournalDamaged(t *testing.T) {
	newest := func(dir string) string {
		files, err := filepath.Glob(filepath.Join(folder(dir).journal(), "*.journal"))
		if err != nil || len(files) == 0 {
			t.Fatal(files, err)
		}
		return files[len(files)-1]
	}
	for name, damage := range map[string]func(dir string) error{
		"cut":     func(dir string) error { return os.Truncate(newest(dir), 5000) },
		"missing": func(dir string) error { return os.RemoveAll(folder(dir).journal()) },
		"flipped": func(dir string) error { flip(t, newest(dir), 5000); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			e, want := written(t, dir, Options{})
			shut(t, e)
			if err := damage(dir); err != nil {
				t.Fatal(err)
			}
			var d *journal.DamageError
			if e, err := OpenWith(dir, Options{}); !errors.As(err, &d) {
				t.Fatalf("it opens with %v, %v", e, err)
			}
			kept, err := RenewJournal(dir, Options{})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(kept); err != nil {
				t.Error(err)
			}
			e = reopened(t, dir, Options{}, want)
			if err := set(e, "after", "1"); err != nil {
				t.Fatal(err)
			}
			want["after"] = "1"
			shut(t, e)
			if err := os.RemoveAll(folder(dir).index()); err != nil {
				t.Fatal(err)
			}
			reopened(t, dir, Options{}, want)
		})
	}
}

// Protects: an index that has lost what was synced is named and not served.
func TestIndexBehindCheckpoint(t *testing.T) {
	dir := t.TempDir()
	e, want := written(t, dir, Options{})
	old := filepath.Join(t.TempDir(), "old")
	shut(t, e)
	if err := os.CopyFS(old, os.DirFS(folder(dir).index())); err != nil {
		t.Fatal(err)
	}
	e = reopened(t, dir, Options{}, want)
	if err := set(e, "later", "1"); err != nil {
		t.Fatal(err)
	}
	want["later"] = "1"
	shut(t, e)
	if err := errors.Join(os.RemoveAll(folder(dir).index()), os.CopyFS(folder(dir).index(), os.DirFS(old))); err != nil {
		t.Fatal(err)
	}
	var damaged *IndexError
	if _, err := OpenWith(dir, Options{}); !errors.As(err, &damaged) {
		t.Fatalf("an older index: %v", err)
	}
	if err := Rebuild(dir, Options{}); err != nil {
		t.Fatal(err)
	}
	reopened(t, dir, Options{}, want)
}

// Protects: neither of the two copies is made from the other where that is the one that holds more: the order to do so is refused, and
// what was there is still there.
func TestTheLesserCopyIsNoSource(t *testing.T) {
	whole := t.TempDir()
	e, want := written(t, whole, Options{})
	shut(t, e)
	cut := func(dir string) error {
		files, err := filepath.Glob(filepath.Join(folder(dir).journal(), "*.journal"))
		return errors.Join(err, os.Truncate(files[len(files)-1], 5000))
	}
	withoutIndex := func(dir string) error { return os.RemoveAll(folder(dir).index()) }
	rebuild := func(dir string) error { return Rebuild(dir, Options{}) }
	start := func(dir string) error {
		e, err := OpenWith(dir, Options{})
		if err == nil {
			err = e.Close()
		}
		return err
	}
	renew := func(dir string) error {
		_, err := RenewJournal(dir, Options{})
		return err
	}
	for name, test := range map[string]struct {
		damage  []func(dir string) error
		refused func(dir string) error
		mended  func(dir string) error // Nil where only a backup helps.
	}{
		"an index from a journal that is cut":       {[]func(string) error{cut}, rebuild, renew},
		"a journal from an index that is missing":   {[]func(string) error{withoutIndex}, renew, rebuild},
		"a start with neither":                      {[]func(string) error{cut, withoutIndex}, start, nil},
		"an index from a journal that is cut alone": {[]func(string) error{cut, withoutIndex}, rebuild, nil},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "copy")
			if err := os.CopyFS(dir, os.DirFS(whole)); err != nil {
				t.Fatal(err)
			}
			for _, damage := range test.damage {
				if err := damage(dir); err != nil {
					t.Fatal(err)
				}
			}
			for range 2 { // Nor when somebody insists.
				err := test.refused(dir)
				var index *IndexError
				var damaged *journal.DamageError
				if !errors.As(err, &index) && !errors.As(err, &damaged) {
					t.Fatalf("it is done: %v", err)
				}
			}
			if test.mended == nil {
				return
			}
			if err := test.mended(dir); err != nil {
				t.Fatal(err)
			}
			shut(t, reopened(t, dir, Options{}, want))
		})
	}
}

// Protects: a start that fails over a damaged record of the journal leaves the index as new as it was, so that a journal can be begun
// anew from it; and one that is begun from an index that lags takes along what the old journal has behind it.
func TestFailedReplayChangesNothing(t *testing.T) {
	o := Options{SegmentBytes: 16 << 10}
	dir, copied := t.TempDir(), filepath.Join(t.TempDir(), "copy")
	_, want := written(t, dir, o)
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil { // As after kill -9: the checkpoint lags.
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(folder(copied).journal(), "*.journal"))
	if err != nil || len(files) < 3 {
		t.Fatal(files, err)
	}
	flip(t, files[1], 5000)
	var damaged *journal.DamageError
	if _, err := OpenWith(copied, o); !errors.As(err, &damaged) || damaged.File != files[1] {
		t.Fatalf("a damaged record behind the checkpoint: %v", err)
	}
	if _, err := RenewJournal(copied, o); err != nil {
		t.Fatal(err)
	}
	shut(t, reopened(t, copied, o, want))
}

// Protects: `rebuild --journal` with nothing damaged, after kill -9 between journal and index, loses nothing.
func TestRenewedJournalHoldsWhatTheOldOneDid(t *testing.T) {
	dir, copied, old := t.TempDir(), filepath.Join(t.TempDir(), "copy"), filepath.Join(t.TempDir(), "old")
	e, want := written(t, dir, Options{})
	if err := os.CopyFS(old, os.DirFS(folder(dir).index())); err != nil {
		t.Fatal(err)
	}
	want["later"] = "1"
	if err := set(e, "later", "1"); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.RemoveAll(folder(copied).index()), os.CopyFS(folder(copied).index(), os.DirFS(old))); err != nil {
		t.Fatal(err)
	}
	if _, err := RenewJournal(copied, Options{}); err != nil {
		t.Fatal(err)
	}
	shut(t, reopened(t, copied, Options{}, want))
}
