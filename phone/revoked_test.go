package phone

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
)

// A phone that is revoked while it watches hears of it at once, erases its tasks, and keeps what it recorded until that lies in
// quarantine, from where a dispatcher releases it; it comes back with a new key.
func TestRevokedWhileWatching(t *testing.T) {
	c := newCity(t)
	task := c.assign(1)[0]
	p := c.enrol(Options{})
	_, err := p.Sync(t.Context())
	must(t, err)
	held, err := p.Task(task)
	must(t, err)
	if held.Task.GetTicket() == nil {
		t.Fatal("the phone holds nothing to erase")
	}
	watched := make(chan error, 1)
	go func() { watched <- p.Watch(t.Context()) }()
	must(t, p.Note(task, "đã cắt cành"))
	_, err = p.Photo(task, jpegFile(t, t.TempDir(), 1, 5000), PhotoFacts{})
	must(t, err)
	s, err := p.Status()
	must(t, err)
	_, err = fieldsyncv1connect.NewIdentityServiceClient(c.admin, c.url).RevokeDevice(t.Context(), &fieldsyncv1.RevokeDeviceRequest{
		DeviceId: s.DeviceID, Reason: fieldsyncv1.RevocationReason_REVOCATION_REASON_LOST,
	})
	must(t, err)
	wantCode(t, <-watched, "device_revoked")
	if s, err := p.Status(); err != nil || !s.Revoked || s.Tasks != 0 || s.Queued != 2 {
		t.Fatalf("after the watch: %+v, %v", s, err)
	}
	report, err := p.Sync(t.Context())
	wantCode(t, err, "device_revoked")
	if s, err := p.Status(); err != nil || report.Sent != 2 || s.Queued != 0 || s.Tasks != 0 {
		t.Fatalf("after the delivery: %+v, %+v, %v", report, s, err)
	}
	support := fieldsyncv1connect.NewSupportServiceClient(c.admin, c.url)
	kept, err := support.ListQuarantined(t.Context(), &fieldsyncv1.ListQuarantinedRequest{})
	must(t, err)
	if len(kept.GetMutations()) != 2 || kept.GetMutations()[0].GetCode() != "sender_revoked" {
		t.Fatalf("in quarantine: %v", kept)
	}
	for _, m := range kept.GetMutations() {
		_, err := support.ReleaseQuarantined(t.Context(), &fieldsyncv1.ReleaseQuarantinedRequest{Id: m.GetId(), Reason: "của tổ 1"})
		must(t, err)
	}
	_, err = p.Sync(t.Context()) // Brings the photo, which the phone has kept.
	wantCode(t, err, "device_revoked")
	got, err := c.desk.GetTask(t.Context(), &fieldsyncv1.GetTaskRequest{TaskId: task})
	must(t, err)
	if n, photos := got.GetTask().GetNotes(), got.GetTask().GetPhotos(); len(n) != 1 || n[0].GetText() != "đã cắt cành" || len(photos) != 1 ||
		photos[0].GetState() == fieldsyncv1.PhotoState_PHOTO_STATE_ON_PHONE {
		t.Errorf("released: %v", got.GetTask())
	}
	issued, err := fieldsyncv1connect.NewIdentityServiceClient(c.admin, c.url).IssueCode(t.Context(), &fieldsyncv1.IssueCodeRequest{MemberId: "lan"})
	must(t, err)
	must(t, p.Enrol(t.Context(), c.url, issued.GetCode(), "again"))
	_, err = p.Sync(t.Context())
	must(t, err)
	if after, err := p.Status(); err != nil || after.Revoked || after.DeviceID == s.DeviceID || after.Tasks != 1 {
		t.Errorf("enrolled anew: %+v, %v", after, err)
	}
}

// A photo that lies in quarantine when its phone comes back with a new key is brought by the new device once a dispatcher releases it,
// also where that is to another task than it was recorded for.
func TestReleasedToAnewDevice(t *testing.T) {
	c := newCity(t)
	tasks := c.assign(2)
	p := c.enrol(Options{})
	_, err := p.Sync(t.Context())
	must(t, err)
	before, err := p.Status()
	must(t, err)
	photo, err := p.Photo(tasks[0], jpegFile(t, t.TempDir(), 1, 5000), PhotoFacts{})
	must(t, err)
	identity := fieldsyncv1connect.NewIdentityServiceClient(c.admin, c.url)
	_, err = identity.RevokeDevice(t.Context(), &fieldsyncv1.RevokeDeviceRequest{
		DeviceId: before.DeviceID, Reason: fieldsyncv1.RevocationReason_REVOCATION_REASON_LOST,
	})
	must(t, err)
	_, err = p.Sync(t.Context())
	wantCode(t, err, "device_revoked")
	issued, err := identity.IssueCode(t.Context(), &fieldsyncv1.IssueCodeRequest{MemberId: "lan"})
	must(t, err)
	must(t, p.Enrol(t.Context(), c.url, issued.GetCode(), "found again"))
	_, err = p.Sync(t.Context())
	must(t, err)
	must(t, p.Upload(t.Context(), nil)) // Nobody has released it yet: no error, and it stays.

	support := fieldsyncv1connect.NewSupportServiceClient(c.admin, c.url)
	kept, err := support.ListQuarantined(t.Context(), &fieldsyncv1.ListQuarantinedRequest{})
	must(t, err)
	if len(kept.GetMutations()) != 1 {
		t.Fatalf("in quarantine: %v", kept)
	}
	mended := kept.GetMutations()[0].GetMutation()
	mended.TaskId = tasks[1]
	_, err = support.ReleaseQuarantined(t.Context(), &fieldsyncv1.ReleaseQuarantinedRequest{Id: kept.GetMutations()[0].GetId(), Mended: mended, Reason: "việc bên cạnh"})
	must(t, err)
	_, err = p.Sync(t.Context())
	must(t, err)
	must(t, p.Upload(t.Context(), nil))
	got, err := c.desk.GetTask(t.Context(), &fieldsyncv1.GetTaskRequest{TaskId: tasks[1]})
	must(t, err)
	if photos := got.GetTask().GetPhotos(); len(photos) != 1 || photos[0].GetId() != photo || photos[0].GetState() != fieldsyncv1.PhotoState_PHOTO_STATE_VERIFIED {
		t.Errorf("released: %v", photos)
	}
}

// Citizens' names and phone numbers leave a phone that does not sync in time, whatever its wall clock says, and come back with
// the next sync.
func TestPersonalDataIsOnLoan(t *testing.T) {
	c := newCity(t)
	var tickets []*fieldsyncv1.TicketIntake // More than the pages of the phone's file that the next transactions use again.
	for i := range 20 {
		tickets = append(tickets, &fieldsyncv1.TicketIntake{
			HotlineId: fmt.Sprint("1022-7-", i), Category: "fallen-tree", Title: "Cây đổ", Address: "Lê Lợi", Description: strings.Repeat("Cây. ", 200),
			Reporter: &fieldsyncv1.Reporter{Name: "Trần Thị Hoa", Phone: "0909000111"},
		})
	}
	submitted, err := fieldsyncv1connect.NewHotlineServiceClient(c.admin, c.url).SubmitTickets(t.Context(), &fieldsyncv1.SubmitTicketsRequest{Tickets: tickets})
	must(t, err)
	var id string
	for _, ticket := range submitted.GetResults() {
		created, err := c.desk.CreateTask(t.Context(), &fieldsyncv1.CreateTaskRequest{TicketId: ticket.GetTicketId()})
		must(t, err)
		id = created.GetTask().GetId()
		_, err = c.desk.AssignTask(t.Context(), &fieldsyncv1.AssignTaskRequest{TaskId: id, CrewId: "to-1"})
		must(t, err)
	}
	var wall, boot time.Duration
	p := c.enrol(Options{
		Clock: func() time.Time { return time.Now().Add(wall) }, BootID: "boot", Monotonic: func() time.Duration { return time.Hour + boot },
	})
	name := func() string {
		t.Helper()
		held, err := p.Task(id)
		must(t, err)
		return held.Task.GetTicket().GetReporter().GetName()
	}
	sync := func() {
		t.Helper()
		_, err := p.Sync(t.Context())
		must(t, err)
		if name() != "Trần Thị Hoa" {
			t.Fatal("a sync did not bring the citizen")
		}
	}
	sync()
	wall = 71 * time.Hour
	if name() == "" {
		t.Error("the lease is over too early")
	}
	held := func() bool {
		t.Helper()
		file, err := os.ReadFile(filepath.Join(p.dir, "phone.db"))
		must(t, err)
		return bytes.Contains(file, []byte("0909000111"))
	}
	if !held() {
		t.Error("the phone's file has not what it should hold, so that what follows tells nothing")
	}
	wall = 73 * time.Hour
	if name() != "" || held() {
		t.Error("the lease is over, and the citizen is still on the phone")
	}
	sync()
	wall, boot = -24*time.Hour, 73*time.Hour // Set back, but the clock since boot runs on.
	if name() != "" {
		t.Error("a wall clock that was set back has lengthened the lease")
	}
	sync()

	// Revoked; the phone is killed between the erasure and its end, and started again.
	p.fail = func(string) error {
		revoked := false
		must(t, p.view(func(_ *bolt.Tx, st *state) error { revoked = st.Revoked; return nil }))
		if revoked {
			return errors.New("killed")
		}
		return nil
	}
	var device string
	must(t, p.view(func(_ *bolt.Tx, st *state) error { device = st.DeviceID; return nil }))
	_, err = fieldsyncv1connect.NewIdentityServiceClient(c.admin, c.url).RevokeDevice(t.Context(), &fieldsyncv1.RevokeDeviceRequest{DeviceId: device})
	must(t, err)
	if _, err := p.Sync(t.Context()); err == nil {
		t.Fatal("a revoked phone syncs")
	}
	if !held() {
		t.Error("the erasure has overwritten its pages though it was killed before")
	}
	must(t, p.Close())
	again, err := Open(p.dir, Options{})
	must(t, err)
	if held() {
		t.Error("a revoked phone's file still holds the citizen")
	}
	must(t, again.Close())
}
