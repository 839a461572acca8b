package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/phone"
)

const (
	// A photo is taken instead of every photoEvery-th note, at most maxPhotosEach by a phone: a task takes 50 of its crew.
	photoEvery    = 12
	maxPhotosEach = 15
	// pauseBetween leaves the two cores some air, and the tasks room for what is recorded.
	pauseBetween = 5 * time.Millisecond
)

// recorder is a crew member who works on while the server comes and goes.
type recorder struct {
	phone *phone.Phone
	name  string
	tasks []string
	dir   string
	// answered counts the syncs to which an answer came, cut those that reached a server and got none. Over all recorders.
	answered, cut *atomic.Int64

	random *rand.Rand
	// recorded and judged are the texts of notes: what the phone has taken, and what a verdict has come for.
	recorded, judged map[string]string // Text to task.
	photos           map[string]string // Photo to task.
}

// work records and syncs until ctx ends. What the network and a dead server do to a phone is no error; all else is.
func (r *recorder) work(ctx context.Context) error {
	for i := 0; ctx.Err() == nil; i++ {
		task := r.tasks[r.random.IntN(len(r.tasks))]
		var err error
		if i%photoEvery == photoEvery-1 && len(r.photos) < maxPhotosEach {
			err = r.photograph(task, uint64(i))
		} else {
			text := fmt.Sprintf("%s ghi chú %d", r.name, i)
			if err = r.phone.Note(task, text); err == nil {
				r.recorded[text] = task
			}
		}
		if err != nil {
			return err
		}
		// Only the server's death cuts a call, never the end of the work.
		err = r.sync(context.WithoutCancel(ctx))
		if err != nil && fault.KindOf(err) != fault.Unavailable {
			return fmt.Errorf("%s: syncing: %w", r.name, err)
		}
		if err != nil && !errors.Is(err, syscall.ECONNREFUSED) {
			r.cut.Add(1)
		}
		if i%photoEvery == photoEvery-1 {
			if err := r.phone.Upload(context.WithoutCancel(ctx), nil); err != nil && fault.KindOf(err) != fault.Unavailable {
				return fmt.Errorf("%s: uploading: %w", r.name, err)
			}
		}
		time.Sleep(pauseBetween)
	}
	return nil
}

func (r *recorder) photograph(task string, seed uint64) error {
	file := filepath.Join(r.dir, fmt.Sprintf("%s-%d.jpg", r.name, seed))
	if err := os.WriteFile(file, append(jpegBytes(seed), r.name...), 0o600); err != nil {
		return err
	}
	id, err := r.phone.Photo(task, file, phone.PhotoFacts{Kind: fieldsyncv1.PhotoKind_PHOTO_KIND_AFTER})
	if err == nil {
		r.photos[id] = task
	}
	return err
}

// sync syncs once and takes the verdicts down. The report is right for as far as the sync came.
func (r *recorder) sync(ctx context.Context) error {
	report, err := r.phone.Sync(ctx)
	r.answered.Add(int64(report.Calls))
	for _, j := range report.Verdicts {
		if j.Verdict.GetKind() != fieldsyncv1.VerdictKind_VERDICT_KIND_APPLIED {
			return fmt.Errorf("mutation %d was not simply applied: %v", j.Mutation.GetNumber(), j.Verdict)
		}
		if note := j.Mutation.GetAddNote(); note != nil {
			r.judged[note.GetText()] = j.Mutation.GetTaskId()
		}
	}
	if report.Renumbered || report.Resynced {
		return fmt.Errorf("the server fell behind the phone, or its digest differs: %+v", report)
	}
	return err
}

// Protects the first two promises where they hurt: the server is killed at random moments with syncs and uploads under way (at
// least every second kill must cut a sync in the middle) and started again on the same data. What a verdict was given for is
// there exactly once; after the phones have come to rest so is everything that was ever recorded; replica and server agree,
// nothing waits, all photos are verified.
func TestKill9(t *testing.T) {
	rounds := 8
	if testing.Short() {
		rounds = 2
		t.Log("-short: the server is killed 2 times, not 8")
	}
	addr := freeAddress(t)
	h := newHouse(t, "--listen", addr)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)

	var answered, cut atomic.Int64
	var recorders []*recorder
	for i, crew := range []string{crewOne, crewTwo} {
		var tasks []string
		for n := range 2 {
			tasks = append(tasks, h.newTask(t.Context(), &fieldsyncv1.TicketIntake{
				HotlineId: fmt.Sprintf("1022-%d-%d", i, n), Category: "fallen-tree", Title: "Cây đổ",
			}, crew))
		}
		for n := range 2 {
			name := fmt.Sprintf("%s-%d", crew, n)
			r := &recorder{
				phone: h.enrolCrew(name, crew), name: name, tasks: tasks, dir: h.dir, answered: &answered, cut: &cut,
				random:   rand.New(rand.NewPCG(seed, uint64(len(recorders)))),
				recorded: make(map[string]string), judged: make(map[string]string), photos: make(map[string]string),
			}
			check(t, r.sync(t.Context()))
			recorders = append(recorders, r)
		}
	}

	working, stop := context.WithCancel(t.Context())
	defer stop()
	failed := make(chan error, len(recorders))
	var work sync.WaitGroup
	for _, r := range recorders {
		work.Go(func() {
			if err := r.work(working); err != nil {
				failed <- err
			}
		})
	}
	random := rand.New(rand.NewPCG(seed, 1022))
	kills, hits := 0, 0
	for ; kills < rounds || hits < rounds/2; kills++ {
		if kills == 10*rounds {
			t.Fatalf("%d of %d kills have hit a sync", hits, kills)
		}
		before := cut.Load()
		for enough := answered.Load() + 20; answered.Load() < enough; {
			select {
			case err := <-failed:
				t.Fatal(err)
			case <-time.After(time.Millisecond):
			}
		}
		time.Sleep(time.Duration(random.IntN(200)) * time.Millisecond)
		h.server.kill()
		h.start("--listen", addr)
		if cut.Load() > before {
			hits++
		}
	}
	t.Logf("%d kills have cut %d syncs in the middle", kills, cut.Load())
	stop()
	work.Wait()
	select {
	case err := <-failed:
		t.Fatal(err)
	default:
	}

	for _, r := range recorders {
		if err := errors.Join(r.sync(t.Context()), r.phone.Upload(t.Context(), nil)); err != nil {
			t.Fatalf("%s does not come to rest: %v", r.name, err)
		}
	}
	for _, r := range recorders { // Now that nobody changes anything any more.
		check(t, r.sync(t.Context()))
		status, err := r.phone.Status()
		check(t, err)
		if !status.Whole || status.Queued != 0 || status.PhotosWaiting != 0 || status.PhotosRefused != 0 {
			t.Errorf("%s is not at rest: %+v", r.name, status)
		}
		if len(r.judged) != len(r.recorded) {
			t.Errorf("%s: %d notes were recorded, %d have a verdict", r.name, len(r.recorded), len(r.judged))
		}
	}
	h.compare(recorders)
	check(t, h.server.interrupt())
}

// compare holds what the dispatcher sees against what the recorders know.
func (h *house) compare(recorders []*recorder) {
	h.t.Helper()
	notes, photos := make(map[string]string), make(map[string]string) // To their tasks.
	tasks := make(map[string]bool)
	for _, r := range recorders {
		maps.Copy(notes, r.recorded)
		maps.Copy(photos, r.photos)
		for _, task := range r.tasks {
			tasks[task] = true
		}
	}
	if len(photos) == 0 || len(notes) == 0 {
		h.t.Errorf("%d notes and %d photos were recorded: that shows nothing", len(notes), len(photos))
	}
	h.t.Logf("%d notes and %d photos over %d tasks", len(notes), len(photos), len(tasks))
	for _, task := range slices.Sorted(maps.Keys(tasks)) {
		got := h.lookedInto(task)
		for _, note := range got.GetNotes() {
			if notes[note.GetText()] != task {
				h.t.Errorf("task %s has the note %q once too often, or nobody wrote it", task, note.GetText())
			}
			delete(notes, note.GetText())
		}
		for _, photo := range got.GetPhotos() {
			if photos[photo.GetId()] != task || photo.GetState() != fieldsyncv1.PhotoState_PHOTO_STATE_VERIFIED {
				h.t.Errorf("task %s has the photo %s (%v) once too often, or nobody took it, or it is not verified", task, photo.GetId(), photo.GetState())
			}
			delete(photos, photo.GetId())
		}
	}
	for text, task := range notes {
		h.t.Errorf("the note %q is missing in task %s", text, task)
	}
	for photo, task := range photos {
		h.t.Errorf("the photo %s is missing in task %s", photo, task)
	}
}

// lookedInto is a task as the dispatcher sees it once the server has looked into all of its photos: for those for which there was no
// room within their upload it does so by and by, after a kill as well.
func (h *house) lookedInto(task string) *fieldsyncv1.Task {
	h.t.Helper()
	received := func(p *fieldsyncv1.Photo) bool { return p.GetState() == fieldsyncv1.PhotoState_PHOTO_STATE_RECEIVED }
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) { // It only decides when one that is never looked into fails the test.
		got, err := h.desk(h.dispatcher).GetTask(h.t.Context(), &fieldsyncv1.GetTaskRequest{TaskId: task})
		check(h.t, err)
		if !slices.ContainsFunc(got.GetTask().GetPhotos(), received) || time.Now().After(deadline) {
			return got.GetTask()
		}
	}
}

// freeAddress is one that nobody listens at, so that a server can come back to it.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	check(t, err)
	defer listener.Close()
	return listener.Addr().String()
}
