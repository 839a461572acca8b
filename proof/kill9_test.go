package proof

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/store"
	"github.com/cong1022/fieldsync/store/embedded"
)

// childFolder names the environment variable that makes the test binary a process to be killed, over the folder it names.
const childFolder = "FIELDSYNC_PROOF_CHILD"

// TestMain is the child where the environment says so.
func TestMain(m *testing.M) {
	if folder := os.Getenv(childFolder); folder != "" {
		fmt.Fprintln(os.Stderr, completeForever(folder))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// completeForever claims, seals and delivers one completion after the other, and prints a line once each step is durable.
func completeForever(folder string) error {
	ctx := context.Background()
	engine, err := embedded.Open(folder, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	st, err := store.Open(ctx, engine, store.Options{})
	if err != nil {
		return err
	}
	s, err := Open(ctx, st)
	if err != nil {
		return err
	}
	for n := 0; ; n++ {
		task := fmt.Sprintf("%d-%d", os.Getpid(), n)
		for i, step := range []func(*store.Tx, *storagev1.TaskRecord) error{
			func(tx *store.Tx, record *storagev1.TaskRecord) error { return s.Claim(tx, record, crewAn, 6, nil) },
			func(tx *store.Tx, record *storagev1.TaskRecord) error {
				record.Task.Photos[0].State = verified
				return s.Advance(tx, record, 7)
			},
			func(tx *store.Tx, record *storagev1.TaskRecord) error {
				completion, err := store.Get(tx, store.CompletionKey(record.GetTask().GetCompletion().GetCompletionId()))
				if err != nil {
					return err
				}
				completion.State = fieldsyncv1.ProofState_PROOF_STATE_DELIVERED
				return errors.Join(s.Deliver(tx, record, completion), store.Put(tx, store.CompletionKey(completion.GetId()), completion))
			},
		} {
			err := st.Update(ctx, func(tx *store.Tx) error {
				record, err := store.Get(tx, store.TaskKey(task))
				if err != nil {
					return err
				}
				if record == nil {
					record = completed(task, onPhone)
				}
				return errors.Join(step(tx, record), store.Put(tx, store.TaskKey(task), record))
			})
			if err != nil {
				return err
			}
			fmt.Println(task, i)
		}
	}
}

// Protects "no completion without a leaf, no leaf without a completion": a process that claims, seals and delivers is killed at
// random moments; what it had acknowledged is there, and the log and the completions say the same, each time.
func TestKill9(t *testing.T) {
	rounds := 10
	if testing.Short() {
		rounds = 2
		t.Log("-short: the process is killed 2 times, not 10")
	}
	folder := t.TempDir()
	acknowledged := make(map[string]int)
	for range rounds {
		child := exec.CommandContext(t.Context(), os.Args[0])
		child.Env = append(os.Environ(), childFolder+"="+folder)
		child.Stderr = os.Stderr
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		lines, after := bufio.NewScanner(out), 1+rand.IntN(60)
		for n := 0; lines.Scan(); n++ {
			task, step, _ := strings.Cut(lines.Text(), " ")
			if acknowledged[task], err = strconv.Atoi(step); err != nil {
				t.Fatalf("the child says %q", lines.Text())
			}
			if n == after { // Somewhere in the steps that follow; what is printed meanwhile still counts.
				time.AfterFunc(time.Duration(rand.IntN(3000))*time.Microsecond, func() { _ = child.Process.Kill() })
			}
		}
		_ = child.Wait() // It was killed.
		checkAfterKill(t, folder, acknowledged)
	}
	if len(acknowledged) < rounds {
		t.Errorf("only %d completions were acknowledged", len(acknowledged))
	}
}

func checkAfterKill(t *testing.T, folder string, acknowledged map[string]int) {
	t.Helper()
	engine, err := embedded.Open(folder, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer engine.Close()
	st, err := store.Open(t.Context(), engine, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := Audit(t.Context(), st); err != nil {
		t.Fatal(err)
	}
	err = st.View(t.Context(), func(tx *store.Tx) error {
		for task, step := range acknowledged {
			record, err := store.Get(tx, store.TaskKey(task))
			if err != nil {
				return err
			}
			completion, err := store.Get(tx, store.CompletionKey(record.GetTask().GetCompletion().GetCompletionId()))
			if err != nil {
				return err
			}
			leaves := []uint64{completion.GetClaimedLeaf(), completion.GetSealedLeaf(), completion.GetDeliveredLeaf()}
			if leaves[step] == 0 {
				return fmt.Errorf("step %d of %s was acknowledged and has no leaf", step, task)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
