package phone

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"google.golang.org/protobuf/proto"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
	cityserver "github.com/cong1022/fieldsync/internal/server"
)

// city is the real server with one crew, and an admin who plays everybody else.
type city struct {
	t     *testing.T
	url   string
	admin *http.Client
	desk  fieldsyncv1connect.DispatchServiceClient
}

func newCity(t *testing.T) *city {
	t.Helper()
	config, err := cityserver.LoadConfig("", func(string) (string, bool) { return "", false })
	must(t, err)
	config.Listen, config.Data = "127.0.0.1:0", t.TempDir()
	server, err := cityserver.Open(t.Context(), config, slog.New(slog.DiscardHandler))
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background()) //nolint:usetesting // It outlives t.Context, which ends before the cleanups.
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		must(t, <-served)
	})
	code, _, err := server.AdminCode(t.Context())
	must(t, err)
	admin, err := Open(t.TempDir(), Options{})
	must(t, err)
	t.Cleanup(func() { must(t, admin.Close()) })
	must(t, admin.Enrol(t.Context(), server.URL(), code, "admin"))
	c := &city{t: t, url: server.URL(), admin: admin.Client()}
	c.desk = fieldsyncv1connect.NewDispatchServiceClient(c.admin, c.url)
	_, err = c.desk.PutCrew(t.Context(), &fieldsyncv1.PutCrewRequest{Crew: &fieldsyncv1.Crew{Id: "to-1", UnitId: "city", Name: "Tổ 1"}})
	must(t, err)
	_, err = c.desk.PutMember(t.Context(), &fieldsyncv1.PutMemberRequest{
		Member: &fieldsyncv1.Member{Id: "lan", Name: "Lan", Role: fieldsyncv1.Role_ROLE_CREW, CrewId: "to-1"},
	})
	must(t, err)
	return c
}

// assign makes n tasks of about 1 KB and gives them to the crew.
func (c *city) assign(n int) (ids []string) {
	c.t.Helper()
	var tickets []*fieldsyncv1.TicketIntake
	for i := range n {
		tickets = append(tickets, &fieldsyncv1.TicketIntake{
			HotlineId: fmt.Sprint("1022-", i), Category: "fallen-tree", Title: fmt.Sprint("Cây đổ chắn đường ", i),
			Description: strings.Repeat(fmt.Sprint("Cây đổ ngang đường số ", i, ". "), 25), Address: "Lê Lợi, phường Bến Thành",
		})
	}
	for batch := range slices.Chunk(tickets, 100) {
		submitted, err := fieldsyncv1connect.NewHotlineServiceClient(c.admin, c.url).SubmitTickets(c.t.Context(), &fieldsyncv1.SubmitTicketsRequest{Tickets: batch})
		must(c.t, err)
		for _, result := range submitted.GetResults() {
			created, err := c.desk.CreateTask(c.t.Context(), &fieldsyncv1.CreateTaskRequest{TicketId: result.GetTicketId()})
			must(c.t, err)
			ids = append(ids, created.GetTask().GetId())
			_, err = c.desk.AssignTask(c.t.Context(), &fieldsyncv1.AssignTaskRequest{TaskId: ids[len(ids)-1], CrewId: "to-1"})
			must(c.t, err)
		}
	}
	return ids
}

// enrol is a fresh phone of the crew member.
func (c *city) enrol(o Options) *Phone {
	c.t.Helper()
	p := c.open(c.t.TempDir(), o)
	issued, err := fieldsyncv1connect.NewIdentityServiceClient(c.admin, c.url).IssueCode(c.t.Context(), &fieldsyncv1.IssueCodeRequest{MemberId: "lan"})
	must(c.t, err)
	must(c.t, p.Enrol(c.t.Context(), c.url, issued.GetCode(), "test"))
	return p
}

func (c *city) open(dir string, o Options) *Phone {
	c.t.Helper()
	p, err := Open(dir, o)
	must(c.t, err)
	c.t.Cleanup(func() { must(c.t, p.Close()) })
	return p
}

// copied is a copy of the phone's folder, as a backup or a clone has it.
func (c *city) copied(p *Phone) (dir string) {
	c.t.Helper()
	dir = filepath.Join(c.t.TempDir(), "copy")
	must(c.t, p.db.Sync())
	must(c.t, os.CopyFS(dir, os.DirFS(p.dir)))
	return dir
}

// fates tells of each text what became of it: how often it stands in the task's notes, and how often in quarantine.
func (c *city) fates(task string) (applied, quarantined map[string]int) {
	c.t.Helper()
	got, err := c.desk.GetTask(c.t.Context(), &fieldsyncv1.GetTaskRequest{TaskId: task})
	must(c.t, err)
	applied, quarantined = map[string]int{}, map[string]int{}
	for _, note := range got.GetTask().GetNotes() {
		applied[note.GetText()]++
	}
	support := fieldsyncv1connect.NewSupportServiceClient(c.admin, c.url)
	for token := ""; ; {
		page, err := support.ListQuarantined(c.t.Context(), &fieldsyncv1.ListQuarantinedRequest{PageToken: token})
		must(c.t, err)
		for _, q := range page.GetMutations() {
			quarantined[q.GetMutation().GetAddNote().GetText()]++
		}
		if token = page.GetNextToken(); token == "" {
			return applied, quarantined
		}
	}
}

// wantKept fails where a text that was recorded did not end in the task or in quarantine, once.
func (c *city) wantKept(task string, recorded []string) {
	c.t.Helper()
	applied, quarantined := c.fates(task)
	for _, text := range recorded {
		if applied[text]+quarantined[text] != 1 {
			c.t.Errorf("%q took effect %d times and is %d times in quarantine", text, applied[text], quarantined[text])
		}
	}
	if len(applied)+len(quarantined) != len(recorded) {
		c.t.Errorf("recorded %v, on the server %v and %v", recorded, slices.Collect(maps.Keys(applied)), slices.Collect(maps.Keys(quarantined)))
	}
}

// crewmate records and syncs, and remembers what was recorded.
type crewmate struct {
	*Phone

	c        *city
	task     string
	recorded *[]string
}

func (m crewmate) notes(texts ...string) {
	m.c.t.Helper()
	for _, text := range texts {
		must(m.c.t, m.Note(m.task, text))
		*m.recorded = append(*m.recorded, text)
	}
}

func (m crewmate) syncs() Report {
	m.c.t.Helper()
	report, err := m.Sync(m.c.t.Context())
	must(m.c.t, err)
	if s, err := m.Status(); err != nil || s.Queued != 0 || !s.Whole {
		m.c.t.Fatalf("after a sync: %+v (%v)", s, err)
	}
	return report
}

func (m crewmate) at(p *Phone) crewmate {
	m.Phone = p
	return m
}

// Two phones with copies of one folder, that is one key and one numbering, both go on: what each has recorded is in the task
// or in quarantine, once, what both had recorded before the copy is there once, and after the conflict nothing more goes to
// quarantine.
func TestClonedPhones(t *testing.T) {
	c := newCity(t)
	var recorded []string
	one := crewmate{c.enrol(Options{}), c, c.assign(1)[0], &recorded}
	one.syncs()
	one.notes("before")
	one.syncs()
	one.notes("both 1", "both 2")
	two := one.at(c.open(c.copied(one.Phone), Options{}))

	one.notes("one 1", "one 2", "one 3")
	two.notes("two 1", "two 2", "two 3", "two 4", "two 5")
	if report := one.syncs(); report.Renumbered || report.Sent != 5 {
		t.Errorf("the first of the two: %+v", report)
	}
	// The first numbers are repeats, the next ones are used, the rest gets no verdict and goes out under a new epoch.
	if report := two.syncs(); !report.Renumbered || report.Sent != 7 {
		t.Errorf("the second of the two: %+v", report)
	}
	c.wantKept(one.task, recorded)
	_, before := c.fates(one.task)

	one.notes("one 4")
	two.notes("two 6")
	if report := one.syncs(); !report.Renumbered {
		t.Errorf("the first, whose numbers the second has used: %+v", report)
	}
	two.syncs()
	one.notes("one 5")
	if report := one.syncs(); report.Renumbered {
		t.Errorf("the two have not parted: %+v", report)
	}
	c.wantKept(one.task, recorded)
	if _, after := c.fates(one.task); len(after) != len(before) || len(before) == 0 {
		t.Errorf("in quarantine %v, then %v", before, after)
	}
	a, err := one.Status()
	must(t, err)
	b, err := two.Status()
	must(t, err)
	if a.InstallEpoch == b.InstallEpoch || a.DeviceID != b.DeviceID {
		t.Errorf("one device in two epochs is wanted: %+v and %+v", a, b)
	}
}

// A phone that is put back to an older copy of its folder uses numbers again, and sends again what was judged meanwhile: the
// repeats are known, the rest is in the task or in quarantine, once, and the phone goes on.
func TestRestoredPhone(t *testing.T) {
	for name, numbers := range map[string]int{"fewer than were used": 1, "more than were used": 6} {
		t.Run(name, func(t *testing.T) {
			c := newCity(t)
			var recorded []string
			p := crewmate{c.enrol(Options{}), c, c.assign(1)[0], &recorded}
			p.syncs()
			p.notes("a")
			p.syncs()
			p.notes("unsent 1", "unsent 2")
			backup := c.copied(p.Phone)
			p.syncs()
			p.notes("lost with the phone 1", "lost with the phone 2", "lost with the phone 3")
			p.syncs()

			p = p.at(c.open(backup, Options{}))
			for i := range numbers {
				p.notes(fmt.Sprint("restored ", i))
			}
			p.syncs()
			c.wantKept(p.task, recorded)
			p.notes("later 1")
			p.syncs()
			p.notes("later 2")
			p.syncs()
			c.wantKept(p.task, recorded)
			applied, quarantined := c.fates(p.task)
			if applied["later 2"] != 1 || len(quarantined) == 0 {
				t.Errorf("the phone does not go on: %v, %v", applied, quarantined)
			}
		})
	}
}

// What dispatchers release from the quarantine of a phone arrives with its photo.
func TestReleasedFromQuarantine(t *testing.T) {
	c := newCity(t)
	var recorded []string
	one := crewmate{c.enrol(Options{}), c, c.assign(1)[0], &recorded}
	one.syncs()
	two := one.at(c.open(c.copied(one.Phone), Options{}))
	one.notes("one")
	one.syncs()
	_, err := two.Photo(two.task, jpegFile(t, t.TempDir(), 1, 3000), PhotoFacts{Kind: fieldsyncv1.PhotoKind_PHOTO_KIND_AFTER})
	must(t, err)
	two.syncs()
	must(t, two.Upload(t.Context(), nil))
	if s, err := two.Status(); err != nil || s.PhotosRefused != 1 {
		t.Fatalf("want a photo in quarantine: %+v (%v)", s, err)
	}
	support := fieldsyncv1connect.NewSupportServiceClient(c.admin, c.url)
	listed, err := support.ListQuarantined(t.Context(), &fieldsyncv1.ListQuarantinedRequest{})
	must(t, err)
	for _, q := range listed.GetMutations() {
		_, err := support.ReleaseQuarantined(t.Context(), &fieldsyncv1.ReleaseQuarantinedRequest{Id: q.GetId(), Reason: "máy sao chép"})
		must(t, err)
	}
	two.syncs()
	must(t, two.Upload(t.Context(), nil))
	two.syncs()
	held, err := two.Task(two.task)
	must(t, err)
	if photos := held.Task.GetPhotos(); len(photos) != 1 || photos[0].GetState() != fieldsyncv1.PhotoState_PHOTO_STATE_VERIFIED {
		t.Errorf("photos %v", photos)
	}
	if s, err := two.Status(); err != nil || s.PhotosRefused+s.PhotosWaiting != 0 {
		t.Errorf("status %+v (%v)", s, err)
	}
}

// cutting is a network that cuts off behind so many bytes of answers.
type cutting struct {
	next http.RoundTripper
	// left may pass; negative: no limit. passed counts.
	left, passed atomic.Int64
}

var errCut = errors.New("the connection was cut")

// RoundTrip implements http.RoundTripper.
func (c *cutting) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := c.next.RoundTrip(r)
	if err == nil {
		answer.Body = &cutBodyReader{answer.Body, c}
	}
	return answer, err
}

type cutBodyReader struct {
	io.ReadCloser

	way *cutting
}

// Read implements io.Reader.
func (b *cutBodyReader) Read(p []byte) (int, error) {
	left := b.way.left.Load()
	if left == 0 {
		return 0, errCut
	}
	if left > 0 {
		p = p[:min(int64(len(p)), left)]
	}
	n, err := b.ReadCloser.Read(p)
	b.way.passed.Add(int64(n))
	if left > 0 {
		b.way.left.Add(-int64(n))
	}
	return n, err
}

// A first sync of 1,000 tasks comes in pages and survives cuts at any byte: each page that has arrived stays, none comes
// twice, and in the end all is there. Damage afterwards is mended with a fraction of the bytes.
func TestFirstSyncOverCuts(t *testing.T) {
	if testing.Short() {
		t.Skip("slow: makes 1,000 tasks on a real server")
	}
	c := newCity(t)
	ids := c.assign(1000)
	for round := range uint64(4) {
		random := rand.New(rand.NewPCG(1022, round))
		transport := &http.Transport{}
		t.Cleanup(transport.CloseIdleConnections)
		way := &cutting{next: transport}
		way.left.Store(-1)
		p := c.enrol(Options{HTTPClient: &http.Client{Transport: way}, NoSync: true})
		changed, calls, cuts, held := 0, 0, 0, 0
		for done := false; !done; {
			// Sometimes within the first bytes, sometimes pages away.
			way.left.Store(random.Int64N(1 << (4 + random.IntN(14))))
			if cuts > 100 {
				way.left.Store(-1)
			}
			report, err := p.Sync(t.Context())
			if done = err == nil; !done {
				wantCode(t, err, "server_unreachable")
				cuts++
			}
			changed += report.Changed
			calls += report.Calls
			s, err := p.Status()
			must(t, err)
			if s.Tasks != changed || s.Tasks < held || s.Whole != done || s.Tasks+int(s.Remaining) != len(ids) && calls > 0 {
				t.Fatalf("round %d, after %d cuts: %d tasks came, held before %d: %+v", round, cuts, changed, held, s)
			}
			held = s.Tasks
		}
		first := way.passed.Swap(0)
		t.Logf("%d tasks over %d cuts in %d answers, %d bytes", changed, cuts, calls, first)
		if changed != len(ids) || cuts == 0 {
			t.Errorf("%d tasks, %d cuts", changed, cuts)
		}
		way.left.Store(-1)
		broken := &rig{Phone: p, tb: t}
		broken.damage(ids[random.IntN(len(ids))], drop)
		broken.damage("foreign", foreign)
		broken.damage(ids[random.IntN(len(ids))], func(held *fieldsyncv1.Task) *fieldsyncv1.Task {
			if held != nil {
				held.Revision++
			}
			return held
		})
		report, err := p.Sync(t.Context())
		must(t, err)
		t.Logf("mended with %d tasks in %d calls, %d bytes", report.Changed, report.Calls, way.passed.Load())
		if !report.Repaired || report.Resynced || report.Calls != 2 || way.passed.Load() > first/10 {
			t.Errorf("%+v in %d bytes", report, way.passed.Load())
		}
		whole := c.enrol(Options{NoSync: true})
		_, err = whole.Sync(t.Context())
		must(t, err)
		a, err := p.Tasks()
		must(t, err)
		b, err := whole.Tasks()
		must(t, err)
		if !slices.EqualFunc(a, b, func(a, b Held) bool { return proto.Equal(a.Task, b.Task) }) {
			t.Error("the mended replica is not what a fresh phone gets")
		}
	}
}

// The real server's stream brings small changes into the replica without a call, and its long poll tells of them, too.
func TestWatchTheCity(t *testing.T) {
	c := newCity(t)
	told := make(chan Report, 10)
	p := c.enrol(Options{Changed: func(r Report) { told <- r }})
	r := &rig{Phone: p, tb: t}
	stop := r.running()
	<-told // The first, empty reading.
	r.until("at the head", func() bool { return r.status().Whole })
	id := c.assign(1)[0]
	r.until("the task on the phone", r.holds(1))
	stop()
	must(t, p.preferPoll())
	stop = r.running()
	_, err := c.desk.CancelTask(t.Context(), &fieldsyncv1.CancelTaskRequest{TaskId: id, Reason: "trùng"})
	must(t, err)
	r.until("the task off the phone", func() bool { return r.status().Tasks == 0 })
	stop()
	if s := r.status(); !s.Whole || s.Watching != WayPoll {
		t.Errorf("status %+v", s)
	}
}
