package embedded

import (
	"context"
	"log/slog"
	"os"
	"os/exec"
	"testing"

	"github.com/cong1022/fieldsync/store"
)

// What a test needs a process of its own for, this binary does when it is started with the name in this variable and the
// folder as its argument.
const childVariable = "FIELDSYNC_STORE_TEST_CHILD"

var children = map[string]func(dir string){
	"write": writeUntilKilled,
	"open":  openOnce,
}

// TestMain runs the tests, or does what one of them started this binary for.
func TestMain(m *testing.M) {
	for _, known := range []map[string]func(dir string){children, faults} {
		if child, ok := known[os.Getenv(childVariable)]; ok {
			child(os.Args[1])
			return
		}
	}
	os.Exit(m.Run())
}

// child prepares this binary to do what is named over the folder dir.
func child(t *testing.T, name, dir string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], dir)
	cmd.Env = append(os.Environ(), childVariable+"="+name)
	cmd.Stderr = t.Output()
	return cmd
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func opened(t *testing.T, dir string) *Engine {
	t.Helper()
	e, err := Open(dir, quiet())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	return e
}

func set(e store.Engine, key, value string) error {
	return e.Update(context.Background(), func(kv store.KV) error { return kv.Set([]byte(key), []byte(value)) })
}

func get(e store.Engine, key string) (value []byte, err error) {
	err = e.View(context.Background(), func(kv store.KV) error {
		value, err = kv.Get([]byte(key))
		return err
	})
	return value, err
}
