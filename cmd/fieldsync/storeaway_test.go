package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/miniotest"
	"github.com/cong1022/fieldsync/phone"
)

// Protects: while the object store is away, also when the server starts, everything but photos goes on. Photos wait in the spool,
// nothing is sealed without them, and when the store is back each arrives. FIELDSYNC_OUTAGE=1h has the first absence last so long.
func TestObjectStoreAway(t *testing.T) {
	if testing.Short() {
		t.Skip("left out by -short: builds MinIO on a new machine")
	}
	minio := miniotest.Start(t)
	way := newGate(t, minio.Endpoint)
	h := &house{t: t, dir: t.TempDir()}
	config := filepath.Join(h.dir, "city.yaml")
	check(t, os.WriteFile(config, fmt.Appendf(nil, "media:\n  store: s3\n  s3: {endpoint: %q, tls: false, access_key: %s}\n", way.address(), minio.AccessKey), 0o600))
	t.Setenv("FIELDSYNC_MEDIA_S3_SECRET_KEY", minio.SecretKey)
	flags := []string{"--config", config, "--listen", freeAddress(t)}

	way.shut()
	h.settle(flags...)
	crew := h.enrolCrew("an", crewOne)
	complete := func(hotlineID string) string {
		t.Helper()
		task := h.newTask(t.Context(), &fieldsyncv1.TicketIntake{HotlineId: hotlineID, Category: "fallen-tree", Title: "Cây đổ"}, crewOne)
		_, err := crew.Sync(t.Context())
		check(t, err)
		check(t, crew.Start(task))
		file := filepath.Join(h.dir, hotlineID+".jpg")
		check(t, os.WriteFile(file, append(jpegBytes(1), hotlineID...), 0o600))
		_, err = crew.Photo(task, file, phone.PhotoFacts{Kind: fieldsyncv1.PhotoKind_PHOTO_KIND_AFTER})
		check(t, err)
		check(t, crew.Complete(task, fieldsyncv1.Outcome_OUTCOME_REPAIRED, "xong"))
		_, err = crew.Sync(t.Context())
		check(t, err)
		short, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if err := crew.Upload(short, nil); err == nil && !way.isOpen() {
			t.Error("a photo went through while the store was away")
		}
		return task
	}
	state := func(task string) fieldsyncv1.ProofState {
		t.Helper()
		got, err := h.desk(h.dispatcher).GetTask(t.Context(), &fieldsyncv1.GetTaskRequest{TaskId: task})
		check(t, err)
		return got.GetTask().GetCompletion().GetProofState()
	}
	first := complete("1022-1")
	if got := state(first); got != fieldsyncv1.ProofState_PROOF_STATE_CLAIMED {
		t.Errorf("while the store is away the completion is %v, want claimed", got)
	}
	if asked := os.Getenv("FIELDSYNC_OUTAGE"); asked != "" {
		lasts, err := time.ParseDuration(asked)
		check(t, err)
		time.Sleep(lasts)
	}
	way.open()
	check(t, crew.Upload(t.Context(), nil))
	if got := state(first); got != fieldsyncv1.ProofState_PROOF_STATE_SEALED {
		t.Errorf("with its photo the completion is %v, want sealed", got)
	}

	// It goes away under a running server, which is started anew meanwhile.
	way.shut()
	second := complete("1022-2")
	check(t, h.server.interrupt())
	h.start(flags...)
	if got := state(second); got != fieldsyncv1.ProofState_PROOF_STATE_CLAIMED {
		t.Errorf("while the store is away the second completion is %v, want claimed", got)
	}
	way.open()
	check(t, crew.Upload(t.Context(), nil))
	if got := state(second); got != fieldsyncv1.ProofState_PROOF_STATE_SEALED {
		t.Errorf("with its photo the second completion is %v, want sealed", got)
	}
	check(t, h.server.interrupt())
}

// gate is the way to a server, which can be shut: then nobody answers.
type gate struct {
	t        *testing.T
	behind   string
	at       string
	mu       sync.Mutex
	listener net.Listener
	under    map[net.Conn]bool
}

func newGate(t *testing.T, behind string) *gate {
	t.Helper()
	g := &gate{t: t, behind: behind, at: "127.0.0.1:0", under: make(map[net.Conn]bool)}
	g.open()
	t.Cleanup(g.shut)
	return g
}

func (g *gate) address() string { return g.at }

func (g *gate) isOpen() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.listener != nil
}

func (g *gate) open() {
	g.t.Helper()
	listener, err := new(net.ListenConfig).Listen(g.t.Context(), "tcp", g.at)
	check(g.t, err)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.listener, g.at = listener, listener.Addr().String()
	go func() {
		for {
			in, err := listener.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", g.behind) //nolint:noctx // It ends with the gate.
			if err != nil {
				_ = in.Close()
				continue
			}
			g.mu.Lock()
			g.under[in], g.under[out] = true, true
			g.mu.Unlock()
			go func() { _, _ = io.Copy(out, in); _ = out.Close() }()
			go func() { _, _ = io.Copy(in, out); _ = in.Close() }()
		}
	}()
}

func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.listener == nil {
		return
	}
	_ = g.listener.Close()
	g.listener = nil
	for conn := range g.under {
		_ = conn.Close()
	}
	clear(g.under)
}
