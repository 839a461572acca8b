package backup_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cong1022/fieldsync/backup"
	"github.com/cong1022/fieldsync/internal/fault"
)

// ship sends what a city has, with a shipper of its own, as a server that starts does.
func (c *city) ship(target backup.Target) (*backup.Shipper, error) {
	s := backup.New(backup.Options{Engine: c.engine, Target: target})
	return s, s.Ship(c.t.Context())
}

func wantCode(t *testing.T, what string, err error, code string) {
	t.Helper()
	if fault.CodeOf(err) != code {
		t.Errorf("%s: %v, not %s", what, err, code)
	}
}

// restoreTo makes a store of a target, and opens it.
func restoreTo(t *testing.T, o backup.RestoreOptions, now time.Time) *city {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "restored")
	if _, err := backup.Restore(t.Context(), dir, o); err != nil {
		t.Fatal(err)
	}
	c := open(t, dir, now)
	c.dateSnapshots()
	return c
}

// Protects: one server at a time ships into a repository. One with other data is turned away; one that was restored from it takes it over,
// and the one that goes on beside it is told, writes no more, and goes on when an operator has decided for it.
func TestTwoServersOneRepository(t *testing.T) {
	root := t.TempDir()
	target := backup.Folder(root)
	begun := time.Now().Truncate(time.Second)
	old := open(t, filepath.Join(t.TempDir(), "old"), begun)
	old.dateSnapshots()
	old.report(0, 20)
	running, err := old.ship(target)
	if err != nil {
		t.Fatal(err)
	}
	stranger := open(t, filepath.Join(t.TempDir(), "stranger"), begun)
	stranger.report(100, 110)
	_, err = stranger.ship(target)
	wantCode(t, "a server with other data", err, "backup_repository_foreign")

	restored := restoreTo(t, backup.RestoreOptions{Target: target}, begun.Add(time.Hour))
	restored.report(200, 210)
	if _, err := restored.ship(target); err != nil {
		t.Fatal(err)
	}
	old.now = begun.Add(2 * time.Hour)
	old.report(20, 30)
	before, err := target.List(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	wantCode(t, "the old server", running.Ship(t.Context()), "backup_repository_taken")
	wantCode(t, "what it says", running.State().Failed, "backup_repository_taken")
	_, err = old.ship(target)
	wantCode(t, "the old server, started again", err, "backup_repository_taken")
	if after, err := target.List(t.Context(), ""); err != nil || !slices.Equal(after, before) {
		t.Errorf("those that were turned away wrote: %q, %q, %v", before, after, err)
	}
	if found, err := backup.Verify(t.Context(), target, nil, nil); err != nil || len(found) > 0 {
		t.Errorf("%v, %v", found, err)
	}

	writers, err := target.List(t.Context(), "writer/")
	if err != nil || len(writers) != 2 {
		t.Fatal(writers, err)
	}
	if err := os.Remove(filepath.Join(root, writers[1])); err != nil {
		t.Fatal(err)
	}
	if err := running.Ship(t.Context()); err != nil || running.State().Failed != nil {
		t.Errorf("when an operator has decided for it: %v, %v", err, running.State().Failed)
	}
	// Both have gone on now since the one began: nobody gets one of the two histories without having said so.
	found, err := backup.Verify(t.Context(), target, nil, nil)
	if err != nil || len(found) != 1 {
		t.Fatalf("%v, %v", found, err)
	}
	wantCode(t, "verify", found[0], "backup_histories")
	_, err = backup.Restore(t.Context(), filepath.Join(t.TempDir(), "r"), backup.RestoreOptions{Target: target})
	wantCode(t, "restore", err, "backup_histories")
	for c, want := range map[*city]int{old: 30, restored: 30} {
		if n := restoreTo(t, backup.RestoreOptions{Target: target, Journal: c.engine.Journal().ID()}, begun).tasks(); n != want {
			t.Errorf("%d tasks of %d", n, want)
		}
	}
	if n := restoreTo(t, backup.RestoreOptions{Target: target, To: begun.Add(20 * time.Second)}, begun).tasks(); n != 20 {
		t.Errorf("%d tasks before they parted", n)
	}
}

// Protects: a copy of a data folder, or one that was put back to an older state, does not ship in the place of what the repository has of the same
// journal; and what two copies have shipped all the same is not joined, though the numbers follow on each other.
func TestCopiedFolder(t *testing.T) {
	begun := time.Now().Truncate(time.Second)
	dir, copied := filepath.Join(t.TempDir(), "city"), filepath.Join(t.TempDir(), "copy")
	c := open(t, dir, begun)
	c.report(0, 10)
	if err := c.store.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	c, other := open(t, dir, begun.Add(time.Minute)), open(t, copied, begun.Add(2*time.Minute))
	roots := []string{t.TempDir(), t.TempDir()}
	ships := func(c *city, root string) {
		t.Helper()
		if _, err := c.ship(backup.Folder(root)); err != nil {
			t.Fatal(err)
		}
	}
	ships(other, roots[1]) // The common part.
	c.report(10, 20)
	ships(c, roots[0])
	_, err := other.ship(backup.Folder(roots[0]))
	wantCode(t, "one that was put back", err, "backup_forked")
	other.report(50, 60)
	_, err = other.ship(backup.Folder(roots[0]))
	wantCode(t, "a copy that went on", err, "backup_forked")

	ships(other, roots[1]) // As many records as the other, in a part of their own.
	other.report(60, 70)
	ships(other, roots[1])
	parts, err := backup.Folder(roots[1]).List(t.Context(), "journal/")
	if err != nil || len(parts) != 4 {
		t.Fatal(parts, err)
	}
	last := parts[2] // Behind the snapshot's name come none: parts are sorted before it.
	content, err := os.ReadFile(filepath.Join(roots[1], last))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(roots[0], last), content, 0o600); err != nil {
		t.Fatal(err)
	}
	found, err := backup.Verify(t.Context(), backup.Folder(roots[0]), nil, nil)
	if err != nil || len(found) != 1 || !strings.Contains(found[0].Error(), last) {
		t.Fatalf("%v, %v", found, err)
	}
	wantCode(t, "verify", found[0], "backup_part_mixed")
	_, err = backup.Restore(t.Context(), filepath.Join(t.TempDir(), "r"), backup.RestoreOptions{Target: backup.Folder(roots[0])})
	wantCode(t, "restore", err, "backup_part_mixed")
	if n := restoreTo(t, backup.RestoreOptions{Target: backup.Folder(roots[0]), To: c.now}, c.now).tasks(); n != 20 {
		t.Errorf("%d tasks before the seam", n)
	}
}

// away is a target that takes no parts.
type away struct{ backup.Folder }

func (a away) Put(ctx context.Context, name string, content *os.File) error {
	if strings.Contains(name, "/part/") {
		return errors.New("it is away")
	}
	return a.Folder.Put(ctx, name, content)
}

// Protects: that the photos have nothing to send does not hide that the journal does not get through.
func TestFailureStands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, filepath.Join(t.TempDir(), "city"), time.Now())
		s := backup.New(backup.Options{Engine: c.engine, Target: away{backup.Folder(t.TempDir())}})
		c.report(0, 1)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Run(ctx) }()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if s.State().Failed == nil {
			t.Error("the failure is not told any more")
		}
		stop()
		if err := errors.Join(<-ended, c.store.Close()); err != nil {
			t.Error(err)
		}
	})
}

// Protects: a bucket without room is told as that, whatever name its maker has for it.
func TestBucketFull(t *testing.T) {
	c := open(t, filepath.Join(t.TempDir(), "city"), time.Now())
	for answer, status := range map[string]int{"XMinioStorageFull": http.StatusInsufficientStorage, "XMinioAdminBucketQuotaExceeded": http.StatusBadRequest} {
		t.Run(answer, func(t *testing.T) {
			full := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/xml")
				switch {
				case r.Method == http.MethodPut:
					w.WriteHeader(status)
					_, _ = w.Write([]byte("<Error><Code>" + answer + "</Code><Message>no room</Message></Error>"))
				case r.URL.Query().Has("location"):
					_, _ = w.Write([]byte(`<LocationConstraint xmlns="http://s3.amazonaws.com/doc/2006-03-01/"></LocationConstraint>`))
				case r.Method == http.MethodGet:
					_, _ = w.Write([]byte(`<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><IsTruncated>false</IsTruncated></ListBucketResult>`))
				}
			}))
			defer full.Close()
			target, err := backup.OpenS3(t.Context(), backup.S3Options{
				Endpoint: strings.TrimPrefix(full.URL, "http://"), Bucket: "full", AccessKey: "a", SecretKey: "b", PlainHTTP: true,
			})
			if err != nil {
				t.Fatal(err)
			}
			_, err = c.ship(target)
			wantCode(t, answer, err, "backup_repository_full")
		})
	}
}
