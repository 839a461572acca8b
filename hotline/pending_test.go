package hotline

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/store"
	"github.com/cong1022/fieldsync/store/memory"
)

// Protects exactly one effective delivery: a hotline that asks for what is unacknowledged, loses answers, gets old ones again and
// in another order, acknowledges one by one or by cursor, and loses the answers to that too, closes each ticket once; and the server
// counts each acknowledgement once.
func TestRedeliveryUntilAcknowledged(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		h := newHouseOver(t, new(memory.Disk).Open())
		var sealed []string
		closed := make(map[string]int) // What the hotline's own system did, by completion.
		var counted uint32
		var answers []*fieldsyncv1.ListCompletionsResponse // On their way, in any order.
		acknowledge := func(request *fieldsyncv1.AcknowledgeCompletionsRequest) {
			response, err := h.AcknowledgeCompletions(h.ctx, request)
			if err != nil {
				rt.Fatal(err)
			}
			counted += response.GetNewlyAcknowledged()
		}
		ask := func(limit uint32) *fieldsyncv1.ListCompletionsResponse {
			response, err := h.ListCompletions(h.ctx, &fieldsyncv1.ListCompletionsRequest{Unacknowledged: true, Limit: limit})
			if err != nil {
				rt.Fatal(err)
			}
			return response
		}
		handle := func(answer *fieldsyncv1.ListCompletionsResponse, byCursor bool) {
			var ids []string
			for _, c := range answer.GetCompletions() {
				ids = append(ids, c.GetId())
				if closed[c.GetId()] == 0 { // Known by its id.
					closed[c.GetId()]++
				}
			}
			switch {
			case len(ids) == 0:
			case byCursor && allClosed(sealed, closed, ids[len(ids)-1]):
				acknowledge(&fieldsyncv1.AcknowledgeCompletionsRequest{Cursor: answer.GetCursor()})
			default:
				acknowledge(&fieldsyncv1.AcknowledgeCompletionsRequest{CompletionIds: ids})
			}
		}
		for i := range rapid.IntRange(1, 40).Draw(rt, "steps") {
			switch rapid.IntRange(0, 3).Draw(rt, "step") {
			case 0:
				_, _, id := h.sealed(fmt.Sprint("1022-", i))
				sealed = append(sealed, id)
			case 1:
				answers = append(answers, ask(uint32(rapid.IntRange(1, 3).Draw(rt, "limit"))))
			case 2: // An answer arrives, whichever.
				if n := len(answers); n > 0 {
					k := rapid.IntRange(0, n-1).Draw(rt, "answer")
					handle(answers[k], rapid.Bool().Draw(rt, "by cursor"))
					if rapid.Bool().Draw(rt, "once") {
						answers = slices.Delete(answers, k, k+1) // Otherwise it comes again.
					}
				}
			case 3: // One is lost.
				if len(answers) > 0 {
					answers = answers[1:]
				}
			}
		}
		for page := ask(2); len(page.GetCompletions()) > 0; page = ask(2) {
			handle(page, false)
		}
		if int(counted) != len(sealed) || len(closed) != len(sealed) {
			rt.Fatalf("%d sealed, %d closed by the hotline, %d acknowledgements counted", len(sealed), len(closed), counted)
		}
		for _, id := range sealed {
			if closed[id] != 1 {
				rt.Fatalf("%s was closed %d times", id, closed[id])
			}
		}
		if again := ask(0); len(again.GetCompletions()) != 0 {
			rt.Fatalf("%d come again", len(again.GetCompletions()))
		}
	})
}

// allClosed: whoever acknowledges up to a completion must have seen all before it.
func allClosed(sealed []string, closed map[string]int, upTo string) bool {
	for _, id := range sealed {
		if closed[id] == 0 {
			return false
		}
		if id == upTo {
			return true
		}
	}
	return false
}

// Protects the hotline that was away: more than a transaction holds is acknowledged by one cursor, once, and what came later stays.
func TestAcknowledgeByCursor(t *testing.T) {
	h := newHouse(t)
	const many = 2*ackChunk + 7
	for i := range many {
		h.sealed(fmt.Sprint("1022-", i))
	}
	var cursor []byte
	for more := true; more; {
		page, err := h.ListCompletions(h.ctx, &fieldsyncv1.ListCompletionsRequest{Cursor: cursor, Limit: 500})
		wantCode(t, err, "")
		cursor, more = page.GetCursor(), page.GetMore()
	}
	_, task, late := h.sealed("1022-late")
	for _, want := range []uint32{many, 0} {
		response, err := h.AcknowledgeCompletions(h.ctx, &fieldsyncv1.AcknowledgeCompletionsRequest{Cursor: cursor})
		wantCode(t, err, "")
		if response.GetNewlyAcknowledged() != want {
			t.Errorf("%d are new, %d are expected", response.GetNewlyAcknowledged(), want)
		}
	}
	left, err := h.ListCompletions(h.ctx, &fieldsyncv1.ListCompletionsRequest{Unacknowledged: true})
	wantCode(t, err, "")
	if got := left.GetCompletions(); len(got) != 1 || got[0].GetId() != late {
		t.Errorf("left: %v", got)
	}
	if state := h.record(task).GetTask().GetStatus().GetState(); state != fieldsyncv1.TaskState_TASK_STATE_DONE {
		t.Errorf("what came later is %v", state)
	}
	for name, bad := range map[string]struct {
		cursor []byte
		code   string
	}{
		"no cursor":       {[]byte("x"), "cursor_invalid"},
		"of another list": {cursorOf(h, changeCursor, 1), "cursor_invalid"},
		"ahead":           {cursorOf(h, completionCursor, many+2), "cursor_ahead"},
	} {
		_, err := h.AcknowledgeCompletions(h.ctx, &fieldsyncv1.AcknowledgeCompletionsRequest{Cursor: bad.cursor})
		if t.Run(name, func(t *testing.T) { wantCode(t, err, bad.code) }); t.Failed() {
			return
		}
	}
}

func cursorOf(h *house, list byte, sequence uint64) []byte {
	return cursor{list: list, serverEpoch: h.store.ServerEpoch(), sequence: sequence}.bytes()
}

// Protects the acknowledgement of changes against a model: whatever is acknowledged by number or by cursor, what is left is what was
// not, each counts once, and an unknown one is refused as a whole.
func TestAcknowledgeChanges(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		h := newHouseOver(t, new(memory.Disk).Open())
		const changes = 30
		for i := range changes {
			h.submit(report(fmt.Sprint("1022-", i), nil))
		}
		open := make(map[uint64]bool)
		for i := range uint64(changes) {
			open[i+1] = true
		}
		for range rapid.IntRange(1, 8).Draw(rt, "acknowledgements") {
			request, want := &fieldsyncv1.AcknowledgeTicketChangesRequest{}, uint64(0)
			if rapid.Bool().Draw(rt, "by cursor") {
				upTo := uint64(rapid.IntRange(1, changes).Draw(rt, "up to"))
				request.Cursor = cursorOf(h, changeCursor, upTo)
				for i := range upTo {
					if open[i+1] {
						want++
					}
					delete(open, i+1)
				}
			} else {
				request.Sequences = rapid.SliceOfN(rapid.Uint64Range(1, changes), 1, 6).Draw(rt, "sequences")
				for _, sequence := range request.GetSequences() {
					if open[sequence] {
						want++
					}
					delete(open, sequence)
				}
			}
			response, err := h.AcknowledgeTicketChanges(h.ctx, request)
			if err != nil || response.GetNewlyAcknowledged() != want {
				rt.Fatalf("%v: %v new (%v), want %d", request, response.GetNewlyAcknowledged(), err, want)
			}
			if _, err := h.AcknowledgeTicketChanges(h.ctx, &fieldsyncv1.AcknowledgeTicketChangesRequest{Sequences: []uint64{1, changes + 1}}); err == nil {
				rt.Fatal("a change that never was is acknowledged")
			}
			var left, listed []uint64
			for i := range uint64(changes) {
				if open[i+1] {
					left = append(left, i+1)
				}
			}
			page, err := h.ListTicketChanges(h.ctx, &fieldsyncv1.ListTicketChangesRequest{Unacknowledged: true})
			if err != nil {
				rt.Fatal(err)
			}
			for _, c := range page.GetChanges() {
				listed = append(listed, c.GetSequence())
			}
			if !slices.Equal(left, listed) {
				rt.Fatalf("listed %v, left are %v", listed, left)
			}
		}
	})
}

// Protects duplicates: they close with their parent unless a crew works on them, one of a duplicate is one of its parent, nothing is a
// duplicate of itself by any way, and the same again changes nothing.
func TestDuplicates(t *testing.T) {
	h := newHouse(t)
	of := func(parent string) func(*fieldsyncv1.TicketIntake) {
		return func(in *fieldsyncv1.TicketIntake) { in.ParentHotlineId = parent }
	}
	_, _, completion := h.sealed("goc")
	h.submit(report("trung-1", of("goc")), report("trung-2", of("trung-1")), report("rieng", nil))
	h.task(h.submit(report("co-to", of("goc")))[0].GetTicketId())
	h.submit(report("con-cua-rieng", of("rieng")))
	h.submit(report("rieng", of("trung-2")))
	if again := h.submit(report("rieng", of("goc")))[0].GetResult(); again != fieldsyncv1.IntakeResult_INTAKE_RESULT_UNCHANGED {
		t.Errorf("the same again is %v", again)
	}
	for id, code := range map[string]string{"goc": "parent_invalid", "trung-1": "parent_invalid", "khong-co": "parent_unknown"} {
		name := "goc"
		if id == "khong-co" {
			name = "moi"
		}
		_, err := h.SubmitTickets(h.ctx, &fieldsyncv1.SubmitTicketsRequest{Tickets: []*fieldsyncv1.TicketIntake{report(name, of(id))}})
		wantCode(t, err, code)
	}
	status := func(id string) *fieldsyncv1.GetTicketStatusResponse {
		t.Helper()
		response, err := h.GetTicketStatus(h.ctx, &fieldsyncv1.GetTicketStatusRequest{HotlineId: id})
		wantCode(t, err, "")
		return response
	}
	if got := slices.Sorted(slices.Values(status("goc").GetDuplicateHotlineIds())); !slices.Equal(got, []string{"co-to", "con-cua-rieng", "rieng", "trung-1", "trung-2"}) {
		t.Errorf("the duplicates are %v", got)
	}
	_, err := h.AcknowledgeCompletions(h.ctx, &fieldsyncv1.AcknowledgeCompletionsRequest{CompletionIds: []string{completion}})
	wantCode(t, err, "")
	for id, closes := range map[string]bool{"goc": true, "trung-1": true, "trung-2": true, "rieng": true, "con-cua-rieng": true, "co-to": false} {
		s := status(id)
		if (s.GetClosedAt() != nil) != closes || (id != "goc") != (s.GetParentHotlineId() == "goc") {
			t.Errorf("%s: %v", id, s)
		}
	}
	page, err := h.ListTicketChanges(h.ctx, &fieldsyncv1.ListTicketChangesRequest{})
	wantCode(t, err, "")
	told := 0
	for _, c := range page.GetChanges() {
		if c.GetKind() == fieldsyncv1.TicketChangeKind_TICKET_CHANGE_KIND_CLOSED_WITH_PARENT {
			told++
		}
	}
	if told != 4 {
		t.Errorf("%d duplicates hear of the end, 4 are expected", told)
	}
}

// Protects withdrawals: all or none, each once; what a crew has completed stays, what it has not is called off through the hook.
func TestWithdraw(t *testing.T) {
	h := newHouse(t)
	var cancelled []string
	h.cancel = func(_ *store.Tx, record *storagev1.TaskRecord, _, reason string) error {
		cancelled = append(cancelled, record.GetTask().GetTicket().GetHotlineId()+": "+reason)
		return nil
	}
	h.submit(report("moi", nil))
	h.sealed("xong")
	open := h.task(h.submit(report("dang-lam", nil))[0].GetTicketId())
	h.update(func(tx *store.Tx) error {
		record, err := store.Get(tx, store.TaskKey(open))
		if err != nil {
			return err
		}
		record.Task.Status.State = fieldsyncv1.TaskState_TASK_STATE_STARTED
		store.NextRevision(record)
		return store.SaveTask(tx, record, 0)
	})
	withdraw := func(ids ...string) ([]fieldsyncv1.WithdrawResult, error) {
		request := &fieldsyncv1.WithdrawTicketsRequest{}
		for _, id := range ids {
			request.Tickets = append(request.Tickets, &fieldsyncv1.WithdrawTicketsRequest_Withdrawal{HotlineId: id, Reason: "dân báo lại đã xong"})
		}
		response, err := h.WithdrawTickets(h.ctx, request)
		return response.GetResults(), err
	}
	_, err := withdraw("moi", "khong-co")
	wantCode(t, err, "ticket_unknown")
	const done, unchanged, late = fieldsyncv1.WithdrawResult_WITHDRAW_RESULT_WITHDRAWN, fieldsyncv1.WithdrawResult_WITHDRAW_RESULT_UNCHANGED, fieldsyncv1.WithdrawResult_WITHDRAW_RESULT_TOO_LATE
	got, err := withdraw("moi", "xong", "dang-lam", "moi")
	wantCode(t, err, "")
	if !slices.Equal(got, []fieldsyncv1.WithdrawResult{done, late, done, unchanged}) {
		t.Errorf("results %v", got)
	}
	if !slices.Equal(cancelled, []string{"dang-lam: dân báo lại đã xong"}) {
		t.Errorf("called off: %v", cancelled)
	}
	status, err := h.GetTicketStatus(h.ctx, &fieldsyncv1.GetTicketStatusRequest{HotlineId: "moi"})
	wantCode(t, err, "")
	if status.GetWithdrawnAt() == nil {
		t.Error("nobody sees that it was withdrawn")
	}
}

// Protects the list for reconciliation: walked in pages of any size it names each ticket of the span once, by the time of the report.
func TestListTicketStates(t *testing.T) {
	h := newHouse(t)
	var want []string
	for i := range 9 {
		id := fmt.Sprint("1022-", i)
		h.submit(report(id, nil)) // All reported at the same moment.
		want = append(want, id)
	}
	for _, limit := range []uint32{1, 4, 9, 0} {
		var got []string
		request := &fieldsyncv1.ListTicketStatesRequest{Limit: limit}
		for {
			page, err := h.ListTicketStates(h.ctx, request)
			wantCode(t, err, "")
			for _, ticket := range page.GetTickets() {
				got = append(got, ticket.GetHotlineId())
			}
			if request.PageToken = page.GetNextToken(); len(request.GetPageToken()) == 0 {
				break
			}
		}
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("pages of %d: %v", limit, got)
		}
	}
	_, err := h.ListTicketStates(h.ctx, &fieldsyncv1.ListTicketStatesRequest{PageToken: []byte("x")})
	wantCode(t, err, "page_token_invalid")
}
