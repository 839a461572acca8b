package sync

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cong1022/fieldsync/auth"
	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/store"
)

const (
	// maxTaskBytes bounds a task's record: what would make it larger is quarantined.
	maxTaskBytes = 256 << 10
	// maxKeptBytes bounds what is kept of one mutation in quarantine.
	maxKeptBytes = 128 << 10
	// chunkBytes ends a transaction over part of a batch well below what one may write.
	chunkBytes = store.MaxTransactionBytes / 4
)

// errConflicted ends the numbering under an install epoch in which a number came with two payloads: another phone has the
// same key, or this one was restored from a backup. What was used stays readable; new numbers need a new epoch, in which the
// two part.
var errConflicted = fault.New(fault.Precondition, "install_epoch_conflicted",
	"Số thứ tự của lần cài đặt này đã bị dùng trùng; hãy làm mới mã truy cập với lần cài đặt mới rồi gửi lại phần chưa có phán quyết.",
	"Numbers of this install epoch were used twice: refresh with a new one, and number under it what has no verdict.")

// push judges the batch: each mutation once, in order. The verdicts it returns are durable, and so is all that they say. A
// batch may be cut into several transactions; a crash between them leaves a prefix judged, and the repeat finds it.
func (e *Engine) push(ctx context.Context, p auth.Principal, req *fieldsyncv1.SyncRequest, status *storagev1.DeviceStatus) ([]*fieldsyncv1.Verdict, error) {
	batch := req.GetMutations()
	if len(batch) == 0 {
		return nil, nil
	}
	if !p.InCrew() && !p.Delivering && !p.LeftCrews {
		return nil, fault.New(fault.Denied, "mutations_denied",
			"Chỉ tổ hiện trường mới ghi nhận công việc.", "Only crews record what was done.")
	}
	for i, m := range batch {
		if m.GetNumber() != batch[0].GetNumber()+uint64(i) || m.GetNumber() == 0 {
			return nil, fault.New(fault.Invalid, "numbers_not_consecutive",
				fmt.Sprintf("Số thứ tự của mục %d không liên tiếp.", i+1),
				fmt.Sprintf("The number of mutation %d of the batch does not follow the one before it.", i+1))
		}
	}
	verdicts := make([]*fieldsyncv1.Verdict, 0, len(batch))
	for len(batch) > 0 {
		var judged []*fieldsyncv1.Verdict
		var changed []*loadedTask
		err := e.store.Update(ctx, func(tx *store.Tx) (err error) {
			if judged, changed, err = e.pushChunk(tx, p, req, batch); err != nil {
				return err
			}
			return store.Put(tx, store.DeviceStatusKey(p.DeviceID), status)
		})
		if errors.Is(err, errConflicted) && len(verdicts) > 0 {
			return verdicts, nil // What was judged before must be heard first: the next call meets the error.
		}
		if err != nil {
			return nil, err
		}
		for _, task := range changed {
			e.tasks.put(task.record.GetTask(), task.size) // Of which this very call's delta is going to tell.
		}
		verdicts, batch = append(verdicts, judged...), batch[len(judged):]
	}
	return verdicts, nil
}

// pushChunk judges as much of the batch as one transaction should hold, at least one mutation. It also returns the tasks
// that this changes.
func (e *Engine) pushChunk(tx *store.Tx, p auth.Principal, req *fieldsyncv1.SyncRequest, batch []*fieldsyncv1.Mutation) ([]*fieldsyncv1.Verdict, []*loadedTask, error) {
	device, err := store.Get(tx, store.DeviceKey(p.DeviceID))
	if err != nil {
		return nil, nil, err
	}
	epoch := req.GetInstallEpoch()
	if epoch == 0 || epoch > device.GetInstallEpoch() {
		return nil, nil, fault.New(fault.Precondition, "install_epoch_unknown",
			"Máy chủ không biết lần cài đặt này; hãy làm mới mã truy cập với lần cài đặt mới.",
			"No such install epoch of this device: refresh with a new one.")
	}
	head, err := store.Get(tx, store.MutationHeadKey(p.DeviceID, epoch))
	if err != nil {
		return nil, nil, err
	}
	if head == nil {
		head = &storagev1.MutationHead{}
	}
	if batch[0].GetNumber() > head.GetNumber()+1 {
		gap := fault.New(fault.Precondition, "mutation_gap",
			fmt.Sprintf("Thiếu các mục trước số %d; máy chủ chờ số %d.", batch[0].GetNumber(), head.GetNumber()+1),
			fmt.Sprintf("The batch begins with number %d, but %d comes next.", batch[0].GetNumber(), head.GetNumber()+1))
		gap.ExpectedNumber = head.GetNumber() + 1
		return nil, nil, gap
	}
	c, err := e.newChunk(tx, p, epoch, req.GetClock())
	if err != nil {
		return nil, nil, err
	}
	for _, m := range batch {
		if head.GetConflicted() && m.GetNumber() > head.GetNumber() || len(c.verdicts) > 0 && c.bytes > chunkBytes {
			break
		}
		if err := c.take(m, head); err != nil {
			return nil, nil, err
		}
	}
	if len(c.verdicts) == 0 {
		return nil, nil, errConflicted
	}
	if err := c.save(); err != nil {
		return nil, nil, err
	}
	return c.verdicts, c.changed, store.Put(tx, store.MutationHeadKey(p.DeviceID, epoch), head)
}

// chunk is the part of a batch that one transaction judges. Each task is loaded and saved once, however many mutations
// concern it.
type chunk struct {
	engine  *Engine
	tx      *store.Tx
	by      auth.Principal
	history *storagev1.MemberHistory
	epoch   uint32
	sent    *fieldsyncv1.CaptureTime
	// arrived is when the server got the mutations: now, but for one that is released from quarantine.
	arrived time.Time
	// release tells what a released mutation adds to a task from what its number stands for otherwise.
	release string

	// completion is what the mutation that was judged last has made, empty where it made none.
	completion string

	verdicts []*fieldsyncv1.Verdict
	tasks    map[string]*loadedTask
	changed  []*loadedTask
	bytes    int
}

type loadedTask struct {
	record *storagev1.TaskRecord // Nil where there is none.
	size   int
	dirty  bool
	moved  bool // Its state is another than when it was loaded, or has been.
}

func (e *Engine) newChunk(tx *store.Tx, by auth.Principal, epoch uint32, sent *fieldsyncv1.CaptureTime) (*chunk, error) {
	history, err := store.Get(tx, store.MemberHistoryKey(by.MemberID))
	return &chunk{
		engine: e, tx: tx, by: by, history: history, epoch: epoch, sent: sent, arrived: tx.Now(),
		tasks: make(map[string]*loadedTask),
	}, err
}

// save stores the tasks that have changed.
func (c *chunk) save() error {
	for _, task := range c.changed {
		if task.moved && c.engine.moved != nil {
			if err := c.engine.moved(c.tx, task.record); err != nil {
				return err
			}
		}
		if err := store.SaveTask(c.tx, task.record, fieldsyncv1.RemovalReason_REMOVAL_REASON_RETURNED); err != nil {
			return err
		}
	}
	return nil
}

// take judges one mutation, or finds how it was judged.
func (c *chunk) take(m *fieldsyncv1.Mutation, head *storagev1.MutationHead) error {
	payload, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(payload)
	if m.GetNumber() <= head.GetNumber() {
		return c.repeat(m, payload, sum, head)
	}
	c.bytes += 512 // A verdict and its key, generously.
	mayBeRenumbered := c.epoch > 1 && tellsItselfApart(m)
	if mayBeRenumbered {
		if known, err := c.renumbered(m, sum, head); err != nil || known {
			return err
		}
	}
	judged, revision, err := c.judge(m, len(payload))
	if err != nil {
		return err
	}
	if judged == unknownTask && c.mayBeLost(m) {
		judged = maybeLost
	}
	if judged.kind == kindQuarantined && len(payload) > maxKeptBytes {
		judged = tooLarge
	}
	if judged.kind == kindQuarantined {
		if err := c.quarantine(m, payload, sum, judged); err != nil {
			return err
		}
	}
	verdict := judged.verdict(c.tx, m.GetNumber(), revision)
	verdict.CompletionId = c.completion
	encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(verdict)
	if err != nil {
		return err
	}
	record := &storagev1.VerdictRecord{PayloadSha256: sum[:], Verdict: encoded}
	if mayBeRenumbered {
		content, err := contentOf(m)
		if err != nil {
			return err
		}
		record.ContentSha256 = content[:]
		if err := store.Put(c.tx, store.RenumberedKey(c.by.DeviceID, content), &storagev1.VerdictRecord{Verdict: encoded}); err != nil {
			return err
		}
	}
	return c.keep(m, head, verdict, record)
}

// keep stores the verdict on a new number.
func (c *chunk) keep(m *fieldsyncv1.Mutation, head *storagev1.MutationHead, verdict *fieldsyncv1.Verdict, record *storagev1.VerdictRecord) error {
	head.Number = m.GetNumber()
	c.verdicts = append(c.verdicts, verdict)
	return store.Put(c.tx, store.VerdictKey(c.by.DeviceID, c.epoch, m.GetNumber()), record)
}

// renumbered tells whether the mutation was judged under another number of a later install epoch, and answers it as it was
// then: two copies of one phone that take a new epoch each have both renumbered what they had in common, and so has a phone
// that was restored to before it took one. Under the first epoch the number alone tells a repeat.
func (c *chunk) renumbered(m *fieldsyncv1.Mutation, sum [sha256.Size]byte, head *storagev1.MutationHead) (bool, error) {
	content, err := contentOf(m)
	if err != nil {
		return false, err
	}
	stored, err := store.Get(c.tx, store.RenumberedKey(c.by.DeviceID, content))
	if err != nil || stored == nil {
		return false, err
	}
	verdict := &fieldsyncv1.Verdict{}
	if err := proto.Unmarshal(stored.GetVerdict(), verdict); err != nil {
		return false, fmt.Errorf("a verdict on %s is damaged: %w", c.by.DeviceID, err)
	}
	verdict.Number = m.GetNumber()
	encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(verdict)
	if err != nil {
		return false, err
	}
	return true, c.keep(m, head, verdict, &storagev1.VerdictRecord{PayloadSha256: sum[:], Verdict: encoded})
}

// tellsItselfApart: the time of recording stands in the mutation, so that two with one content are one. Without it two
// equal notes could not be told from one that was numbered anew.
func tellsItselfApart(m *fieldsyncv1.Mutation) bool {
	return m.GetRecorded().GetWall() != nil || m.GetRecorded().GetSinceBootMs() != 0
}

// contentOf is the hash of a mutation without its number: what it was recorded with stays the same when it is renumbered,
// the phone's clock since boot included.
func contentOf(m *fieldsyncv1.Mutation) ([sha256.Size]byte, error) {
	content := proto.CloneOf(m)
	content.Number = 0
	encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(content)
	return sha256.Sum256(encoded), err
}

// repeat answers a mutation whose number was judged before: with the stored verdict if it is the same mutation; otherwise
// two phones share one key, or one was restored from a backup, and what it says is kept aside.
func (c *chunk) repeat(m *fieldsyncv1.Mutation, payload []byte, sum [sha256.Size]byte, head *storagev1.MutationHead) error {
	stored, err := store.Get(c.tx, store.VerdictKey(c.by.DeviceID, c.epoch, m.GetNumber()))
	if err != nil {
		return err
	}
	if string(stored.GetPayloadSha256()) == string(sum[:]) {
		verdict := &fieldsyncv1.Verdict{}
		if err := proto.Unmarshal(stored.GetVerdict(), verdict); err != nil {
			return damagedVerdict(c.by.DeviceID, m.GetNumber(), err)
		}
		c.verdicts = append(c.verdicts, verdict)
		return nil
	}
	judged := reusedNumber
	if stored == nil && m.GetNumber() <= head.GetForgotten() {
		judged = forgotten // It may or may not have been this one: nothing else is said of the numbering.
	} else {
		head.Conflicted = true
	}
	if len(payload) > maxKeptBytes {
		judged = tooLarge
	}
	verdict := judged.verdict(c.tx, m.GetNumber(), 0)
	c.verdicts = append(c.verdicts, verdict)
	if judged.kind != kindQuarantined {
		return nil
	}
	kept, err := store.Get(c.tx, store.QuarantinedKey(c.by.DeviceID, c.epoch, m.GetNumber(), sum))
	if err == nil && kept == nil {
		// A dispatcher may have resolved it since: that stands, and it must not come back to be resolved again.
		kept, err = store.Get(c.tx, store.ResolvedKey(c.by.DeviceID, c.epoch, m.GetNumber(), sum))
	}
	if err != nil {
		return err
	}
	if kept != nil {
		if judged = forgotten; kept.GetCode() == reusedNumber.code {
			judged = reusedNumber // Also where the verdict on the number's first use is forgotten by now.
		}
		verdict = judged.verdict(c.tx, m.GetNumber(), 0)
		verdict.JudgedAt = kept.GetAt()
		c.verdicts[len(c.verdicts)-1] = verdict
		return nil
	}
	return c.quarantine(m, payload, sum, judged)
}

func damagedVerdict(device string, number uint64, err error) error {
	return fmt.Errorf("the verdict on %d of %s is damaged: %w", number, device, err)
}

func (c *chunk) quarantine(m *fieldsyncv1.Mutation, payload []byte, sum [sha256.Size]byte, judged judgement) error {
	c.bytes += len(payload)
	key := store.QuarantinedKey(c.by.DeviceID, c.epoch, m.GetNumber(), sum)
	return store.Put(c.tx, key, &storagev1.Quarantined{
		DeviceId: c.by.DeviceID, MemberId: c.by.MemberID, InstallEpoch: c.epoch,
		Mutation: payload, Code: judged.code, At: timestamppb.New(c.arrived), CrewId: c.crew(),
	})
}

// crew is whose dispatchers look into what is kept aside: the author's, or the last one where the author has left the crews.
func (c *chunk) crew() string {
	if stays := c.history.GetMemberships(); c.by.LeftCrews && len(stays) > 0 {
		return stays[len(stays)-1].GetCrewId()
	}
	return c.by.CrewID
}

// judge lets a new mutation take effect. The revision it returns is 0 where the task was not touched.
func (c *chunk) judge(m *fieldsyncv1.Mutation, size int) (judgement, uint64, error) {
	c.completion = ""
	if c.by.Delivering {
		return senderRevoked, 0, nil
	}
	if m.GetIntent() == nil {
		return unknownIntent, 0, nil // A newer app's: what it means stands in the fields that this server does not know.
	}
	if err := c.engine.validate.Validate(m); err != nil {
		return invalid, 0, nil //nolint:nilerr // The error is the mutation's, and its verdict says so.
	}
	m = withPossibleTimes(m)
	task, err := c.load(m.GetTaskId())
	if err != nil {
		return judgement{}, 0, err
	}
	if task.record == nil {
		return unknownTask, 0, nil
	}
	by, err := c.author(m)
	if err != nil {
		return judgement{}, 0, err
	}
	if task.size+2*size > maxTaskBytes && by.standingTo(task.record, m.GetAssignmentEpoch()) != stranger {
		return taskFull, 0, nil
	}
	said, good, err := c.claimed(m)
	if err != nil {
		return judgement{}, 0, err
	}
	if !good && by.standingTo(task.record, m.GetAssignmentEpoch()) != stranger { // A stranger hears from merge that there is no such task.
		return claimInvalid, 0, nil
	}
	if err := c.follow(m); err != nil {
		return judgement{}, 0, err
	}
	state := task.record.GetTask().GetStatus().GetState()
	judged := merge(task.record, m, by)
	task.moved = task.moved || state != task.record.GetTask().GetStatus().GetState()
	if judged.kind != kindApplied && judged.kind != kindMerged {
		return judged, 0, nil
	}
	task.size += 2 * size
	c.bytes += 2 * size
	if !task.dirty {
		task.dirty = true
		c.changed = append(c.changed, task)
	}
	revision := task.record.GetTask().GetRevision()
	if judged.kind == kindApplied && said != nil {
		if err := c.engine.claim(c.tx, task.record, c.by, revision, said); err != nil {
			return judgement{}, 0, err
		}
		c.completion = task.record.GetTask().GetCompletion().GetCompletionId()
	}
	return judged, revision, nil
}

// mayBeLost tells whether a task that the sender has not got, or that it has got it, may be what a restore of the server has lost. It
// looks at the time of recording alone: a foreign task is judged as one that never was.
func (c *chunk) mayBeLost(m *fieldsyncv1.Mutation) bool {
	recorded := c.arrived
	if latest := bounds(m.GetRecorded(), c.sent, c.arrived).GetLatest(); latest != nil {
		recorded = latest.AsTime()
	}
	return c.engine.store.MayHaveLost(recorded, c.engine.offline)
}

// claimed returns the completion that a mutation says, nil where it says none, if its signature is good or it has none. One that a
// dispatcher has mended, or let through, counts without its signature: the receipt then says that it lacks it.
func (c *chunk) claimed(m *fieldsyncv1.Mutation) (said *fieldsyncv1.Complete, good bool, err error) {
	said = m.GetComplete()
	if said == nil {
		return nil, true, nil
	}
	good, err = c.engine.signed(c.tx, c.by, m)
	if err != nil || good || c.release == "" {
		return said, good, err
	}
	said = proto.CloneOf(said)
	said.Claim, said.ClaimSignature = nil, nil
	return said, true, nil
}

func (c *chunk) load(id string) (*loadedTask, error) {
	if task, ok := c.tasks[id]; ok {
		return task, nil
	}
	record, size, err := store.GetSized(c.tx, store.TaskKey(id))
	if err != nil {
		return nil, err
	}
	task := &loadedTask{record: record, size: size}
	c.tasks[id] = task
	c.bytes += task.size
	return task, nil
}

func (c *chunk) author(m *fieldsyncv1.Mutation) (author, error) {
	by := author{
		memberID: c.by.MemberID, deviceID: c.by.DeviceID, crewID: c.by.CrewID,
		at: c.tx.Now(), interval: bounds(m.GetRecorded(), c.sent, c.arrived),
		item: itemID(c.by.DeviceID, c.epoch, m.GetNumber(), c.release),
	}
	by.stays = c.stays(by.interval)
	if c.release != "" {
		by.first = itemID(c.by.DeviceID, c.epoch, m.GetNumber(), "")
	}
	if photo := m.GetAttachPhoto().GetPhoto(); photo != nil {
		by.photo = bounds(photo.GetCaptured(), c.sent, c.arrived)
		verified, err := c.photoVerified(photo.GetSha256())
		by.photoVerified = verified
		return by, err
	}
	return by, nil
}

// stays are the author's times in crews. What a dispatcher releases counts as recorded in each of them.
func (c *chunk) stays(recorded *fieldsyncv1.TimeInterval) (all []stay) {
	present := false
	for _, m := range c.history.GetMemberships() {
		s := stay{crew: m.GetCrewId(), from: m.GetFrom().AsTime(), then: c.release != "" || mayHaveBelonged(m, recorded)}
		if m.GetUntil() != nil {
			s.until = m.GetUntil().AsTime()
		} else if s.crew == c.by.CrewID {
			present = true
		}
		all = append(all, s)
	}
	if !present && c.by.CrewID != "" {
		all = append(all, stay{crew: c.by.CrewID, then: true}) // No history tells since when.
	}
	return all
}

// moveGrace is how long after leaving a crew a member's work for it still counts as done before: a phone may have heard the
// server's time on one page of an answer and that it left the crew on the next.
const moveGrace = 24 * time.Hour

// mayHaveBelonged tells whether a member may have been in the crew when something was recorded. What nobody can tell counts
// for the member.
func mayHaveBelonged(membership *storagev1.Membership, recorded *fieldsyncv1.TimeInterval) bool {
	left, earliest := membership.GetUntil(), recorded.GetEarliest()
	return left == nil || earliest == nil || !earliest.AsTime().After(left.AsTime().Add(moveGrace))
}

// photoVerified tells whether this device has sent the original before: for another task, or before the attach arrived.
func (c *chunk) photoVerified(sha []byte) (bool, error) {
	named, err := store.Get(c.tx, store.DeviceUploadKey(c.by.DeviceID, sha))
	if err != nil || named == nil {
		return false, err
	}
	upload, err := store.Get(c.tx, store.UploadKey(named.GetId()))
	return upload.GetState() == fieldsyncv1.PhotoState_PHOTO_STATE_VERIFIED, err
}
