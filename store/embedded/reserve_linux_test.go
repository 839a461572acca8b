package embedded

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"testing"
)

// Protects: the reserve is there once there is room beside the margin, is given back piece by piece while others take the disk's last
// bytes and no further once there is room for what is under way, is made whole again, and never holds what the margin needs.
func TestReserve(t *testing.T) {
	dir := folder(t.TempDir())
	const piece = 2 * reserveFloor
	var left uint64
	reserveOf := func(size uint64) *reserve {
		r := newReserve(dir, Options{ReserveBytes: size, Margins: Margins{Bytes: 10 * piece}, Log: slog.New(slog.DiscardHandler)})
		r.free = func(string) (uint64, error) { return left, nil }
		if err := r.find(); err != nil {
			t.Fatal(err)
		}
		return r
	}
	held := func() int64 {
		info, err := os.Stat(dir.reserve())
		if errors.Is(err, fs.ErrNotExist) {
			return 0
		}
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	r := reserveOf(reservePieces * piece)
	for _, step := range []struct {
		about string
		left  uint64
		want  int64
	}{
		{"no room beside the margin", 18 * piece, 0},
		{"room", 18*piece + 1, 8 * piece},
		{"below the margin", 5 * piece, 8 * piece},
		{"the last bytes", reserveFloor - 1, 7 * piece},
		{"still", 0, 6 * piece},
		{"what was given is free", piece, 6 * piece},
		{"taken too", 0, 5 * piece},
		{"and again", 0, 4 * piece},
		{"what the next start needs", 0, 4 * piece},
		{"room again, not for all", 12 * piece, 4 * piece},
		{"room again", 14*piece + 1, 8 * piece},
	} {
		left = step.left
		r.look()
		if got := held(); got != step.want {
			t.Fatalf("%s: %d bytes are held, want %d", step.about, got, step.want)
		}
	}
	// The next process takes it over; on a full disk it gives all of it before it opens anything.
	next := reserveOf(reservePieces * piece)
	if err := next.giveAll(); err != nil {
		t.Fatal(err)
	}
	if got := held(); got != 0 {
		t.Errorf("%d bytes are held while the store is opened on a full disk", got)
	}
	left = 100 * piece
	next.look()
	if reserveOf(0); held() != 0 {
		t.Error("a reserve that is switched off is kept")
	}
}
