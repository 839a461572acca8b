package journal

import (
	"errors"
	"testing"
)

// Protects a restore from what lies in the backup's place: a segment is read as it was written or is damaged, and its records are in
// sequence up to there.
func FuzzSegment(f *testing.F) {
	w := NewWriter(testID, 7)
	f.Add(append([]byte(nil), w.Bytes()...))
	for n := range uint64(3) {
		w.Add(payload(n))
	}
	f.Add(w.Bytes())
	f.Add(w.Bytes()[:len(w.Bytes())-1])
	f.Add(append(append([]byte(nil), w.Bytes()...), make([]byte, 64)...))
	f.Fuzz(func(t *testing.T, content []byte) {
		var seen []uint64
		_, first, last, err := ReadSegment("segment", content, func(r Record) error {
			seen = append(seen, r.Sequence)
			return nil
		})
		if err != nil {
			if _, ok := errors.AsType[*DamageError](err); !ok {
				t.Fatal(err)
			}
			return
		}
		if uint64(len(seen)) != last-first+1 || len(seen) > 0 && (seen[0] != first || seen[len(seen)-1] != last) {
			t.Fatalf("records %v of %d to %d", seen, first, last)
		}
	})
}
