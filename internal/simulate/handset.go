package main

import (
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"time"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/phone"
)

// handset is a phone as a thing: what is installed on it, its clocks, its copies.
type handset struct {
	w      *world
	name   string
	member string
	role   fieldsyncv1.Role
	dir    string
	phone  *phone.Phone
	link   *link

	// skew is by how much its wall clock is ahead. booted and boot are its monotonic clock.
	skew   time.Duration
	booted time.Time
	boot   int

	enrolled bool
	// killed: its process has died in a call; what it had on disk then is in its copy "killed".
	killed bool
	// gone: wiped. What was only on it is lost, and nobody expects otherwise.
	gone bool
	// saved is how many facts there were at its newest backup, -1 where there is none.
	saved int
	// busy: a call of its own is under way, so it cannot begin another.
	busy bool
	// damaged: its replica was changed behind its back. savedDamaged: so was the one in its newest backup.
	damaged, savedDamaged bool
	// old: its app is of an older version. budget is how much of a delta it takes in one answer.
	old    bool
	budget uint32
	// told is the scope of the newest answer that reached it, empty where the server was set back since.
	told string
	// sequence is the head of the scope that its replica stood at.
	sequence uint64
	scope    string
}

func (w *world) newHandset(name, member string, role fieldsyncv1.Role) *handset {
	h := &handset{w: w, name: name, member: member, role: role, dir: filepath.Join(w.dir, name), booted: w.now.Add(-time.Hour), saved: -1}
	h.link = &link{w: w, set: h}
	n := int(w.seed/3) + len(w.sets) //nolint:gosec // Any will do.
	h.budget = []uint32{0, 1, 400, 3000}[n%4]
	h.old = n%7 == 0
	w.sets = append(w.sets, h)
	return h
}

func (h *handset) open() (err error) {
	h.w.opening = true
	defer func() { h.w.opening = false }()
	h.phone, err = phone.Open(h.dir, phone.Options{
		HTTPClient: &http.Client{Transport: h.link},
		Clock:      func() time.Time { return h.w.now.Add(h.skew) },
		Monotonic:  func() time.Duration { return h.w.now.Sub(h.booted) },
		BootID:     fmt.Sprintf("%s-%d", h.name, h.boot),
		AppVersion: "simulated",
		ChunkBytes: 24,
		RetryMin:   1, RetryMax: 1,
		Random:      h.w.random,
		NoSync:      true,
		BudgetBytes: h.budget,
		StreamWait:  time.Hour, // Of this machine's time, which is none of the run's.
		Fail:        h.nextDisk,
	})
	return err
}

// nextDisk is what becomes of the phone's next write. If it fails, nothing is known of the scope that the replica is of: the answer that
// was to be written may be the one that told of another.
func (h *handset) nextDisk(string) error {
	err := h.w.nextDisk()
	if err != nil {
		h.told = ""
	}
	return err
}

// reopen ends the app and starts it again, over what is in the folder or over a copy of the name given.
func (h *handset) reopen(from string) error {
	if err := h.phone.Close(); err != nil {
		return err
	}
	if from != "" {
		if err := copyTree(h.copyDir(from), h.dir); err != nil {
			return err
		}
	}
	return h.open()
}

// save copies the folder.
func (h *handset) save(name string) error { return copyTree(h.dir, h.copyDir(name)) }

func (h *handset) copyDir(name string) string { return h.dir + "." + name }

// die is called in the middle of a call: what lies in the folder now is all that the next process will find.
func (h *handset) die() {
	if err := h.save("killed"); err != nil {
		h.w.failf("harness", "copying a phone's folder: %v", err)
	}
	h.killed = true
}

// enrol gets a code and makes the phone a device of its member.
func (h *handset) enrol() error {
	code, _, err := h.w.codes.IssueCodeFor(h.w.ctx, h.member, "")
	if err != nil {
		return err
	}
	if err := h.phone.Enrol(h.w.ctx, origin, code, h.name); err != nil {
		return err
	}
	h.enrolled = true
	return nil
}

// sync syncs and hands what it learnt to the model.
func (h *handset) sync() (phone.Report, error) {
	if !h.enrolled {
		return phone.Report{}, h.enrol()
	}
	report, err := h.phone.Sync(h.w.ctx)
	for _, j := range report.Verdicts {
		h.w.judged(h, j)
	}
	if (report.Repaired || report.Resynced) && !h.damaged {
		h.w.failf("replica", "%s found its replica wrong and had to mend it", h.name)
	}
	h.damaged = h.damaged && err != nil
	if code := fault.CodeOf(err); code == "replica_mismatch" || code == "answer_malformed" {
		h.w.failf("replica", "%s: %v", h.name, err)
	}
	h.w.checkCursor(h)
	if err == nil {
		h.w.checkReplica(h)
	}
	return report, err
}

// status of a phone can always be read.
func (h *handset) status() phone.Status {
	s, err := h.phone.Status()
	if err != nil {
		h.w.failf("harness", "reading a phone's status: %v", err)
	}
	return s
}

// outcome is an error as a log of a run can hold it: without folders and ids of this machine.
func outcome(err error) string {
	if err == nil {
		return "ok"
	}
	if code := wireCode(err); code != "" {
		return code
	}
	if errors.Is(err, errCut) || errors.Is(err, errDown) {
		return "unreachable"
	}
	return "failed"
}
