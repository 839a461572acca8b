package phone

import (
	"fmt"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/cespare/xxhash/v2"
	bolt "go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
)

// damage changes a task in the replica behind the phone's back; change returns nil to drop it.
func (r *rig) damage(id string, change func(held *fieldsyncv1.Task) *fieldsyncv1.Task) {
	r.tb.Helper()
	must(r.tb, r.db.Update(func(tx *bolt.Tx) error {
		held, err := getTask(tx, id)
		if err != nil {
			return err
		}
		if held = change(held); held == nil {
			return tx.Bucket(bucketReplica).Delete([]byte(id))
		}
		return putProto(tx.Bucket(bucketReplica), []byte(id), held)
	}))
}

func drop(*fieldsyncv1.Task) *fieldsyncv1.Task { return nil }

// aged is a task as it was a revision ago, as far as a digest can tell, without what has come since.
func aged(held *fieldsyncv1.Task) *fieldsyncv1.Task {
	if held == nil {
		return nil
	}
	held.Revision--
	held.Notes = nil
	return held
}

func foreign(*fieldsyncv1.Task) *fieldsyncv1.Task {
	return &fieldsyncv1.Task{Id: "foreign", Revision: 3}
}

// Whatever happened to a replica (tasks dropped, aged, foreign ones among them), also where the server changes the very same
// tasks before the phone calls again: the next sync mends it, byte for byte, by the parts that differ alone, and never by
// loading all of it.
func TestRepairAtRandom(t *testing.T) {
	root, dirs := t.TempDir(), 0
	rapid.Check(t, func(rt *rapid.T) {
		dirs++
		r := rigAt(rt, newFake(rt), filepath.Join(root, strconv.Itoa(dirs)))
		r.o.NoSync = true
		r.restart()
		r.enrol()
		n := rapid.IntRange(1, 60).Draw(rt, "tasks")
		note := func(id string) {
			r.server.put(id, func(task *fieldsyncv1.Task, revision uint64) {
				task.Notes = append(task.Notes, &fieldsyncv1.Note{Revision: revision, Id: fmt.Sprint("n", revision), Text: "x"})
			})
		}
		for i := range n {
			r.assign(fmt.Sprint("t", i))
		}
		r.sync()
		touched := map[string]bool{}
		r.server.do(func() {
			r.server.pageTasks = rapid.IntRange(1, 30).Draw(rt, "page")
			r.server.repairParts = rapid.IntRange(1, 256).Draw(rt, "parts")
		})
		for range rapid.IntRange(0, 3).Draw(rt, "rounds") {
			for range rapid.IntRange(0, 4).Draw(rt, "damages") {
				id := fmt.Sprint("t", rapid.IntRange(0, n-1).Draw(rt, "task"))
				touched[id] = true
				switch rapid.IntRange(0, 2).Draw(rt, "how") {
				case 0:
					r.damage(id, drop)
				case 1:
					r.damage(id, aged)
				default:
					touched["foreign"] = true
					r.damage("foreign", foreign)
				}
			}
			changed := 0
			r.server.do(func() {
				for range rapid.IntRange(0, 4).Draw(rt, "changes") {
					id := fmt.Sprint("t", rapid.IntRange(0, n-1).Draw(rt, "changed"))
					touched[id] = true
					changed++
					switch {
					case r.server.tasks[id] == nil:
						r.server.put(id, assigned)
					case rapid.IntRange(0, 4).Draw(rt, "kind") == 0:
						r.server.remove(id)
					default:
						note(id)
					}
				}
			})
			// A repair that fails on its way is taken up by the next sync, whatever comes in between.
			if rapid.Bool().Draw(rt, "cut") {
				r.server.expect(none, lostAnswer, lostAnswer)
				if _, err := r.Sync(rt.Context()); err != nil {
					wantCode(rt, err, "server_unreachable")
				}
				r.server.do(func() { r.server.troubles = nil })
				r.restart()
				continue
			}
			report := r.sync()
			parts, affected := map[uint64]bool{}, 0
			for id := range touched {
				parts[xxhash.Sum64String(id)>>56] = true
			}
			r.server.do(func() {
				for id := range r.server.tasks {
					if parts[xxhash.Sum64String(id)>>56] {
						affected++
					}
				}
			})
			if report.Resynced || report.Reset || report.Changed > affected+2*len(touched)+changed {
				rt.Fatalf("%d tasks touched (%d in their parts), %d changed: %+v", len(touched), affected, changed, report)
			}
			clear(touched)
		}
		if report := r.sync(); report.Resynced {
			rt.Fatalf("loaded all of it: %+v", report)
		}
		if !r.status().Whole {
			rt.Fatal("not whole at the end")
		}
	})
}

// One damaged task costs one call more, and brings its part of the scope only; the answer says so.
func TestRepairIsSmall(t *testing.T) {
	r := newRig(t)
	for i := range 300 {
		r.assign(fmt.Sprint("t", i))
	}
	r.sync()
	r.damage("t7", drop)
	report := r.sync()
	if report.Calls != 2 || !report.Repaired || report.Resynced || report.Changed > 10 {
		t.Errorf("got %+v", report)
	}
	if again := r.sync(); again.Calls != 1 || again.Repaired {
		t.Errorf("got %+v", again)
	}
}

// How a repair may end: a scope that moves is synced first, three times, then loaded; what the repair does not mend is loaded,
// once; a server that contradicts itself is not asked for everything again and again; nonsense has no effect; and what is
// recorded goes out in each case.
func TestRepairEnds(t *testing.T) {
	full := func(f *fake) *fieldsyncv1.RepairResponse { return &fieldsyncv1.RepairResponse{Head: f.head()} }
	other := func(f *fake) *fieldsyncv1.RepairResponse {
		answer := full(f)
		answer.Head.Digest++
		return answer
	}
	for name, c := range map[string]struct {
		repair func(f *fake) *fieldsyncv1.RepairResponse
		// mangled is how many syncs tell of another digest.
		mangled  int
		code     string
		syncs    int
		repairs  int
		resynced bool
	}{
		"nothing differs after all": {repair: full, mangled: 1, syncs: 1, repairs: 1},
		"moves": {
			repair:  func(*fake) *fieldsyncv1.RepairResponse { return &fieldsyncv1.RepairResponse{Moved: true} },
			mangled: 4, syncs: 5, repairs: 4, resynced: true,
		},
		"does not help": {
			repair: func(f *fake) *fieldsyncv1.RepairResponse {
				answer := other(f)
				answer.Buckets = []*fieldsyncv1.RepairResponse_Bucket{{Index: uint32(bucketOf([]byte("t1"))), Tasks: []*fieldsyncv1.Task{f.tasks["t1"]}}}
				return answer
			},
			mangled: 1, syncs: 2, repairs: 1, resynced: true,
		},
		"never helps": {
			repair: func(f *fake) *fieldsyncv1.RepairResponse {
				answer := other(f)
				answer.Buckets = []*fieldsyncv1.RepairResponse_Bucket{{Index: uint32(bucketOf([]byte("t1"))), Tasks: []*fieldsyncv1.Task{f.tasks["t1"]}}}
				return answer
			},
			mangled: 9, syncs: 2, repairs: 1, resynced: true, code: "replica_mismatch",
		},
		"contradiction": {repair: other, mangled: 9, syncs: 1, repairs: 1, code: "replica_mismatch"},
		"no head":       {repair: func(*fake) *fieldsyncv1.RepairResponse { return &fieldsyncv1.RepairResponse{} }, mangled: 1, syncs: 1, repairs: 1, code: "answer_malformed"},
		"part of nothing": {
			repair: func(f *fake) *fieldsyncv1.RepairResponse {
				answer := full(f)
				answer.Buckets = []*fieldsyncv1.RepairResponse_Bucket{{Index: 256}}
				return answer
			},
			mangled: 1, syncs: 1, repairs: 1, code: "answer_malformed",
		},
		"task of another part": {
			repair: func(f *fake) *fieldsyncv1.RepairResponse {
				answer := full(f)
				answer.Buckets = []*fieldsyncv1.RepairResponse_Bucket{{Index: uint32(bucketOf([]byte("t1"))) ^ 1, Tasks: []*fieldsyncv1.Task{f.tasks["t1"]}}}
				return answer
			},
			mangled: 1, syncs: 1, repairs: 1, code: "answer_malformed",
		},
		"more of nothing": {
			repair: func(f *fake) *fieldsyncv1.RepairResponse {
				answer := full(f)
				answer.More = true
				return answer
			},
			mangled: 1, syncs: 1, repairs: 1, code: "answer_malformed",
		},
		"more without end": {
			repair: func(f *fake) *fieldsyncv1.RepairResponse {
				answer := full(f)
				answer.More, answer.Buckets = true, []*fieldsyncv1.RepairResponse_Bucket{{Index: uint32(bucketOf([]byte("t1"))), Tasks: []*fieldsyncv1.Task{f.tasks["t1"]}}}
				return answer
			},
			mangled: 1, syncs: 1, repairs: repairBuckets, code: "answer_malformed",
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := rigAt(t, newFake(t), t.TempDir())
			r.o.NoSync = true
			r.restart()
			r.enrol()
			r.assign("t1", "t2")
			r.sync()
			must(t, r.Note("t1", "a"))
			left := c.mangled
			r.server.do(func() {
				r.server.calls = nil
				r.server.repair = func(*fieldsyncv1.RepairRequest) *fieldsyncv1.RepairResponse { return c.repair(r.server) }
				r.server.mangle = func(_ *fieldsyncv1.SyncRequest, answer *fieldsyncv1.SyncResponse) {
					if left--; left >= 0 {
						answer.Head = proto.CloneOf(answer.GetHead())
						answer.Head.Digest += 7
					}
				}
			})
			report, err := r.Sync(t.Context())
			wantCode(t, err, c.code)
			if syncs, repairs := r.calls("Sync"), r.calls("Repair"); syncs != c.syncs || repairs != c.repairs || report.Resynced != c.resynced || report.Sent != 1 {
				t.Errorf("%d syncs, %d repairs: %+v", syncs, repairs, report)
			}
			if r.status().Whole != (c.code == "") {
				t.Errorf("whole: %v", r.status().Whole)
			}
			r.server.do(func() { r.server.mangle, r.server.repair = nil, nil })
			r.restart()
			r.sync()
			if !r.status().Whole {
				t.Error("not whole once the server is right again")
			}
		})
	}
}

// The revision is read from a stored task without decoding it, and a damaged record is an error, not a digest.
func TestRevisionOf(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		task := &fieldsyncv1.Task{
			Id: rapid.String().Draw(rt, "id"), Revision: rapid.Uint64().Draw(rt, "revision"),
			Ticket: &fieldsyncv1.TicketFacet{Revision: 9, Title: rapid.String().Draw(rt, "title")},
			Notes:  []*fieldsyncv1.Note{{Revision: 8, Text: rapid.String().Draw(rt, "text")}},
		}
		value, err := proto.Marshal(task)
		must(rt, err)
		if got, err := revisionOf(value); err != nil || got != task.GetRevision() {
			rt.Fatalf("got %d (%v), want %d", got, err, task.GetRevision())
		}
		// Cut anywhere, it is an error just where protobuf finds one.
		cut := value[:rapid.IntRange(0, len(value)).Draw(rt, "cut")]
		if _, err := revisionOf(cut); err == nil {
			return
		} else if proto.Unmarshal(cut, new(fieldsyncv1.Task)) == nil {
			rt.Fatalf("%x: %v", cut, err)
		}
	})
}
