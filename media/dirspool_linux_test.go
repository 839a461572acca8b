package media

import (
	"errors"
	"io"
	"log/slog"
	"math"
	"strings"
	"testing"
)

// Protects: the folder of unfinished uploads never takes the bytes without which nothing could be committed any more.
func TestSpoolLeavesRoom(t *testing.T) {
	dir, err := openDirSpool(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	dir.reserve = 0
	s, err := openSpool(t.Context(), dir, math.MaxInt64, slog.New(slog.DiscardHandler))
	if err != nil || s.full() {
		t.Fatalf("full %v, %v", s.full(), err)
	}
	dir.reserve = math.MaxUint64
	s.bytes = dir
	if !s.full() {
		t.Error("it takes more with nothing but the reserve left")
	}
	if _, err := io.ReadAll(&counted{Reader: strings.NewReader("bytes"), spool: s}); !errors.Is(err, errSpoolFull) {
		t.Errorf("a body under way goes on: %v", err)
	}
}
