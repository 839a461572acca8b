package folder_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"

	"github.com/cong1022/fieldsync/media/blobtest"
	"github.com/cong1022/fieldsync/media/folder"
)

// Protects: the contract of media.Blobs.
func TestBlobs(t *testing.T) {
	blobtest.Run(t, open(t, t.TempDir()))
}

// Protects: originals survive a restart, and what a crash has left unfinished goes.
func TestRestart(t *testing.T) {
	root := t.TempDir()
	content := []byte("a photo")
	put(t, open(t, root), content)
	unfinished := filepath.Join(root, "unfinished", "1234")
	if err := os.WriteFile(unfinished, content[:3], 0o600); err != nil {
		t.Fatal(err)
	}

	blobs := open(t, root)
	reader, _, err := blobs.Open(t.Context(), sha256.Sum256(content))
	if err != nil {
		t.Fatal(err)
	}
	reader.Close()
	if _, err := os.Stat(unfinished); !os.IsNotExist(err) {
		t.Fatalf("an unfinished file after a restart: %v, want none", err)
	}
}

// Protects: the layout, which other tools and later versions read; a mended original; and nothing left beside it.
func TestLayout(t *testing.T) {
	root := t.TempDir()
	blobs := open(t, root)
	content := []byte("a photo")
	sum := sha256.Sum256(content)
	name := hex.EncodeToString(sum[:])
	path := filepath.Join(root, name[:2], name[2:4], name)
	put(t, blobs, content)
	check := func() {
		t.Helper()
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, content) {
			t.Fatalf("%s: %q, %v", path, got, err)
		}
	}
	check()

	// A disk that has lost the end of the file.
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 3); err != nil {
		t.Fatal(err)
	}
	put(t, blobs, content)
	check()
	if left, err := os.ReadDir(filepath.Join(root, "unfinished")); err != nil || len(left) > 0 {
		t.Fatalf("left unfinished: %v, %v", left, err)
	}
}

func open(t *testing.T, root string) *folder.Blobs {
	t.Helper()
	blobs, err := folder.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	return blobs
}

func put(t *testing.T, blobs *folder.Blobs, content []byte) {
	t.Helper()
	if err := blobs.Put(t.Context(), sha256.Sum256(content), bytes.NewReader(content)); err != nil {
		t.Fatal(err)
	}
}
