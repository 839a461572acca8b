package server

import (
	"context"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// restEvery is how often it is asked whether the server rests, restBytes how little it then has allocated since the last time.
	restEvery = 3 * time.Second
	restBytes = 1 << 20
	// worthBytes is how much must have been allocated since memory was given back last.
	worthBytes = 8 << 20
)

// giveBack returns memory to the operating system when the server has come to rest. Go collects garbage when the heap has
// doubled: after a storm, or when thousands of phones have opened their streams and now wait, a server that does next to
// nothing would go on holding twice what it needs, and stacks as large as opening a stream once wanted them. A server at
// work is left alone.
func giveBack(ctx context.Context) error {
	ask := time.NewTicker(restEvery)
	defer ask.Stop()
	allocated := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	var last, given uint64
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ask.C:
		}
		metrics.Read(allocated)
		now := allocated[0].Value.Uint64()
		if now-last < restBytes && now-given >= worthBytes {
			runtime.GC() // Each collection halves the stacks that are too large.
			debug.FreeOSMemory()
			given = now
		}
		last = now
	}
}
