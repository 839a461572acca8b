package backup_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cong1022/fieldsync/backup"
	"github.com/cong1022/fieldsync/internal/miniotest"
)

// Protects: what is removed from a backup is what no moment needs that is to be kept; each of those can be restored to, also across the
// journals of a server that was restored before; what is left is whole.
func TestPrune(t *testing.T) {
	t.Run("folder", func(t *testing.T) { testPrune(t, backup.Folder(t.TempDir())) })
	t.Run("S3", func(t *testing.T) {
		if testing.Short() {
			t.Skip("left out by -short: builds MinIO on a new machine")
		}
		minio := miniotest.Start(t)
		target, err := backup.OpenS3(t.Context(), backup.S3Options{
			Endpoint: minio.Endpoint, Bucket: "prune", AccessKey: minio.AccessKey, SecretKey: minio.SecretKey, PlainHTTP: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		testPrune(t, target)
	})
}

func testPrune(t *testing.T, target backup.Target) {
	t.Helper()
	begun := time.Now().Truncate(time.Second).Add(time.Hour)
	c := open(t, filepath.Join(t.TempDir(), "city"), begun)
	days := func(c *city, keep time.Duration, first, last int) {
		t.Helper()
		for day := first; day < last; day++ {
			c.now = begun.AddDate(0, 0, day)
			c.report(10*day, 10*day+10)
			if err := c.engine.Snapshot(); err != nil {
				t.Fatal(err)
			}
			snapshots, err := c.engine.Snapshots()
			if err != nil {
				t.Fatal(err)
			}
			for _, snapshot := range snapshots { // They are dated by their files.
				if at, err := os.Stat(snapshot.Path); err != nil || at.ModTime().Before(begun) {
					if err := errors.Join(err, os.Chtimes(snapshot.Path, c.now, c.now)); err != nil {
						t.Fatal(err)
					}
				}
			}
			if err := backup.New(backup.Options{Engine: c.engine, Target: target, Keep: keep, Now: func() time.Time { return c.now }}).Ship(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	days(c, 0, 0, 6)
	all, _, err := backup.List(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	// The server is lost and restored: its second journal goes on from the fourth day.
	dir := filepath.Join(t.TempDir(), "restored")
	if _, err := backup.Restore(t.Context(), dir, backup.RestoreOptions{Target: target, To: begun.AddDate(0, 0, 4).Add(-time.Hour)}); err != nil {
		t.Fatal(err)
	}
	again := open(t, dir, begun.AddDate(0, 0, 6))
	days(again, 0, 6, 9)
	now := begun.AddDate(0, 0, 9)
	for _, keep := range []int{9, 6, 2} {
		before := now.AddDate(0, 0, -keep)
		if _, err := backup.Prune(t.Context(), target, before); err != nil {
			t.Fatal(err)
		}
		found, err := backup.Verify(t.Context(), target, nil, nil)
		if err != nil || len(found) > 0 {
			t.Fatalf("kept for %d days: %v, %v", keep, found, err)
		}
		for _, day := range []int{9 - keep, 8} { // The oldest moment that is kept, and the newest.
			to := begun.AddDate(0, 0, day).Add(11 * time.Second)
			want := 10*day + 10
			if day >= 6 {
				want -= 20 // Days 4 and 5 were lost.
			}
			dir := filepath.Join(t.TempDir(), "try")
			if _, err := backup.Restore(t.Context(), dir, backup.RestoreOptions{Target: target, To: to}); err != nil {
				t.Fatalf("kept for %d days, to day %d: %v", keep, day, err)
			}
			restored := open(t, dir, now)
			if n := restored.tasks(); n != want {
				t.Errorf("kept for %d days, to day %d: %d tasks, want %d", keep, day, n, want)
			}
		}
	}
	left, _, err := backup.List(t.Context(), target)
	if err != nil || len(left) > 6 {
		t.Errorf("%d objects are left, of %d and more; %v", len(left), len(all), err)
	}
}
