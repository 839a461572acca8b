package phone

import (
	"os"
	"path/filepath"
	"testing"
)

// Protects an animated PNG, which has a media type of its own and is a PNG all the same.
func TestSniffAnimated(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a.png")
	must(t, os.WriteFile(file, []byte("\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x02\x00\x00\x00....\x00\x00\x00\x08acTL"), 0o600))
	if kind, err := sniff(file); kind != "image/png" || err != nil {
		t.Errorf("%q, %v", kind, err)
	}
}
