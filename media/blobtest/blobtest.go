// Package blobtest holds the one suite that every implementation of media.Blobs must pass.
package blobtest

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/cong1022/fieldsync/media"
)

// largeBytes is more than the 16 MiB at which S3 clients begin to split what they send.
const largeBytes = 17<<20 + 1

// Run runs the suite over a store that holds nothing of the suite yet.
func Run(t *testing.T, blobs media.Blobs) {
	t.Helper()
	for name, test := range map[string]func(trial){
		"what is put is opened":          trial.putOpen,
		"nothing is there":               trial.notFound,
		"another hash is refused":        trial.mismatch,
		"put again":                      trial.again,
		"ranges":                         trial.ranges,
		"many at once":                   trial.concurrent,
		"a reader that breaks":           trial.brokenReader,
		"content is read from its start": trial.fromStart,
		"listed and removed":             trial.removed,
		"held":                           trial.held,
	} {
		t.Run(name, func(t *testing.T) { test(trial{t, blobs}) })
	}
}

// trial is one test of the suite. The tests put different contents.
type trial struct {
	t     *testing.T
	blobs media.Blobs
}

// Protects: the bytes come back as they were, from none to more than one part of a split upload.
func (c trial) putOpen() {
	t, blobs := c.t, c.blobs
	for seed, size := range []int{0, 1, 1000, 1 << 20, largeBytes} {
		content := contentOf(uint64(seed), size)
		put(t, blobs, content)
		check(t, blobs, content)
	}
}

// Protects: what is missing is told apart from what failed.
func (c trial) notFound() {
	t, blobs := c.t, c.blobs
	if _, _, err := blobs.Open(t.Context(), sha256.Sum256([]byte("nobody has put this"))); !errors.Is(err, media.ErrBlobNotFound) {
		t.Fatalf("opening what is not there: %v, want ErrBlobNotFound", err)
	}
}

// Protects: no content ever lies under a hash that is not its own, and a wrong one does no harm to a right one.
func (c trial) mismatch() {
	t, blobs := c.t, c.blobs
	right, wrong := contentOf(10, 5000), contentOf(11, 5000)
	sum := sha256.Sum256(right)
	refused := func() {
		if err := blobs.Put(t.Context(), sum, bytes.NewReader(wrong)); !errors.Is(err, media.ErrBlobMismatch) {
			t.Fatalf("putting content under another's hash: %v, want ErrBlobMismatch", err)
		}
	}
	refused()
	if _, _, err := blobs.Open(t.Context(), sum); !errors.Is(err, media.ErrBlobNotFound) {
		t.Fatalf("opening what was refused: %v, want ErrBlobNotFound", err)
	}
	put(t, blobs, right)
	refused()
	check(t, blobs, right)
}

// Protects: a commit whose answer was lost is repeated with success.
func (c trial) again() {
	t, blobs := c.t, c.blobs
	content := contentOf(20, 5000)
	put(t, blobs, content)
	put(t, blobs, content)
	check(t, blobs, content)
}

// Protects: what http.ServeContent does with a range.
func (c trial) ranges() {
	t, blobs := c.t, c.blobs
	content := contentOf(30, 100_000)
	put(t, blobs, content)
	reader, _, err := blobs.Open(t.Context(), sha256.Sum256(content))
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	for _, step := range []struct {
		offset     int64
		whence     int
		start, end int
	}{
		{0, io.SeekEnd, 100_000, 100_000},
		{0, io.SeekStart, 0, 10},
		{99_990, io.SeekStart, 99_990, 100_000},
		{-100, io.SeekEnd, 99_900, 99_950},
		{50_000, io.SeekStart, 50_000, 60_000},
		{5_000, io.SeekCurrent, 65_000, 65_001},
	} {
		at, err := reader.Seek(step.offset, step.whence)
		if err != nil || at != int64(step.start) {
			t.Fatalf("seek %d from %d: at %d, %v; want %d", step.offset, step.whence, at, err, step.start)
		}
		got := make([]byte, step.end-step.start)
		if _, err := io.ReadFull(reader, got); err != nil || !bytes.Equal(got, content[step.start:step.end]) {
			t.Fatalf("reading %d to %d: %v, or other bytes", step.start, step.end, err)
		}
	}
}

// Protects: two phones that send the same photo at once, beside others.
func (c trial) concurrent() {
	t, blobs := c.t, c.blobs
	var all sync.WaitGroup
	for i := range 16 {
		content := contentOf(uint64(40+i%4), 50_000)
		all.Go(func() {
			if err := blobs.Put(t.Context(), sha256.Sum256(content), bytes.NewReader(content)); err != nil {
				t.Errorf("one of many: %v", err)
				return
			}
			check(t, blobs, content)
		})
	}
	all.Wait()
}

// Protects: content of which only a part could be read is not kept.
func (c trial) brokenReader() {
	t, blobs := c.t, c.blobs
	content := contentOf(50, 100_000)
	sum := sha256.Sum256(content)
	broken := errors.New("the disk is gone")
	if err := blobs.Put(t.Context(), sum, &breaking{bytes.NewReader(content[:60_000]), broken}); !errors.Is(err, broken) {
		t.Fatalf("a broken reader: %v, want its error", err)
	}
	if _, _, err := blobs.Open(t.Context(), sum); !errors.Is(err, media.ErrBlobNotFound) {
		t.Fatalf("opening what was cut: %v, want ErrBlobNotFound", err)
	}
}

// Protects: whoever has looked at the content before need not rewind it.
func (c trial) fromStart() {
	t, blobs := c.t, c.blobs
	content := contentOf(60, 1000)
	reader := bytes.NewReader(content)
	if _, err := reader.Seek(500, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	if err := blobs.Put(t.Context(), sha256.Sum256(content), reader); err != nil {
		t.Fatal(err)
	}
	check(t, blobs, content)
}

// breaking is content whose end cannot be read.
type breaking struct {
	*bytes.Reader

	err error
}

func (b *breaking) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if errors.Is(err, io.EOF) {
		err = b.err
	}
	return n, err
}

// WriteTo hides the one of bytes.Reader, which io.Copy would prefer to Read.
func (b *breaking) WriteTo(w io.Writer) (int64, error) {
	return io.Copy(w, struct{ io.Reader }{b})
}

func contentOf(seed uint64, size int) []byte {
	random := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // Bytes to tell apart, not secrets.
	content := make([]byte, size)
	for i := range content {
		content[i] = byte(random.Uint32()) //nolint:gosec // The low byte.
	}
	return content
}

func put(t *testing.T, blobs media.Blobs, content []byte) {
	t.Helper()
	if err := blobs.Put(t.Context(), sha256.Sum256(content), bytes.NewReader(content)); err != nil {
		t.Fatalf("putting %d bytes: %v", len(content), err)
	}
}

func check(t *testing.T, blobs media.Blobs, content []byte) {
	t.Helper()
	reader, size, err := blobs.Open(t.Context(), sha256.Sum256(content))
	if err != nil {
		t.Errorf("opening %d bytes: %v", len(content), err)
		return
	}
	defer reader.Close()
	got, err := io.ReadAll(reader)
	if err != nil || size != int64(len(content)) || !bytes.Equal(got, content) {
		t.Errorf("reading %d bytes: got %d, size said %d, %v, or other bytes", len(content), len(got), size, err)
	}
}

// Protects: what is kept is listed with a time, what is removed is gone and can be put again, and nothing else is touched.
func (c trial) removed() {
	t, blobs := c.t, c.blobs
	begun := time.Now().Add(-time.Minute) // File systems and stores round.
	first, second := contentOf(70, 3000), contentOf(71, 3000)
	put(t, blobs, first)
	put(t, blobs, second)
	listed := func() map[[sha256.Size]byte]bool {
		found := map[[sha256.Size]byte]bool{}
		for kept, err := range blobs.List(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			if kept.Since.Before(begun) && (kept.Sum == sha256.Sum256(first) || kept.Sum == sha256.Sum256(second)) {
				t.Errorf("%x is said to be kept since %v", kept.Sum, kept.Since)
			}
			found[kept.Sum] = true
		}
		return found
	}
	if found := listed(); !found[sha256.Sum256(first)] || !found[sha256.Sum256(second)] {
		t.Fatal("what was put is not listed")
	}
	for range 2 { // A repeat is a success.
		if err := blobs.Remove(t.Context(), sha256.Sum256(first)); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := blobs.Open(t.Context(), sha256.Sum256(first)); !errors.Is(err, media.ErrBlobNotFound) {
		t.Fatalf("opening what was removed: %v", err)
	}
	if found := listed(); found[sha256.Sum256(first)] || !found[sha256.Sum256(second)] {
		t.Error("the list after the removal is wrong")
	}
	check(t, blobs, second)
	put(t, blobs, first)
	check(t, blobs, first)
}

// Protects: holds go on and off, any number of times, and what is missing is told.
func (c trial) held() {
	t, blobs := c.t, c.blobs
	content := contentOf(72, 3000)
	put(t, blobs, content)
	for _, on := range []bool{true, true, false, false} {
		if err := blobs.Hold(t.Context(), sha256.Sum256(content), on); err != nil {
			t.Fatalf("hold %v: %v", on, err)
		}
	}
	if err := blobs.Remove(t.Context(), sha256.Sum256(content)); err != nil {
		t.Errorf("removing what is no longer held: %v", err)
	}
}
