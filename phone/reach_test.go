package phone

import (
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
