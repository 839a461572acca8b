package hotline

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/store"
	"github.com/cong1022/fieldsync/store/memory"
)

// Protects the closing rule in the feed: where a category closes on the claim, who asks for claims gets the completion when it is claimed
// and again, under the same id, when it is sealed; who does not ask gets the seal alone. The claim's acknowledgement closes the ticket,
// the task stays with its crew until the seal's.
func TestClaimThenSeal(t *testing.T) {
	h := newHouse(t)
	ticket, task, id := h.announced("1022-1")
	list := func(cursor []byte, claims bool) *fieldsyncv1.ListCompletionsResponse {
		t.Helper()
		response, err := h.ListCompletions(h.ctx, &fieldsyncv1.ListCompletionsRequest{Cursor: cursor, Claims: claims})
		wantCode(t, err, "")
		return response
	}
	if got := list(nil, false); len(got.GetCompletions()) != 0 {
		t.Fatalf("who does not ask for claims gets %v", got)
	}
	claim := list(nil, true)
	if c := claim.GetCompletions(); len(c) != 1 || c[0].GetId() != id || c[0].GetState() != claimed || c[0].GetDecoded().GetHotlineId() != "1022-1" ||
		len(c[0].GetSignature())+len(c[0].GetKeyId()) != 0 {
		t.Fatalf("who asks for claims gets %v", c)
	}
	for name, request := range map[string]*fieldsyncv1.AcknowledgeCompletionsRequest{
		"as a seal":    {CompletionIds: []string{id}},
		"unknown":      {ClaimIds: []string{"none"}},
		"one unknown":  {ClaimIds: []string{id, "none"}},
		"cursor ahead": {Cursor: feedCursor{h.store.ServerEpoch(), true, [2]uint64{0, 2}}.bytes()},
	} {
		if _, err := h.AcknowledgeCompletions(h.ctx, request); err == nil || h.ticket(ticket).GetClosedAt() != nil {
			t.Errorf("%s: the claim is acknowledged, %v", name, err)
		}
	}
	acknowledge := func(request *fieldsyncv1.AcknowledgeCompletionsRequest, want uint32) {
		t.Helper()
		response, err := h.AcknowledgeCompletions(h.ctx, request)
		wantCode(t, err, "")
		if response.GetNewlyAcknowledged() != want {
			t.Errorf("%v: %d are new", request, response.GetNewlyAcknowledged())
		}
	}
	acknowledge(&fieldsyncv1.AcknowledgeCompletionsRequest{Cursor: claim.GetCursor()}, 1)
	acknowledge(&fieldsyncv1.AcknowledgeCompletionsRequest{ClaimIds: []string{id}}, 0)
	closed := h.ticket(ticket).GetClosedAt()
	if record := h.record(task); closed == nil || record.GetTask().GetStatus().GetState() != fieldsyncv1.TaskState_TASK_STATE_DONE || len(record.GetScopes()) != 2 {
		t.Errorf("the ticket was closed at %v, the task is %v", closed, record)
	}
	h.now = h.now.Add(1e9)
	h.sealClaim(task, id)
	if got := list(claim.GetCursor(), true).GetCompletions(); len(got) != 1 || got[0].GetId() != id || got[0].GetState() != fieldsyncv1.ProofState_PROOF_STATE_SEALED || len(got[0].GetSignature()) == 0 {
		t.Errorf("behind the claim: %v", got)
	}
	for _, cursor := range [][]byte{nil, claim.GetCursor()} {
		if got := list(cursor, false).GetCompletions(); len(got) != 1 || got[0].GetId() != id {
			t.Errorf("who does not ask for claims gets %v", got)
		}
	}
	if got := list(nil, true).GetCompletions(); len(got) != 1 {
		t.Errorf("from the beginning a claim that is sealed by now comes too: %v", got)
	}
	acknowledge(&fieldsyncv1.AcknowledgeCompletionsRequest{ClaimIds: []string{id}}, 0)
	acknowledge(&fieldsyncv1.AcknowledgeCompletionsRequest{CompletionIds: []string{id}}, 1)
	if record := h.record(task).GetTask(); record.GetStatus().GetState() != fieldsyncv1.TaskState_TASK_STATE_CLOSED || !h.ticket(ticket).GetClosedAt().AsTime().Equal(closed.AsTime()) {
		t.Errorf("in the end the task is %v", record)
	}
}

// customer is a hotline that takes completions from answers that get lost, come twice or in another order.
type customer struct {
	// known is how far it has heard of a completion: claimed or sealed. It never goes back.
	known map[string]fieldsyncv1.ProofState
	// closed counts how often it closed the ticket of a completion.
	closed map[string]int
}

func (c *customer) take(answer *fieldsyncv1.ListCompletionsResponse) {
	for _, completion := range answer.GetCompletions() {
		if c.known[completion.GetId()] == 0 {
			c.closed[completion.GetId()]++
		}
		c.known[completion.GetId()] = max(c.known[completion.GetId()], min(completion.GetState(), fieldsyncv1.ProofState_PROOF_STATE_SEALED))
	}
}

// Protects exactly one effective delivery where claims come before seals: whatever answers are lost, repeated or reordered, and whatever is
// sealed or taken back meanwhile, a hotline that asks until nothing is left closes each ticket once, knows every seal, and never loses
// a seal by acknowledging the claim; its acknowledgements are counted once. One that knows nothing of claims, and only reads, sees each
// seal once, in order, and no claim.
func TestClaimsAndSealsAreDeliveredOnce(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		h := newHouseOver(t, new(memory.Disk).Open())
		type completion struct{ ticket, task, id string }
		var waiting []completion // Claims that stand.
		var claimed, sealed, open []completion
		modern := customer{make(map[string]fieldsyncv1.ProofState), make(map[string]int)}
		var counted uint32
		var answers []*fieldsyncv1.ListCompletionsResponse // On their way, in any order.
		var oldSaw []string
		var oldCursor []byte
		acknowledge := func(request *fieldsyncv1.AcknowledgeCompletionsRequest) {
			response, err := h.AcknowledgeCompletions(h.ctx, request)
			if err != nil {
				rt.Fatal(err)
			}
			counted += response.GetNewlyAcknowledged()
		}
		ask := func(limit uint32) *fieldsyncv1.ListCompletionsResponse {
			response, err := h.ListCompletions(h.ctx, &fieldsyncv1.ListCompletionsRequest{Unacknowledged: true, Claims: true, Limit: limit})
			if err != nil {
				rt.Fatal(err)
			}
			return response
		}
		readOld := func() (more bool) {
			response, err := h.ListCompletions(h.ctx, &fieldsyncv1.ListCompletionsRequest{Cursor: oldCursor, Limit: 2})
			if err != nil {
				rt.Fatal(err)
			}
			for _, c := range response.GetCompletions() {
				if c.GetState() == fieldsyncv1.ProofState_PROOF_STATE_CLAIMED {
					rt.Fatalf("who knows nothing of claims sees %v", c)
				}
				oldSaw = append(oldSaw, c.GetId())
			}
			oldCursor = response.GetCursor()
			return response.GetMore()
		}
		// heard tells whether the customer knows all up to the last of an answer, and so may acknowledge by its cursor.
		heard := func(answer *fieldsyncv1.ListCompletionsResponse, all []completion, state func(fieldsyncv1.ProofState) bool) bool {
			last := -1
			for i, c := range all {
				if slices.ContainsFunc(answer.GetCompletions(), func(a *fieldsyncv1.Completion) bool { return a.GetId() == c.id && state(a.GetState()) }) {
					last = i
				}
			}
			return !slices.ContainsFunc(all[:last+1], func(c completion) bool { return !state(modern.known[c.id]) && !slices.Contains(open, c) })
		}
		isClaim := func(s fieldsyncv1.ProofState) bool { return s >= fieldsyncv1.ProofState_PROOF_STATE_CLAIMED }
		isSeal := func(s fieldsyncv1.ProofState) bool { return s >= fieldsyncv1.ProofState_PROOF_STATE_SEALED }
		handle := func(answer *fieldsyncv1.ListCompletionsResponse, byCursor bool) {
			modern.take(answer)
			if byCursor && len(answer.GetCompletions()) > 0 && heard(answer, claimed, isClaim) && heard(answer, sealed, isSeal) {
				acknowledge(&fieldsyncv1.AcknowledgeCompletionsRequest{Cursor: answer.GetCursor()})
				return
			}
			request := &fieldsyncv1.AcknowledgeCompletionsRequest{}
			for _, c := range answer.GetCompletions() {
				if isSeal(c.GetState()) {
					request.CompletionIds = append(request.CompletionIds, c.GetId())
				} else {
					request.ClaimIds = append(request.ClaimIds, c.GetId())
				}
			}
			if len(answer.GetCompletions()) > 0 {
				acknowledge(request)
			}
		}
		for i := range rapid.IntRange(1, 40).Draw(rt, "steps") {
			h.now = h.now.Add(1e9)
			name := fmt.Sprint("1022-", i)
			switch rapid.IntRange(0, 7).Draw(rt, "step") {
			case 0:
				ticket, task, id := h.sealed(name)
				sealed = append(sealed, completion{ticket, task, id})
			case 1, 2:
				ticket, task, id := h.announced(name)
				claimed, waiting = append(claimed, completion{ticket, task, id}), append(waiting, completion{ticket, task, id})
			case 3: // The last photo comes.
				if n := len(waiting); n > 0 {
					k := rapid.IntRange(0, n-1).Draw(rt, "which")
					h.sealClaim(waiting[k].task, waiting[k].id)
					sealed, waiting = append(sealed, waiting[k]), slices.Delete(waiting, k, k+1)
				}
			case 4: // A dispatcher takes a claim back.
				if n := len(waiting); n > 0 {
					k := rapid.IntRange(0, n-1).Draw(rt, "which")
					h.takeBack(waiting[k].task, waiting[k].id)
					open, waiting = append(open, waiting[k]), slices.Delete(waiting, k, k+1)
				}
			case 5:
				answers = append(answers, ask(uint32(rapid.IntRange(1, 3).Draw(rt, "limit"))))
			case 6: // An answer arrives, whichever, or is lost.
				if n := len(answers); n > 0 {
					k := rapid.IntRange(0, n-1).Draw(rt, "answer")
					if rapid.Bool().Draw(rt, "arrives") {
						handle(answers[k], rapid.Bool().Draw(rt, "by cursor"))
					}
					if rapid.Bool().Draw(rt, "once") {
						answers = slices.Delete(answers, k, k+1) // Otherwise it comes again.
					}
				}
			case 7:
				readOld()
			}
		}
		for page := ask(2); len(page.GetCompletions()) > 0; page = ask(2) {
			handle(page, false)
		}
		for readOld() {
		}
		claimsTaken := 0
		for _, c := range claimed {
			h.view(func(tx *store.Tx) error {
				stored, err := claims().load(tx, c.id)
				if stored.GetClaimDeliveredAt() != nil {
					claimsTaken++
				}
				return err
			})
		}
		if int(counted) != len(sealed)+claimsTaken {
			rt.Fatalf("%d acknowledgements are counted, %d seals and %d claims have been", counted, len(sealed), claimsTaken)
		}
		for id, n := range modern.closed {
			if n != 1 {
				rt.Fatalf("%s was closed %d times", id, n)
			}
		}
		var oldWant []string
		for _, c := range sealed {
			oldWant = append(oldWant, c.id)
			if modern.known[c.id] != fieldsyncv1.ProofState_PROOF_STATE_SEALED || h.ticket(c.ticket).GetClosedAt() == nil ||
				h.record(c.task).GetTask().GetStatus().GetState() != fieldsyncv1.TaskState_TASK_STATE_CLOSED {
				rt.Fatalf("the hotline knows %v of %s, which is sealed", modern.known[c.id], c.id)
			}
		}
		for _, c := range waiting {
			if modern.known[c.id] == 0 || h.ticket(c.ticket).GetClosedAt() == nil || h.record(c.task).GetTask().GetStatus().GetState() != fieldsyncv1.TaskState_TASK_STATE_DONE {
				rt.Fatalf("the hotline knows %v of %s, which stands as a claim", modern.known[c.id], c.id)
			}
		}
		for _, c := range open {
			if h.ticket(c.ticket).GetClosedAt() != nil {
				rt.Fatalf("the ticket of %s is closed, though the claim was taken back", c.id)
			}
		}
		if !slices.Equal(oldSaw, oldWant) {
			rt.Fatalf("who knows nothing of claims sees %v, %v are sealed", oldSaw, oldWant)
		}
	})
}
