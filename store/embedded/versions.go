package embedded

import (
	"slices"
	"sync"
)

// versions counts the commits in Badger, which runs in managed mode: its own counting lets whoever begins to read wait for
// the commit that is under way, and costs two messages between goroutines for each reader. A commit is visible when advance
// has been called. Safe for concurrent use.
type versions struct {
	mu      sync.Mutex
	visible uint64
	// readers counts those who read at a version. What they see must not be thrown away.
	readers map[uint64]int
	// flying are the batches that have begun and are not settled, newest first.
	flying []*batch
}

// newest is the newest version that is visible.
func (v *versions) newest() uint64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.visible
}

// begin counts a reader in, at the newest version, which it returns.
func (v *versions) begin() uint64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.enter()
}

func (v *versions) enter() uint64 {
	if v.readers == nil {
		v.readers = make(map[uint64]int)
	}
	v.readers[v.visible]++
	return v.visible
}

// end counts a reader out.
func (v *versions) end(version uint64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.readers[version]--; v.readers[version] == 0 {
		delete(v.readers, version)
	}
}

// advance makes a commit visible and returns the oldest version at which somebody may still read.
func (v *versions) advance(to uint64) (oldest uint64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.visible = to
	oldest = to
	for version := range v.readers {
		oldest = min(oldest, version)
	}
	return oldest
}

// launch counts a batch in, as a reader, and returns what is in flight before it, newest first: what of those is not visible
// at the version is in them.
func (v *versions) launch(b *batch) (version uint64, before []*batch) {
	v.mu.Lock()
	defer v.mu.Unlock()
	before = slices.Clone(v.flying)
	v.flying = slices.Insert(v.flying, 0, b)
	return v.enter(), before
}

// settle ends the flight of the oldest batch: its commit is visible, or it is not kept.
func (v *versions) settle(b *batch) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.flying = slices.DeleteFunc(v.flying, func(other *batch) bool { return other == b })
}
