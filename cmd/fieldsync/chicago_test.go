package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
)

const (
	sharedData    = "../../../shared/data"
	chicagoFile   = sharedData + "/chicago-requests.json"
	chicagoWorked = 10
)

// shell runs the command line in English and returns what it printed. It must succeed.
func (h *house) shell(args ...string) string {
	h.t.Helper()
	var out, errOut bytes.Buffer
	if code := Run(h.t.Context(), append([]string{"--lang", "en"}, args...), strings.NewReader(""), &out, &errOut); code != 0 {
		h.t.Fatalf("fieldsync %v: exit status %d\n%s%s", args, code, out.Bytes(), errOut.Bytes())
	}
	return out.String()
}

// Protects the way from a real city's file to closed tickets: 50 requests in, ten of them worked through by a crew with camera
// photos until the hotline has acknowledged their proofs. The other forty stay open, and importing again changes nothing at
// any time.
func TestChicago(t *testing.T) {
	text, err := os.ReadFile(chicagoFile)
	if errors.Is(err, os.ErrNotExist) {
		t.Skip("the shared folder with chicago-requests.json is not here; testdata/script/walk.txtar walks the same way with a file of its own")
	}
	check(t, err)
	var requests []struct {
		ID string `json:"service_request_id"`
	}
	check(t, json.Unmarshal(text, &requests))

	h := newHouse(t, "--listen", "127.0.0.1:0")
	an := h.enrolCrew("an", crewOne)
	for _, p := range []interface{ Close() error }{h.dispatcher, h.hotline, an} {
		check(t, p.Close()) // From here on the command line opens their folders.
	}
	imports := func(want string) {
		t.Helper()
		if got := h.shell("import", "--profile", h.folder(houseHotline), "--unit", houseUnit, chicagoFile); got != want+"\n" {
			t.Fatalf("the import says %q, want %q", got, want)
		}
	}
	imports("50 created, 0 updated, 0 unchanged, 0 bad rows")
	imports("0 created, 0 updated, 50 unchanged, 0 bad rows")

	var tasks []string
	for _, request := range requests[:chicagoWorked] {
		task, _, _ := strings.Cut(h.shell("assign", "--profile", h.folder(houseDispatcher), request.ID, crewOne), " ")
		tasks = append(tasks, task)
	}
	phone := func(args ...string) string {
		t.Helper()
		return h.shell(append([]string{"phone", "--dir", h.folder("an")}, args...)...)
	}
	phone("sync")
	photos := chicagoPhotos(t, h.dir)
	for i, task := range tasks {
		phone("start", task)
		phone("photo", task, photos[i%len(photos)], "--kind", "after", "--lat", "41.88", "--lng", "-87.63", "--accuracy", "10")
		phone("complete", task, "--outcome", "repaired", "--note", "Done on "+requests[i].ID)
	}
	if got := phone("sync"); !strings.Contains(got, "Sent 30, ") {
		t.Errorf("the sync says %q", got)
	}
	h.hotline = h.open(houseHotline)
	h.acknowledgeChicago(tasks)
	for i, request := range requests {
		status, err := h.line1022().GetTicketStatus(t.Context(), &fieldsyncv1.GetTicketStatusRequest{HotlineId: request.ID})
		check(t, err)
		want := fieldsyncv1.TaskState_TASK_STATE_UNSPECIFIED
		if i < chicagoWorked {
			want = fieldsyncv1.TaskState_TASK_STATE_CLOSED
		}
		if status.GetState() != want || (status.GetClosedAt() != nil) != (i < chicagoWorked) {
			t.Errorf("the ticket %s is %v, closed at %v; want %v", request.ID, status.GetState(), status.GetClosedAt(), want)
		}
	}
	check(t, h.hotline.Close())
	imports("0 created, 0 updated, 50 unchanged, 0 bad rows")
	if got := phone("sync"); !strings.Contains(got, "10 tasks left") {
		t.Errorf("after the tickets were closed the sync says %q", got)
	}
	check(t, h.server.interrupt())
}

// acknowledgeChicago pulls the completions page by page, as the hotline does, and acknowledges each page.
func (h *house) acknowledgeChicago(tasks []string) {
	h.t.Helper()
	ctx, waiting := h.t.Context(), make(map[string]bool)
	for _, task := range tasks {
		waiting[task] = true
	}
	var cursor []byte
	for more := true; more; {
		page, err := h.line1022().ListCompletions(ctx, &fieldsyncv1.ListCompletionsRequest{Cursor: cursor, Limit: 3})
		check(h.t, err)
		var ids []string
		for _, completion := range page.GetCompletions() {
			record := completion.GetDecoded()
			if !waiting[record.GetTaskId()] || completion.GetState() != fieldsyncv1.ProofState_PROOF_STATE_SEALED ||
				record.GetNote() != "Done on "+record.GetHotlineId() || len(record.GetPhotos()) != 1 {
				h.t.Errorf("completion %s (%v) is not what the crew did, or came twice: %v", completion.GetId(), completion.GetState(), record)
			}
			delete(waiting, record.GetTaskId())
			ids = append(ids, completion.GetId())
		}
		acknowledged, err := h.line1022().AcknowledgeCompletions(ctx, &fieldsyncv1.AcknowledgeCompletionsRequest{CompletionIds: ids})
		check(h.t, err)
		if int(acknowledged.GetNewlyAcknowledged()) != len(ids) {
			h.t.Errorf("%d of %d completions were newly acknowledged", acknowledged.GetNewlyAcknowledged(), len(ids))
		}
		cursor, more = page.GetCursor(), page.GetMore()
	}
	if len(waiting) > 0 {
		h.t.Fatalf("%d of %d completions were not listed", len(waiting), len(tasks))
	}
}

// chicagoPhotos are the camera photos where they are, else one that is drawn.
func chicagoPhotos(t *testing.T, dir string) []string {
	t.Helper()
	photos, err := filepath.Glob(sharedData + "/photos/DSCN*.jpg")
	check(t, err)
	if len(photos) > 0 {
		return photos
	}
	t.Logf("%s/photos is not here: a photo is drawn instead", sharedData)
	drawn := filepath.Join(dir, "drawn.jpg")
	check(t, os.WriteFile(drawn, jpegBytes(1), 0o600))
	return []string{drawn}
}
