package sync

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/store"
)

// maxPhotos bounds the photos of a task.
const maxPhotos = 50

// author is what merge must know about a mutation besides its words.
type author struct {
	memberID, deviceID, crewID string
	// stays are the member's times in crews, the present one included.
	stays []stay
	// at is the server's time, which decides; interval is the phone's account of when, which is displayed.
	at       time.Time
	interval *fieldsyncv1.TimeInterval
	// photo is the phone's account of when the photo was taken, for an attach.
	photo *fieldsyncv1.TimeInterval
	// photoVerified: the original of the photo that is attached is here already.
	photoVerified bool
	// item is the id of what the mutation adds: the same for each repeat.
	item string
	// first is what the item's id was where the mutation took effect at its arrival: for one that is released later, without
	// anybody knowing whether it did.
	first string
}

// stay is a time of the member in a crew, by the server's clock.
type stay struct {
	crew string
	// from and until bound it. Zero: since ever, and until now.
	from, until time.Time
	// then: the member may have been in the crew when this was recorded.
	then bool
}

// met tells whether the crew had a task during the stay: only then can the member have seen it.
func (s stay) met(t *storagev1.Tenure) bool {
	if t.GetCrewId() != s.crew {
		return false
	}
	from, until := s.from, s.until
	if !until.IsZero() && until.Before(from) {
		from, until = until, from // The server's clock was set back in between.
	}
	return (until.IsZero() || !t.GetFrom().AsTime().After(until)) &&
		(t.GetUntil() == nil || !t.GetUntil().AsTime().Before(from))
}

// standing is what the author is to a task.
type standing int

const (
	stranger standing = iota // None of the member's crews had it while the member was there.
	departed                 // One had, but the member had left it before this was recorded.
	former                   // One had, or has it again since: what was recorded under the older assignment is late.
	holder                   // The present crew has it.
)

// standingTo tells what the author is to the task, in respect of the assignment epoch that the phone showed when the mutation
// was recorded (0: it did not say).
func (a author) standingTo(record *storagev1.TaskRecord, epoch uint64) standing {
	now := record.GetTask().GetAssignment()
	if now.GetCrewId() != "" && now.GetCrewId() == a.crewID && (epoch == 0 || epoch == now.GetAssignmentEpoch()) {
		return holder
	}
	best := stranger
	for _, tenure := range record.GetTenures() {
		for _, s := range a.stays {
			switch {
			case !s.met(tenure):
			case s.then:
				return former
			default:
				best = departed
			}
		}
	}
	return best
}

// merge lets an intent of a crew that has or had the task take effect on it, and judges it. It is pure: the same record,
// mutation and author give the same result, and the record is changed only where the judgement is applied or merged, under
// the next revision. The caller has checked that the mutation keeps its rules.
func merge(record *storagev1.TaskRecord, m *fieldsyncv1.Mutation, by author) judgement {
	standing := by.standingTo(record, m.GetAssignmentEpoch())
	switch standing {
	case stranger:
		return unknownTask
	case departed:
		return departure(m)
	default:
	}
	task := merging{record: record, task: record.GetTask(), by: by, late: standing == former}
	switch intent := m.GetIntent().(type) {
	case *fieldsyncv1.Mutation_Accept:
		return task.accept()
	case *fieldsyncv1.Mutation_Start:
		return task.start()
	case *fieldsyncv1.Mutation_Pause:
		return task.pause(intent.Pause.GetReason())
	case *fieldsyncv1.Mutation_Resume:
		return task.resume()
	case *fieldsyncv1.Mutation_AddNote:
		return task.note(intent.AddNote.GetText())
	case *fieldsyncv1.Mutation_Tick:
		return task.tick(intent.Tick)
	case *fieldsyncv1.Mutation_AttachPhoto:
		return task.attach(intent.AttachPhoto.GetPhoto())
	case *fieldsyncv1.Mutation_Complete:
		return task.complete(intent.Complete, m.GetPosition())
	case *fieldsyncv1.Mutation_Decline:
		return task.decline(intent.Decline.GetReason())
	case *fieldsyncv1.Mutation_HandOver:
		return task.handOver(intent.HandOver.GetReason())
	case *fieldsyncv1.Mutation_See:
		return task.see()
	default:
		return unknownIntent
	}
}

// departure judges what a member recorded who had left the crew without knowing: evidence waits for a dispatcher, who can let
// it take effect; a wish about the state has come too late.
func departure(m *fieldsyncv1.Mutation) judgement {
	switch m.GetIntent().(type) {
	case *fieldsyncv1.Mutation_AddNote, *fieldsyncv1.Mutation_AttachPhoto, *fieldsyncv1.Mutation_Complete:
		return afterMove
	default:
		return alreadyEnded
	}
}

// merging is one run of merge.
type merging struct {
	record *storagev1.TaskRecord
	task   *fieldsyncv1.Task
	by     author
	late   bool
}

// ended: no crew can move the state any more.
func (g *merging) ended() bool {
	switch g.task.GetStatus().GetState() {
	case fieldsyncv1.TaskState_TASK_STATE_DONE, fieldsyncv1.TaskState_TASK_STATE_CLOSED, fieldsyncv1.TaskState_TASK_STATE_CANCELLED:
		return true
	default:
		return false
	}
}

// see notes that somebody of the crew has opened the task. The first counts.
func (g *merging) see() judgement {
	a := g.task.GetAssignment()
	switch {
	case g.late || g.ended():
		return alreadyEnded
	case a.GetSeenAt() != nil:
		return already
	}
	a.Revision = store.NextRevision(g.record)
	a.SeenAt, a.SeenByMemberId = timestamppb.New(g.by.at), g.by.memberID
	return applied
}

func (g *merging) accept() judgement {
	switch {
	case g.late || g.ended():
		return alreadyEnded
	case g.task.GetStatus().GetState() != fieldsyncv1.TaskState_TASK_STATE_ASSIGNED:
		return already
	}
	return g.move(fieldsyncv1.TaskState_TASK_STATE_ACCEPTED, "")
}

func (g *merging) start() judgement {
	switch {
	case g.late || g.ended():
		return alreadyEnded
	case g.task.GetStatus().GetState() == fieldsyncv1.TaskState_TASK_STATE_STARTED:
		return already
	}
	return g.move(fieldsyncv1.TaskState_TASK_STATE_STARTED, "")
}

func (g *merging) pause(reason string) judgement {
	switch state := g.task.GetStatus().GetState(); {
	case g.late || g.ended():
		return alreadyEnded
	case state == fieldsyncv1.TaskState_TASK_STATE_PAUSED:
		return already
	case state != fieldsyncv1.TaskState_TASK_STATE_STARTED:
		return notStarted
	}
	return g.move(fieldsyncv1.TaskState_TASK_STATE_PAUSED, reason)
}

func (g *merging) resume() judgement {
	switch state := g.task.GetStatus().GetState(); {
	case g.late || g.ended():
		return alreadyEnded
	case state == fieldsyncv1.TaskState_TASK_STATE_STARTED:
		return already
	case state != fieldsyncv1.TaskState_TASK_STATE_PAUSED:
		return notStarted
	}
	return g.move(fieldsyncv1.TaskState_TASK_STATE_STARTED, "")
}

func (g *merging) note(text string) judgement {
	for _, note := range g.task.GetNotes() {
		if note.GetId() == g.by.first && note.GetText() == text {
			return already
		}
	}
	revision := store.NextRevision(g.record)
	g.task.Notes = append(g.task.Notes, &fieldsyncv1.Note{
		Revision: revision, Id: g.by.item, Text: text, MemberId: g.by.memberID, Recorded: g.by.interval,
	})
	return g.added(revision)
}

func (g *merging) tick(tick *fieldsyncv1.Tick) judgement {
	if g.late {
		return alreadyEnded // A register, not evidence: the crew that has the task now may have ticked otherwise.
	}
	for _, item := range g.task.GetChecklist() {
		if item.GetId() != tick.GetItemId() {
			continue
		}
		if item.GetChecked() == tick.GetChecked() {
			return already
		}
		item.Revision = store.NextRevision(g.record)
		item.Checked, item.MemberId = tick.GetChecked(), g.by.memberID
		return applied
	}
	return unknownItem
}

func (g *merging) attach(d *fieldsyncv1.PhotoDeclaration) judgement {
	for _, photo := range g.task.GetPhotos() {
		if photo.GetId() == d.GetPhotoId() {
			if string(photo.GetSha256()) == string(d.GetSha256()) && photo.GetDeviceId() == g.by.deviceID {
				return already
			}
			return photoIDTaken
		}
	}
	if len(g.task.GetPhotos()) >= maxPhotos {
		return taskFull
	}
	revision := store.NextRevision(g.record)
	state := fieldsyncv1.PhotoState_PHOTO_STATE_ON_PHONE
	if g.by.photoVerified {
		state = fieldsyncv1.PhotoState_PHOTO_STATE_VERIFIED
	}
	g.task.Photos = append(g.task.Photos, &fieldsyncv1.Photo{
		Revision: revision, Id: d.GetPhotoId(), Sha256: d.GetSha256(), SizeBytes: d.GetSizeBytes(),
		ContentType: d.GetContentType(), Kind: d.GetKind(), State: state,
		MemberId: g.by.memberID, DeviceId: g.by.deviceID,
		Captured: g.by.photo, Position: d.GetPosition(), FromGallery: d.GetFromGallery(),
		DeclaredAt: timestamppb.New(g.by.at), ReplacesPhotoId: d.GetReplacesPhotoId(),
	})
	return g.added(revision)
}

func (g *merging) complete(c *fieldsyncv1.Complete, position *fieldsyncv1.Position) judgement {
	photos, found := g.completionPhotos(c.GetPhotoIds())
	if !found {
		return photosMissing
	}
	state := g.task.GetStatus().GetState()
	if !g.late && g.ended() && state != fieldsyncv1.TaskState_TASK_STATE_CANCELLED {
		return already
	}
	for _, late := range g.task.GetLateCompletions() {
		if late.GetCompletionId() == g.by.first && late.GetNote() == c.GetNote() {
			return already
		}
	}
	revision := store.NextRevision(g.record)
	completion := &fieldsyncv1.CompletionFacet{
		Revision: revision, Outcome: c.GetOutcome(), Note: c.GetNote(), MemberId: g.by.memberID,
		Completed: g.by.interval, Position: position,
		ProofState: fieldsyncv1.ProofState_PROOF_STATE_CLAIMED, PhotoIds: photos,
	}
	if g.late || state == fieldsyncv1.TaskState_TASK_STATE_CANCELLED {
		// The dispatcher's word stands; what the crew did while the task was theirs is kept.
		completion.CompletionId = g.by.item
		completion.ProofState = fieldsyncv1.ProofState_PROOF_STATE_UNSPECIFIED
		g.task.LateCompletions = append(g.task.LateCompletions, completion)
		g.flagReview(revision)
		return keptLate
	}
	g.task.Completion = completion
	g.setStatus(revision, fieldsyncv1.TaskState_TASK_STATE_DONE, "")
	return applied
}

// completionPhotos returns the photos that a completion stands on: those named, or all that are attached where none is named.
// found is false where one that is named was never attached.
func (g *merging) completionPhotos(named []string) (ids []string, found bool) {
	for _, photo := range g.task.GetPhotos() {
		if len(named) == 0 || slices.Contains(named, photo.GetId()) {
			ids = append(ids, photo.GetId())
		}
	}
	return ids, len(named) == 0 || len(ids) == len(named)
}

func (g *merging) decline(reason string) judgement {
	switch state := g.task.GetStatus().GetState(); {
	case g.late || g.ended():
		return alreadyEnded
	case state == fieldsyncv1.TaskState_TASK_STATE_STARTED || state == fieldsyncv1.TaskState_TASK_STATE_PAUSED:
		return alreadyStarted
	}
	return g.giveBack(reason)
}

func (g *merging) handOver(reason string) judgement {
	if g.late || g.ended() {
		return alreadyEnded
	}
	return g.giveBack(reason)
}

// giveBack takes the task from its crew: it is open again for the dispatcher.
func (g *merging) giveBack(reason string) judgement {
	judged := g.move(fieldsyncv1.TaskState_TASK_STATE_OPEN, reason)
	a := g.task.GetAssignment()
	a.Revision = g.task.GetRevision()
	a.CrewId, a.AssignedAt = "", nil
	a.SeenAt, a.SeenByMemberId = nil, ""
	a.AssignmentEpoch++
	g.record.Tenures[len(g.record.GetTenures())-1].Until = timestamppb.New(g.by.at)
	g.record.Scopes = slices.DeleteFunc(g.record.GetScopes(), func(scope string) bool {
		return scope == string(store.CrewScope(g.by.crewID))
	})
	return judged
}

func (g *merging) move(state fieldsyncv1.TaskState, reason string) judgement {
	g.setStatus(store.NextRevision(g.record), state, reason)
	return applied
}

// setStatus moves the state. A review that was flagged stays flagged.
func (g *merging) setStatus(revision uint64, state fieldsyncv1.TaskState, reason string) {
	g.task.Status = &fieldsyncv1.StatusFacet{
		Revision: revision, State: state, Since: timestamppb.New(g.by.at), ByMemberId: g.by.memberID,
		Reason: reason, Review: g.task.GetStatus().GetReview(),
	}
	store.NoteState(g.record, g.by.interval)
}

// added judges evidence that was appended, which is welcome whenever it comes.
func (g *merging) added(revision uint64) judgement {
	switch {
	case g.late || g.task.GetStatus().GetState() == fieldsyncv1.TaskState_TASK_STATE_CANCELLED:
		g.flagReview(revision)
		return keptLate
	case g.ended():
		return keptEnded
	}
	return applied
}

func (g *merging) flagReview(revision uint64) {
	g.task.Status.Revision, g.task.Status.Review = revision, true
	g.record.LateRevision = revision
}

// itemID names what a mutation adds to a task, the same at each repeat: 13 characters of a hash, since every phone of the
// crew has to carry it. Two of the few hundred items of one task are the same once in 10^14 tasks.
func itemID(device string, epoch uint32, number uint64, release string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s/%d/%d/%s", device, epoch, number, release))
	return strings.ToLower(base32.HexEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:8]))
}
