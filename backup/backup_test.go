package backup_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/cong1022/fieldsync/backup"
	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/store"
	"github.com/cong1022/fieldsync/store/embedded"
)

// city is a store that is written to, shipped, lost and restored. Its clock goes on by a second with each look.
type city struct {
	t      *testing.T
	dir    string
	now    time.Time
	engine *embedded.Engine
	store  *store.Store
}

func open(t *testing.T, dir string, now time.Time) *city {
	t.Helper()
	c := &city{t: t, dir: dir, now: now}
	var err error
	c.engine, err = embedded.OpenWith(dir, embedded.Options{
		Clock: func() time.Time { return c.now }, Margins: embedded.Margins{Descriptors: 1}, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	if c.store, err = store.Open(t.Context(), c.engine, store.Options{Clock: func() time.Time { return c.now }}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.store.Close() })
	return c
}

// report takes in n tasks, one a second.
func (c *city) report(from, to int) {
	c.t.Helper()
	for n := from; n < to; n++ {
		c.now = c.now.Add(time.Second)
		if err := c.store.Update(c.t.Context(), func(tx *store.Tx) error {
			record := &storagev1.TaskRecord{Task: &fieldsyncv1.Task{Id: fmt.Sprintf("t%04d", n)}, Scopes: []string{"c:one"}}
			store.NextRevision(record)
			return store.SaveTask(tx, record, 0)
		}); err != nil {
			c.t.Fatal(err)
		}
	}
}

// dateSnapshots has the snapshots be from now by the city's clock: they are dated by their files.
func (c *city) dateSnapshots() {
	c.t.Helper()
	snapshots, err := c.engine.Snapshots()
	if err != nil {
		c.t.Fatal(err)
	}
	for _, snapshot := range snapshots {
		if err := os.Chtimes(snapshot.Path, c.now, c.now); err != nil {
			c.t.Fatal(err)
		}
	}
}

// tasks is how many there are, with the store checked by the way.
func (c *city) tasks() (n int) {
	c.t.Helper()
	found, err := store.Check(c.t.Context(), c.store, store.CheckOptions{})
	if err != nil || len(found) > 0 {
		c.t.Errorf("the store is not whole: %v, %v", found, err)
	}
	if err := c.store.View(c.t.Context(), func(tx *store.Tx) error {
		n = 0
		for _, err := range store.Scan(tx, store.Tasks(), nil) {
			if err != nil {
				return err
			}
			n++
		}
		return nil
	}); err != nil {
		c.t.Fatal(err)
	}
	return n
}

// photos are originals in memory, by their hash.
type photos map[string]string

func (p photos) open(_ context.Context, sum [sha256.Size]byte) (io.ReadCloser, error) {
	content, ok := p[hex.EncodeToString(sum[:])]
	if !ok {
		return nil, errors.New("it is not there")
	}
	return io.NopCloser(strings.NewReader(content)), nil
}

// photograph takes in a photo: the record of its upload.
func (c *city) photograph(content string) {
	c.t.Helper()
	sum := sha256.Sum256([]byte(content))
	if err := c.store.Update(c.t.Context(), func(tx *store.Tx) error {
		return store.Put(tx, store.UploadKey("u-"+content), &storagev1.Upload{
			Id: "u-" + content, Sha256: sum[:], State: fieldsyncv1.PhotoState_PHOTO_STATE_VERIFIED,
		})
	}); err != nil {
		c.t.Fatal(err)
	}
}

// Protects: from nothing but the target a store is made as it was at a second, or at the end; its epoch is another one, its
// photos are there; what is restored can be shipped to the same target and restored again; encrypted, nobody reads it
// without the identity.
func TestRestoreToATime(t *testing.T) {
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	for name, recipients := range map[string][]age.Recipient{"plain": nil, "encrypted": {identity.Recipient()}} {
		t.Run(name, func(t *testing.T) { testRestore(t, backup.Folder(t.TempDir()), recipients, identity) })
	}
}

func testRestore(t *testing.T, target backup.Target, recipients []age.Recipient, identity age.Identity) {
	t.Helper()
	const photo = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae" // Of "foo".
	// Snapshots are dated by their files: the store's clock begins where theirs is.
	c := open(t, filepath.Join(t.TempDir(), "city"), time.Now().Truncate(time.Second).Add(time.Second))
	shipper := backup.New(backup.Options{Engine: c.engine, Target: target, Recipients: recipients, Photo: photos{photo: "foo"}.open})
	ship := func(s *backup.Shipper) {
		t.Helper()
		if err := s.Ship(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	c.photograph("foo")
	moments := make(map[int]time.Time) // By the number of tasks there were.
	for n := 0; n < 100; n += 20 {
		c.report(n, n+20)
		moments[n+20], moments[n+10] = c.now, c.now.Add(-10*time.Second)
		ship(shipper)
	}
	if got := shipper.Reached(); !got.At.Equal(c.now) {
		t.Errorf("the backup says that it reaches to %v, not %v", got.At, c.now)
	}
	c.report(100, 105) // Never shipped.
	epoch := c.store.ServerEpoch()
	if err := c.store.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(c.dir); err != nil {
		t.Fatal(err)
	}

	if found, err := backup.Verify(t.Context(), target, []age.Identity{identity}, nil); err != nil || len(found) > 0 {
		t.Errorf("the backup is not whole: %v, %v", found, err)
	}
	if recipients != nil {
		if _, err := backup.Restore(t.Context(), c.dir, backup.RestoreOptions{Target: target}); err == nil {
			t.Error("an encrypted backup was restored without an identity")
		}
	}
	moments[0] = time.Time{} // The newest.
	for tasks, to := range moments {
		dir, got := filepath.Join(t.TempDir(), "restored"), make(photos)
		r, err := backup.Restore(t.Context(), dir, backup.RestoreOptions{
			Target: target, To: to, Identities: []age.Identity{identity},
			Photo: func(_ context.Context, sum string, content io.Reader) error {
				all, err := io.ReadAll(content)
				got[sum] = string(all)
				return err
			},
		})
		if err != nil {
			t.Fatalf("to %v: %v", to, err)
		}
		if tasks == 0 {
			tasks = 100
		}
		restored := open(t, dir, c.now)
		if n := restored.tasks(); n != tasks || !to.IsZero() && !r.At.Equal(to) {
			t.Errorf("to %v: %d tasks and not %d, as of %v", to, n, tasks, r.At)
		}
		if restored.store.ServerEpoch() == epoch {
			t.Error("the restored store has the epoch of the one that was lost")
		}
		if !maps.Equal(got, photos{photo: "foo"}) {
			t.Errorf("photos: %v", got)
		}
	}

	// The disk is lost once more, after the restored server has worked and shipped on.
	dir := filepath.Join(t.TempDir(), "again")
	if _, err := backup.Restore(t.Context(), dir, backup.RestoreOptions{Target: target, To: moments[50], Identities: []age.Identity{identity}}); err != nil {
		t.Fatal(err)
	}
	again := open(t, dir, c.now.Add(time.Hour))
	again.dateSnapshots()
	again.report(200, 230)
	ship(backup.New(backup.Options{Engine: again.engine, Target: target, Recipients: recipients}))
	third := filepath.Join(t.TempDir(), "third")
	if _, err := backup.Restore(t.Context(), third, backup.RestoreOptions{Target: target, Identities: []age.Identity{identity}}); err != nil {
		t.Fatal(err)
	}
	if n := open(t, third, c.now).tasks(); n != 80 {
		t.Errorf("after the second loss there are %d tasks, not 50 and 30", n)
	}
	if found, err := backup.Verify(t.Context(), target, []age.Identity{identity}, nil); err != nil || len(found) > 0 {
		t.Errorf("the backup is not whole after that: %v, %v", found, err)
	}
}

// Protects: a shipper that starts anew goes on where the one before it ended, and one whose journal has forgotten what comes
// next begins with a snapshot instead of leaving a gap.
func TestShipperGoesOn(t *testing.T) {
	target := backup.Folder(t.TempDir())
	c := open(t, filepath.Join(t.TempDir(), "city"), time.Now().Add(time.Minute))
	for n := 0; n < 60; n += 20 {
		c.report(n, n+20)
		if err := backup.New(backup.Options{Engine: c.engine, Target: target}).Ship(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	before, err := target.List(t.Context(), "journal/")
	if err != nil || len(before) != 4 {
		t.Errorf("the target holds %q, not a snapshot and three parts; %v", before, err)
	}
	if err := backup.New(backup.Options{Engine: c.engine, Target: target}).Ship(t.Context()); err != nil {
		t.Fatal(err)
	}
	if after, err := target.List(t.Context(), "journal/"); err != nil || len(after) != len(before) {
		t.Errorf("with nothing new it holds %q, %v", after, err)
	}
}

// Protects: a repository that was emptied while the server runs (a disk that is not mounted any more, a bucket made anew) is not taken
// for one that holds what was sent: all is sent again, photos too, and phones do not hear that it is there before it is.
func TestRepositoryIsEmptied(t *testing.T) {
	root, originals := filepath.Join(t.TempDir(), "backup"), photos{}
	for name, ship := range map[string]func(s *backup.Shipper, c *city) error{
		"something new": func(s *backup.Shipper, c *city) error {
			c.report(30, 40)
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			ended := make(chan error, 1)
			go func() { ended <- s.Run(ctx) }()
			for s.Reached().Sequence != c.engine.Journal().Last() {
				if t.Context().Err() != nil {
					return t.Context().Err()
				}
				time.Sleep(time.Millisecond)
			}
			if names, err := backup.Folder(root).List(ctx, "photo/"); err != nil || len(names) != 1 {
				return fmt.Errorf("it says that all is there, and holds the photos %q, %w", names, err)
			}
			stop()
			return <-ended
		},
		"backup now": func(s *backup.Shipper, _ *city) error { return s.Ship(t.Context()) },
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.RemoveAll(root); err != nil {
				t.Fatal(err)
			}
			c := open(t, filepath.Join(t.TempDir(), "city"), time.Now().Add(time.Minute))
			shipper := backup.New(backup.Options{Engine: c.engine, Target: backup.Folder(root), Photo: originals.open, Every: time.Millisecond})
			c.report(0, 30)
			photo := sha256.Sum256([]byte(name))
			originals[hex.EncodeToString(photo[:])] = name
			c.photograph(name)
			if err := shipper.Ship(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := os.RemoveAll(root); err != nil {
				t.Fatal(err)
			}
			if err := ship(shipper, c); err != nil {
				t.Fatal(err)
			}
			if found, err := backup.Verify(t.Context(), backup.Folder(root), nil, nil); err != nil || len(found) > 0 {
				t.Errorf("%v, %v", found, err)
			}
			got, restored := 0, filepath.Join(t.TempDir(), "restored")
			r, err := backup.Restore(t.Context(), restored, backup.RestoreOptions{
				Target: backup.Folder(root), Photo: func(context.Context, string, io.Reader) error { got++; return nil },
			})
			if err != nil || r.Sequence != c.engine.Journal().Last() || got != 1 {
				t.Errorf("restored to %d of %d with %d photos, %v", r.Sequence, c.engine.Journal().Last(), got, err)
			}
		})
	}
}

// emptied is a target that is emptied within a Put, once.
type emptied struct {
	backup.Folder

	due atomic.Bool
}

func (e *emptied) Put(ctx context.Context, name string, content *os.File) error {
	if e.due.CompareAndSwap(true, false) {
		if err := os.RemoveAll(string(e.Folder)); err != nil {
			return err
		}
	}
	return e.Folder.Put(ctx, name, content)
}

// Protects: a repository that is emptied just before something is put there, so that it holds that alone, is noticed with the next.
func TestRepositoryIsEmptiedWhileSending(t *testing.T) {
	c := open(t, filepath.Join(t.TempDir(), "city"), time.Now().Add(time.Minute))
	target := &emptied{Folder: backup.Folder(filepath.Join(t.TempDir(), "backup"))}
	c.report(0, 10)
	s := backup.New(backup.Options{Engine: c.engine, Target: target, Every: time.Millisecond})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	reach := func() {
		for s.Reached().Sequence != c.engine.Journal().Last() && t.Context().Err() == nil {
			time.Sleep(time.Millisecond)
		}
	}
	reach()
	target.due.Store(true)
	c.report(10, 11)
	reach()
	c.report(11, 12)
	reach()
	if found, err := backup.Verify(t.Context(), target, nil, nil); err != nil || len(found) > 0 {
		t.Errorf("%v, %v", found, err)
	}
}

// Protects: whoever verifies, or restores from, what is no backup at all is told so; and a part under the name of what came before
// it does not hide that it is missing.
func TestMistakenForABackup(t *testing.T) {
	found, err := backup.Verify(t.Context(), backup.Folder(filepath.Join(t.TempDir(), "mistyped")), nil, nil)
	if err != nil || len(found) != 1 {
		t.Errorf("a folder that does not exist: %v, %v", found, err)
	}
	root := t.TempDir()
	c := open(t, filepath.Join(t.TempDir(), "city"), time.Now().Add(time.Minute))
	shipper := backup.New(backup.Options{Engine: c.engine, Target: backup.Folder(root)})
	var middle time.Time
	for n := 0; n < 60; n += 20 {
		c.report(n, n+20)
		if n == 20 {
			middle = c.now
		}
		if err := shipper.Ship(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	parts, err := filepath.Glob(filepath.Join(root, "journal/*/part/*"))
	if err != nil || len(parts) != 3 {
		t.Fatal(parts, err)
	}
	if err := os.Remove(parts[1]); err != nil {
		t.Fatal(err)
	}
	restore := func(to time.Time) (backup.Restored, error) {
		return backup.Restore(t.Context(), filepath.Join(t.TempDir(), "restored"), backup.RestoreOptions{Target: backup.Folder(root), To: to})
	}
	if r, err := restore(middle); err == nil {
		t.Errorf("a moment whose records are missing: %+v", r)
	}
	// The sentence names a time that --to takes as it stands there, and that brings all that is before the gap.
	_, err = restore(time.Time{})
	said, perr := time.Parse(time.RFC3339, regexp.MustCompile(`\d{4}-\S+T[^,\s]+`).FindString(fmt.Sprint(err)))
	if r, err := restore(said); perr != nil || err != nil || r.Sequence < 20 {
		t.Errorf("to %v, %v: %+v, %v", said, perr, r, err)
	}
	first, missing := strings.SplitN(filepath.Base(parts[2]), "-", 2), strings.SplitN(filepath.Base(parts[1]), "-", 2)
	if err := os.Rename(parts[2], filepath.Join(filepath.Dir(parts[2]), missing[0]+"-"+first[1])); err != nil {
		t.Fatal(err)
	}
	if r, err := restore(time.Time{}); err == nil {
		t.Errorf("a part under a name that covers a gap: %+v", r)
	}
}

// Protects: one flipped bit, a missing object and a foreign one are found and named, and a damaged backup is not restored.
func TestDamagedBackup(t *testing.T) {
	root := t.TempDir()
	target := backup.Folder(root)
	c := open(t, filepath.Join(t.TempDir(), "city"), time.Now().Add(time.Minute))
	shipper := backup.New(backup.Options{Engine: c.engine, Target: target})
	for n := 0; n < 60; n += 20 {
		c.report(n, n+20)
		if err := shipper.Ship(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	names, err := target.List(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	for i, name := range names {
		path := filepath.Join(root, name)
		original, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		damaged := append([]byte{}, original...)
		damaged[len(damaged)/2] ^= 8
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		if found, err := backup.Verify(t.Context(), target, nil, nil); err != nil || len(found) != 1 || !strings.Contains(found[0].Error(), name) {
			t.Errorf("a bit in %s: %v, %v", name, found, err)
		}
		who := strings.HasPrefix(name, "writer/") // Of the data, nothing is in it.
		if _, err := backup.Restore(t.Context(), filepath.Join(t.TempDir(), "r"), backup.RestoreOptions{Target: target}); who != (err == nil) || !who && !strings.Contains(err.Error(), name) {
			t.Errorf("restoring with a bit flipped in %s: %v", name, err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		last := i == 2 // The newest part: nothing tells that there ever was one.
		if found, err := backup.Verify(t.Context(), target, nil, nil); err != nil || (len(found) == 0) != (last || who) {
			t.Errorf("without %s: %v, %v", name, found, err)
		}
		if err := os.WriteFile(path, original, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "notes.txt"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if found, err := backup.Verify(t.Context(), target, nil, nil); err != nil || len(found) != 1 || !strings.Contains(found[0].Error(), "notes.txt") {
		t.Errorf("with a foreign file: %v, %v", found, err)
	}
}
