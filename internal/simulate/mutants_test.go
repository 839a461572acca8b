package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
	"github.com/cong1022/fieldsync/media"
	"github.com/cong1022/fieldsync/store"
)

// mutantSeeds is how many seeds a deliberate fault may survive.
const mutantSeeds = 150

// Protects the simulation itself: faults that are put into the server on purpose are found. rules are those by which it may
// be found.
func TestMutants(t *testing.T) {
	t.Parallel()
	for _, m := range []struct {
		name  string
		rules []string
		make  func() mutant
	}{
		{"verdicts are not stored", []string{"verdict", "twice", "acknowledged", "rest"}, func() mutant {
			return loses(func(int) bool { return true }, "verdict\x00")
		}},
		{"an entry of a scope's log is lost now and then", []string{"dense", "scope log", "internal error", "replica"}, func() mutant {
			return loses(func(n int) bool { return n%25 == 0 }, "scope-log\x00")
		}},
		{"a head is not stored now and then", []string{"scope log", "internal error", "replica"}, func() mutant {
			return loses(func(n int) bool { return n%25 == 0 }, "scope-head\x00")
		}},
		{"a task is not saved now and then", []string{"scope log", "replica", "acknowledged"}, func() mutant {
			return loses(func(n int) bool { return n%10 == 0 }, "task\x00")
		}},
		{"a commit is acknowledged and lost now and then", nil, func() mutant {
			return mutant{engine: func(e store.Engine) store.Engine { return &forgetful{Engine: e} }}
		}},
		{"an old answer is given again", []string{"stale", "verdict", "replica", "harness", "leak", "cursor"}, staleAnswers},
		{"removals are left out", []string{"replica"}, func() mutant {
			return answers(func(_ *fieldsyncv1.SyncRequest, resp *fieldsyncv1.SyncResponse) { resp.Removals = nil })
		}},
		{"another crew's task is sent along", []string{"leak"}, leaks},
		{"a note is left out of a delta", []string{"replica"}, func() mutant {
			return answers(func(_ *fieldsyncv1.SyncRequest, resp *fieldsyncv1.SyncResponse) {
				for _, delta := range resp.GetTasks() {
					if notes := delta.GetTask().GetNotes(); len(notes) > 1 {
						delta.Task.Notes = notes[:len(notes)-1]
					}
				}
			})
		}},
		{"a repeat is judged as new", []string{"twice", "verdict"}, rejudges},
		{"mutations are acknowledged unseen", []string{"acknowledged", "verdict", "rest", "dropped"}, acknowledgesUnseen},
		{"times are bounded wrongly", []string{"time"}, func() mutant {
			return requests(func(req *fieldsyncv1.SyncRequest) {
				for _, m := range req.GetMutations() {
					m.Recorded.SinceBootMs -= min(m.GetRecorded().GetSinceBootMs(), 30_000)
				}
			})
		}},
		{"photos are taken and not kept", []string{"evidence"}, func() mutant {
			return mutant{blobs: func(b media.Blobs) media.Blobs { return sieve{b} }}
		}},
		{"the hotline's feed comes in another order", []string{"feed"}, func() mutant { return feeds(slices.Reverse[[]*fieldsyncv1.Completion]) }},
		{"a sequence is skipped now and then", []string{"dense", "scope log"}, func() mutant { return mutant{engine: skips} }},
		{"one device's outbox is never taken", []string{"rest", "harness"}, neverTaken},
		{"what a newer app means is dropped", []string{"acknowledged"}, func() mutant {
			return requests(func(req *fieldsyncv1.SyncRequest) {
				for _, m := range req.GetMutations() {
					m.ProtoReflect().SetUnknown(nil)
				}
			})
		}},
		{"a phone that changed crews is not told to forget", []string{"drop", "replica"}, func() mutant {
			return answers(func(_ *fieldsyncv1.SyncRequest, resp *fieldsyncv1.SyncResponse) { resp.Reset_ = false })
		}},
		{"a removal of another crew's task is sent along", []string{"leak"}, removesForeign},
		{"a stranger is told that a task exists", []string{"leak"}, tellsStrangers},
		{"the quarantine is shown to every ward", []string{"leak"}, showsAll},
		{"what is released stays in quarantine", []string{"twice", "replica"}, func() mutant {
			return mutant{engine: func(e store.Engine) store.Engine { return hoarder{e, "quarantined\x00"} }}
		}},
		{"a repair sends nothing", []string{"replica"}, func() mutant {
			return rewrites(fieldsyncv1connect.SyncServiceRepairProcedure, func(resp *fieldsyncv1.RepairResponse) { resp.Buckets, resp.More = nil, false })
		}},
		{"a stream tells of a head that is not", []string{"watch"}, wrongHeads},
		{"the hotline's feed leaves one out", []string{"feed", "delivered"}, leavesOneOut},
		{"a timer is lost now and then", []string{"climb"}, func() mutant {
			return loses(func(n int) bool { return n%10 == 0 }, "timer\x00")
		}},
		{"a timer is not taken away", []string{"climb"}, func() mutant {
			return mutant{engine: func(e store.Engine) store.Engine { return hoarder{e, "timer\x00"} }}
		}},
		{"an escalation goes on after the answer", []string{"climb"}, neverEnds},
		{"a step counts as taken before its time", []string{"climb"}, hasty},
		{"an order under an old assignment is carried out", []string{"fence"}, unfenced},
		{"a recall counts as heard when it is given", []string{"heard"}, func() mutant { return hears(true) }},
		{"an order counts as heard when it is given", []string{"heard"}, func() mutant { return hears(false) }},
	} {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			c := runs(t)
			for seed := uint64(1); seed <= mutantSeeds; seed++ {
				r, err := run(t.Context(), setting{seed: seed, cities: c, mutant: m.make()}, generate(seed))
				if err != nil {
					t.Fatal(err)
				}
				if r.bad == nil {
					continue
				}
				if len(m.rules) > 0 && !slices.Contains(m.rules, r.bad.rule) {
					t.Errorf("found in seed %d by the wrong rule, %s: %s", seed, r.bad.rule, r.bad.detail)
				}
				t.Logf("found in seed %d: %s: %.200s", seed, r.bad.rule, r.bad.detail)
				return
			}
			t.Errorf("not found in %d seeds", mutantSeeds)
		})
	}
}

// loses leaves out what is set under the prefix, in the cases that which chooses.
func loses(which func(n int) bool, prefix string) mutant {
	n := 0
	return mutant{engine: func(e store.Engine) store.Engine {
		return lossy{e, func(key []byte) bool {
			if !bytes.HasPrefix(key, []byte(prefix)) {
				return false
			}
			n++
			return which(n)
		}}
	}}
}

type lossy struct {
	store.Engine

	lost func(key []byte) bool
}

func (l lossy) Update(ctx context.Context, fn func(store.KV) error) error {
	return l.Engine.Update(ctx, func(kv store.KV) error { return fn(lossyKV{kv, l.lost}) })
}

type lossyKV struct {
	store.KV

	lost func(key []byte) bool
}

func (l lossyKV) Set(key, value []byte) error {
	if l.lost(key) {
		return nil
	}
	return l.KV.Set(key, value)
}

// forgetful says of every 20th transaction that it was kept, and takes it back.
type forgetful struct {
	store.Engine

	n int
}

var errForgotten = errors.New("forgotten")

func (f *forgetful) Update(ctx context.Context, fn func(store.KV) error) error {
	if f.n++; f.n%20 != 0 {
		return f.Engine.Update(ctx, fn)
	}
	err := f.Engine.Update(ctx, func(kv store.KV) error { return errors.Join(fn(kv), errForgotten) })
	if joined, ok := err.(interface{ Unwrap() []error }); ok && len(joined.Unwrap()) == 2 {
		return joined.Unwrap()[0]
	}
	return nil
}

// syncs lets change work on every sync, on its way in or out: change gets the request, and what makes the real answer.
func syncs(change func(r *http.Request, req *fieldsyncv1.SyncRequest, ask func(*fieldsyncv1.SyncRequest) *fieldsyncv1.SyncResponse) *fieldsyncv1.SyncResponse) mutant {
	return mutant{handler: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != fieldsyncv1connect.SyncServiceSyncProcedure {
				next.ServeHTTP(w, r)
				return
			}
			body, _ := io.ReadAll(r.Body)
			body, _ = plain(r.Header, body)
			req := &fieldsyncv1.SyncRequest{}
			_ = proto.Unmarshal(body, req)
			var rec *httptest.ResponseRecorder

			resp := change(r, req, func(req *fieldsyncv1.SyncRequest) *fieldsyncv1.SyncResponse {
				encoded, _ := proto.Marshal(req)
				inner := r.Clone(r.Context())
				inner.Header.Del("Content-Encoding")
				inner.Body, inner.ContentLength = io.NopCloser(bytes.NewReader(encoded)), int64(len(encoded))
				inner.Header.Set("Content-Length", strconv.Itoa(len(encoded)))
				rec = httptest.NewRecorder()
				next.ServeHTTP(rec, inner)
				if rec.Code != http.StatusOK {
					return nil
				}
				answer, _ := plain(rec.Header(), rec.Body.Bytes())
				resp := &fieldsyncv1.SyncResponse{}
				_ = proto.Unmarshal(answer, resp)
				return resp
			})
			if resp == nil {
				maps.Copy(w.Header(), rec.Header())
				w.WriteHeader(rec.Code)
				_, _ = w.Write(rec.Body.Bytes())
				return
			}
			w.Header().Set("Content-Type", "application/proto")
			encoded, _ := proto.Marshal(resp)
			_, _ = w.Write(encoded)
		})
	}}
}

func answers(change func(*fieldsyncv1.SyncRequest, *fieldsyncv1.SyncResponse)) mutant {
	return syncs(func(_ *http.Request, req *fieldsyncv1.SyncRequest, ask func(*fieldsyncv1.SyncRequest) *fieldsyncv1.SyncResponse) *fieldsyncv1.SyncResponse {
		resp := ask(req)
		if resp != nil {
			change(req, resp)
		}
		return resp
	})
}

func requests(change func(*fieldsyncv1.SyncRequest)) mutant {
	return syncs(func(_ *http.Request, req *fieldsyncv1.SyncRequest, ask func(*fieldsyncv1.SyncRequest) *fieldsyncv1.SyncResponse) *fieldsyncv1.SyncResponse {
		change(req)
		return ask(req)
	})
}

// staleAnswers gives a caller that sends nothing the delta that it got the time before.
func staleAnswers() mutant {
	before := make(map[string]*fieldsyncv1.SyncResponse)
	return syncs(func(r *http.Request, req *fieldsyncv1.SyncRequest, ask func(*fieldsyncv1.SyncRequest) *fieldsyncv1.SyncResponse) *fieldsyncv1.SyncResponse {
		resp := ask(req)
		who := r.Header.Get("Authorization")
		old := before[who]
		if resp != nil {
			before[who] = resp
		}
		if old != nil && resp != nil && len(req.GetMutations()) == 0 && len(old.GetVerdicts()) == 0 {
			return old
		}
		return resp
	})
}

// leaks sends along now and then what another was sent.
func leaks() mutant {
	var last *fieldsyncv1.TaskDelta
	n := 0
	return answers(func(_ *fieldsyncv1.SyncRequest, resp *fieldsyncv1.SyncResponse) {
		foreign := last
		if len(resp.GetTasks()) > 0 {
			last = resp.GetTasks()[0]
		}
		if n++; n%5 == 0 && foreign != nil {
			resp.Tasks = append(resp.Tasks, foreign)
		}
	})
}

// rejudges takes every batch for a new one: it gives it the numbers that come next.
func rejudges() mutant {
	next := make(map[string]uint64)
	return syncs(func(r *http.Request, req *fieldsyncv1.SyncRequest, ask func(*fieldsyncv1.SyncRequest) *fieldsyncv1.SyncResponse) *fieldsyncv1.SyncResponse {
		device, _ := bearer(call{header: r.Header})
		key := device + strconv.FormatUint(uint64(req.GetInstallEpoch()), 10)
		var numbers []uint64
		for _, m := range req.GetMutations() {
			numbers = append(numbers, m.GetNumber())
			m.Number = next[key] + uint64(len(numbers))
		}
		resp := ask(req)
		if resp != nil {
			next[key] += uint64(len(resp.GetVerdicts()))
			for i, v := range resp.GetVerdicts() {
				v.Number = numbers[i]
			}
		}
		return resp
	})
}

// acknowledgesUnseen answers every tenth batch with "applied" and passes nothing on.
func acknowledgesUnseen() mutant {
	n := 0
	return syncs(func(_ *http.Request, req *fieldsyncv1.SyncRequest, ask func(*fieldsyncv1.SyncRequest) *fieldsyncv1.SyncResponse) *fieldsyncv1.SyncResponse {
		mutations := req.GetMutations()
		if len(mutations) > 0 {
			n++
		}
		if n%10 != 9 {
			return ask(req)
		}
		req.Mutations = nil
		resp := ask(req)
		if resp != nil {
			for _, m := range mutations {
				resp.Verdicts = append(resp.Verdicts, &fieldsyncv1.Verdict{
					Number: m.GetNumber(), Kind: fieldsyncv1.VerdictKind_VERDICT_KIND_APPLIED, Code: "applied", JudgedAt: timestamppb.Now(),
				})
			}
		}
		return resp
	})
}

// sieve keeps no photo.
type sieve struct{ media.Blobs }

func (sieve) Put(context.Context, [sha256.Size]byte, io.ReadSeeker) error { return nil }

// leavesOneOut drops the second completion of a page of the hotline's feed.
func leavesOneOut() mutant {
	return rewrites(fieldsyncv1connect.HotlineServiceListCompletionsProcedure, func(page *fieldsyncv1.ListCompletionsResponse) {
		page.Completions = page.GetCompletions()[:min(1, len(page.GetCompletions()))]
	})
}

// feeds lets change work on each page of the hotline's feed.
func feeds(change func([]*fieldsyncv1.Completion)) mutant {
	return rewrites(fieldsyncv1connect.HotlineServiceListCompletionsProcedure, func(page *fieldsyncv1.ListCompletionsResponse) {
		change(page.GetCompletions())
	})
}

// rewrites lets change work on every good answer of a procedure.
func rewrites[T any, M interface {
	*T
	proto.Message
}](procedure string, change func(M)) mutant {
	return mutant{handler: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != procedure {
				next.ServeHTTP(w, r)
				return
			}
			rec := httptest.NewRecorder()
			next.ServeHTTP(rec, r)
			body, _ := plain(rec.Header(), rec.Body.Bytes())
			answer := M(new(T))
			if rec.Code == http.StatusOK && proto.Unmarshal(body, answer) == nil {
				change(answer)
				body, _ = proto.Marshal(answer)
			}
			w.Header().Set("Content-Type", rec.Header().Get("Content-Type"))
			w.WriteHeader(rec.Code)
			_, _ = w.Write(body)
		})
	}}
}

// skips lets every 15th head of a scope that is stored be one further than its log.
func skips(e store.Engine) store.Engine {
	n := 0
	return rewriter{e, func(key, value []byte) []byte {
		head := &storagev1.ScopeHead{}
		if !bytes.HasPrefix(key, []byte("scope-head\x00")) || proto.Unmarshal(value, head) != nil {
			return value
		}
		if n++; n%15 == 0 {
			head.Sequence++
			value, _ = proto.Marshal(head)
		}
		return value
	}}
}

type rewriter struct {
	store.Engine

	change func(key, value []byte) []byte
}

func (r rewriter) Update(ctx context.Context, fn func(store.KV) error) error {
	return r.Engine.Update(ctx, func(kv store.KV) error { return fn(rewriterKV{kv, r.change}) })
}

type rewriterKV struct {
	store.KV

	change func(key, value []byte) []byte
}

func (r rewriterKV) Set(key, value []byte) error { return r.KV.Set(key, r.change(key, value)) }

// hoarder deletes nothing under the prefix.
type hoarder struct {
	store.Engine

	prefix string
}

func (h hoarder) Update(ctx context.Context, fn func(store.KV) error) error {
	return h.Engine.Update(ctx, func(kv store.KV) error { return fn(hoarderKV{kv, h.prefix}) })
}

type hoarderKV struct {
	store.KV

	prefix string
}

func (h hoarderKV) Delete(key []byte) error {
	if bytes.HasPrefix(key, []byte(h.prefix)) {
		return nil
	}
	return h.KV.Delete(key)
}

// neverTaken answers 503 to one device whenever it sends mutations.
func neverTaken() mutant {
	victim := ""
	return mutant{handler: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			r.Body = io.NopCloser(bytes.NewReader(body))
			if r.URL.Path == fieldsyncv1connect.SyncServiceSyncProcedure {
				sent, _ := plain(r.Header, body)
				req := &fieldsyncv1.SyncRequest{}
				device, _ := bearer(call{header: r.Header})
				if proto.Unmarshal(sent, req) == nil && len(req.GetMutations()) > 0 && (victim == "" || victim == device) {
					victim = device
					w.WriteHeader(http.StatusServiceUnavailable)
					return
				}
			}
			next.ServeHTTP(w, r)
		})
	}}
}

// removesForeign sends along now and then what has left the scope of another.
func removesForeign() mutant {
	last := ""
	n := 0
	return answers(func(_ *fieldsyncv1.SyncRequest, resp *fieldsyncv1.SyncResponse) {
		foreign := last
		if len(resp.GetTasks()) > 0 {
			last = resp.GetTasks()[0].GetTask().GetId()
		}
		if n++; n%5 == 0 && foreign != "" {
			resp.Removals = append(resp.Removals, &fieldsyncv1.Removal{TaskId: foreign, Reason: fieldsyncv1.RemovalReason_REMOVAL_REASON_CLOSED})
		}
	})
}

// tellsStrangers answers otherwise where a task does not exist at all than where it is another crew's.
func tellsStrangers() mutant {
	return mutant{handler: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			r.Body = io.NopCloser(bytes.NewReader(body))
			if r.URL.Path == fieldsyncv1connect.MediaServiceDeclareProcedure && bytes.Contains(body, []byte("there-is-no-such-task")) {
				w.WriteHeader(http.StatusNotFound)
				return
			}
			next.ServeHTTP(w, r)
		})
	}}
}

// showsAll lists the quarantine to whoever asks as to the one who asked first.
func showsAll() mutant {
	token := ""
	return mutant{handler: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if _, member := bearer(call{header: r.Header}); member == "d-city" {
				token = r.Header.Get("Authorization")
			}
			if r.URL.Path == fieldsyncv1connect.SupportServiceListQuarantinedProcedure && token != "" {
				r.Header.Set("Authorization", token)
			}
			next.ServeHTTP(w, r)
		})
	}}
}

// wrongHeads makes the first message of every stream tell of a head one further than it is.
func wrongHeads() mutant {
	return mutant{handler: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == fieldsyncv1connect.SyncServiceWatchProcedure {
				w = &headChanger{ResponseWriter: w}
			}
			next.ServeHTTP(w, r)
		})
	}}
}

type headChanger struct {
	http.ResponseWriter

	frame bytes.Buffer
}

func (h *headChanger) Write(b []byte) (int, error) { return h.frame.Write(b) }

func (h *headChanger) Flush() {
	frame := bytes.Clone(h.frame.Bytes())
	h.frame.Reset()
	if len(frame) > 5 && frame[0]&2 == 0 {
		header := http.Header{}
		if frame[0]&1 != 0 {
			header.Set("Content-Encoding", h.Header().Get("Connect-Content-Encoding"))
		}
		body, _ := plain(header, frame[5:])
		said := &fieldsyncv1.WatchResponse{}
		_ = proto.Unmarshal(body, said)
		said.Head.Sequence++
		body, _ = proto.Marshal(said)
		frame = append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(body))), body...)
	}
	_, _ = h.ResponseWriter.Write(frame)
	h.ResponseWriter.(http.Flusher).Flush() //nolint:forcetypeassert,errcheck // It is the simulation's.
}

// Protects whoever has to understand a failure: a run that breaks a rule is cut down to a few steps that break the same one.
func TestShrink(t *testing.T) {
	s := setting{cities: runs(t), mutant: answers(func(_ *fieldsyncv1.SyncRequest, resp *fieldsyncv1.SyncResponse) { resp.Removals = nil })}
	var whole result
	var actions []action
	for whole.bad == nil {
		if s.seed++; s.seed > mutantSeeds {
			t.Fatal("the mutant was not found")
		}
		actions = generate(s.seed)
		var err error
		if whole, err = run(t.Context(), s, actions); err != nil {
			t.Fatal(err)
		}
	}
	short, err := shrink(t.Context(), s, actions, whole.bad)
	if err != nil {
		t.Fatal(err)
	}
	if short.bad == nil || short.bad.rule != whole.bad.rule || short.steps > 4 {
		t.Errorf("shrunk to %d steps: %v\n%s", short.steps, short.bad, short.trace)
	}
}
