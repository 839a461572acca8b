package push

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/cong1022/fieldsync/store"
	"github.com/cong1022/fieldsync/store/embedded"
)

const (
	// seedsVariable asks for a long campaign: so many seeds of 1,000 phones each way, instead of one.
	seedsVariable = "FIELDSYNC_PUSH_SEEDS"
	// workerVariable makes this binary a worker of its own over the store in the folder that it names.
	workerVariable = "FIELDSYNC_PUSH_TEST_WORKER"
)

// TestMain runs the tests, or is the worker that one of them kills.
func TestMain(m *testing.M) {
	if dir := os.Getenv(workerVariable); dir != "" {
		if err := workAlone(dir, os.Args[1], os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// campaigns calls play for the seeds that are asked for; small tells whether it is to be quick.
func campaigns(t *testing.T, play func(t *testing.T, seed uint64, small bool)) {
	t.Helper()
	seeds, err := strconv.ParseUint(os.Getenv(seedsVariable), 10, 64)
	if err != nil || seeds == 0 {
		play(t, 1, true)
		return
	}
	for seed := uint64(1); seed <= seeds; seed++ {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) { play(t, seed, false) })
	}
}

// Protects every assignment's news: 1,000 phones, an FCM with all its failures, and a worker that is stopped in good order or dies at
// a send, before the message is out or behind it, with up to 31 others in hand: to it a store that is closed under its hands is a
// crash. Every order ends as its phone allows, none is lost, and what arrives twice says nothing new.
func TestThousandPhones(t *testing.T) {
	campaigns(t, func(t *testing.T, seed uint64, _ bool) {
		t.Helper()
		phones, deaths := 1000, 8
		if testing.Short() {
			phones = 100
			t.Log("short: 100 phones instead of 1,000")
		}
		f := newFleet(t, seed, phones)
		for wave := range 4 {
			f.give([]float64{1, 0.2, 0.1, 0.05}[wave])
			for range deaths / 4 {
				f.renew()
				ctx, stop := context.WithCancel(t.Context())
				kill, crash := stop, f.random.IntN(4) > 0
				if crash {
					kill = sync.OnceFunc(func() { _ = f.store.Close() })
				}
				f.killAt(f.random.IntN(phones/4), kill)
				done := f.work(ctx)
				stop()
				f.spare()
				if done || !crash {
					_ = f.store.Close()
				}
				f.reopen()
				f.clock.advance(time.Duration(f.random.IntN(150)) * time.Second) // Some leases have ended by then, and some have not.
			}
		}
		if !f.work(t.Context()) {
			t.Fatal("the last worker did not come to its end")
		}
		f.check(defaultBatch)
	})
}

// Protects the same from kill -9: the worker is a process of its own, killed at a send, in the middle of a batch.
func TestKilledWorker(t *testing.T) {
	campaigns(t, func(t *testing.T, seed uint64, small bool) {
		t.Helper()
		phones, kills := 1000, 40
		if small {
			phones, kills = 200, 6
		}
		if testing.Short() {
			phones, kills = 60, 2
			t.Log("short: 2 kills instead of 6")
		}
		f := newFleet(t, seed, phones)
		f.give(1)
		for range kills {
			if err := f.store.Close(); err != nil {
				t.Fatal(err)
			}
			f.workUntilKilled(f.random.IntN(phones / kills))
			f.reopen()
			f.give(0.1)
			f.clock.advance(time.Duration(f.random.IntN(150)) * time.Second)
		}
		if f.kills == 0 {
			t.Error("no worker was killed: the test shows nothing")
		}
		if !f.work(t.Context()) {
			t.Fatal("the last worker did not come to its end")
		}
		f.check(defaultBatch)
	})
}

// workUntilKilled lets a process of its own work, and kills it at the send after so many. It ends by itself when nothing is due.
func (f *fleet) workUntilKilled(sends int) {
	f.t.Helper()
	cmd := exec.CommandContext(f.t.Context(), os.Args[0], f.fake.Endpoint(), strconv.FormatInt(f.clock.Now().UnixNano(), 10))
	cmd.Env = append(os.Environ(), workerVariable+"="+f.dir)
	cmd.Stdin = bytes.NewReader(f.fake.CredentialsJSON())
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		f.t.Fatal(err)
	}
	f.killAt(sends, func() { _ = cmd.Process.Kill() })
	err := cmd.Wait()
	killed := f.spare()
	if err != nil && !killed {
		f.t.Fatalf("the worker: %v\n%s", err, said.String())
	}
}

// workAlone is the worker in a process of its own: Run as the server calls it, at a time that stands still, until nothing is due.
func workAlone(dir, endpoint, at string) (err error) {
	ns, err := strconv.ParseInt(at, 10, 64)
	if err != nil {
		return err
	}
	credentials, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	engine, err := embedded.Open(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	st, err := store.Open(ctx, engine, store.Options{Clock: func() time.Time { return time.Unix(0, ns) }})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	fcm, err := NewFCM(ctx, FCMOptions{CredentialsJSON: credentials, Endpoint: endpoint})
	if err != nil {
		return err
	}
	go func() {
		for due := true; due; time.Sleep(2 * time.Millisecond) {
			due = false
			_ = st.View(ctx, func(tx *store.Tx) error {
				for row, err := range store.Scan(tx, store.Outbox(), nil) {
					due = err == nil && !row.GetDueAt().AsTime().After(st.Now())
					break
				}
				return nil
			})
		}
		stop() // Run finishes what it has in hand.
	}()
	return NewWorker(Options{
		Store: st, Sender: NewConsiderate(fcm, st.Now), Log: slog.New(slog.DiscardHandler),
	}).Run(ctx)
}
