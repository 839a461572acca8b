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
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/proof/receipt"
	"github.com/cong1022/fieldsync/store"
	"github.com/cong1022/fieldsync/store/embedded"
)

const (
	// childFolder names the environment variable that makes the test binary a process to be killed, over the folder it names.
	childFolder = "FIELDSYNC_PROOF_CHILD"
	// childDies names the one that says in front of which of its writes into the store the child kills itself. Unset: none.
	childDies = "FIELDSYNC_PROOF_DIES"
)

// TestMain is the child where the environment says so.
func TestMain(m *testing.M) {
	if folder := os.Getenv(childFolder); folder != "" {
		fmt.Fprintln(os.Stderr, writeForever(folder))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// step is one transaction of those that write a leaf.
type step struct {
	name string
	do   func(s *Sealer, tx *store.Tx, record *storagev1.TaskRecord) error
	// writes is the kind of its leaf.
	writes receipt.Kind
}

// steps are the way of a task on which every kind of leaf is written: claimed, sealed, decided on both ways, delivered, reopened, and
// completed anew.
func steps() []step {
	claim := func(s *Sealer, tx *store.Tx, record *storagev1.TaskRecord) error {
		record.Task.Completion = completed(record.GetTask().GetId(), onPhone).GetTask().GetCompletion()
		record.Task.Photos[0].State = onPhone
		return s.Claim(tx, record, crewAn, 6, nil)
	}
	arrive := func(s *Sealer, tx *store.Tx, record *storagev1.TaskRecord) error {
		record.Task.Photos[0].State = verified
		return s.Advance(tx, record, 7)
	}
	deliver := func(s *Sealer, tx *store.Tx, record *storagev1.TaskRecord) error {
		completion, err := completionOf(tx, record)
		if err != nil {
			return err
		}
		completion.State = fieldsyncv1.ProofState_PROOF_STATE_DELIVERED
		return errors.Join(s.Deliver(tx, record, completion), store.Put(tx, store.CompletionKey(completion.GetId()), completion))
	}
	reopen := func(s *Sealer, tx *store.Tx, record *storagev1.TaskRecord) error {
		return s.Reopen(tx, record, "lan", "cây vẫn còn đó")
	}
	return []step{
		{"claim", claim, receipt.Claimed},
		{"seal", arrive, receipt.Sealed},
		{"confirm a false report", decide(true), receipt.Decided},
		{"reverse it", decide(false), receipt.Decided},
		{"deliver", deliver, receipt.Delivered},
		{"reopen", reopen, receipt.Reopened},
		{"claim again", claim, receipt.Claimed},
		{"reopen the claim", reopen, receipt.Reopened},
		{"claim for the third time", claim, receipt.Claimed},
		{"seal the third", arrive, receipt.Sealed},
	}
}

// decide takes a decision down as the room of false reports does, the leaf and what it is about in one transaction.
func decide(confirmed bool) func(s *Sealer, tx *store.Tx, record *storagev1.TaskRecord) error {
	return func(s *Sealer, tx *store.Tx, record *storagev1.TaskRecord) error {
		completion, err := completionOf(tx, record)
		if err != nil {
			return err
		}
		key := store.FalseReportKey(record.GetTask().GetTicket().GetTicketId())
		report, err := store.Get(tx, key)
		if err != nil {
			return err
		}
		if report == nil {
			report = &storagev1.FalseReport{TicketId: record.GetTask().GetTicket().GetTicketId()}
		}
		decision := &fieldsyncv1.FalseReportDecision{Confirmed: confirmed, MemberId: "lan", At: tx.Timestamp(), DossierSha256: make([]byte, 32)}
		leaf, err := s.Decide(tx, record, completion, decision)
		if err != nil {
			return err
		}
		report.Decided = append(report.Decided, &storagev1.FalseReport_Decided{Decision: decision, Leaf: leaf})
		return store.Put(tx, key, report)
	}
}

func completionOf(tx *store.Tx, record *storagev1.TaskRecord) (*storagev1.Completion, error) {
	return store.Get(tx, store.CompletionKey(record.GetTask().GetCompletion().GetCompletionId()))
}

// mortal is an engine whose process is killed in front of its n-th write: each key that is set or deleted is one, and each return
// from a commit, when all is durable and nobody has heard of it.
type mortal struct {
	store.Engine

	left atomic.Int64
}

func (m *mortal) write() {
	if m.left.Add(-1) == 0 {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {} // The signal is on its way.
	}
}

// Update implements store.Engine.
func (m *mortal) Update(ctx context.Context, fn func(store.KV) error) error {
	err := m.Engine.Update(ctx, func(kv store.KV) error { return fn(mortalKV{kv, m}) })
	m.write()
	return err
}

type mortalKV struct {
	store.KV

	m *mortal
}

// Set implements store.KV.
func (kv mortalKV) Set(key, value []byte) error {
	kv.m.write()
	return kv.KV.Set(key, value)
}

// Delete implements store.KV.
func (kv mortalKV) Delete(key []byte) error {
	kv.m.write()
	return kv.KV.Delete(key)
}

// writeForever takes one task after the other through all steps, and prints a line once each is durable.
func writeForever(folder string) error {
	ctx := context.Background()
	engine, err := embedded.Open(folder, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	dying := &mortal{Engine: engine}
	st, err := store.Open(ctx, dying, store.Options{})
	if err != nil {
		return err
	}
	s, err := Open(ctx, st)
	if err != nil {
		return err
	}
	if err := Audit(ctx, st); err != nil { // What the one before has left.
		return err
	}
	if dies, err := strconv.ParseInt(os.Getenv(childDies), 10, 64); err == nil {
		dying.left.Store(dies)
	}
	for n := 0; ; n++ {
		task := fmt.Sprintf("%d-%d", os.Getpid(), n)
		for i, step := range steps() {
			err := st.Update(ctx, func(tx *store.Tx) error {
				record, err := store.Get(tx, store.TaskKey(task))
				if err != nil {
					return err
				}
				if record == nil {
					record = completed(task, onPhone)
					record.Task.Ticket.TicketId = "ticket of " + task
				}
				return errors.Join(step.do(s, tx, record), store.Put(tx, store.TaskKey(task), record))
			})
			if err != nil {
				return fmt.Errorf("%s: %w", step.name, err)
			}
			fmt.Println(task, i)
		}
	}
}

// life runs a child until it is killed: by itself in front of its write dies, or where that is 0 a moment after it has written so many
// lines. It notes the last step that was acknowledged of each task.
func life(t *testing.T, folder string, dies, lines int, acknowledged map[string]int) {
	t.Helper()
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), childFolder+"="+folder, childDies+"="+strconv.Itoa(dies))
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	said := bufio.NewScanner(out)
	for n := 0; said.Scan(); n++ {
		task, step, _ := strings.Cut(said.Text(), " ")
		if acknowledged[task], err = strconv.Atoi(step); err != nil {
			t.Fatalf("the child says %q", said.Text())
		}
		if dies == 0 && n == lines { // Somewhere in the steps that follow; what is printed meanwhile still counts.
			time.AfterFunc(time.Duration(rand.IntN(3000))*time.Microsecond, func() { _ = child.Process.Kill() })
		}
	}
	var exit *exec.ExitError
	if err := child.Wait(); !errors.As(err, &exit) || exit.ExitCode() != -1 { // -1: by a signal.
		t.Fatalf("the child was not killed: %v", err)
	}
}

// Protects "no completion without a leaf, no leaf without a completion", and the same of corrections, reopenings, false-report decisions and
// reversals: a process that writes every kind of leaf is killed at random moments; what it had acknowledged is there, and the log and
// what it is about say the same, each time.
func TestKill9(t *testing.T) {
	rounds := 10
	if testing.Short() {
		rounds = 2
		t.Log("-short: the process is killed 2 times, not 10")
	}
	folder := t.TempDir()
	acknowledged := make(map[string]int)
	for range rounds {
		life(t, folder, 0, 1+rand.IntN(60), acknowledged)
		checkAfterKill(t, folder, acknowledged)
	}
	if len(acknowledged) < rounds {
		t.Errorf("only %d tasks were acknowledged", len(acknowledged))
	}
}

// Protects the same at each single write: the process is killed in front of every key that any of the steps sets, and behind every
// commit before anybody has heard of it.
func TestKill9AtEveryWrite(t *testing.T) {
	stride := 1
	if testing.Short() {
		stride = 7
		t.Log("-short: the process is killed at every seventh write, not at each")
	}
	folder := t.TempDir()
	acknowledged := make(map[string]int)
	last, at := len(steps())-1, 0
	for whole := false; !whole; { // Until a task has come through all steps.
		at += stride
		life(t, folder, at, 0, acknowledged) // Which audits what the one before has left.
		for _, step := range acknowledged {
			whole = whole || step == last
		}
	}
	checkAfterKill(t, folder, acknowledged)
	t.Logf("killed at %d writes", at/stride)
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
		for task, last := range acknowledged {
			kinds, err := leavesOf(tx, task)
			if err != nil {
				return err
			}
			if len(kinds) <= last {
				return fmt.Errorf("%q of %s was acknowledged, and there are %v", steps()[last].name, task, kinds)
			}
			for i, kind := range kinds {
				if kind != steps()[i].writes {
					return fmt.Errorf("%s has the leaves %v", task, kinds)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// leavesOf are the kinds of a task's leaves, oldest first.
func leavesOf(tx *store.Tx, task string) (kinds []receipt.Kind, err error) {
	record, err := store.Get(tx, store.TaskKey(task))
	if err != nil {
		return nil, err
	}
	for number := record.GetLogLeaf(); number != 0; {
		entry, err := store.Get(tx, store.LogLeafKey(number))
		if err != nil {
			return nil, err
		}
		kinds, number = append(kinds, receipt.Kind(entry.GetKind())), entry.GetPrevious()
	}
	slices.Reverse(kinds)
	return kinds, nil
}
