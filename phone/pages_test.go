package phone

import (
	"testing"
	"time"
)

// Protects: answers are large only on a link that has shown itself to be good, and small again as soon as it is not: what a cut
// costs is bounded where cuts happen. What the app asks for stays.
func TestPages(t *testing.T) {
	var p pages
	expect := func(when string, want uint32) {
		t.Helper()
		if got := p.budget(); got != want {
			t.Errorf("%s: %d KiB, not %d", when, got>>10, want>>10)
		}
	}
	expect("at first", 64<<10)
	p.came(100*time.Millisecond, true)
	expect("after a quick page", 256<<10)
	p.came(100*time.Millisecond, false)
	expect("after a small answer", 256<<10)
	p.came(5*time.Second, true)
	expect("after a page that was neither quick nor slow", 256<<10)
	for range 3 {
		p.came(time.Second, true)
	}
	expect("after many", 1<<20)
	p.lost()
	expect("after a lost answer", 64<<10)
	p.came(time.Second, true)
	p.came(11*time.Second, false)
	expect("after a slow answer", 64<<10)

	p.fixed = 100
	p.came(time.Second, true)
	p.lost()
	expect("where the app says so", 100)
}
