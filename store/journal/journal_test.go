package journal

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
)

const testID = 0x1022_1022_1022_1022

// payload is what the test's record n holds: of many lengths, so that every alignment occurs.
func payload(n uint64) []byte {
	r := rand.New(rand.NewPCG(n, 7))
	b := make([]byte, r.IntN(300))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// filled makes a journal with the records 1 to n, in files of about 4 KiB, and closes it.
func filled(t *testing.T, n uint64) string {
	t.Helper()
	dir := t.TempDir()
	j, err := Create(dir, testID, 1, Options{SegmentBytes: 4 << 10})
	if err != nil {
		t.Fatal(err)
	}
	appendAll(t, j, 1, n)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func appendAll(t *testing.T, j *Journal, from, to uint64) {
	t.Helper()
	for n := from; n <= to; n++ {
		if got, err := j.Append(payload(n)); err != nil || got != n {
			t.Fatalf("record %d became %d, %v", n, got, err)
		}
	}
}

// holds reads the journal and returns an error unless it holds the records from..to as they were written.
func holds(dir string, from, to uint64) error {
	j, err := Open(dir, Options{SegmentBytes: 4 << 10})
	if err != nil {
		return err
	}
	defer j.Close()
	if j.Last() != to {
		return fmt.Errorf("it ends at %d", j.Last())
	}
	next := from
	for r, err := range j.Records(from) {
		if err != nil {
			return err
		}
		if r.Sequence != next || !bytes.Equal(r.Payload, payload(next)) {
			return fmt.Errorf("record %d is not as it was written", next)
		}
		next++
	}
	if next != to+1 {
		return fmt.Errorf("reading ends at %d", next-1)
	}
	return errors.Join(j.Verify()...)
}

// Protects: what was appended is there after a restart, over several files, and goes on where it ended.
func TestAppendAndReopen(t *testing.T) {
	dir := filled(t, 100)
	for last := uint64(100); last < 400; last += 100 {
		if err := holds(dir, 1, last); err != nil {
			t.Fatal(err)
		}
		j, err := Open(dir, Options{SegmentBytes: 4 << 10})
		if err != nil {
			t.Fatal(err)
		}
		if len(j.Segments()) < 3 || j.ID() != testID {
			t.Errorf("%d files, id %x", len(j.Segments()), j.ID())
		}
		appendAll(t, j, last+1, last+100)
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// Protects: a crash that cut the record that was being written off at any byte costs only that record, says so in the log,
// and the next record takes its place. The same where the disk has kept the length but not the bytes.
func TestTornTail(t *testing.T) {
	for _, zeroed := range []bool{false, true} {
		original := filled(t, 40)
		names := segments(t, original)
		tail := names[len(names)-1]
		whole, err := os.ReadFile(tail)
		if err != nil {
			t.Fatal(err)
		}
		begin := len(whole) - frameHeader - padded(len(payload(40)))
		for cut := begin; cut < len(whole); cut++ {
			torn := slices.Clone(whole[:cut])
			if zeroed {
				torn = append(torn, make([]byte, len(whole)-cut)...)
				if bytes.Equal(torn, whole) {
					continue // Only padding was lost.
				}
			}
			if err := os.WriteFile(tail, torn, 0o600); err != nil {
				t.Fatal(err)
			}
			var lines bytes.Buffer
			j, err := Open(original, Options{SegmentBytes: 4 << 10, Log: slog.New(slog.NewTextHandler(&lines, nil))})
			if err != nil {
				t.Fatalf("cut at %d of %d (zeroed: %t): %v", cut, len(whole), zeroed, err)
			}
			if said := strings.Contains(lines.String(), "taken away"); said != (cut > begin) {
				t.Errorf("cut at %d of %d..%d: the log says %q", cut, begin, len(whole), lines.String())
			}
			appendAll(t, j, 40, 40)
			if err := j.Close(); err != nil {
				t.Fatal(err)
			}
			if err := holds(original, 1, 40); err != nil {
				t.Fatalf("cut at %d (zeroed: %t): %v", cut, zeroed, err)
			}
		}
	}
}

// Protects: the zeros that a kill leaves behind the records are no record, and what stands alone among them is cut off.
func TestZerosAtTheEnd(t *testing.T) {
	dir := filled(t, 40)
	names := segments(t, dir)
	tail := names[len(names)-1]
	whole, err := os.ReadFile(tail)
	if err != nil {
		t.Fatal(err)
	}
	for _, behind := range [][]byte{make([]byte, 5), make([]byte, 5000), append(make([]byte, 3000), "garbage"...)} {
		if err := os.WriteFile(tail, append(slices.Clone(whole), behind...), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := holds(dir, 1, 40); err != nil {
			t.Errorf("with %d bytes behind the records: %v", len(behind), err)
		}
		if left, err := os.ReadFile(tail); err != nil || !bytes.Equal(left, whole) {
			t.Errorf("after Close it has %d bytes, not %d, %v", len(left), len(whole), err)
		}
	}
	// A kill: never closed.
	j, err := Open(dir, Options{SegmentBytes: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	appendAll(t, j, 41, 60)
	copied := t.TempDir()
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(holds(copied, 1, 60), j.Close()); err != nil {
		t.Fatal(err)
	}
}

// Protects: one flipped bit anywhere, except in the very last record (which looks like one that was being written), is found
// and its file and place are named; nothing is cut off because of it. In the last record it costs nothing but that record.
func TestFlippedBit(t *testing.T) {
	dir := filled(t, 60)
	step := 7
	if testing.Short() {
		step = 61
		t.Log("-short: every 61st byte, not every 7th")
	}
	names := segments(t, dir)
	for i, name := range names {
		original, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		lastRecord := len(original)
		if i == len(names)-1 {
			lastRecord -= frameHeader + padded(len(payload(60)))
		}
		for at := 0; at < lastRecord; at += step {
			damaged := slices.Clone(original)
			damaged[at] ^= 1 << (at % 8)
			if err := os.WriteFile(name, damaged, 0o600); err != nil {
				t.Fatal(err)
			}
			err := holds(dir, 1, 60)
			var d *DamageError
			if !errors.As(err, &d) || d.File != name || d.Offset > int64(at) {
				t.Fatalf("%s, bit in byte %d: %v", filepath.Base(name), at, err)
			}
			if left, err := os.ReadFile(name); err != nil || !bytes.Equal(left, damaged) {
				t.Fatalf("%s, bit in byte %d: the file was changed, %v", filepath.Base(name), at, err)
			}
		}
		if err := os.WriteFile(name, original, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := holds(dir, 1, 60); err != nil {
		t.Fatal(err)
	}
}

// Protects: a file that is missing in the middle, and one of another journal, are named.
func TestForeignAndMissingFiles(t *testing.T) {
	dir := filled(t, 100)
	names := segments(t, dir)
	if err := os.Rename(names[1], names[1]+".away"); err != nil {
		t.Fatal(err)
	}
	var d *DamageError
	if err := holds(dir, 1, 100); !errors.As(err, &d) || d.File != names[0] {
		t.Errorf("with a file missing: %v", err)
	}
	other := t.TempDir()
	j, err := Create(other, testID+1, 1, Options{SegmentBytes: 4 << 10})
	if err != nil {
		t.Fatal(err)
	}
	appendAll(t, j, 1, 100)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	foreign, err := os.ReadFile(segments(t, other)[1])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(names[1], foreign, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := holds(dir, 1, 100); !errors.As(err, &d) || d.File != names[1] {
		t.Errorf("with a file of another journal: %v", err)
	}
}

// Protects: forgetting removes whole files, never one that holds something behind the place, never the newest.
func TestForget(t *testing.T) {
	dir := filled(t, 100)
	j, err := Open(dir, Options{SegmentBytes: 4 << 10})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	through := j.Segments()[2].First
	if err := j.Forget(through); err != nil {
		t.Fatal(err)
	}
	if first := j.First(); first != through {
		t.Errorf("after forgetting through %d it begins at %d", through, first)
	}
	if err := j.Forget(1 << 60); err != nil {
		t.Fatal(err)
	}
	if n := len(j.Segments()); n != 1 || j.Last() != 100 {
		t.Errorf("%d files are left, the last record is %d", n, j.Last())
	}
	for _, err := range j.Records(1) {
		if _, damaged := errors.AsType[*DamageError](err); !damaged {
			t.Errorf("reading what was forgotten: %v", err)
		}
	}
	appendAll(t, j, 101, 110)
	if err := holds(dir, j.First(), 110); err != nil {
		t.Error(err)
	}
}

// Protects: a folder without a journal is told from one that is damaged, and a journal is not made over another.
func TestOpenAndCreate(t *testing.T) {
	if _, err := Open(t.TempDir(), Options{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an empty folder: %v", err)
	}
	if _, err := Create(filled(t, 1), 1, 1, Options{}); err == nil {
		t.Error("a journal was made over another")
	}
	// A crash between the making of a file and its header.
	dir := filled(t, 100)
	if err := os.WriteFile(filepath.Join(dir, segmentName(101)), []byte("fsj"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := holds(dir, 1, 100); err != nil {
		t.Errorf("with a file that was just begun: %v", err)
	}
}

// Protects: a snapshot is whole or a *DamageError, whichever bit is flipped and wherever it is cut.
func TestSnapshot(t *testing.T) {
	dir := t.TempDir()
	const n = 300
	pairs := func(yield func([]byte, []byte) bool) {
		for i := range uint64(n) {
			if !yield(fmt.Appendf(nil, "k%06d", i), append(payload(i), make([]byte, 2000)...)) {
				return
			}
		}
	}
	position := &storagev1.JournalPosition{Journal: testID, Sequence: 77}
	info, err := WriteSnapshot(dir, position, time.Unix(1, 0), pairs, nil)
	if err != nil {
		t.Fatal(err)
	}
	read := func() error {
		i := uint64(0)
		end, err := ReadSnapshot(info.Path, func(writes []*storagev1.JournalWrite) error {
			for _, w := range writes {
				if string(w.GetKey()) != fmt.Sprintf("k%06d", i) || !bytes.HasPrefix(w.GetValue(), payload(i)) {
					return fmt.Errorf("pair %d is %q", i, w.GetKey())
				}
				i++
			}
			return nil
		})
		if err == nil && (i != n || end.GetKeys() != n || end.GetPosition().GetSequence() != 77) {
			return fmt.Errorf("%d pairs, it ends with %v", i, end)
		}
		return err
	}
	if err := read(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(info.Path)
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	var d *DamageError
	for range 200 {
		damaged, at := slices.Clone(whole), random.IntN(len(whole))
		damaged[at] ^= 1 << random.IntN(8)
		if err := os.WriteFile(info.Path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := read(); !errors.As(err, &d) {
			t.Fatalf("a bit in byte %d: %v", at, err)
		}
		if err := os.WriteFile(info.Path, whole[:at], 0o600); err != nil {
			t.Fatal(err)
		}
		if err := read(); !errors.As(err, &d) {
			t.Fatalf("cut at %d: %v", at, err)
		}
	}
	infos, err := Snapshots(dir)
	if err != nil || len(infos) != 1 || infos[0].Position != 77 {
		t.Errorf("the folder lists %v, %v", infos, err)
	}
}

func segments(t *testing.T, dir string) []string {
	t.Helper()
	names, err := listed(dir)
	if err != nil {
		t.Fatal(err)
	}
	return names
}
