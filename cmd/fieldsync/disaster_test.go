package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"filippo.io/age"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/miniotest"
)

// Protects the promise where everything is gone: real phones work, the server ships to a real object store, encrypted; the server
// is killed and its whole data folder deleted. It is made again by the command, from nothing but the bucket, as of a second
// before; the phones sync. What was ever recorded is there exactly once, photos included, and a check of everything finds
// nothing.
func TestDisaster(t *testing.T) {
	if testing.Short() {
		t.Skip("left out by -short: builds MinIO on a new machine")
	}
	minio := miniotest.Start(t)
	identity, err := age.GenerateX25519Identity()
	check(t, err)
	addr := freeAddress(t)
	h := &house{t: t, dir: t.TempDir()}
	key := filepath.Join(h.dir, "key.txt")
	check(t, os.WriteFile(key, []byte(identity.String()+"\n"), 0o600))
	config := filepath.Join(h.dir, "city.yaml")
	check(t, os.WriteFile(config, fmt.Appendf(nil, "backup:\n  repository: s3+http://%s/disaster\n  recipients: [%s]\n", minio.Endpoint, identity.Recipient()), 0o600))
	t.Setenv("FIELDSYNC_BACKUP_ACCESS_KEY", minio.AccessKey)
	t.Setenv("FIELDSYNC_BACKUP_SECRET_KEY", minio.SecretKey)
	flags := []string{"--config", config, "--listen", addr}
	h.settle(flags...)

	var answered, cut atomic.Int64
	var recorders []*recorder
	tasks := []string{h.newTask(t.Context(), &fieldsyncv1.TicketIntake{HotlineId: "1022-1", Category: "fallen-tree", Title: "Cây đổ"}, crewOne)}
	for n := range 3 {
		name := fmt.Sprint("tho-", n)
		r := &recorder{
			phone: h.enrolCrew(name, crewOne), name: name, tasks: tasks, dir: h.dir, answered: &answered, cut: &cut, random: rand.New(rand.NewPCG(1, uint64(n))),
			recorded: make(map[string]string), judged: make(map[string]string), photos: make(map[string]string),
		}
		check(t, r.sync(t.Context()))
		recorders = append(recorders, r)
	}
	// All that the phones need to come back (crew, devices, task) is in the backup.
	_, err = h.operations().BackUpNow(t.Context(), &fieldsyncv1.BackUpNowRequest{})
	check(t, err)

	working, stop := context.WithCancel(t.Context())
	defer stop()
	var work sync.WaitGroup
	failed := make(chan error, len(recorders))
	for _, r := range recorders {
		work.Go(func() {
			if err := r.work(working); err != nil {
				failed <- err
			}
		})
	}
	begun := time.Now()
	for answered.Load() < 60 || time.Since(begun) < 4*time.Second { // Longer than the second that it is restored to before.
		select {
		case err := <-failed:
			t.Fatal(err)
		case <-time.After(10 * time.Millisecond):
		}
	}
	died := time.Now()
	h.server.kill()
	stop()
	work.Wait()
	select {
	case err := <-failed:
		t.Fatal(err)
	default:
	}
	check(t, os.RemoveAll(filepath.Join(h.dir, "data")))

	run := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "fieldsync", args...)
		cmd.Dir = h.dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("fieldsync %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	t.Log(run("backup", "verify", "--config", config, "--identity", key))
	t.Log(run("restore", "--config", config, "--data", "data", "--identity", key, "--to", died.Add(-time.Second).Format(time.RFC3339)))
	h.start(flags...)
	offered := 0
	for _, r := range recorders {
		report, err := r.phone.Sync(t.Context())
		check(t, err)
		offered += report.Offered
		for _, j := range report.Verdicts {
			if note := j.Mutation.GetAddNote(); note != nil {
				r.judged[note.GetText()] = j.Mutation.GetTaskId()
			}
		}
		check(t, r.phone.Upload(t.Context(), nil))
	}
	if offered == 0 {
		t.Error("the phones had nothing to offer again: that shows nothing")
	}
	t.Logf("%d mutations were offered again", offered)
	for _, r := range recorders {
		if err := errors.Join(r.sync(t.Context()), r.phone.Upload(t.Context(), nil)); err != nil {
			t.Fatal(err)
		}
		status, err := r.phone.Status()
		check(t, err)
		if !status.Whole || status.Queued != 0 || status.PhotosWaiting != 0 {
			t.Errorf("%s is not at rest: %+v", r.name, status)
		}
	}
	h.compare(recorders)
	checked, err := h.operations().CheckNow(t.Context(), &fieldsyncv1.CheckNowRequest{})
	if err != nil || checked.GetReport().GetFindings() > 0 {
		t.Errorf("check: %v, %v", checked, err)
	}
	check(t, h.server.interrupt())
}
