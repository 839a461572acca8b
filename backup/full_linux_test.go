package backup_test

import (
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cong1022/fieldsync/backup"
)

// Protects: a folder on a full disk is told as a full repository, and what waits goes there by itself when there is room.
func TestFolderFull(t *testing.T) {
	root := t.TempDir()
	if err := unix.Mount("tmpfs", root, "tmpfs", 0, "size=20k"); err != nil {
		t.Skip("only root may mount: ", err)
	}
	defer func() { _ = unix.Unmount(root, unix.MNT_DETACH) }()
	c := open(t, filepath.Join(t.TempDir(), "city"), time.Now())
	c.report(0, 1000)
	shipper, err := c.ship(backup.Folder(root))
	wantCode(t, "no room", err, "backup_repository_full")
	wantCode(t, "what it says", shipper.State().Failed, "backup_repository_full")
	if err := unix.Mount("tmpfs", root, "tmpfs", unix.MS_REMOUNT, "size=64m"); err != nil {
		t.Fatal(err)
	}
	if err := shipper.Ship(t.Context()); err != nil || shipper.State().Failed != nil {
		t.Errorf("with room again: %v, %v", err, shipper.State().Failed)
	}
	if found, err := backup.Verify(t.Context(), backup.Folder(root), nil, nil); err != nil || len(found) > 0 {
		t.Errorf("%v, %v", found, err)
	}
}
