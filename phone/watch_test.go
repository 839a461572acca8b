package phone

import (
	"context"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
)

// until waits for something that has to come.
func (r *rig) until(what string, ok func() bool) {
	r.tb.Helper()
	for deadline := time.After(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		select {
		case <-deadline:
			r.tb.Fatal("never:", what)
		default:
		}
	}
}

// running runs the phone until stop is called.
func (r *rig) running() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	return func() {
		r.tb.Helper()
		cancel()
		must(r.tb, <-done)
	}
}

// calls counts the calls that the server got, by name.
func (r *rig) calls(name string) (n int) {
	r.server.do(func() {
		for _, call := range r.server.calls {
			if call == "POST "+name {
				n++
			}
		}
	})
	return n
}

func (r *rig) holds(tasks int) func() bool {
	return func() bool { return r.status().Tasks == tasks }
}

// Watch returns when the server's head moves away from the replica, and only then; a small change is in the replica by then.
// A locked-out phone is told.
func TestWatch(t *testing.T) {
	r := newRig(t)
	must(t, r.Watch(t.Context())) // Never synced: there is something to sync.
	r.sync()
	done := make(chan error, 1)
	go func() { done <- r.Watch(t.Context()) }()
	r.assign("t1")
	must(t, <-done)
	r.same()
	if s := r.status(); !s.Whole || s.Tasks != 1 {
		t.Errorf("after a pushed delta: %+v", s)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() { done <- r.Watch(ctx) }()
	cancel()
	if err := <-done; err == nil {
		t.Error("Watch returned as if something had changed")
	}
	r.server.do(func() { r.server.pushTasks = 0 })
	go func() { done <- r.Watch(t.Context()) }()
	r.assign("t2")
	must(t, <-done)
	if s := r.status(); s.Tasks != 1 {
		t.Errorf("a head alone changed the replica: %+v", s)
	}
	r.sync()
	r.server.do(func() { r.server.revoked = true })
	wantCode(t, r.Watch(t.Context()), "device_revoked")
}

// Run brings changes of either side to the other, over failures, until it is told to stop.
func TestRun(t *testing.T) {
	r := newRig(t)
	r.assign("t1")
	r.server.expect(lostRequest, lostAnswer)
	stop := r.running()
	r.until("t1 on the phone", r.holds(1))
	r.server.expect(lostAnswer)
	must(t, r.Note("t1", "a"))
	_, err := r.Photo("t1", jpegFile(t, t.TempDir(), 1, 5000), PhotoFacts{})
	must(t, err)
	r.until("all of it on the server", func() (all bool) {
		r.server.do(func() { all = len(r.server.applied) == 1 && len(r.server.kept) == 1 })
		return all
	})
	r.assign("t2")
	r.until("t2 on the phone", r.holds(2))
	stop()
	r.server.do(func() { r.server.revoked = true })
	wantCode(t, r.Run(t.Context()), "device_revoked")
}

// Small changes come along on the stream and cost no call, but for an order, which one call confirms; whoever shows them is told; a large one is synced; one that does
// not fit the digest is mended.
func TestPushedDeltas(t *testing.T) {
	r := rigAt(t, newFake(t), t.TempDir())
	told := make(chan Report, 100)
	r.o.Changed = func(report Report) { told <- report }
	r.restart()
	r.enrol()
	r.assign("t1")
	stop := r.running()
	if report := <-told; report.Changed != 1 || !report.Reset {
		t.Errorf("told %+v of the first sync", report)
	}
	r.until("the stream", func() bool { return r.calls("Watch") == 1 })
	for _, id := range []string{"t2", "t3", "t1", "t2"} {
		r.assign(id)
		if report := <-told; report.Changed != 1 || report.Reset {
			t.Errorf("told %+v of %s", report, id)
		}
		r.same()
	}
	r.server.do(func() { r.server.remove("t3") })
	if report := <-told; report.Removed != 1 {
		t.Errorf("told %+v of a removal", report)
	}
	// A confirmation may meet the next order and take it along.
	confirmed := r.calls("Sync")
	if watches := r.calls("Watch"); confirmed < 1+1 || confirmed > 1+4 || watches != 1 {
		t.Errorf("four orders and a removal cost %d syncs and %d streams", confirmed, watches)
	}
	r.server.do(func() {
		for _, id := range []string{"t4", "t5", "t6"} {
			task := &fieldsyncv1.Task{Id: id}
			r.server.tasks[id] = task
			task.Revision = 1
			assigned(task, 1)
			r.server.seq++
			r.server.steps[id] = append(r.server.steps[id], step{seq: r.server.seq, revision: 1})
		}
		r.server.put("t1", assigned)
	})
	r.until("the large change", r.holds(5))
	if syncs := r.calls("Sync"); syncs != confirmed+1 {
		t.Errorf("a large change took %d syncs", syncs-confirmed)
	}
	r.until("the next stream", func() bool { return r.calls("Watch") == 2 })
	once := true
	r.server.do(func() {
		r.server.mangle = func(_ *fieldsyncv1.SyncRequest, delta *fieldsyncv1.SyncResponse) {
			if once {
				once, delta.Tasks = false, nil
			}
		}
	})
	r.assign("t2")
	r.until("the repair", func() bool { return r.calls("Repair") == 1 && r.status().Whole })
	r.same()
	stop()
}

// A sync beside the stream and a pushed delta do not disturb each other: what builds on a cursor that is no more is not
// applied, and nothing is missed.
func TestPushedBesideSync(t *testing.T) {
	r := newRig(t)
	r.assign("t1")
	r.sync()
	stop := r.running()
	for range 50 {
		r.assign("t1", "t2")
		if _, err := r.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		must(t, r.Note("t1", "x"))
	}
	r.until("rest", func() (quiet bool) {
		s := r.status()
		r.server.do(func() { quiet = s.Whole && s.Queued == 0 && s.Sequence == r.server.seq })
		return quiet
	})
	stop()
	r.same()
	if n := r.calls("Repair"); n != 0 {
		t.Errorf("%d repairs of a replica that was never wrong", n)
	}
}

// Where streams do not live, in whichever way they do not, Run finds out by itself, hears of changes by long polls,
// remembers it over a restart, and comes back to streams after a while or after having been offline.
func TestStreamsDoNotLive(t *testing.T) {
	for name, c := range map[string]struct {
		trouble streamTrouble
		streams int
	}{
		"buffered": {streamsBuffered, 1},
		"cut":      {streamsDie, maxDeaths},
		"refused":  {streamsRefused, maxDeaths},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			if c.trouble == streamsBuffered {
				r.patience.first = time.Millisecond // Never comes: no need to wait for it.
			}
			r.server.do(func() { r.server.streams, r.server.polls = c.trouble, make(chan struct{}) })
			r.assign("t1")
			stop := r.running()
			r.until("a long poll", func() bool { return r.calls("AwaitChange") > 0 })
			r.assign("t2")
			r.until("t2 on the phone", r.holds(2))
			must(t, r.Note("t2", "a"))
			r.until("the note on the server", func() bool { return r.status().Queued == 0 })
			stop()
			if n := r.calls("Watch"); n != c.streams {
				t.Errorf("%d streams were tried, want %d", n, c.streams)
			}
			if r.status().Watching != WayPoll {
				t.Error("the status does not tell of long polls")
			}

			r.restart()
			stop = r.running()
			polls := r.calls("AwaitChange")
			r.until("a long poll after the restart", func() bool { return r.calls("AwaitChange") > polls })
			// After half an hour, when the poll under way is over, the stream is tried again, and lives.
			r.patienceOver()
			r.until("a stream after half an hour", func() bool { return r.calls("Watch") > c.streams })
			r.assign("t3")
			r.until("t3 on the phone", r.holds(3))
			stop()
			if r.status().Watching != WayStream {
				t.Error("the status does not tell of the stream")
			}

			must(t, r.preferPoll())
			r.server.expect(lostRequest)
			_, err := r.Sync(t.Context())
			wantCode(t, err, "server_unreachable")
			if r.status().Watching != WayStream || r.deaths.Load() != 0 {
				t.Error("what was learnt of the network outlives it")
			}
		})
	}
}

// patienceOver lets half an hour pass, with streams that live from then on, and ends the poll under way, which may have been
// counted before it began to wait: so the channel stays, closed.
func (r *rig) patienceOver() {
	r.server.do(func() {
		r.server.now = r.server.now.Add(31 * time.Minute)
		r.server.streams = streamsLive
		close(r.server.polls)
	})
}

// A network that cuts streams now and then, but lets them through, is no reason for long polls nor for waiting.
func TestStreamsLiveShortly(t *testing.T) {
	r := newRig(t)
	r.server.do(func() { r.server.streams = streamsLiveShortly })
	r.assign("t1")
	stop := r.running()
	r.until("the stream", func() bool { return r.calls("Watch") == 1 })
	for i, id := range []string{"t2", "t3", "t4", "t5", "t6"} {
		r.assign(id)
		r.until(id, r.holds(i+2))
	}
	stop()
	if n := r.calls("AwaitChange"); n != 0 || r.status().Watching != WayStream {
		t.Errorf("%d long polls", n)
	}
}

// A long poll that is over without news is followed by the next; one that is answered early is a failure, so that Run waits
// instead of asking for ever; one that is lost is an error like any other.
func TestLongPoll(t *testing.T) {
	r := newRig(t)
	r.sync()
	must(t, r.preferPoll())
	over := make(chan struct{})
	close(over)
	r.server.do(func() { r.server.polls = over })
	wantCode(t, r.Watch(t.Context()), "server_unreachable")
	r.server.expect(lostAnswer)
	wantCode(t, r.Watch(t.Context()), "server_unreachable")
	r.server.do(func() { r.server.streams = streamsDie })
	r.assign("t1")
	must(t, r.Watch(t.Context()))
	if n := r.calls("Watch"); n != 0 {
		t.Errorf("%d streams while long polls are preferred", n)
	}
	// The wall clock was set back by a day: the memory ends instead of lasting a day longer.
	must(t, r.update(func(_ *bolt.Tx, st *state) error { st.PollSince = st.PollSince.Add(24 * time.Hour); return nil }))
	if r.status().Watching != WayStream {
		t.Error("a clock set back prolongs the memory")
	}
}

// A photo whose attach was in quarantine goes up once a dispatcher has released it, even where the news of it comes by the
// stream.
func TestPhotoReleased(t *testing.T) {
	r := newRig(t)
	r.assign("t1")
	r.sync()
	r.server.do(func() {
		r.server.judge = func(*fieldsyncv1.Mutation) *fieldsyncv1.Verdict {
			return &fieldsyncv1.Verdict{Kind: fieldsyncv1.VerdictKind_VERDICT_KIND_QUARANTINED, Code: "task_full"}
		}
	})
	_, id := r.attach(t, 1, 2000)
	held, err := r.Task("t1")
	must(t, err)
	attach := held.Pending[0].GetAttachPhoto().GetPhoto()
	stop := r.running()
	r.until("the quarantine", func() bool { return r.status().PhotosRefused == 1 && r.calls("Watch") > 0 })
	r.server.do(func() {
		r.server.put("t1", func(task *fieldsyncv1.Task, revision uint64) {
			task.Photos = append(task.Photos, &fieldsyncv1.Photo{
				Revision: revision, Id: id, Sha256: attach.GetSha256(), SizeBytes: attach.GetSizeBytes(),
				State: fieldsyncv1.PhotoState_PHOTO_STATE_ON_PHONE,
			})
		})
	})
	r.until("the original on the server", func() bool {
		s := r.status()
		return s.PhotosRefused == 0 && s.PhotosWaiting == 0
	})
	stop()
	r.server.do(func() {
		if len(r.server.kept) != 1 {
			t.Errorf("kept %d originals", len(r.server.kept))
		}
	})
}
