package phone

import (
	"context"
	"strings"
	"testing"
	"time"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
)

// Protects: what was acknowledged stays on the phone until the server's backup has it and a day has gone by, no longer; with another
// history it is offered again under its old numbers, before what was recorded since.
func TestKeptUntilBackedUp(t *testing.T) {
	f := newFake(t)
	f.put("t1", assigned)
	now := f.now
	position, backedUp, history := uint64(10), uint64(0), uint32(7)
	f.mangle = func(_ *fieldsyncv1.SyncRequest, answer *fieldsyncv1.SyncResponse) {
		answer.Reach = &fieldsyncv1.BackupReach{History: history, Position: position, BackedUp: backedUp}
	}
	p, err := Open(t.TempDir(), Options{Clock: func() time.Time { return now }})
	must(t, err)
	t.Cleanup(func() { must(t, p.Close()) })
	must(t, p.Enrol(t.Context(), f.url, "GOOD-CODE-0001", "x"))
	sync := func() Report {
		t.Helper()
		report, err := p.Sync(t.Context())
		must(t, err)
		return report
	}
	kept := func(want int) {
		t.Helper()
		status, err := p.Status()
		must(t, err)
		if status.Kept != want {
			t.Errorf("it keeps %d, not %d", status.Kept, want)
		}
	}
	sync()
	must(t, p.Note("t1", "a"))
	must(t, p.Note("t1", "b"))
	sync()
	kept(2)
	now = now.Add(25 * time.Hour)
	sync() // Long ago, and still not backed up.
	kept(2)
	backedUp = 10
	must(t, p.Note("t1", "c"))
	position = 11
	sync()
	kept(1)
	backedUp = 11
	sync() // Backed up, and young.
	kept(1)
	now = now.Add(25 * time.Hour)
	sync()
	kept(0)

	position = 12
	must(t, p.Note("t1", "d"))
	sync()
	must(t, p.Note("t1", "e"))
	f.do(func() { // The server is restored to before d.
		delete(f.verdicts, mutationKey{1, 4})
		delete(f.payloads, mutationKey{1, 4})
		f.heads[1] = 3
		f.applied = f.applied[:3]
		history = 8
	})
	if report := sync(); report.Offered != 1 || report.Sent != 2 || report.Renumbered {
		t.Errorf("%+v", report)
	}
	f.do(func() {
		if got := f.applied; len(got) != 5 || got[3] != "d" || got[4] != "e" {
			t.Errorf("what took effect: %q", got)
		}
	})
	kept(2)
}

// Protects: a server that was put back to before an install epoch of this phone, be it by `fieldsync restore` (another history) or by a copy
// of its disk (the same one), gets all that it has lost in one sync that ends. It went on for ever: what the server took under the
// older epoch was offered again each time that it refused the later one.
func TestServerBehindAnInstallEpoch(t *testing.T) {
	for name, history := range map[string]uint32{"the disk's copy": 7, "restored": 8} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			f.put("t1", assigned)
			reach := &fieldsyncv1.BackupReach{History: 7, Position: 10}
			f.mangle = func(_ *fieldsyncv1.SyncRequest, answer *fieldsyncv1.SyncResponse) { answer.Reach = reach }
			p, err := Open(t.TempDir(), Options{Clock: func() time.Time { return f.now }})
			must(t, err)
			t.Cleanup(func() { must(t, p.Close()) })
			must(t, p.Enrol(t.Context(), f.url, "GOOD-CODE-0001", "x"))
			ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
			defer stop()
			record := func(note string) {
				t.Helper()
				must(t, p.Note("t1", note))
				_, err := p.Sync(ctx)
				must(t, err)
			}
			_, err = p.Sync(ctx)
			must(t, err)
			record("a")
			record("b")
			must(t, p.newEpoch(ctx))
			record("c")
			f.do(func() {
				for _, lost := range []mutationKey{{1, 2}, {2, 1}} {
					delete(f.verdicts, lost)
					delete(f.payloads, lost)
				}
				f.heads[1] = 1
				delete(f.heads, 2)
				f.epoch = 1
				f.applied = f.applied[:1]
				reach = &fieldsyncv1.BackupReach{History: history, Position: 5}
			})
			record("d")
			f.do(func() {
				if got := strings.Join(f.applied, ""); got != "abcd" {
					t.Errorf("what took effect: %q", got)
				}
			})
			if status, err := p.Status(); err != nil || status.Queued != 0 {
				t.Errorf("%+v, %v", status, err)
			}
		})
	}
}
