package open311

import (
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
)

// word is what the public is told about where a request stands: the states of FixMyStreet's extension of GeoReport. A bare
// "closed" is shown to citizens as "fixed" whatever happened, so it is never said of anything but a repair.
type word string

const (
	wordNone       word = ""
	wordOpen       word = "open"
	wordScheduled  word = "action_scheduled"
	wordInProgress word = "in_progress"
	wordFixed      word = "fixed"
	wordNoAction   word = "no_further_action"
	wordDuplicate  word = "duplicate"
	wordNotOurs    word = "not_councils_responsibility"
	wordReferral   word = "internal_referral"
	wordReopen     word = "reopen"
)

// sentences say each word to citizens, in Vietnamese and English. They name nobody and quote no note: what a crew writes is not
// written for the public.
var sentences = map[word][2]string{
	wordOpen:       {"Phản ánh đã được tiếp nhận.", "The report has been received."},
	wordScheduled:  {"Đã lên lịch xử lý.", "Action has been scheduled."},
	wordInProgress: {"Đang được xử lý tại hiện trường.", "Work is under way on site."},
	wordFixed:      {"Đã xử lý xong.", "It has been fixed."},
	wordNoAction:   {"Không cần xử lý thêm.", "No further action will be taken."},
	wordDuplicate:  {"Trùng với một phản ánh khác.", "It is the same as another report."},
	wordNotOurs:    {"Thuộc trách nhiệm của cơ quan khác.", "Another agency is responsible."},
	wordReferral:   {"Đã chuyển sang đơn vị khác phụ trách.", "It has been passed on to another unit."},
	wordReopen:     {"Phản ánh được mở lại.", "The report has been opened again."},
}

// ends tells whether nothing more is to come for the citizen.
func (w word) ends() bool {
	return w == wordFixed || w == wordNoAction || w == wordDuplicate || w == wordNotOurs
}

// status is the word as the status of a request, which is open or closed in the standard: closed where it was fixed, and where it
// ended otherwise, the word itself.
func (w word) status() string {
	switch {
	case w == wordFixed:
		return "closed"
	case w.ends():
		return string(w)
	default:
		return "open"
	}
}

// outcomeWord is what a completion means to the public. Nothing found, of which a false report is one, is never called fixed; what
// is only made safe, or could not be done, has something to come.
func outcomeWord(outcome fieldsyncv1.Outcome) word {
	switch outcome {
	case fieldsyncv1.Outcome_OUTCOME_REPAIRED:
		return wordFixed
	case fieldsyncv1.Outcome_OUTCOME_NOTHING_FOUND:
		return wordNoAction
	case fieldsyncv1.Outcome_OUTCOME_DUPLICATE:
		return wordDuplicate
	case fieldsyncv1.Outcome_OUTCOME_OTHER_AGENCY:
		return wordNotOurs
	default: // Made safe, no access, needs parts, weather; and what a later version may add.
		return wordScheduled
	}
}

// standing is where a request stands, for the public. onClaim: the crew's word is enough, else the seal counts.
func standing(state fieldsyncv1.TaskState, proof fieldsyncv1.ProofState, outcome fieldsyncv1.Outcome, onClaim bool) word {
	switch state {
	case fieldsyncv1.TaskState_TASK_STATE_ASSIGNED, fieldsyncv1.TaskState_TASK_STATE_ACCEPTED:
		return wordScheduled
	case fieldsyncv1.TaskState_TASK_STATE_STARTED, fieldsyncv1.TaskState_TASK_STATE_PAUSED:
		return wordInProgress
	case fieldsyncv1.TaskState_TASK_STATE_CANCELLED:
		return wordNoAction
	case fieldsyncv1.TaskState_TASK_STATE_DONE, fieldsyncv1.TaskState_TASK_STATE_CLOSED:
		if proof < fieldsyncv1.ProofState_PROOF_STATE_SEALED && !onClaim {
			return wordInProgress
		}
		return outcomeWord(outcome)
	default:
		return wordOpen
	}
}

// announced is what a change is to the public, wordNone where it is nothing that was not said before.
func announced(change *fieldsyncv1.TicketChange, onClaim bool) word {
	const done = fieldsyncv1.TaskState_TASK_STATE_DONE
	switch change.GetKind() {
	case fieldsyncv1.TicketChangeKind_TICKET_CHANGE_KIND_REFERRED:
		return wordReferral
	case fieldsyncv1.TicketChangeKind_TICKET_CHANGE_KIND_STATUS:
	default:
		return wordNone
	}
	from, to := change.GetFromState(), change.GetState()
	now := standing(to, change.GetProofState(), change.GetOutcome(), onClaim)
	switch {
	case to == fieldsyncv1.TaskState_TASK_STATE_CLOSED:
		return wordNone // The hotline has taken note of what was said with the seal.
	case from == done && to == done:
		if onClaim || change.GetProofState() != fieldsyncv1.ProofState_PROOF_STATE_SEALED {
			return wordNone
		}
		return now
	case ended(from) && !ended(to):
		return wordReopen
	case (to != done || now == wordInProgress) && !ended(from) && now == standing(from, 0, 0, onClaim):
		return wordNone // A completion is always told of.
	}
	return now
}

// announcedWithoutTask is the same for a ticket that no crew has ever had.
func announcedWithoutTask(change *fieldsyncv1.TicketChange) word {
	switch change.GetKind() {
	case fieldsyncv1.TicketChangeKind_TICKET_CHANGE_KIND_WITHDRAWN:
		return wordNoAction
	case fieldsyncv1.TicketChangeKind_TICKET_CHANGE_KIND_DUPLICATE:
		return wordDuplicate
	default:
		return wordNone
	}
}

func ended(state fieldsyncv1.TaskState) bool { return state >= fieldsyncv1.TaskState_TASK_STATE_DONE }
