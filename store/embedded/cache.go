package embedded

import (
	"bytes"
	"sync"

	"github.com/tidwall/btree"
)

const (
	// cacheBytes is how much of keys and values is remembered, at most.
	cacheBytes = 64 << 20
	// cachedOverhead is counted for each beside key and value.
	cachedOverhead = 96
)

// cache remembers pairs that were read or written lately. Badger looks for a key in each of its levels, and unpacks a block
// for it; but what the writer and the readers ask for is mostly the same few heads, tasks, devices and members. Half of it is
// forgotten at a time, the half that nobody has asked for the longest. Safe for concurrent use.
type cache struct {
	mu sync.Mutex
	// version is that of the newest commit that was written here.
	version     uint64
	young, aged map[string]cached
	bytes       int
}

// cached is what lies under a key since a version: nil for nothing.
type cached struct {
	value []byte
	since uint64
}

// get returns what lies under key at a version, as the caller's own, if that is remembered.
func (c *cache) get(key []byte, version uint64) (value []byte, found bool) {
	c.mu.Lock()
	p, found := c.young[string(key)]
	if !found {
		if p, found = c.aged[string(key)]; found {
			c.put(string(key), p)
		}
	}
	c.mu.Unlock()
	if !found || p.since > version {
		return nil, false
	}
	return bytes.Clone(p.value), true
}

// read remembers what a reader has found at a version, unless something was written since: that may have been this key.
func (c *cache) read(key, value []byte, version uint64) {
	p := cached{bytes.Clone(value), version}
	c.mu.Lock()
	defer c.mu.Unlock()
	if version == c.version {
		c.put(string(key), p)
	}
}

// write takes over a commit, before it is visible. The values are not changed any more.
func (c *cache) write(pending *btree.Map[string, []byte], version uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.version = version
	pending.Scan(func(key string, value []byte) bool {
		c.put(key, cached{value, version})
		return true
	})
}

func (c *cache) put(key string, p cached) {
	size := len(key) + cachedOverhead
	if before, held := c.young[key]; held {
		c.bytes -= size + len(before.value)
	}
	size += len(p.value)
	if c.young == nil || c.bytes+size > cacheBytes/2 {
		c.young, c.aged, c.bytes = make(map[string]cached), c.young, 0
	}
	c.young[key] = p
	c.bytes += size
}
