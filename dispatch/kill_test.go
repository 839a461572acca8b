package dispatch

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/store"
	"github.com/cong1022/fieldsync/store/embedded"
)

const (
	// climbSeedsVariable asks for a long campaign of kills: so many seeds instead of a short one.
	climbSeedsVariable = "FIELDSYNC_CLIMB_SEEDS"
	// timersVariable makes this binary a server that takes timers over the store in the folder that it names, and nothing else.
	timersVariable = "FIELDSYNC_DISPATCH_TEST_TIMERS"
	// timersTick is how much time passes from one look at the timers to the next.
	timersTick = 2 * time.Minute
)

// TestMain runs the tests, or is the server that one of them kills.
func TestMain(m *testing.M) {
	if dir := os.Getenv(timersVariable); dir != "" {
		if err := timersAlone(dir, os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// mortal is an engine whose process dies by SIGKILL at a transaction: ahead of its commit, during it, or behind it.
type mortal struct {
	store.Engine

	left   int64 // Transactions until the fatal one; where it begins at 0 none is.
	moment string
}

func (m *mortal) Update(ctx context.Context, fn func(store.KV) error) error {
	fatal := atomic.AddInt64(&m.left, -1) == 0
	if fatal && m.moment == "during" {
		go die()
	}
	err := m.Engine.Update(ctx, func(kv store.KV) error {
		err := fn(kv)
		if fatal && m.moment == "before" {
			die()
		}
		return err
	})
	if fatal {
		die()
	}
	return err
}

func die() {
	if self, err := os.FindProcess(os.Getpid()); err == nil {
		_ = self.Kill()
	}
	select {} // It may take a moment.
}

// timersAlone takes timers as the server does, while time passes in ticks, and tells each tick that it has come through. Its arguments:
// the time in nanoseconds, the number of ticks, which transaction is fatal (0 for none), and at which moment of it.
func timersAlone(dir string, args []string) (err error) {
	var numbers [3]int64
	for i := range numbers {
		if numbers[i], err = strconv.ParseInt(args[i], 10, 64); err != nil {
			return err
		}
	}
	engine, err := embedded.Open(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	now := time.Unix(0, numbers[0])
	ctx := context.Background()
	st, err := store.Open(ctx, &mortal{Engine: engine, left: numbers[2], moment: args[3]}, store.Options{Clock: func() time.Time { return now }})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	s := New(Options{Store: st, Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))})
	for range numbers[1] {
		until, stop := context.WithCancel(ctx)
		quiet := make(chan struct{})
		go func() {
			defer close(quiet)
			for due := true; due; time.Sleep(time.Millisecond) {
				due = false
				_ = st.View(ctx, func(tx *store.Tx) error {
					for timer, err := range store.Scan(tx, store.Timers(), nil) {
						due = err == nil && !timer.GetDueAt().AsTime().After(tx.Now())
						break
					}
					return nil
				})
			}
			stop()
		}()
		if err := s.RunTimers(until); err != nil {
			return err
		}
		<-quiet
		fmt.Println(now.UnixNano())
		now = now.Add(timersTick)
	}
	return nil
}

// ladder is an assignment whose steps are watched.
type ladder struct {
	task, crew string
	epoch      uint64
	// due is when each step falls due, taken which have happened.
	due   []time.Time
	taken []bool
	// over: it was answered, or has ended.
	over bool
}

// siege is a house whose server is killed again and again while assignments climb.
type siege struct {
	*house

	random  *rand.Rand
	ladders []*ladder
	deaths  int
}

var climbers = map[string]*fieldsyncv1.Member{
	"crew-phone": {Id: "minh", Name: "minh", Role: fieldsyncv1.Role_ROLE_CREW, CrewId: "cay-xanh"},
	"lead-phone": {Id: "thu", Name: "thu", Role: fieldsyncv1.Role_ROLE_CREW_LEAD, CrewId: "cay-xanh"},
	"desk-phone": {Id: "lan", Name: "lan", Role: fieldsyncv1.Role_ROLE_DISPATCHER, UnitId: "p-sai-gon"},
	"head-phone": {Id: "dung", Name: "dung", Role: fieldsyncv1.Role_ROLE_UNIT_HEAD, UnitId: "p-sai-gon"},
}

// Protects the climb from kill -9: a server that takes timers is killed ahead of, during and behind its commits, with steps that fall due
// before, during and after the time in which nobody runs. Each step happens once, with all that it does, in the first look after its
// time; none happens after the answer or the end of its assignment; none is forgotten.
func TestEscalationSurvivesKills(t *testing.T) {
	seeds, err := strconv.ParseUint(os.Getenv(climbSeedsVariable), 10, 64)
	lives := 25
	if err != nil || seeds == 0 {
		seeds, lives = 1, 8
		if testing.Short() {
			lives = 3
			t.Log("short: 3 lives instead of 8")
		}
	}
	for seed := uint64(1); seed <= seeds; seed++ {
		besiege(t, seed, lives)
	}
}

func besiege(t *testing.T, seed uint64, lives int) {
	t.Helper()
	s := &siege{house: seeded(t, "2025-06-09 09:00"), random: rand.New(rand.NewPCG(seed, 2))}
	for phone, member := range climbers {
		s.device(phone, member.GetId(), "cay-xanh", nil)
		must(t)(s.PutMember(s.as(admin), &fieldsyncv1.PutMemberRequest{Member: member}))
	}
	for range lives {
		for range 2 + s.random.IntN(4) {
			s.begin(s.taskOf("fallen-tree", fieldsyncv1.Urgency_URGENCY_HIGH), "cay-xanh")
		}
		for _, l := range s.ladders {
			if !l.over && s.random.IntN(4) == 0 {
				s.answer(l)
			}
		}
		s.live(1+s.random.IntN(20), 2+s.random.IntN(24), []string{"before", "during", "after"}[s.random.IntN(3)])
		s.now = s.now.Add(time.Duration(s.random.IntN(20*60)) * time.Second) // Nobody runs.
	}
	s.now = s.now.Add(time.Hour)
	s.live(1, 0, "")
	steps := 0
	for _, l := range s.ladders {
		for i, taken := range l.taken {
			if steps++; !taken && !l.over {
				t.Errorf("seed %d: step %d of %s was never taken", seed, i+1, l.task)
			}
		}
	}
	if s.deaths == 0 {
		t.Errorf("seed %d: the server was never killed: the test shows nothing", seed)
	}
	t.Logf("seed %d: %d assignments, %d steps, %d kills", seed, len(s.ladders), steps, s.deaths)
}

// begin assigns a task and follows it.
func (s *siege) begin(task, crew string) {
	s.t.Helper()
	s.assign(task, crew)
	running := s.record(task).GetEscalation()
	l := &ladder{task: task, crew: crew, epoch: running.GetAssignmentEpoch(), taken: make([]bool, len(running.GetSteps()))}
	for _, step := range running.GetSteps() {
		l.due = append(l.due, step.GetDueAt().AsTime())
	}
	if len(l.due) != 5 {
		s.t.Fatalf("%d steps climb, want 5", len(l.due))
	}
	s.ladders = append(s.ladders, l)
}

// answer ends an assignment in one of the ways in which that happens.
func (s *siege) answer(l *ladder) {
	s.t.Helper()
	l.over = true
	switch s.random.IntN(6) {
	case 0:
		s.moves(l.task, fieldsyncv1.TaskState_TASK_STATE_ACCEPTED, time.Time{})
	case 1:
		s.moves(l.task, fieldsyncv1.TaskState_TASK_STATE_STARTED, time.Time{})
	case 2:
		s.moves(l.task, fieldsyncv1.TaskState_TASK_STATE_OPEN, time.Time{})
	case 3:
		must(s.t)(s.RecallTask(s.as(saigonDesk), &fieldsyncv1.RecallTaskRequest{TaskId: l.task}))
		s.begin(l.task, "cay-xanh") // And given again: what is left of the old one must not mix with it.
	case 4:
		must(s.t)(s.CancelTask(s.as(saigonDesk), &fieldsyncv1.CancelTaskRequest{TaskId: l.task, Reason: "trùng"}))
	default:
		s.begin(l.task, map[string]string{"cay-xanh": "chieu-sang", "chieu-sang": "cay-xanh"}[l.crew])
	}
}

// live lets a server of its own run for some ticks, to be killed at the fatal transaction, and then looks at what it has done.
func (s *siege) live(ticks, fatal int, moment string) {
	s.t.Helper()
	s.clearOutbox()
	outside := s.outside()
	if err := s.store.Close(); err != nil {
		s.t.Fatal(err)
	}
	cmd := exec.CommandContext(s.t.Context(), os.Args[0],
		strconv.FormatInt(s.now.UnixNano(), 10), strconv.Itoa(ticks), strconv.Itoa(fatal), moment)
	cmd.Env = append(os.Environ(), timersVariable+"="+s.dir)
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	looked := 0
	for lines := bufio.NewScanner(out); lines.Scan(); looked++ { //nolint:revive // They are counted.
	}
	err = cmd.Wait()
	if said.Len() > 0 || err != nil && err.Error() != "signal: killed" {
		s.t.Fatalf("the server: %v\n%s", err, said.String())
	}
	sure := s.now.Add(time.Duration(looked-1) * timersTick) // Up to when everything must have been taken, where looked > 0.
	last := sure                                            // Up to when something may have been.
	if err != nil {
		s.deaths++
		last = sure.Add(timersTick)
	}
	if looked == 0 {
		sure = time.Time{}
	}
	s.now = last
	s.open()
	s.look(sure, last, outside)
}

// look holds what is stored against what must and may have happened, and what was done against what is said to have been done.
func (s *siege) look(sure, last time.Time, outside map[string]int) {
	s.t.Helper()
	want := map[string]int{}
	for _, l := range s.ladders {
		running := s.record(l.task).GetEscalation()
		if running.GetAssignmentEpoch() != l.epoch {
			continue // Its effects, if there were any, would be too many below.
		}
		for i, step := range running.GetSteps() {
			taken := step.GetDoneAt() != nil
			switch {
			case l.taken[i] && !taken:
				s.t.Errorf("step %d of %s is no longer taken", i+1, l.task)
			case taken && !l.taken[i] && (l.over || l.due[i].After(last)):
				s.t.Errorf("step %d of %s, due %v, was taken by %v, over: %t", i+1, l.task, l.due[i], last, l.over)
			case !taken && !l.over && !l.due[i].After(sure):
				s.t.Errorf("step %d of %s, due %v, was not taken by %v", i+1, l.task, l.due[i], sure)
			}
			if !taken || l.taken[i] {
				continue
			}
			l.taken[i] = true
			for _, effect := range effects(step.GetAction(), l) {
				want[effect]++
			}
		}
	}
	got := map[string]int{}
	s.view(func(tx *store.Tx) error {
		for row, err := range store.Scan(tx, store.Outbox(), nil) {
			if err != nil {
				return err
			}
			got[effectOf(row.GetPush())]++
		}
		return nil
	})
	for effect, n := range s.outside() {
		if n -= outside[effect]; n > 0 {
			got[effect] = n
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		s.t.Errorf("by %v was done %v, is said to have been done %v", last, got, want)
	}
}

// effects are what a step does, each once.
func effects(action fieldsyncv1.EscalationAction, l *ladder) []string {
	order := fmt.Sprintf("%s/%d/", l.task, l.epoch)
	if l.crew == "chieu-sang" && (action == fieldsyncv1.EscalationAction_ESCALATION_ACTION_AGAIN || action == fieldsyncv1.EscalationAction_ESCALATION_ACTION_CREW_LEAD) {
		return nil // It has no phones.
	}
	switch action {
	case fieldsyncv1.EscalationAction_ESCALATION_ACTION_AGAIN:
		return []string{order + "crew-phone", order + "lead-phone"}
	case fieldsyncv1.EscalationAction_ESCALATION_ACTION_CREW_LEAD:
		return []string{order + "lead-phone"}
	case fieldsyncv1.EscalationAction_ESCALATION_ACTION_DISPATCHER:
		return []string{"/0/desk-phone"}
	case fieldsyncv1.EscalationAction_ESCALATION_ACTION_UNIT_HEAD:
		return []string{"/0/head-phone"}
	default:
		return []string{order + "webhook"}
	}
}

func effectOf(hint *storagev1.PushHint) string {
	return fmt.Sprintf("%s/%d/%s", hint.GetTaskId(), hint.GetAssignmentEpoch(), hint.GetDeviceId())
}

// outside counts how often somebody outside was called, by assignment.
func (s *siege) outside() map[string]int {
	s.t.Helper()
	calls := map[string]int{}
	s.view(func(tx *store.Tx) error {
		for change, err := range store.Scan(tx, store.TicketChanges(), nil) {
			if err != nil {
				return err
			}
			if change.GetKind() == fieldsyncv1.TicketChangeKind_TICKET_CHANGE_KIND_ESCALATED {
				calls[fmt.Sprintf("%s/%d/webhook", change.GetTaskId(), change.GetEscalation().GetAssignmentEpoch())]++
			}
		}
		return nil
	})
	return calls
}
