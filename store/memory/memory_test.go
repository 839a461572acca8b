package memory

import (
	"testing"

	"github.com/cong1022/fieldsync/store"
	"github.com/cong1022/fieldsync/store/storetest"
)

// Protects: the engine keeps the promises of the seam.
func TestConformance(t *testing.T) {
	storetest.Run(t, func(*testing.T) func() store.Engine {
		disk := new(Disk)
		return func() store.Engine { return disk.Open() }
	})
}

// Protects: a backup stays as it was, whatever is written to either side, and an engine that is dropped without a word has
// lost nothing that it acknowledged.
func TestClone(t *testing.T) {
	set := func(e *Engine, value string) {
		t.Helper()
		if err := e.Update(t.Context(), func(kv store.KV) error { return kv.Set([]byte("k"), []byte(value)) }); err != nil {
			t.Fatal(err)
		}
	}
	get := func(e *Engine) (got string) {
		t.Helper()
		if err := e.View(t.Context(), func(kv store.KV) error {
			value, err := kv.Get([]byte("k"))
			got = string(value)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return got
	}
	disk := new(Disk)
	set(disk.Open(), "1") // Dropped: killed.
	backup := disk.Clone()
	set(disk.Open(), "2")
	set(backup.Clone().Open(), "3")
	if a, b := get(disk.Open()), get(backup.Open()); a != "2" || b != "1" {
		t.Errorf("the disk holds %s and its backup %s, not 2 and 1", a, b)
	}
}
