package phone

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
)

// Whatever is lost on the way, a repeat brings it through, and nothing takes effect twice.
func TestLostOnTheWay(t *testing.T) {
	for name, way := range map[string]trouble{"request": lostRequest, "answer": lostAnswer} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.assign("t1")
			r.sync()
			for i := range 3 {
				must(t, r.Note("t1", fmt.Sprint("note ", i)))
			}
			r.server.expect(way)
			_, err := r.Sync(t.Context())
			wantCode(t, err, "server_unreachable")
			r.restart()
			must(t, r.Note("t1", "note 3"))
			r.sync()
			r.server.do(func() {
				if got := fmt.Sprint(r.server.applied); got != "[note 0 note 1 note 2 note 3]" {
					t.Error("took effect:", got)
				}
			})
		})
	}
}

// A large outbox goes in batches, a large delta comes in pages, in as many calls as it takes and no more.
func TestBatchesAndPages(t *testing.T) {
	r := newRig(t)
	r.server.do(func() { r.server.pageTasks = 3 })
	r.assign("t1", "t2", "t3", "t4", "t5", "t6", "t7")
	if report := r.sync(); report.Calls != 3 || report.Changed != 7 || !report.Reset {
		t.Fatalf("want 7 tasks in 3 calls, got %+v", report)
	}
	for range 450 {
		must(t, r.Start("t1"))
	}
	if report := r.sync(); report.Calls != 3 || report.Sent != 450 {
		t.Fatalf("want 450 mutations in 3 calls, got %+v", report)
	}
}

// Deltas of facets and items, removals and returns leave the replica as the server has it; same() checks after each sync.
func TestDelta(t *testing.T) {
	r := newRig(t)
	r.assign("t1", "t2", "t3")
	r.sync()
	r.server.do(func() {
		r.server.put("t1", func(task *fieldsyncv1.Task, revision uint64) {
			task.Notes = append(task.Notes, &fieldsyncv1.Note{Revision: revision, Id: "x", Text: "từ điều phối"})
		})
		r.server.put("t1", func(task *fieldsyncv1.Task, revision uint64) {
			task.Checklist[0].Revision, task.Checklist[0].Checked = revision, true
			task.LateCompletions = append(task.LateCompletions, &fieldsyncv1.CompletionFacet{Revision: revision, CompletionId: "late"})
		})
		r.server.remove("t2")
	})
	if report := r.sync(); report.Changed != 1 || report.Removed != 1 || report.Reset {
		t.Fatalf("got %+v", report)
	}
	r.assign("t2")
	r.sync()
	r.server.do(func() {
		r.server.put("t3", func(task *fieldsyncv1.Task, revision uint64) {
			task.Status = &fieldsyncv1.StatusFacet{Revision: revision, State: fieldsyncv1.TaskState_TASK_STATE_PAUSED, Reason: "mưa"}
		})
	})
	r.sync()
	if report := r.sync(); report.Changed != 0 || report.Calls != 1 {
		t.Fatalf("nothing changed, got %+v", report)
	}
}

// A reset drops what is held, never what is recorded.
func TestReset(t *testing.T) {
	r := newRig(t)
	r.assign("t1", "t2")
	r.sync()
	must(t, r.Note("t1", "vẫn còn"))
	r.server.do(func() {
		r.server.scopeEpoch = 2
		delete(r.server.tasks, "t2")
		delete(r.server.steps, "t2")
	})
	if report := r.sync(); !report.Reset || report.Sent != 1 {
		t.Fatalf("got %+v", report)
	}
}

// Every kind of verdict ends a mutation; those that are not "applied" can be read afterwards with what was meant, and none
// holds up the ones behind it.
func TestVerdicts(t *testing.T) {
	r := newRig(t)
	r.assign("t1")
	r.sync()
	kinds := []fieldsyncv1.VerdictKind{
		fieldsyncv1.VerdictKind_VERDICT_KIND_REJECTED, fieldsyncv1.VerdictKind_VERDICT_KIND_QUARANTINED,
		fieldsyncv1.VerdictKind_VERDICT_KIND_MERGED, fieldsyncv1.VerdictKind_VERDICT_KIND_SUPERSEDED,
	}
	r.server.do(func() {
		r.server.judge = func(m *fieldsyncv1.Mutation) *fieldsyncv1.Verdict {
			if m.GetNumber() > uint64(len(kinds)) {
				return nil
			}
			return &fieldsyncv1.Verdict{
				Kind: kinds[m.GetNumber()-1], Code: fmt.Sprint("code_", m.GetNumber()),
				Message: &fieldsyncv1.Sentence{Vi: "Vì thế.", En: "Because."},
			}
		}
	})
	for i := range 5 {
		must(t, r.Note("t1", fmt.Sprint(i)))
	}
	photo, err := r.Photo("t1", jpegFile(t, t.TempDir(), 1, 2000), PhotoFacts{})
	must(t, err)
	if report := r.sync(); report.Sent != 6 || len(report.Verdicts) != 6 {
		t.Fatalf("got %+v", report)
	}
	r.restart()
	kept, err := r.Verdicts()
	must(t, err)
	if len(kept) != 4 || kept[1].Verdict.GetCode() != "code_2" || kept[1].Mutation.GetAddNote().GetText() != "1" {
		t.Fatalf("kept %v", kept)
	}
	must(t, r.Upload(t.Context(), nil))
	r.server.do(func() {
		if len(r.server.kept) != 1 {
			t.Errorf("the photo %s behind refused notes did not arrive", photo)
		}
	})
}

// A server restored from a backup has lost what came before the outbox, or has found the numbers of a phone that was in
// conflict: the outbox goes out under a new install epoch, in its order, and what is recorded later follows there.
func TestServerFellBehind(t *testing.T) {
	for name, lose := range map[string]func(f *fake){
		"gap":           func(f *fake) { f.heads[1] = 0; clear(f.verdicts) },
		"epoch unknown": func(f *fake) { delete(f.heads, 1); clear(f.verdicts) },
		"conflict":      func(f *fake) { f.conflicted[1] = true },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.assign("t1")
			r.sync()
			must(t, r.Note("t1", "trước"))
			r.sync()
			r.server.do(func() { lose(r.server) })
			must(t, r.Note("t1", "a"))
			must(t, r.Note("t1", "b"))
			if report := r.sync(); !report.Renumbered || report.Sent != 2 {
				t.Fatalf("got %+v", report)
			}
			r.restart()
			must(t, r.Note("t1", "c"))
			r.sync()
			r.server.do(func() {
				if got := fmt.Sprint(r.server.applied); got != "[trước a b c]" {
					t.Error("took effect:", got)
				}
				if r.server.heads[2] != 3 {
					t.Error("numbers of the new epoch end at", r.server.heads[2])
				}
			})
		})
	}
}

// A server that finds a conflict in the middle of a batch gives fewer verdicts: what it judged is settled, and the rest goes
// out under a new install epoch.
func TestConflictInBatch(t *testing.T) {
	r := newRig(t)
	r.assign("t1")
	r.sync()
	for _, text := range []string{"a", "b", "c"} {
		must(t, r.Note("t1", text))
	}
	r.server.do(func() {
		r.server.judge = func(*fieldsyncv1.Mutation) *fieldsyncv1.Verdict {
			r.server.conflicted[1] = true
			return nil
		}
	})
	if report := r.sync(); !report.Renumbered || report.Sent != 3 {
		t.Fatalf("got %+v", report)
	}
	r.server.do(func() {
		if got := fmt.Sprint(r.server.applied); got != "[a b c]" || r.server.heads[2] != 2 {
			t.Errorf("took effect: %s, heads %v", got, r.server.heads)
		}
	})
}

// An answer that no honest server gives takes no effect at all: the outbox stays, the sync ends.
func TestMalformedAnswers(t *testing.T) {
	r := newRig(t)
	r.assign("t1")
	r.sync()
	must(t, r.Note("t1", "a"))
	for name, mangle := range map[string]func(*fieldsyncv1.SyncRequest, *fieldsyncv1.SyncResponse){
		"verdict missing":      func(_ *fieldsyncv1.SyncRequest, a *fieldsyncv1.SyncResponse) { a.Verdicts = nil },
		"verdict of another":   func(_ *fieldsyncv1.SyncRequest, a *fieldsyncv1.SyncResponse) { a.Verdicts[0].Number = 9 },
		"verdict without kind": func(_ *fieldsyncv1.SyncRequest, a *fieldsyncv1.SyncResponse) { a.Verdicts[0].Kind = 0 },
		"no cursor":            func(_ *fieldsyncv1.SyncRequest, a *fieldsyncv1.SyncResponse) { a.Cursor = nil },
		"no head":              func(_ *fieldsyncv1.SyncRequest, a *fieldsyncv1.SyncResponse) { a.Head = nil },
		"more without end": func(q *fieldsyncv1.SyncRequest, a *fieldsyncv1.SyncResponse) {
			a.More, a.Cursor = true, q.GetCursor()
		},
	} {
		fresh := func(q *fieldsyncv1.SyncRequest, a *fieldsyncv1.SyncResponse) {
			for i, v := range a.GetVerdicts() {
				a.Verdicts[i] = &fieldsyncv1.Verdict{Number: v.GetNumber(), Kind: v.GetKind(), Code: v.GetCode()}
			}
			mangle(q, a)
		}
		r.server.do(func() { r.server.mangle = fresh })
		_, err := r.Sync(t.Context())
		if err == nil || r.status().Queued != 1 {
			t.Fatalf("%s: error %v, %d in the outbox", name, err, r.status().Queued)
		}
		wantCode(t, err, "answer_malformed")
	}
	r.server.do(func() { r.server.mangle = nil })
	r.sync()
}

// Capture times carry what bounds them: the boot, the clock since, and the server time heard last with where it was heard.
func TestCaptureTime(t *testing.T) {
	server := newFake(t)
	since := 100 * time.Second
	r := rigAt(t, server, t.TempDir())
	r.o.BootID, r.o.Monotonic = "boot-a", func() time.Duration { return since }
	r.o.Position = func() *fieldsyncv1.Position {
		return &fieldsyncv1.Position{Latitude: 10.77, Longitude: 106.7, AccuracyM: 8}
	}
	r.restart()
	r.enrol()
	r.assign("t1")
	r.sync()
	heardAt := server.now
	since = 250 * time.Second
	must(t, r.Start("t1"))
	r.o.BootID, since = "boot-b", time.Second
	r.restart()
	must(t, r.Note("t1", "sau khi khởi động lại"))
	held, err := r.Task("t1")
	must(t, err)
	for i, want := range []*fieldsyncv1.CaptureTime{
		{BootId: "boot-a", SinceBootMs: 250_000},
		{BootId: "boot-b", SinceBootMs: 1000},
	} {
		got := held.Pending[i].GetRecorded()
		if got.GetBootId() != want.GetBootId() || got.GetSinceBootMs() != want.GetSinceBootMs() ||
			got.GetServerBootId() != "boot-a" || got.GetServerSinceBootMs() != 100_000 || !got.GetServerTime().AsTime().Equal(heardAt) {
			t.Errorf("capture time %v", got)
		}
		if held.Pending[i].GetPosition().GetLatitude() != 10.77 {
			t.Errorf("no position: %v", held.Pending[i])
		}
	}
}

// An intent recorded while a sync is under way is not lost with the batch that the sync settles.
func TestRecordedDuringSync(t *testing.T) {
	r := newRig(t)
	r.assign("t1")
	r.sync()
	must(t, r.Note("t1", "a"))
	once := true
	r.server.do(func() {
		r.server.mangle = func(*fieldsyncv1.SyncRequest, *fieldsyncv1.SyncResponse) {
			if once {
				once = false
				r.server.mu.Unlock()
				defer r.server.mu.Lock()
				if err := r.Note("t1", "b"); err != nil {
					t.Error(err)
				}
			}
		}
	})
	if report := r.sync(); report.Sent != 2 || report.Calls != 2 {
		t.Fatalf("got %+v", report)
	}
}

// Waits grow with failures, never below what the server asks for, never above the bound, and start anew after a success.
func TestBackoff(t *testing.T) {
	b := backoff{Min: time.Second, Max: time.Minute}
	for range 100 {
		if d := b.Next(0); d < time.Second/2 || d > time.Minute {
			t.Fatal("wait", d)
		}
	}
	if d := b.Next(time.Hour); d != time.Hour {
		t.Error("the server asked for an hour, got", d)
	}
	b.Reset()
	if d := b.Next(0); d > time.Second {
		t.Error("first wait", d)
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		var zero backoff
		if zero.Wait(ctx, time.Hour) == nil {
			t.Error("waited over the end of its context")
		}
	})
}

// A server that serves something else, or an answer without a detail, is an error with a sentence and not a crash.
func TestStrangeServer(t *testing.T) {
	r := newRig(t)
	r.server.do(func() {
		r.server.mangle = func(_ *fieldsyncv1.SyncRequest, a *fieldsyncv1.SyncResponse) {
			a.Reset()
		}
	})
	_, err := r.Sync(t.Context())
	wantCode(t, err, "answer_malformed")
	for status, code := range map[int]string{
		http.StatusOK: "", http.StatusNoContent: "", http.StatusUnauthorized: "token_refused", http.StatusNotFound: "upload_unknown",
		http.StatusGone: "upload_unknown", http.StatusConflict: "upload_moved", http.StatusLocked: "upload_moved",
		http.StatusBadGateway: "server_unreachable", http.StatusTooManyRequests: "server_unreachable",
		http.StatusRequestEntityTooLarge: "upload_refused", http.StatusFound: "upload_refused",
	} {
		wantCode(t, statusFault(status), code)
	}
}

// A phone states its budget, tells how much is left, and does not get stuck on a cursor that the server cannot read.
func TestBudgetAndCursor(t *testing.T) {
	r := newRig(t)
	r.server.do(func() { r.server.pageTasks = 2 })
	r.assign("t1", "t2", "t3")
	budgets := map[uint32]int{}
	r.server.do(func() {
		r.server.mangle = func(q *fieldsyncv1.SyncRequest, _ *fieldsyncv1.SyncResponse) { budgets[q.GetBudgetBytes()]++ }
	})
	r.server.expect(none, lostRequest)
	report, err := r.Sync(t.Context())
	wantCode(t, err, "server_unreachable")
	if s := r.status(); report.Remaining != 1 || s.Remaining != 1 || s.Whole || s.Tasks != 2 {
		t.Errorf("after the first page: %+v", s)
	}
	if report := r.sync(); report.Remaining != 0 || r.status().Remaining != 0 || budgets[64<<10] != 2 {
		t.Errorf("after the second: %+v, budgets %v", report, budgets)
	}
	r.server.do(func() { r.server.cursorVersion = "v2" })
	must(t, r.Note("t1", "a"))
	if report := r.sync(); !report.Resynced || !report.Reset || report.Sent != 1 {
		t.Errorf("after a new version of cursors: %+v", report)
	}
}
