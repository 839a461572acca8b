package main

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// action is one step as data: what is done, by whom and to what, and which faults meet it. Numbers are taken modulo what
// there is when the step comes, so that any subset of a run's actions is a run, too: that is what shrinking needs.
type action struct {
	op             op
	who, what, how int
	// wait is how much time passes before.
	wait time.Duration
	// cuts befall the requests of the step, in their order. Those beyond pass.
	cuts []cut
	// during happens while the answer of a held request is on its way.
	during *action
	// at counts the commits of the step until the one that meets the fate. Without a fate all are kept.
	at   int
	fate fate
	// disk counts the writes of phones in the step until the one that fails, 0 where none does.
	disk int
}

// op is what is done in a step.
type op string

const (
	opSee      op = "see"
	opNote     op = "note"
	opPhoto    op = "photo"
	opAccept   op = "accept"
	opStart    op = "start"
	opPause    op = "pause"
	opResume   op = "resume"
	opTick     op = "tick"
	opComplete op = "complete"
	opDecline  op = "decline"
	opHandOver op = "hand-over"
	opSync     op = "sync"
	opUpload   op = "upload"
	opWatch    op = "watch"
	opFuture   op = "future" // A note that an app of a newer version sends as an intent of its own.

	opCreate  op = "create-task"
	opAssign  op = "assign"
	opRecall  op = "recall"
	opCancel  op = "cancel"
	opRepeat  op = "repeat-order"
	opMove    op = "move-member"
	opRevoke  op = "revoke"
	opTicket  op = "ticket"
	opRetitle op = "update-ticket"
	opReroute op = "reroute-ticket"
	opFeed    op = "read-feed"
	opConfirm op = "acknowledge"
	opProbe   op = "probe"
	opReunit  op = "move-dispatcher"
	opRelease op = "release"
	opMend    op = "mend"
	opDiscard op = "discard"

	opReopen   op = "reopen-phone"
	opReboot   op = "reboot-phone"
	opSkew     op = "set-wall-clock"
	opEnrol    op = "enrol-again"
	opWipe     op = "wipe-phone"
	opClone    op = "clone-phone"
	opBackup   op = "back-phone-up"
	opRollback op = "restore-phone"
	opDamage   op = "damage-replica"

	opRestart      op = "restart-server"
	opServerBackup op = "back-server-up"
	opServerRevert op = "restore-server"
	opServerClock  op = "set-server-clock"

	opWait    op = "wait"
	opMonths  op = "months"
	opDeliver op = "deliver-late"
)

// cut is what befalls a request.
type cut string

const (
	pass        cut = ""
	dropRequest cut = "request-dropped"
	dropAnswer  cut = "answer-dropped"
	twice       cut = "request-duplicated"
	late        cut = "request-delayed" // The phone gives up; the request arrives some steps later.
	held        cut = "answer-delayed"  // Something else happens before the answer is here.
	killed      cut = "phone-killed"    // The phone dies before it has read the answer.
	cutRequest  cut = "request-cut"     // The connection ends somewhere in the request.
	cutAnswer   cut = "answer-cut"      // The connection ends somewhere in the answer.
)

// fate is what becomes of a commit.
type fate string

const (
	committed   fate = ""
	diskFull    fate = "disk-full"       // Refused, with an error that asks for patience.
	refused     fate = "commit-failed"   // Refused, with an error that says nothing.
	unknownKept fate = "unknown-kept"    // Kept, but the server does not know: it stops.
	unknownLost fate = "unknown-lost"    // Lost, and the server does not know: it stops.
	crashAfter  fate = "crash-committed" // The server is killed behind the commit.
	crashBefore fate = "crash-before"    // The server is killed ahead of the commit.
)

// weight says how often an op comes. trouble is what a seed may go without: each seed draws which kinds of trouble it has,
// so that some meet one kind a hundred times instead of each kind once.
type weight struct {
	op      op
	n       int
	trouble bool
}

var weights = []weight{
	{opNote, 14, false},
	{opPhoto, 7, false},
	{opSee, 3, false},
	{opAccept, 3, false},
	{opStart, 6, false},
	{opPause, 2, false},
	{opResume, 2, false},
	{opTick, 4, false},
	{opComplete, 7, false},
	{opDecline, 1, false},
	{opHandOver, 1, false},
	{opSync, 24, false},
	{opUpload, 8, false},
	{opWatch, 8, false},
	{opFuture, 2, false},
	{opRelease, 4, false},
	{opMend, 2, false},
	{opDiscard, 1, false},
	{opReunit, 1, true},
	{opDamage, 2, true},
	{opServerClock, 1, true},
	{opMonths, 1, true},
	{opCreate, 4, false},
	{opAssign, 9, false},
	{opRecall, 2, false},
	{opCancel, 2, false},
	{opRepeat, 2, false},
	{opTicket, 3, false},
	{opRetitle, 2, false},
	{opReroute, 1, false},
	{opFeed, 4, false},
	{opConfirm, 4, false},
	{opProbe, 1, false},
	{opReopen, 2, false},
	{opReboot, 2, true},
	{opSkew, 2, true},
	{opDeliver, 3, false},
	{opWait, 3, false},
	{opMove, 2, true},
	{opRevoke, 1, true},
	{opEnrol, 2, true},
	{opWipe, 1, true},
	{opClone, 1, true},
	{opBackup, 3, true},
	{opRollback, 2, true},
	{opRestart, 2, true},
	{opServerBackup, 3, true},
	{opServerRevert, 1, true},
}

var (
	allCuts  = []cut{dropRequest, dropAnswer, twice, late, held, killed, cutRequest, cutAnswer}
	allFates = []fate{diskFull, refused, unknownKept, unknownLost, crashAfter, crashBefore}
	// asides are what may happen while a phone waits for an answer.
	asides = []op{
		opNote, opNote, opPhoto, opComplete, opAssign, opAssign, opRecall, opCancel, opMove, opRevoke, opReroute, opRetitle,
		opConfirm, opWait, opSync, opServerBackup, opReboot, opSkew, opRelease,
	}
)

// steps is how many actions a run has before it comes to rest.
const steps = 64

// generate draws the actions of a seed.
func generate(seed uint64) []action {
	r := rand.New(rand.NewPCG(seed, 0x66696c64)) //nolint:gosec // It must be predictable.
	var ops []op
	for _, w := range weights {
		if w.trouble && r.IntN(2) == 0 {
			continue
		}
		for range w.n {
			ops = append(ops, w.op)
		}
	}
	cuts, fates := some(r, allCuts), some(r, allFates)
	cutShare, fateShare, diskShare := r.IntN(50), r.IntN(20), r.IntN(20)-10
	actions := make([]action, 0, steps)
	for range steps {
		a := draw(r, pick(r, ops))
		if a.op == opWatch {
			chain := &a
			for range r.IntN(4) {
				aside := draw(r, pick(r, asides))
				chain.during = &aside
				chain = &aside
			}
		}
		for range r.IntN(8) {
			c := pass
			if len(cuts) > 0 && r.IntN(100) < cutShare {
				c = pick(r, cuts)
			}
			a.cuts = append(a.cuts, c)
			if c == held && a.during == nil {
				aside := draw(r, pick(r, asides))
				a.during = &aside
			}
		}
		if len(fates) > 0 && r.IntN(100) < fateShare {
			a.at, a.fate = r.IntN(3), pick(r, fates)
		}
		if r.IntN(100) < diskShare {
			a.disk = 1 + r.IntN(4)
		}
		actions = append(actions, a)
	}
	return actions
}

// draw makes an action without faults.
func draw(r *rand.Rand, what op) action {
	a := action{op: what, who: r.IntN(1 << 10), what: r.IntN(1 << 10), how: r.IntN(1 << 10), wait: time.Duration(1+r.IntN(90)) * time.Second}
	if what == opWait {
		a.wait = pick(r, []time.Duration{10 * time.Minute, 16 * time.Minute, time.Hour, 26 * time.Hour, 4 * 24 * time.Hour})
	}
	if what == opMonths {
		a.wait = time.Duration(20+r.IntN(100)) * 24 * time.Hour
	}
	return a
}

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

// some returns about half of the elements.
func some[T any](r *rand.Rand, from []T) (chosen []T) {
	for _, x := range from {
		if r.IntN(2) == 0 {
			chosen = append(chosen, x)
		}
	}
	return chosen
}

// String tells an action in one line, for the log of a run.
func (a action) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s(%d,%d,%d) after %v", a.op, a.who, a.what, a.how, a.wait)
	for i, c := range a.cuts {
		if c != pass {
			fmt.Fprintf(&b, "; call %d: %s", i+1, c)
		}
	}
	if a.during != nil {
		fmt.Fprintf(&b, "; meanwhile %s", a.during)
	}
	if a.disk > 0 {
		fmt.Fprintf(&b, "; write %d of a phone fails", a.disk)
	}
	if a.fate != committed {
		fmt.Fprintf(&b, "; commit %d: %s", a.at+1, a.fate)
	}
	return b.String()
}
