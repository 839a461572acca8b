package phone

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"
	"github.com/cespare/xxhash/v2"
	"github.com/golang-jwt/jwt/v5"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/internal/faultwire"
)

// trouble is what happens to a request on its way.
type trouble int

const (
	none trouble = iota
	// lostRequest: the server never sees it.
	lostRequest
	// lostAnswer: the server does all of it, and the phone does not hear.
	lostAnswer
	// cutBody: the server gets half of the body (of a PATCH).
	cutBody
)

// streamTrouble is what happens to a watch stream on its way.
type streamTrouble int

const (
	streamsLive streamTrouble = iota
	// streamsBuffered: something on the way collects the answer until it is complete, and that it never is.
	streamsBuffered
	// streamsDie: cut behind the first message.
	streamsDie
	// streamsLiveShortly: cut behind the second message.
	streamsLiveShortly
	// streamsRefused: an error page instead.
	streamsRefused
)

// fake is a server that keeps the protocol in memory and misbehaves as a test scripts it. Whatever it finds that no honest
// phone does is in sins.
type fake struct {
	fieldsyncv1connect.UnimplementedIdentityServiceHandler
	fieldsyncv1connect.UnimplementedSyncServiceHandler

	url string

	mu       sync.Mutex
	now      time.Time
	troubles []trouble
	calls    []string
	sins     []string

	// Identity.
	key      *ecdsa.PublicKey
	void     *ecdsa.PublicKey // Was revoked.
	deviceID string
	memberID string
	epoch    uint32
	tokens   int
	tokenFor time.Duration
	good     string
	skew     bool // check iat as the API says
	jtis     map[string]bool
	revoked  bool

	// Sync.
	scopeEpoch int
	// cursorVersion ends every cursor; others are refused.
	cursorVersion string
	seq           uint64
	tasks         map[string]*fieldsyncv1.Task
	steps         map[string][]step
	verdicts      map[mutationKey]*fieldsyncv1.Verdict
	payloads      map[mutationKey][32]byte
	heads         map[uint32]uint64
	conflicted    map[uint32]bool
	applied       []string // notes, in the order in which they took effect
	pageTasks     int
	// pushTasks is the largest delta that a stream carries, repairParts the largest answer of a repair.
	pushTasks, repairParts int
	// judge decides instead of "applied" where it is set and does not return nil.
	judge func(*fieldsyncv1.Mutation) *fieldsyncv1.Verdict
	// mangle changes an answer after the fact.
	mangle  func(*fieldsyncv1.SyncRequest, *fieldsyncv1.SyncResponse)
	changed chan struct{}
	// streams is what the network does to them.
	streams streamTrouble
	// polls makes long polls end without news.
	polls chan struct{}
	// repair answers instead where it is set.
	repair func(*fieldsyncv1.RepairRequest) *fieldsyncv1.RepairResponse

	// Media.
	uploads map[string]*fakeUpload
	kept    map[string][]byte
	patches int
	// previews are what was sent, by photo.
	previews map[string][]byte
}

type step struct {
	seq, revision uint64
	removed       bool
}

type mutationKey struct {
	epoch  uint32
	number uint64
}

type fakeUpload struct {
	sha   []byte
	size  int
	bytes []byte
}

func newFake(tb tester) *fake {
	tb.Helper()
	f := &fake{
		now: time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC), tokenFor: 15 * time.Minute, memberID: "lan", scopeEpoch: 1,
		jtis: map[string]bool{}, tasks: map[string]*fieldsyncv1.Task{}, steps: map[string][]step{},
		verdicts: map[mutationKey]*fieldsyncv1.Verdict{}, payloads: map[mutationKey][32]byte{}, heads: map[uint32]uint64{}, conflicted: map[uint32]bool{},
		pageTasks: 1000, pushTasks: 2, repairParts: 256, changed: make(chan struct{}), uploads: map[string]*fakeUpload{}, kept: map[string][]byte{},
		previews: map[string][]byte{},
	}
	mux := http.NewServeMux()
	faults := connect.WithInterceptors(faultInterceptor{})
	mux.Handle(fieldsyncv1connect.NewIdentityServiceHandler(f, faults))
	mux.Handle(fieldsyncv1connect.NewSyncServiceHandler(f, faults))
	mux.Handle(fieldsyncv1connect.NewMediaServiceHandler(f, faults))
	mux.HandleFunc("/v1/uploads/{id}", f.tus)
	mux.HandleFunc("PUT /v1/tasks/{task}/photos/{photo}/preview", f.preview)
	server := httptest.NewServer(f.way(mux))
	f.url = server.URL
	tb.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, sin := range f.sins {
			tb.Error("the phone broke the protocol:", sin)
		}
	})
	return f
}

// do runs change under the fake's lock.
func (f *fake) do(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// expect scripts what happens to the next requests.
func (f *fake) expect(ts ...trouble) { f.do(func() { f.troubles = append(f.troubles, ts...) }) }

// way is the network between phone and server.
func (f *fake) way(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/Watch") {
			f.watchWay(next, w, r)
			return
		}
		t := none
		f.do(func() {
			f.calls = append(f.calls, r.Method+" "+r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:])
			if len(f.troubles) > 0 {
				t, f.troubles = f.troubles[0], f.troubles[1:]
			}
		})
		switch t {
		case lostRequest:
			panic(http.ErrAbortHandler)
		case lostAnswer:
			next.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		case cutBody:
			body, _ := io.ReadAll(r.Body)
			r.Body = io.NopCloser(bytes.NewReader(body[:len(body)/2]))
			next.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// watchWay is the network between phone and server for a stream.
func (f *fake) watchWay(next http.Handler, w http.ResponseWriter, r *http.Request) {
	var way streamTrouble
	f.do(func() {
		f.calls = append(f.calls, "POST Watch")
		way = f.streams
	})
	switch way {
	case streamsLive:
		next.ServeHTTP(w, r)
	case streamsBuffered:
		next.ServeHTTP(httptest.NewRecorder(), r)
	case streamsDie:
		next.ServeHTTP(&cutWriter{ResponseWriter: w, flushes: 1}, r)
	case streamsLiveShortly:
		next.ServeHTTP(&cutWriter{ResponseWriter: w, flushes: 2}, r)
	case streamsRefused:
		w.WriteHeader(http.StatusBadGateway)
	}
}

// cutWriter cuts the connection behind so many messages of a stream: the handler flushes after each.
type cutWriter struct {
	http.ResponseWriter

	flushes int
}

// Flush implements http.Flusher.
func (c *cutWriter) Flush() {
	_ = http.NewResponseController(c.ResponseWriter).Flush()
	if c.flushes--; c.flushes == 0 {
		panic(http.ErrAbortHandler)
	}
}

type faultInterceptor struct{}

func (faultInterceptor) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, r connect.AnyRequest) (connect.AnyResponse, error) {
		answer, err := next(ctx, r)
		if err != nil {
			return nil, faultwire.Connect(ctx, slog.New(slog.DiscardHandler), err)
		}
		return answer, nil
	}
}

func (faultInterceptor) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

func (faultInterceptor) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, c connect.StreamingHandlerConn) error {
		if err := next(ctx, c); err != nil {
			return faultwire.Connect(ctx, slog.New(slog.DiscardHandler), err)
		}
		return nil
	}
}

func (f *fake) sinf(format string, args ...any) {
	f.sins = append(f.sins, fmt.Sprintf(format, args...))
}

// checkProof checks a proof as identity.proto has it.
func (f *fake) checkProof(key *ecdsa.PublicKey, proof, issuer, audience string) error {
	claims := jwt.MapClaims{}
	_, err := jwt.ParseWithClaims(proof, claims, func(*jwt.Token) (any, error) { return key, nil },
		jwt.WithValidMethods([]string{"ES256"}), jwt.WithIssuer(issuer), jwt.WithAudience(audience),
		jwt.WithTimeFunc(func() time.Time { return f.now }), jwt.WithoutClaimsValidation())
	if err != nil {
		f.sinf("proof: %v", err)
		return fault.New(fault.Unauthenticated, "proof_invalid", "x", "x")
	}
	if claims["iss"] != issuer || claims["aud"] != audience {
		f.sinf("proof claims %v", claims)
	}
	jti, _ := claims["jti"].(string)
	if len(jti) < 16 || len(jti) > 64 || f.jtis[jti] {
		f.sinf("jti %q", jti)
	}
	f.jtis[jti] = true
	iat, _ := claims.GetIssuedAt()
	if f.skew && iat.Sub(f.now).Abs() > 5*time.Minute {
		e := fault.New(fault.Unauthenticated, "proof_time", "x", "x")
		e.ServerTime = f.now
		return e
	}
	return nil
}

func (f *fake) Enrol(_ context.Context, r *fieldsyncv1.EnrolRequest) (*fieldsyncv1.EnrolResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	parsed, err := x509.ParsePKIXPublicKey(r.GetPublicKey())
	if err != nil {
		return nil, err
	}
	key, _ := parsed.(*ecdsa.PublicKey)
	issuer, err := thumbprint(key)
	if err != nil {
		return nil, err
	}
	if err := f.checkProof(key, r.GetProof(), issuer, "fieldsync:enrol"); err != nil {
		return nil, err
	}
	if r.GetCode() != "GOOD-CODE-0001" {
		return nil, fault.New(fault.Unauthenticated, "code_invalid", "Mã sai.", "Wrong code.")
	}
	if f.void != nil && f.void.Equal(key) {
		return nil, fault.New(fault.Unauthenticated, "device_revoked", "Máy đã bị thu hồi.", "The device is revoked.")
	}
	if f.key != nil && !f.key.Equal(key) {
		f.sinf("another key at the second enrolment")
	}
	f.key, f.deviceID = key, "device-1"
	f.epoch++
	f.heads[f.epoch] = 0
	token, expires := f.issue()
	return &fieldsyncv1.EnrolResponse{
		DeviceId: f.deviceID, InstallEpoch: f.epoch, AccessToken: token, ExpiresAt: expires,
		Member: &fieldsyncv1.Member{Id: f.memberID, Name: "Lan", Role: fieldsyncv1.Role_ROLE_CREW, CrewId: "crew-1"},
	}, nil
}

func (f *fake) issue() (string, *timestamppb.Timestamp) {
	f.tokens++
	f.good = fmt.Sprintf("token-%d", f.tokens)
	return f.good, timestamppb.New(f.now.Add(f.tokenFor))
}

func (f *fake) Refresh(_ context.Context, r *fieldsyncv1.RefreshRequest) (*fieldsyncv1.RefreshResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.revoked {
		return nil, fault.New(fault.Unauthenticated, "device_revoked", "Máy đã bị thu hồi.", "The device is revoked.")
	}
	if err := f.checkProof(f.key, r.GetProof(), f.deviceID, "fieldsync:refresh"); err != nil {
		return nil, err
	}
	if r.GetNewInstallEpoch() {
		f.epoch++
		f.heads[f.epoch] = 0
	}
	token, expires := f.issue()
	return &fieldsyncv1.RefreshResponse{AccessToken: token, ExpiresAt: expires, InstallEpoch: f.epoch}, nil
}

func (f *fake) authorise(header string) error {
	if header != "Bearer "+f.good || f.revoked {
		return fault.New(fault.Unauthenticated, "token_invalid", "Mã truy cập sai.", "The token is wrong.")
	}
	return nil
}

func bearer(ctx context.Context) string {
	info, _ := connect.CallInfoForHandlerContext(ctx)
	return info.RequestHeader().Get("Authorization")
}

// put stores a change of a task, as a dispatcher would make it. Each call raises the task's revision; change sets it on what
// it changes.
func (f *fake) put(id string, change func(t *fieldsyncv1.Task, revision uint64)) {
	t := f.tasks[id]
	if t == nil {
		t = &fieldsyncv1.Task{Id: id}
		f.tasks[id] = t
	}
	t.Revision++
	change(t, t.GetRevision())
	f.step(id, step{revision: t.GetRevision()})
}

func (f *fake) remove(id string) {
	delete(f.tasks, id)
	f.step(id, step{removed: true})
}

func (f *fake) step(id string, s step) {
	f.seq++
	s.seq = f.seq
	f.steps[id] = append(f.steps[id], s)
	close(f.changed)
	f.changed = make(chan struct{})
}

// assigned makes a task as the dispatcher assigns it.
func assigned(t *fieldsyncv1.Task, revision uint64) {
	t.Ticket = &fieldsyncv1.TicketFacet{Revision: revision, HotlineId: "1022-" + t.GetId(), Title: "Cây đổ"}
	t.Status = &fieldsyncv1.StatusFacet{Revision: revision, State: fieldsyncv1.TaskState_TASK_STATE_ASSIGNED}
	t.Assignment = &fieldsyncv1.AssignmentFacet{Revision: revision, CrewId: "crew-1", AssignmentEpoch: 1}
	t.Checklist = []*fieldsyncv1.ChecklistItem{{Revision: revision, Id: "sign", Label: &fieldsyncv1.Sentence{Vi: "Biển báo", En: "Sign"}}}
}

func (f *fake) head() *fieldsyncv1.ScopeHead {
	h := &fieldsyncv1.ScopeHead{Sequence: f.seq}
	for id, t := range f.tasks {
		h.Tasks++
		h.Digest += xxhash.Sum64(binary.BigEndian.AppendUint64(append([]byte(id), 0), t.GetRevision()))
	}
	return h
}

func (f *fake) Sync(ctx context.Context, r *fieldsyncv1.SyncRequest) (*fieldsyncv1.SyncResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.authorise(bearer(ctx)); err != nil {
		return nil, err
	}
	answer := &fieldsyncv1.SyncResponse{ServerTime: timestamppb.New(f.now)}
	if len(r.GetCursor()) > 0 && !strings.HasSuffix(string(r.GetCursor()), f.cursorVersion) {
		return nil, fault.New(fault.Invalid, "cursor_invalid", "x", "x")
	}
	if err := f.push(r, answer); err != nil {
		return nil, err
	}
	f.pull(r, answer)
	if f.mangle != nil {
		f.mangle(r, answer)
	}
	return answer, nil
}

func (f *fake) push(r *fieldsyncv1.SyncRequest, answer *fieldsyncv1.SyncResponse) error {
	if len(r.GetMutations()) == 0 {
		return nil
	}
	if len(r.GetMutations()) > 200 {
		f.sinf("%d mutations in a call", len(r.GetMutations()))
	}
	last, known := f.heads[r.GetInstallEpoch()]
	if !known {
		return fault.New(fault.Precondition, "install_epoch_unknown", "x", "x")
	}
	if first := r.GetMutations()[0].GetNumber(); first > last+1 {
		e := fault.New(fault.Precondition, "mutation_gap", "x", "x")
		e.ExpectedNumber = last + 1
		return e
	}
	for i, m := range r.GetMutations() {
		if i > 0 && m.GetNumber() != r.GetMutations()[i-1].GetNumber()+1 {
			f.sinf("numbers not consecutive at %d", m.GetNumber())
		}
		key := mutationKey{r.GetInstallEpoch(), m.GetNumber()}
		payload, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
		if err != nil {
			return err
		}
		if stored, ok := f.verdicts[key]; ok {
			if f.payloads[key] != sha256.Sum256(payload) {
				f.sinf("mutation %v repeated with other content", key)
			}
			answer.Verdicts = append(answer.Verdicts, stored)
			continue
		}
		if f.conflicted[key.epoch] {
			if i == 0 {
				return fault.New(fault.Precondition, "install_epoch_conflicted", "x", "x")
			}
			return nil // The rest is not looked at.
		}
		v := f.effect(m)
		v.Number = m.GetNumber()
		f.verdicts[key], f.payloads[key] = v, sha256.Sum256(payload)
		f.heads[key.epoch] = key.number
		answer.Verdicts = append(answer.Verdicts, v)
	}
	return nil
}

// effect lets a mutation take effect once.
func (f *fake) effect(m *fieldsyncv1.Mutation) *fieldsyncv1.Verdict {
	if f.judge != nil {
		if v := f.judge(m); v != nil {
			return v
		}
	}
	t := f.tasks[m.GetTaskId()]
	if t == nil {
		return &fieldsyncv1.Verdict{
			Kind: fieldsyncv1.VerdictKind_VERDICT_KIND_REJECTED, Code: "task_unknown",
			Message: &fieldsyncv1.Sentence{Vi: "Không có công việc này.", En: "There is no such task."},
		}
	}
	f.put(m.GetTaskId(), func(t *fieldsyncv1.Task, revision uint64) {
		switch {
		case m.GetAddNote() != nil:
			f.applied = append(f.applied, m.GetAddNote().GetText())
			t.Notes = append(t.Notes, &fieldsyncv1.Note{Revision: revision, Id: fmt.Sprint("n", revision), Text: m.GetAddNote().GetText()})
		case m.GetTick() != nil:
			t.Checklist[0].Revision, t.Checklist[0].Checked = revision, m.GetTick().GetChecked()
		case m.GetAttachPhoto() != nil:
			d := m.GetAttachPhoto().GetPhoto()
			t.Photos = append(t.Photos, &fieldsyncv1.Photo{
				Revision: revision, Id: d.GetPhotoId(), Sha256: d.GetSha256(), SizeBytes: d.GetSizeBytes(),
				State: fieldsyncv1.PhotoState_PHOTO_STATE_ON_PHONE,
			})
		case m.GetComplete() != nil:
			t.Status = &fieldsyncv1.StatusFacet{Revision: revision, State: fieldsyncv1.TaskState_TASK_STATE_DONE}
			t.Completion = &fieldsyncv1.CompletionFacet{Revision: revision, Outcome: m.GetComplete().GetOutcome()}
		default:
			t.Status = &fieldsyncv1.StatusFacet{Revision: revision, State: fieldsyncv1.TaskState_TASK_STATE_STARTED}
		}
	})
	return &fieldsyncv1.Verdict{Kind: fieldsyncv1.VerdictKind_VERDICT_KIND_APPLIED, Code: "applied", TaskRevision: t.GetRevision()}
}

// pull answers with what changed since the cursor, facet by facet.
func (f *fake) pull(r *fieldsyncv1.SyncRequest, answer *fieldsyncv1.SyncResponse) {
	// Between two pages an entry may move behind both. So deltas build on whole, the sequence at which the phone last held
	// everything, and not on after, up to which it has read since.
	var epoch int
	var after, whole uint64
	if _, err := fmt.Sscanf(string(r.GetCursor()), "%d:%d:%d", &epoch, &after, &whole); err != nil || epoch != f.scopeEpoch {
		after, whole = 0, 0
		answer.Reset_ = len(r.GetCursor()) > 0
	}
	ids := make([]string, 0, len(f.steps))
	for id, steps := range f.steps {
		if steps[len(steps)-1].seq > after {
			ids = append(ids, id)
		}
	}
	newest := func(id string) step { return f.steps[id][len(f.steps[id])-1] }
	slices.SortFunc(ids, func(a, b string) int { return int(newest(a).seq) - int(newest(b).seq) })
	to, next := f.seq, f.seq
	if len(ids) > f.pageTasks {
		answer.More, answer.Remaining = true, uint64(len(ids)-f.pageTasks)
		ids = ids[:f.pageTasks]
		to, next = newest(ids[len(ids)-1]).seq, whole
	}
	for _, id := range ids {
		held := uint64(0)
		for _, s := range f.steps[id] {
			if s.seq <= whole {
				if held = s.revision; s.removed {
					held = 0
				}
			}
		}
		switch {
		case newest(id).removed:
			answer.Removals = append(answer.Removals, &fieldsyncv1.Removal{
				TaskId: id, Reason: fieldsyncv1.RemovalReason_REMOVAL_REASON_REASSIGNED,
			})
		case held == 0:
			answer.Tasks = append(answer.Tasks, &fieldsyncv1.TaskDelta{Task: proto.CloneOf(f.tasks[id]), Whole: true})
		default:
			answer.Tasks = append(answer.Tasks, &fieldsyncv1.TaskDelta{Task: since(f.tasks[id], held)})
		}
	}
	answer.Cursor = fmt.Appendf(nil, "%d:%d:%d%s", f.scopeEpoch, to, next, f.cursorVersion)
	answer.Head = f.head()
}

// since leaves only what changed after the revision.
func since(t *fieldsyncv1.Task, revision uint64) *fieldsyncv1.Task {
	t = proto.CloneOf(t)
	if t.GetTicket().GetRevision() <= revision {
		t.Ticket = nil
	}
	if t.GetStatus().GetRevision() <= revision {
		t.Status = nil
	}
	if t.GetAssignment().GetRevision() <= revision {
		t.Assignment = nil
	}
	if t.GetCompletion().GetRevision() <= revision {
		t.Completion = nil
	}
	t.Notes = slices.DeleteFunc(t.GetNotes(), func(n *fieldsyncv1.Note) bool { return n.GetRevision() <= revision })
	t.Checklist = slices.DeleteFunc(t.GetChecklist(), func(i *fieldsyncv1.ChecklistItem) bool { return i.GetRevision() <= revision })
	t.Photos = slices.DeleteFunc(t.GetPhotos(), func(p *fieldsyncv1.Photo) bool { return p.GetRevision() <= revision })
	return t
}

func (f *fake) Watch(ctx context.Context, r *fieldsyncv1.WatchRequest, stream *connect.ServerStream[fieldsyncv1.WatchResponse]) error {
	at := r.GetCursor()
	for {
		f.mu.Lock()
		err := f.authorise(bearer(ctx))
		said, changed := &fieldsyncv1.WatchResponse{}, f.changed
		delta := &fieldsyncv1.SyncResponse{ServerTime: timestamppb.New(f.now)}
		f.pull(&fieldsyncv1.SyncRequest{Cursor: at}, delta)
		if news := len(delta.GetTasks()) + len(delta.GetRemovals()); news > 0 && news <= f.pushTasks && !delta.GetReset_() && len(at) > 0 {
			at, said.Delta = delta.GetCursor(), delta
			if f.mangle != nil {
				f.mangle(&fieldsyncv1.SyncRequest{Cursor: at}, delta)
			}
		}
		said.Head = f.head()
		f.mu.Unlock()
		if err == nil {
			err = stream.Send(said)
		}
		if err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (f *fake) AwaitChange(ctx context.Context, r *fieldsyncv1.AwaitChangeRequest) (*fieldsyncv1.AwaitChangeResponse, error) {
	for {
		f.mu.Lock()
		err := f.authorise(bearer(ctx))
		head, changed, over := f.head(), f.changed, f.polls
		f.mu.Unlock()
		if err != nil {
			return nil, err
		}
		if head.GetSequence() != r.GetSequence() {
			return &fieldsyncv1.AwaitChangeResponse{Head: head}, nil
		}
		select {
		case <-changed:
		case <-over:
			return &fieldsyncv1.AwaitChangeResponse{Head: head}, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (f *fake) Repair(ctx context.Context, r *fieldsyncv1.RepairRequest) (*fieldsyncv1.RepairResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.authorise(bearer(ctx)); err != nil {
		return nil, err
	}
	if f.repair != nil {
		return f.repair(r), nil
	}
	if string(r.GetCursor()) != fmt.Sprintf("%d:%d:%d%s", f.scopeEpoch, f.seq, f.seq, f.cursorVersion) {
		return &fieldsyncv1.RepairResponse{Moved: true}, nil
	}
	sums := make([]uint64, 256)
	buckets := make([][]*fieldsyncv1.Task, 256)
	for id, t := range f.tasks {
		i := xxhash.Sum64String(id) >> 56
		sums[i] += xxhash.Sum64(binary.BigEndian.AppendUint64(append([]byte(id), 0), t.GetRevision()))
		buckets[i] = append(buckets[i], proto.CloneOf(t))
	}
	answer := &fieldsyncv1.RepairResponse{Head: f.head()}
	for i, sum := range sums {
		switch {
		case sum == r.GetBuckets()[i]:
		case len(answer.GetBuckets()) == f.repairParts:
			answer.More = true
		default:
			answer.Buckets = append(answer.Buckets, &fieldsyncv1.RepairResponse_Bucket{Index: uint32(i), Tasks: buckets[i]})
		}
	}
	return answer, nil
}

func (f *fake) Declare(ctx context.Context, r *fieldsyncv1.DeclareRequest) (*fieldsyncv1.DeclareResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.authorise(bearer(ctx)); err != nil {
		return nil, err
	}
	for _, p := range f.tasks[r.GetTaskId()].GetPhotos() {
		if p.GetId() != r.GetPhotoId() {
			continue
		}
		if p.GetState() == fieldsyncv1.PhotoState_PHOTO_STATE_VERIFIED {
			return &fieldsyncv1.DeclareResponse{State: p.GetState()}, nil
		}
		id := hex.EncodeToString(p.GetSha256()[:16])
		if f.uploads[id] == nil {
			f.uploads[id] = &fakeUpload{sha: p.GetSha256(), size: int(p.GetSizeBytes())}
		}
		return &fieldsyncv1.DeclareResponse{
			UploadId: id, UploadPath: "/v1/uploads/" + id, Offset: uint64(len(f.uploads[id].bytes)), State: p.GetState(),
		}, nil
	}
	return nil, fault.New(fault.NotFound, "photo_unknown", "Không có ảnh này.", "There is no such photo.")
}

func (f *fake) Commit(ctx context.Context, r *fieldsyncv1.CommitRequest) (*fieldsyncv1.CommitResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.authorise(bearer(ctx)); err != nil {
		return nil, err
	}
	u := f.uploads[r.GetUploadId()]
	if u == nil {
		return nil, fault.New(fault.NotFound, "upload_unknown", "x", "x")
	}
	if len(u.bytes) != u.size {
		return nil, fault.New(fault.Precondition, "upload_incomplete", "x", "x")
	}
	sum := sha256.Sum256(u.bytes)
	if !bytes.Equal(sum[:], u.sha) {
		f.sinf("upload of other bytes than declared")
		return nil, fault.New(fault.DataLoss, "photo_hash_mismatch", "x", "x")
	}
	f.kept[hex.EncodeToString(u.sha)] = u.bytes
	for id, t := range f.tasks {
		for _, p := range t.GetPhotos() {
			if bytes.Equal(p.GetSha256(), u.sha) && p.GetState() != fieldsyncv1.PhotoState_PHOTO_STATE_VERIFIED {
				f.put(id, func(_ *fieldsyncv1.Task, revision uint64) {
					p.Revision, p.State = revision, fieldsyncv1.PhotoState_PHOTO_STATE_VERIFIED
				})
			}
		}
	}
	return &fieldsyncv1.CommitResponse{State: fieldsyncv1.PhotoState_PHOTO_STATE_VERIFIED, Sha256: sum[:]}, nil
}

// preview takes the small picture of a photo.
func (f *fake) preview(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.authorise(r.Header.Get("Authorization")) != nil {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	body, err := io.ReadAll(r.Body)
	if id := r.PathValue("photo"); err == nil {
		if f.previews[id] != nil || len(f.kept) > 0 {
			f.sinf("a preview twice, or behind an original")
		}
		f.previews[id] = body
	}
	w.WriteHeader(http.StatusNoContent)
}

// tus is HEAD and PATCH of tus 1.0.
func (f *fake) tus(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.authorise(r.Header.Get("Authorization")) != nil {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if r.Header.Get("Tus-Resumable") != "1.0.0" {
		f.sinf("no Tus-Resumable")
	}
	u := f.uploads[r.PathValue("id")]
	if u == nil {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	if r.Method == http.MethodPatch {
		f.patches++
		if r.Header.Get("Upload-Offset") != strconv.Itoa(len(u.bytes)) {
			w.WriteHeader(http.StatusConflict)
			return
		}
		body, err := io.ReadAll(r.Body)
		u.bytes = append(u.bytes, body...)
		if len(u.bytes) > u.size || err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			f.sinf("PATCH of %d bytes: %v", len(body), err)
		}
		w.Header().Set("Upload-Offset", strconv.Itoa(len(u.bytes)))
		w.WriteHeader(http.StatusNoContent)
		return
	}
	w.Header().Set("Upload-Offset", strconv.Itoa(len(u.bytes)))
	w.WriteHeader(http.StatusOK)
}
