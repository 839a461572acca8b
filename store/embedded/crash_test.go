package embedded

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/cong1022/fieldsync/store"
)

const killWriters = 16

// writeUntilKilled counts up in sixteen writers. Each transaction writes the number in three places; each that was
// acknowledged is told on the standard output.
func writeUntilKilled(dir string) {
	e, err := Open(dir, quiet())
	if err != nil {
		fmt.Println("error", err)
		return
	}
	var lines sync.Mutex
	var writers sync.WaitGroup
	for w := range killWriters {
		writers.Go(func() {
			for {
				var n int
				err := e.Update(context.Background(), func(kv store.KV) (err error) {
					n, err = count(kv, w)
					if err != nil {
						return err
					}
					value := []byte(strconv.Itoa(n))
					return errors.Join(kv.Set(fmt.Appendf(nil, "log/%02d/%08d", w, n), append(value, make([]byte, 200)...)),
						kv.Set(fmt.Appendf(nil, "head/%02d", w), value), kv.Set(fmt.Appendf(nil, "mirror/%02d", w), value))
				})
				if err != nil {
					fmt.Println("error", err)
					return
				}
				lines.Lock()
				fmt.Println(w, n)
				lines.Unlock()
			}
		})
	}
	writers.Wait()
}

// count gives the number that comes after the head of a writer.
func count(kv store.KV, w int) (int, error) {
	head, err := kv.Get(fmt.Appendf(nil, "head/%02d", w))
	if err != nil || head == nil {
		return 1, err
	}
	n, err := strconv.Atoi(string(head))
	return n + 1, err
}

// Promise 1: what was acknowledged survives kill -9 at any moment, and no transaction is there in part. The killed store
// is the next round's, so that recovery is itself killed and recovered.
func TestKill(t *testing.T) {
	rounds := 8
	if testing.Short() {
		rounds = 2
		t.Log("short: 2 rounds of kill -9 instead of 8")
	}
	dir := t.TempDir()
	var acknowledged [killWriters]int
	for round := range rounds {
		total := killOnce(t, dir, &acknowledged)
		e := opened(t, dir)
		for w, least := range acknowledged {
			if err := whole(e, w, least); err != nil {
				t.Errorf("round %d, writer %d: %v", round, w, err)
			}
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		t.Logf("round %d: %d acknowledged before the kill", round, total)
	}
}

// killOnce starts the writers, kills them at a random moment, and notes the last number that each was told to be safe.
func killOnce(t *testing.T, dir string, acknowledged *[killWriters]int) (total int) {
	t.Helper()
	cmd := child(t, "write", dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	killAt := rand.IntN(4000)
	for lines := bufio.NewScanner(out); lines.Scan(); total++ {
		w, n, _ := strings.Cut(lines.Text(), " ")
		writer, errWriter := strconv.Atoi(w)
		number, errNumber := strconv.Atoi(n)
		if errWriter != nil || errNumber != nil {
			t.Errorf("the writers said %q", lines.Text())
			break
		}
		acknowledged[writer] = number
		if total == killAt {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait() // It was killed.
	return total
}

// whole checks a writer's records: nothing missing up to its head, the three places equal, the head not before least.
func whole(e *Engine, w, least int) error {
	return e.View(context.Background(), func(kv store.KV) error {
		next, err := count(kv, w)
		if err != nil {
			return err
		}
		head := next - 1
		if head < least {
			return fmt.Errorf("%d was acknowledged, the head is %d", least, head)
		}
		mirror, err := kv.Get(fmt.Appendf(nil, "mirror/%02d", w))
		if err != nil || head > 0 && string(mirror) != strconv.Itoa(head) {
			return fmt.Errorf("the head is %d, its mirror %q, %w", head, mirror, err)
		}
		n := 0
		for pair, err := range kv.Range(fmt.Appendf(nil, "log/%02d/", w), fmt.Appendf(nil, "log/%02d0", w)) {
			if err != nil {
				return err
			}
			if n++; string(pair.Key) != fmt.Sprintf("log/%02d/%08d", w, n) {
				return fmt.Errorf("number %d lies under %s", n, pair.Key)
			}
		}
		if n != head {
			return fmt.Errorf("the head is %d, the log has %d", head, n)
		}
		return nil
	})
}

func openOnce(dir string) {
	e, err := Open(dir, quiet())
	if errors.Is(err, ErrInUse) {
		fmt.Print("in use")
		return
	}
	if err == nil {
		err = e.Close()
	}
	fmt.Print("opened ", err)
}

// A folder belongs to one process, and to one engine in it, until it is closed. Badger has no sentinel for this: isLocked
// reads its text.
func TestSecondProcess(t *testing.T) {
	dir := t.TempDir()
	e := opened(t, dir)
	if _, err := Open(dir, quiet()); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), dir) {
		t.Errorf("a second engine: %v", err)
	}
	in := func() string {
		out, err := child(t, "open", dir).Output()
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	if got := in(); got != "in use" {
		t.Errorf("a second process: %s", got)
	}
	if err := set(e, "a", "1"); err != nil {
		t.Errorf("the first engine after that: %v", err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if got := in(); got != "opened <nil>" {
		t.Errorf("a second process after Close: %s", got)
	}
}

// What cannot be a data folder is named, with the operating system's reason, and nothing is left behind.
func TestNotAFolder(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{file, filepath.Join(file, "below")} {
		var pathError *fs.PathError
		if _, err := Open(dir, quiet()); !errors.As(err, &pathError) || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v", dir, err)
		}
	}
}

// The folder is made for its owner only: citizens' names lie in it.
func TestFolderIsPrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	if err := opened(t, dir).Close(); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	if mode := info.Mode().Perm(); mode != 0o700 {
		t.Errorf("the folder's mode is %o", mode)
	}
	left, err := filepath.Glob(filepath.Join(dir, ".writable-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
}
