package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/phone"
)

// nothing is what an action says that finds nothing to do.
const nothing = "nothing to do"

// perform does what an action says, and tells in a few words what came of it.
func (w *world) perform(a *action) string {
	switch a.op {
	case opSee, opNote, opFuture, opPhoto, opAccept, opStart, opPause, opResume, opTick, opComplete, opDecline, opHandOver:
		return w.record(a)
	case opCreate, opAssign, opRecall, opCancel, opRepeat, opMove, opRevoke, opReunit:
		return w.dispatch(a)
	case opRelease, opMend, opDiscard:
		return w.resolve(a)
	case opTicket, opRetitle, opReroute, opFeed, opConfirm:
		return w.callHotline(a)
	case opRestart, opServerBackup, opServerRevert:
		return w.trouble(a)
	case opWait:
		return "time passes"
	case opMonths:
		return w.months()
	case opServerClock:
		return w.setServerClock(a.how)
	case opDeliver:
		return w.deliver(a.what)
	default:
		return w.handle(a)
	}
}

// record lets a crew member record something.
func (w *world) record(a *action) string {
	h := w.crewSets()[a.who%len(w.crewSets())]
	tasks, err := h.phone.Tasks()
	w.must("listing a phone's tasks", err)
	if len(tasks) == 0 || !h.enrolled {
		return h.name + ": " + nothing
	}
	task := tasks[a.what%len(tasks)].Task
	id, p := task.GetId(), h.phone
	said := fmt.Sprintf("%s on %s", h.name, id)
	switch a.op {
	case opNote, opFuture:
		text := w.text(a.op)
		if err = p.Note(id, text); err == nil {
			w.recorded(h, a.op, id, text)
		}
		said += " " + text
	case opComplete:
		text := w.text(a.op)
		if err = p.Complete(id, fieldsyncv1.Outcome(1+a.how%3), text); err == nil {
			w.recorded(h, a.op, id, text)
		}
		said += " " + text
	case opPhoto:
		var photo string
		if photo, err = w.takePhoto(h, id, a.how); err == nil {
			w.recorded(h, a.op, id, photo)
		}
		said += " " + photo
	case opSee:
		err = p.Seen(id)
	case opAccept:
		err = p.Accept(id)
	case opStart:
		err = p.Start(id)
	case opPause:
		err = p.Pause(id, w.text(a.op))
	case opResume:
		err = p.Resume(id)
	case opDecline:
		err = p.Decline(id, w.text(a.op))
	case opHandOver:
		err = p.HandOver(id, w.text(a.op))
	default:
		if len(task.GetChecklist()) == 0 {
			return said + ": " + nothing
		}
		err = p.Tick(id, task.GetChecklist()[a.how%len(task.GetChecklist())].GetId(), a.how%3 != 0)
	}
	if errors.Is(err, errPhoneDisk) {
		return said + ": " + outcome(err) // The person sees it, and nothing was recorded.
	}
	if err != nil {
		w.failf("recording", "%s: %v", said, err)
	}
	return said
}

// dot is a whole PNG of one pixel. What is written behind it makes another photo of it.
const dot = "\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\b\x00\x00\x00\x00:~\x9bU" +
	"\x00\x00\x00\x0eIDATx\x9cbb\x00\x04\x00\x00\xff\xff\x00\x06\x00\x03\xfa\xd0Y\xae\x00\x00\x00\x00IEND\xaeB`\x82"

// takePhoto attaches a small picture. Every fourth has the bytes of one that was taken before.
func (w *world) takePhoto(h *handset, task string, how int) (string, error) {
	bytes := fmt.Sprintf("%s a picture of %s number %d", dot, task, how)
	if how%4 == 0 {
		bytes = dot + " the same picture as ever"
	}
	file := filepath.Join(w.dir, "camera")
	if err := os.WriteFile(file, []byte(bytes), 0o600); err != nil {
		return "", err
	}
	return h.phone.Photo(task, file, phone.PhotoFacts{FromGallery: how%5 == 0})
}

// handle is what is done with phones themselves.
func (w *world) handle(a *action) string {
	sets := w.crewSets()
	h := sets[a.who%len(sets)]
	if a.op == opSync && a.who%7 == 0 {
		h = w.desk()
		if a.who%2 == 0 {
			h = w.ward()
		}
	}
	if h.busy {
		return h.name + " is busy"
	}
	switch a.op {
	case opSync:
		report, err := h.sync()
		return fmt.Sprintf("%s: %s, %d judged, %d changed, %d removed%s", h.name, outcome(err), report.Sent, report.Changed, report.Removed, verdictsOf(report))
	case opWatch:
		return w.watch(h, a.how)
	case opDamage:
		return w.damage(h, a.how)
	case opUpload:
		return h.name + ": " + outcome(h.phone.Upload(w.ctx, nil))
	case opProbe:
		return w.probe(h, a)
	case opEnrol:
		return h.name + ": " + outcome(h.enrol())
	case opSkew:
		w.injected["clock-jump"]++
		h.skew = []time.Duration{0, -40 * time.Second, 7 * time.Minute, -3 * time.Hour, 50 * 365 * 24 * time.Hour, -56 * 365 * 24 * time.Hour}[a.how%6]
		return fmt.Sprintf("%s is off by %v", h.name, h.skew)
	case opReopen:
		w.must("reopening a phone", h.reopen(""))
	case opReboot:
		w.injected["reboot"]++
		h.boot, h.booted = h.boot+1, w.now
		w.must("reopening a phone", h.reopen(""))
	case opBackup:
		h.saved, h.savedDamaged = len(w.facts), h.damaged
		w.must("backing a phone up", h.save("backup"))
	case opRollback:
		if h.saved < 0 {
			return h.name + ": " + nothing
		}
		w.injected["phone-restored"]++
		w.must("restoring a phone", h.reopen("backup"))
		w.forget(h, h.saved)
		h.damaged = h.savedDamaged
		h.enrolled = h.status().DeviceID != ""
		h.told, h.sequence = "", 0
	case opClone:
		return w.clone(h)
	default:
		return w.wipe(h)
	}
	return h.name
}

func verdictsOf(report phone.Report) (said string) {
	for _, v := range report.Verdicts {
		said += fmt.Sprintf(" %d.%d:%s", v.InstallEpoch, v.Verdict.GetNumber(), v.Verdict.GetCode())
	}
	if report.Renumbered {
		said += " renumbered"
	}
	return said
}

// clone copies a phone's folder to another phone, and both go on.
func (w *world) clone(h *handset) string {
	if len(w.sets) > 10 {
		return nothing
	}
	w.injected["phone-cloned"]++
	twin := w.newHandset(fmt.Sprintf("phone-%d", len(w.sets)-4), h.member, h.role)
	twin.skew, twin.enrolled, twin.damaged, twin.old = h.skew, h.enrolled, h.damaged, h.old
	w.must("cloning a phone", copyTree(h.dir, twin.dir))
	w.must("opening a clone", twin.open())
	for _, f := range w.facts {
		if f.on[h] {
			f.on[twin] = true
		}
	}
	return fmt.Sprintf("%s is now also %s", h.name, twin.name)
}

// wipe loses a phone with all that was on it; its member gets another.
func (w *world) wipe(h *handset) string {
	if len(w.sets) > 10 {
		return nothing
	}
	w.injected["phone-lost"]++
	w.must("closing a phone", h.phone.Close())
	h.gone = true
	w.forget(h, 0)
	fresh := w.newHandset(fmt.Sprintf("phone-%d", len(w.sets)-4), h.member, h.role)
	w.must("opening a new phone", fresh.open())
	return fmt.Sprintf("%s is lost, %s comes: %s", h.name, fresh.name, outcome(fresh.enrol()))
}

// trouble is what is done with the server.
func (w *world) trouble(a *action) string {
	h := w.house
	if h.engine.dead {
		return nothing
	}
	off := w.off
	w.off = true // A start that fails is only another start.
	defer func() { w.off = off }()
	switch a.op {
	case opServerBackup:
		h.backup, h.backedUp = h.disk.backup(), h.clock()
		return "the server is backed up"
	case opRestart:
		w.injected["server-restart"]++
		w.must("restarting the server", h.restart())
		w.opened()
		return "the server is restarted"
	default:
		if h.backup == nil {
			return nothing
		}
		w.injected["server-restored"]++
		w.must("restoring the server", h.revert())
		w.opened()
		w.reverted()
		return "the server is restored"
	}
}

// deliver lets requests arrive that their phones have given up long ago.
func (w *world) deliver(which int) string {
	if len(w.late) == 0 {
		return nothing
	}
	i := which % len(w.late)
	c := w.late[i]
	w.late = append(w.late[:i:i], w.late[i+1:]...)
	c.late = true
	answer := w.serve(c)
	if answer == nil {
		return c.set.name + "'s request meets no server"
	}
	_ = answer.Body.Close() // Nobody reads it.
	return fmt.Sprintf("%s's request arrives late: %d", c.set.name, answer.StatusCode)
}
