package phone

import (
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
	"github.com/cong1022/fieldsync/proof/receipt"
)

// Protects the crew member: for every completion the phone gets a receipt that verifies and bears its own signature, and until it
// holds the seal's it deletes nothing of that work; neither a lost connection nor a restart nor the end of the task loses one.
func TestReceipts(t *testing.T) {
	c := newCity(t)
	dir, way := t.TempDir(), newSwitch()
	p := c.enrolIn(dir, Options{HTTPClient: way.client(), RetryMin: 1, RetryMax: 1})
	ids := c.assign(2)
	must2(p.Sync(t.Context()))(t)

	// One with a photo, and one without: that one is sealed at once.
	photo := jpegFile(t, t.TempDir(), 7, 3000)
	_, err := p.Photo(ids[0], photo, PhotoFacts{Kind: fieldsyncv1.PhotoKind_PHOTO_KIND_AFTER})
	must(t, err)
	for _, id := range ids {
		must(t, p.Complete(id, fieldsyncv1.Outcome_OUTCOME_REPAIRED, "đã cưa"))
	}
	report, err := p.Sync(t.Context())
	must(t, err)
	for _, j := range report.Verdicts {
		if made := j.Verdict.GetCompletionId() != ""; made != (j.Mutation.GetComplete() != nil) {
			t.Errorf("the verdict on %v names the completion %q", j.Mutation, j.Verdict.GetCompletionId())
		}
	}
	if held := receiptsOf(t, p); len(held) != 2 || len(held[0].Text)+len(held[1].Text) != 0 {
		t.Fatalf("after the sync %+v is held: two owed receipts are expected", held)
	}

	// The photo gets through, its receipt does not.
	way.cut("/fieldsync.v1.ProofService/")
	if err := p.Upload(t.Context(), nil); err == nil {
		t.Fatal("the receipts were cut off, and nobody says so")
	}
	if n := copiesIn(t, p); n != 1 {
		t.Fatalf("%d photos lie on the phone, which holds no receipt", n)
	}
	must(t, p.Close())
	var ahead atomic.Int64
	clock := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	p, err = Open(dir, Options{HTTPClient: way.client(), RetryMin: 1, RetryMax: 1, Clock: clock})
	must(t, err)
	t.Cleanup(func() { must(t, p.Close()) })
	if n := copiesIn(t, p); n != 1 {
		t.Fatalf("after a restart %d photos lie on the phone, which holds no receipt", n)
	}

	// Before that, the hotline closes the tickets, and the tasks leave the phone.
	_, err = fieldsyncv1connect.NewDispatchServiceClient(c.admin, c.url).PutMember(t.Context(), &fieldsyncv1.PutMemberRequest{
		Member: &fieldsyncv1.Member{Id: "1022", Name: "1022", Role: fieldsyncv1.Role_ROLE_HOTLINE},
	})
	must(t, err)
	hotline := c.enrolMember("1022")
	var completions []string
	for _, r := range receiptsOf(t, p) {
		completions = append(completions, r.CompletionID)
	}
	_, err = fieldsyncv1connect.NewHotlineServiceClient(hotline.Client(), c.url).
		AcknowledgeCompletions(t.Context(), &fieldsyncv1.AcknowledgeCompletionsRequest{CompletionIds: completions})
	must(t, err)
	must2(p.Sync(t.Context()))(t)
	way.heal()
	must(t, p.Upload(t.Context(), nil))
	if n := copiesIn(t, p); n != 1 {
		t.Errorf("%d photos lie on the phone: within a day the server may be put back to before it", n)
	}
	must2(p.Sync(t.Context()))(t)
	ahead.Store(int64(keptFor + time.Hour))
	must(t, p.Upload(t.Context(), nil))
	if n := copiesIn(t, p); n != 0 {
		t.Errorf("%d photos lie on the phone, which holds all receipts", n)
	}

	text, err := p.LogKeys()
	must(t, err)
	keys, err := receipt.ParseKeys(text)
	must(t, err)
	original, err := os.ReadFile(photo)
	must(t, err)
	for _, r := range receiptsOf(t, p) {
		proven, err := receipt.Verify(r.Text, keys)
		must(t, err)
		if !r.Sealed || proven.Claim == nil || proven.Record.GetNote() != "đã cưa" || proven.Record.GetCompletionId() != r.CompletionID {
			t.Errorf("the receipt of %s proves %v, signed %v", r.CompletionID, proven.Record, proven.Claim)
		}
		if r.TaskID == ids[0] {
			fact, err := proven.Photo(original)
			must(t, err)
			if !proven.Vouches(fact) {
				t.Error("the phone did not sign for its own photo")
			}
		}
	}
}

// Protects against a phone that asks for ever: a claim's receipt is held until the seal is known, and then replaced by the seal's.
func TestReceiptOfAClaim(t *testing.T) {
	c := newCity(t)
	way := newSwitch()
	p := c.enrolIn(t.TempDir(), Options{HTTPClient: way.client(), RetryMin: 1, RetryMax: 1})
	t.Cleanup(func() { must(t, p.Close()) })
	id := c.assign(1)[0]
	must2(p.Sync(t.Context()))(t)
	_, err := p.Photo(id, jpegFile(t, t.TempDir(), 8, 3000), PhotoFacts{})
	must(t, err)
	must(t, p.Complete(id, fieldsyncv1.Outcome_OUTCOME_MADE_SAFE, ""))
	must2(p.Sync(t.Context()))(t)
	way.cut("/fieldsync.v1.MediaService/")
	_ = p.Upload(t.Context(), nil) // The photo does not get through.
	held := receiptsOf(t, p)
	if len(held) != 1 || len(held[0].Text) == 0 || held[0].Sealed {
		t.Fatalf("held: %+v, the claim's receipt is expected", held)
	}
	must2(p.Sync(t.Context()))(t)
	asked := way.proofCalls()
	_ = p.Upload(t.Context(), nil)
	if again := way.proofCalls(); again != asked {
		t.Error("the phone asks again before anything can have changed")
	}
	way.heal()
	must(t, p.Upload(t.Context(), nil))
	must2(p.Sync(t.Context()))(t)
	must(t, p.Upload(t.Context(), nil))
	if held := receiptsOf(t, p); len(held) != 1 || !held[0].Sealed {
		t.Errorf("held: %+v, the seal's receipt is expected", held)
	}
}

// Protects the phone from keeping photos for ever, and from letting go too early: a claim whose task was opened again and completed anew
// before its photo had come is held as superseded, with the proof of its reopening; the new completion's receipt is the seal's.
func TestReceiptOfASupersededClaim(t *testing.T) {
	c := newCity(t)
	way := newSwitch()
	var ahead atomic.Int64
	p := c.enrolIn(t.TempDir(), Options{
		HTTPClient: way.client(), RetryMin: 1, RetryMax: 1, Clock: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) },
	})
	t.Cleanup(func() { must(t, p.Close()) })
	desk := fieldsyncv1connect.NewDispatchServiceClient(c.admin, c.url)
	id := c.assign(1)[0]
	must2(p.Sync(t.Context()))(t)
	_, err := p.Photo(id, jpegFile(t, t.TempDir(), 9, 3000), PhotoFacts{})
	must(t, err)
	must(t, p.Complete(id, fieldsyncv1.Outcome_OUTCOME_REPAIRED, "xong"))
	must2(p.Sync(t.Context()))(t)
	way.cut("/fieldsync.v1.MediaService/")
	_ = p.Upload(t.Context(), nil) // The photo does not get through, the claim's receipt does.
	first := receiptsOf(t, p)[0]
	must2(desk.ReopenTask(t.Context(), &fieldsyncv1.ReopenTaskRequest{TaskId: id, CompletionId: first.CompletionID, Reason: "cây vẫn còn đó"}))(t)
	must2(desk.AssignTask(t.Context(), &fieldsyncv1.AssignTaskRequest{TaskId: id, CrewId: "to-1"}))(t)
	must2(p.Sync(t.Context()))(t)
	must(t, p.Complete(id, fieldsyncv1.Outcome_OUTCOME_REPAIRED, "xong thật"))
	must2(p.Sync(t.Context()))(t)
	ahead.Store(int64(keptFor + time.Hour))
	_ = p.Upload(t.Context(), nil)
	if n := copiesIn(t, p); n != 1 {
		t.Fatalf("%d photos lie on the phone, the second claim waits for one", n)
	}
	way.heal()
	must(t, p.Upload(t.Context(), nil))
	must2(p.Sync(t.Context()))(t)
	must(t, p.Upload(t.Context(), nil))

	text, err := p.LogKeys()
	must(t, err)
	keys, err := receipt.ParseKeys(text)
	must(t, err)
	held := make(map[bool]Receipt) // By whether it is the first one's.
	for _, r := range receiptsOf(t, p) {
		held[r.CompletionID == first.CompletionID] = r
	}
	claim, err := receipt.Verify(held[true].Text, keys)
	must(t, err)
	reopened, err := receipt.Verify(held[true].Reopened, keys)
	must(t, err)
	seal, err := receipt.Verify(held[false].Text, keys)
	must(t, err)
	if !held[true].Superseded || held[true].Sealed || !reopened.Corrects(claim) || !held[false].Sealed || !seal.Corrects(claim) {
		t.Errorf("the first: %v %v, the second %v", claim, reopened, seal)
	}
	ahead.Store(int64(2 * (keptFor + time.Hour)))
	asked := way.proofCalls()
	must(t, p.Upload(t.Context(), nil))
	if n := copiesIn(t, p); n != 0 || way.proofCalls() != asked {
		t.Errorf("%d photos lie on the phone, for which nothing more will come", n)
	}
}

func receiptsOf(t *testing.T, p *Phone) []Receipt {
	t.Helper()
	held, err := p.Receipts()
	must(t, err)
	return held
}

func copiesIn(t *testing.T, p *Phone) int {
	t.Helper()
	entries, err := os.ReadDir(p.dir + "/" + photosDir)
	must(t, err)
	return len(entries)
}

// must2 is must for a call that also returns what the test does not want.
func must2[T any](_ T, err error) func(t *testing.T) {
	return func(t *testing.T) {
		t.Helper()
		must(t, err)
	}
}

// enrolIn is enrol for a phone in a folder that the test names; the test closes it.
func (c *city) enrolIn(dir string, o Options) *Phone {
	c.t.Helper()
	p, err := Open(dir, o)
	must(c.t, err)
	issued, err := fieldsyncv1connect.NewIdentityServiceClient(c.admin, c.url).IssueCode(c.t.Context(), &fieldsyncv1.IssueCodeRequest{MemberId: "lan"})
	must(c.t, err)
	must(c.t, p.Enrol(c.t.Context(), c.url, issued.GetCode(), "test"))
	return p
}

// enrolMember is a device of any member.
func (c *city) enrolMember(member string) *Phone {
	c.t.Helper()
	p := c.open(c.t.TempDir(), Options{})
	issued, err := fieldsyncv1connect.NewIdentityServiceClient(c.admin, c.url).IssueCode(c.t.Context(), &fieldsyncv1.IssueCodeRequest{MemberId: member})
	must(c.t, err)
	must(c.t, p.Enrol(c.t.Context(), c.url, issued.GetCode(), "test"))
	return p
}

// waySwitch is a network that can lose all requests to one service, and counts those that come through.
type waySwitch struct {
	mu     sync.Mutex
	lost   string
	counts map[string]int
}

func newSwitch() *waySwitch { return &waySwitch{counts: make(map[string]int)} }

func (w *waySwitch) client() *http.Client { return &http.Client{Transport: w} }

func (w *waySwitch) cut(prefix string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lost = prefix
}

func (w *waySwitch) heal() { w.cut("") }

func (w *waySwitch) proofCalls() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.counts["/fieldsync.v1.ProofService/"]
}

// RoundTrip implements http.RoundTripper.
func (w *waySwitch) RoundTrip(r *http.Request) (*http.Response, error) {
	w.mu.Lock()
	lost := w.lost != "" && strings.HasPrefix(r.URL.Path, w.lost)
	w.counts[r.URL.Path[:strings.LastIndex(r.URL.Path, "/")+1]]++
	w.mu.Unlock()
	if lost {
		return nil, errCut
	}
	return http.DefaultTransport.RoundTrip(r)
}
