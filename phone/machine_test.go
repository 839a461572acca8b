package phone

import (
	"fmt"
	"path/filepath"
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"github.com/cong1022/fieldsync/internal/fault"
)

// Whatever the order of recording, syncing, losing requests and answers, enrolling again, being killed and a server that
// works on its side: each recorded note takes effect exactly once and in its order, numbers have no gaps, no number is ever
// sent with two contents (the fake's sins), and after a good sync the replica is the server's, byte for byte.
func TestNothingLostNothingTwice(t *testing.T) {
	root, dirs := t.TempDir(), 0
	rapid.Check(t, func(rt *rapid.T) {
		server := newFake(rt)
		dirs++
		r := rigAt(rt, server, filepath.Join(root, strconv.Itoa(dirs)))
		r.o.NoSync = true // A restart is no power cut.
		r.restart()
		r.enrol()
		r.assign("t0", "t1", "t2")
		server.do(func() { server.pageTasks = 2 })
		r.sync()
		var recorded []string
		held := func() []Held {
			tasks, err := r.Tasks()
			must(rt, err)
			return tasks
		}
		finish := func() {
			server.do(func() { server.troubles = nil })
			r.sync()
			server.do(func() {
				if got, want := fmt.Sprint(server.applied), fmt.Sprint(recorded); got != want {
					rt.Fatalf("took effect %s, recorded %s", got, want)
				}
			})
		}
		rt.Repeat(map[string]func(*rapid.T){
			"note": func(rt *rapid.T) {
				tasks := held()
				if len(tasks) == 0 {
					rt.Skip("nothing held")
				}
				text := fmt.Sprint("note-", len(recorded))
				task := rapid.SampledFrom(tasks).Draw(rt, "task").Task
				must(rt, r.Note(task.GetId(), text))
				recorded = append(recorded, text)
			},
			"refused": func(*rapid.T) {
				if fault.CodeOf(r.Note("t0", "")) == "" {
					rt.Fatal("an empty note was taken")
				}
			},
			"sync": func(rt *rapid.T) {
				server.expect(rapid.SliceOfN(rapid.SampledFrom([]trouble{none, lostRequest, lostAnswer}), 0, 3).Draw(rt, "troubles")...)
				_, err := r.Sync(rt.Context())
				if code := fault.CodeOf(err); err != nil && code != "server_unreachable" {
					rt.Fatal(err)
				}
			},
			"restart": func(*rapid.T) { r.restart() },
			"enrol": func(*rapid.T) {
				server.do(func() { server.troubles = nil })
				r.enrol()
			},
			"token refused": func(*rapid.T) { server.do(func() { server.good = "changed" }) },
			"dispatcher": func(rt *rapid.T) {
				id := fmt.Sprint("t", rapid.IntRange(0, 4).Draw(rt, "task"))
				r.assign(id)
			},
			"scope anew": func(*rapid.T) { server.do(func() { server.scopeEpoch++ }) },
			"all of it":  func(*rapid.T) { finish() },
			"": func(*rapid.T) {
				seen := 0
				for _, h := range held() {
					seen += len(h.Pending)
				}
				if s := r.status(); s.Queued < seen {
					rt.Fatalf("%d in the outbox, %d pending on tasks", s.Queued, seen)
				}
			},
		})
		finish()
	})
}
