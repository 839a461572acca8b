package main

import (
	"bytes"
	"context"
	"encoding/json"
	"image"
	"image/jpeg"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
	cityserver "github.com/cong1022/fieldsync/internal/server"
	"github.com/cong1022/fieldsync/phone"
)

// shell runs `fieldsync phone` in one folder against a real server with two assigned tasks.
type shell struct {
	t     *testing.T
	dir   string
	url   string
	code  string
	tasks []string
	stop  func()
}

// phone runs a command and returns what it printed; ok says whether it must succeed.
func (s *shell) phone(ok bool, args ...string) string {
	s.t.Helper()
	var out, errOut bytes.Buffer
	args = append([]string{"phone", "--dir", filepath.Join(s.dir, "phone"), "--lang", "en"}, args...)
	if code := Run(s.t.Context(), args, strings.NewReader(""), &out, &errOut); (code == 0) != ok {
		s.t.Fatalf("fieldsync %v: exit %d\n%s%s", args, code, out.String(), errOut.String())
	}
	return out.String() + errOut.String()
}

func (s *shell) wants(got string, parts ...string) {
	s.t.Helper()
	for _, part := range parts {
		if !strings.Contains(got, part) {
			s.t.Errorf("want %q in\n%s", part, got)
		}
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newShell starts the server and plays admin, dispatcher and hotline until the crew's phone can be enrolled.
func newShell(t *testing.T) *shell {
	t.Helper()
	s := &shell{t: t, dir: t.TempDir()}
	config, err := cityserver.LoadConfig("", func(string) (string, bool) { return "", false })
	check(t, err)
	config.Listen, config.Data = "127.0.0.1:0", filepath.Join(s.dir, "server")
	srv, err := cityserver.Open(t.Context(), config, slog.New(slog.DiscardHandler))
	check(t, err)
	ctx, cancel := context.WithCancel(context.Background()) //nolint:usetesting // Stopped before the test's context ends.
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ctx) }()
	s.stop = func() {
		cancel()
		if err := <-served; err != nil {
			t.Error("serving:", err)
		}
		served <- nil // For the second stop.
	}
	t.Cleanup(s.stop)
	s.url = srv.URL()
	code, _, err := srv.AdminCode(t.Context())
	check(t, err)
	admin, err := phone.Open(filepath.Join(s.dir, "admin"), phone.Options{})
	check(t, err)
	defer func() { check(t, admin.Close()) }()
	check(t, admin.Enrol(t.Context(), s.url, code, "admin"))
	s.stage(t, admin.Client())
	return s
}

func (s *shell) stage(t *testing.T, client *http.Client) {
	t.Helper()
	ctx := t.Context()
	desk := fieldsyncv1connect.NewDispatchServiceClient(client, s.url)
	_, err := desk.PutUnit(ctx, &fieldsyncv1.PutUnitRequest{Unit: &fieldsyncv1.Unit{Id: "ward", Name: "Phường Bến Thành"}})
	check(t, err)
	_, err = desk.PutCrew(ctx, &fieldsyncv1.PutCrewRequest{Crew: &fieldsyncv1.Crew{Id: "trees", UnitId: "ward", Name: "Tổ cây xanh"}})
	check(t, err)
	_, err = desk.PutMember(ctx, &fieldsyncv1.PutMemberRequest{
		Member: &fieldsyncv1.Member{Id: "lan", Name: "Lan", Role: fieldsyncv1.Role_ROLE_CREW, CrewId: "trees"},
	})
	check(t, err)
	submitted, err := fieldsyncv1connect.NewHotlineServiceClient(client, s.url).SubmitTickets(ctx, &fieldsyncv1.SubmitTicketsRequest{
		Tickets: []*fieldsyncv1.TicketIntake{submission("1022-1", "Cây đổ chắn đường"), submission("1022-2", "Nắp cống vỡ")},
	})
	check(t, err)
	for _, result := range submitted.GetResults() {
		created, err := desk.CreateTask(ctx, &fieldsyncv1.CreateTaskRequest{
			TicketId: result.GetTicketId(), Checklist: []*fieldsyncv1.ChecklistTemplate{
				{Id: "sign", Label: &fieldsyncv1.Sentence{Vi: "Đặt biển báo", En: "Put up a sign"}},
			},
		})
		check(t, err)
		id := created.GetTask().GetId()
		_, err = desk.AssignTask(ctx, &fieldsyncv1.AssignTaskRequest{TaskId: id, CrewId: "trees", Instruction: "Mang theo cưa"})
		check(t, err)
		s.tasks = append(s.tasks, id)
	}
	issued, err := fieldsyncv1connect.NewIdentityServiceClient(client, s.url).IssueCode(ctx, &fieldsyncv1.IssueCodeRequest{MemberId: "lan"})
	check(t, err)
	s.code = issued.GetCode()
}

func submission(id, title string) *fieldsyncv1.TicketIntake {
	return &fieldsyncv1.TicketIntake{
		HotlineId: id, Category: "fallen-tree", Title: title, Address: "Lê Lợi", UnitId: "ward",
		ReportedAt: timestamppb.New(time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)),
	}
}

func photoFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sau.jpg")
	var b bytes.Buffer
	check(t, jpeg.Encode(&b, image.NewGray(image.Rect(0, 0, 64, 64)), nil))
	check(t, os.WriteFile(path, b.Bytes(), 0o600))
	return path
}

// A crew's day on the command line: enrol, sync, lose the server, record everything, get the server back, sync, all verified.
func TestPhoneCommands(t *testing.T) {
	s := newShell(t)
	s.wants(s.phone(false, "sync"), "not_enrolled")
	s.wants(s.phone(false, "enrol", "--server", s.url, "--code", "WRONG-CODE-00"), "code_invalid")
	s.wants(s.phone(true, "enrol", "--server", s.url, "--code", s.code, "--name", "test"), "Enrolled device", "Lan")
	s.wants(s.phone(true, "sync"), "received 2 changes")
	s.wants(s.phone(true, "list"), "1022-1", "Cây đổ chắn đường", "assigned")
	s.wants(s.phone(true, "watch", "--help"), "fieldsync phone watch")

	first, second := s.tasks[0], s.tasks[1]
	tail := first[len(first)-8:]
	for _, args := range [][]string{
		{"accept", tail},
		{"start", tail},
		{"pause", tail, "--reason", "chờ cắt điện"},
		{"resume", tail},
		{"note", tail, "Đã dọn cành"},
		{"tick", tail, "sign"},
		{"tick", tail, "sign", "--undo"},
		{"tick", tail, "sign"},
		{"photo", tail, photoFile(t), "--kind", "after", "--lat", "10.7769", "--lng", "106.7009", "--accuracy", "8"},
		{"complete", tail, "--outcome", "made-safe", "--note", "Đã an toàn", "--lat", "10.7769", "--lng", "106.7009"},
		{"decline", second, "--reason", "ngoài địa bàn"},
	} {
		s.wants(s.phone(true, args...), "waiting to be sent")
	}
	s.wants(s.phone(true, "status"), "Unsent", "11", "Photos waiting", "1 (", "Watches by", "stream")
	s.wants(s.phone(true, "show", tail), "Put up a sign", "Mang theo cưa", "complete: made safe", "pause: chờ cắt điện", "note: Đã dọn cành")
	var list []struct {
		Task struct {
			ID string `json:"id"`
		} `json:"task"`
		Pending []map[string]any `json:"pending"`
	}
	check(t, json.Unmarshal([]byte(s.phone(true, "list", "--json")), &list))
	if len(list) != 2 || len(list[0].Pending)+len(list[1].Pending) != 11 || list[0].Task.ID == "" {
		t.Errorf("list --json: %+v", list)
	}

	s.wants(s.phone(true, "sync"), "Sent 11")
	s.wants(s.phone(true, "show", tail), "[x] sign", "made safe", "verified", "done")
	var status phone.Status
	check(t, json.Unmarshal([]byte(s.phone(true, "status", "--json")), &status))
	if status.Queued != 0 || status.PhotosWaiting != 0 || !status.Whole || status.Tasks != 1 || status.Watching != phone.WayStream {
		t.Errorf("status --json after the sync: %+v", status)
	}
	s.phone(true, "start", first)
	s.wants(s.phone(true, "sync"), "Sent 1")
	var verdicts []map[string]any
	check(t, json.Unmarshal([]byte(s.phone(true, "verdicts", "--json")), &verdicts))
	if len(verdicts) == 0 {
		t.Error("a start after the completion left no verdict to read")
	}
	s.wants(s.phone(true, "verdicts"), "start: ")

	s.stop()
	s.wants(s.phone(false, "sync"), "server_unreachable")
	s.wants(s.phone(true, "note", first, "máy chủ tắt"), "waiting to be sent: 1")
}

// Mistakes on the command line are told, in the user's language, with an exit status, and record nothing.
func TestPhoneMistakes(t *testing.T) {
	s := newShell(t)
	s.phone(true, "enrol", "--server", s.url, "--code", s.code)
	s.phone(true, "sync")
	both := s.tasks[0][:4] // Ids begin with the time of their making: this one is both's.
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"no such task":    {[]string{"start", "zzzzzz"}, "task_unknown"},
		"two tasks":       {[]string{"start", both}, "task_ambiguous"},
		"no reason":       {[]string{"pause", s.tasks[0]}, "reason"},
		"empty note":      {[]string{"note", s.tasks[0], ""}, "intent_invalid"},
		"unknown item":    {[]string{"tick", s.tasks[0], "nothing"}, "item_unknown"},
		"unknown outcome": {[]string{"complete", s.tasks[0], "--outcome", "vanished"}, "made-safe"},
		"unknown kind":    {[]string{"photo", s.tasks[0], "x.jpg", "--kind", "selfie"}, "before, after, other"},
		"no photo":        {[]string{"photo", s.tasks[0], "no-such.jpg"}, "photo_file"},
		"half a position": {[]string{"start", s.tasks[0], "--lat", "10"}, "lng"},
		"off the Earth":   {[]string{"start", s.tasks[0], "--lat", "100", "--lng", "1"}, "intent_invalid"},
		"unknown command": {[]string{"dance"}, "dance"},
		"no task":         {[]string{"start"}, "arg"},
	} {
		t.Run(name, func(t *testing.T) {
			s := &shell{t: t, dir: s.dir}
			s.wants(s.phone(false, c.args...), c.want)
		})
	}
	s.wants(s.phone(true, "--lang", "vi", "status"), "Chờ gửi", "Công việc            2")
	held, err := phone.Open(filepath.Join(s.dir, "phone"), phone.Options{})
	check(t, err)
	s.wants(s.phone(false, "status"), "phone_in_use")
	check(t, held.Close())
}

// Ctrl-C ends run in good order: no error, and the folder is free again.
func TestPhoneRunStops(t *testing.T) {
	s := newShell(t)
	s.phone(true, "enrol", "--server", s.url, "--code", s.code)
	ctx, interrupt := context.WithCancel(t.Context())
	var out bytes.Buffer
	done := make(chan int, 1)
	go func() {
		done <- Run(ctx, []string{"phone", "--dir", filepath.Join(s.dir, "phone"), "run"}, strings.NewReader(""), &out, &firstWrite{then: interrupt})
	}()
	if code := <-done; code != 0 {
		t.Errorf("exit %d\n%s", code, out.String())
	}
	s.wants(s.phone(true, "list"), "1022-1")
}

// firstWrite calls then at the first write: here, run's log line about its first sync.
type firstWrite struct{ then func() }

// Write implements io.Writer.
func (w *firstWrite) Write(b []byte) (int, error) {
	w.then()
	return len(b), nil
}
