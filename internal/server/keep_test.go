package server

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"image"
	"image/color"
	"image/jpeg"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/cong1022/fieldsync/backup"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
	"github.com/cong1022/fieldsync/phone"
	"github.com/cong1022/fieldsync/store"
	"github.com/cong1022/fieldsync/store/embedded"
)

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// pictureFile is a photo on somebody's camera.
func pictureFile(t *testing.T) string {
	t.Helper()
	picture := image.NewRGBA(image.Rect(0, 0, 320, 240))
	for i := range 320 * 240 {
		picture.Set(i%320, i/320, color.RGBA{uint8(i * 7), uint8(i / 320), uint8(i % 251), 255})
	}
	path := filepath.Join(t.TempDir(), "photo.jpg")
	file, err := os.Create(path)
	ok(t, err)
	ok(t, jpeg.Encode(file, picture, nil))
	ok(t, file.Close())
	return path
}

// operations are the operators' RPCs as an admin calls them.
func (r *running) operations(t *testing.T) fieldsyncv1connect.OperationsServiceClient {
	t.Helper()
	return fieldsyncv1connect.NewOperationsServiceClient(r.enrol(t, "sep", t.TempDir()).Client(), r.url)
}

// Protects: the data folder is lost and restored to a moment from before what a phone had been told was kept. The phone has kept
// what the backup did not reach, photo included, and offers it again: each takes effect once, in its order, the photo
// arrives, the completion is sealed, and nothing is found by a check.
func TestPhonesOfferAgainWhatTheBackupLacks(t *testing.T) {
	config, repository := testConfig(t), t.TempDir()
	config.Backup.Repository, config.Backup.Every = repository, time.Hour // Ships when it is asked to, and not otherwise.
	first := settled(t, config)
	task, folder := first.assigned(t), t.TempDir()
	p := first.enrol(t, "an", folder)
	sync := func() phone.Report {
		t.Helper()
		report, err := p.Sync(t.Context())
		ok(t, err)
		ok(t, p.Upload(t.Context(), nil))
		return report
	}
	sync()
	ok(t, p.Start(task))
	sync()
	operations := first.operations(t)
	shipped, err := operations.BackUpNow(t.Context(), &fieldsyncv1.BackUpNowRequest{})
	ok(t, err)
	if shipped.GetBackup().GetBehind() > 0 || shipped.GetBackup().GetRecord() == 0 {
		t.Errorf("after shipping: %v", shipped)
	}
	sync()
	// From here on the backup has nothing.
	ok(t, p.Note(task, "Cưa nhánh lớn"))
	sync()
	_, err = p.Photo(task, pictureFile(t), phone.PhotoFacts{Kind: fieldsyncv1.PhotoKind_PHOTO_KIND_AFTER})
	ok(t, err)
	ok(t, p.Complete(task, fieldsyncv1.Outcome_OUTCOME_REPAIRED, "Xong"))
	sync()
	if status, err := p.Status(); err != nil || status.Kept != 4 || status.Queued != 0 || status.PhotosWaiting != 0 {
		t.Errorf("the phone should keep start, note, photo and completion: %+v, %v", status, err)
	}
	ok(t, p.Note(task, "Ghi khi máy chủ không còn"))
	ok(t, first.stop())
	for _, gone := range []string{"store", "photos", "uploads"} {
		ok(t, os.RemoveAll(filepath.Join(config.Data, gone)))
	}

	_, err = backup.Restore(t.Context(), filepath.Join(config.Data, "store"), backup.RestoreOptions{Target: backup.Folder(repository)})
	ok(t, err)
	config.Listen = strings.TrimPrefix(first.url, "http://")
	second := start(t, config)
	report := sync()
	if report.Offered != 4 || report.Renumbered {
		t.Errorf("offered again: %+v", report)
	}
	for _, v := range report.Verdicts {
		if kind := v.Verdict.GetKind(); kind != fieldsyncv1.VerdictKind_VERDICT_KIND_APPLIED && kind != fieldsyncv1.VerdictKind_VERDICT_KIND_MERGED {
			t.Errorf("%v", v.Verdict)
		}
	}
	sync() // The seal.
	var held *fieldsyncv1.Task
	ok(t, second.store.View(t.Context(), func(tx *store.Tx) error {
		record, err := store.Get(tx, store.TaskKey(task))
		held = record.GetTask()
		return err
	}))
	if len(held.GetNotes()) != 2 || len(held.GetPhotos()) != 1 || held.GetStatus().GetState() != fieldsyncv1.TaskState_TASK_STATE_DONE ||
		held.GetPhotos()[0].GetState() != fieldsyncv1.PhotoState_PHOTO_STATE_VERIFIED ||
		held.GetCompletion().GetProofState() != fieldsyncv1.ProofState_PROOF_STATE_SEALED {
		t.Errorf("after the restore: %v", held)
	}
	checked, err := second.operations(t).CheckNow(t.Context(), &fieldsyncv1.CheckNowRequest{})
	if err != nil || checked.GetReport().GetFindings() != 0 {
		t.Errorf("check: %v, %v", checked, err)
	}
	// And it was taken once: a repeat of everything changes nothing.
	if again := sync(); again.Sent != 0 || again.Offered != 0 {
		t.Errorf("nothing is left to say: %+v", again)
	}
}

// Protects: a photo that has rotted is found by the check that runs by itself each night (asked for here), turns readiness red over
// restarts, is named, and is mended from the backup; then readiness is green again. Liveness stays.
func TestFindingTurnsReadinessRed(t *testing.T) {
	config := testConfig(t)
	config.Backup.Repository, config.Backup.Every = t.TempDir(), time.Hour
	r := settled(t, config)
	task := r.assigned(t)
	p := r.enrol(t, "an", t.TempDir())
	_, err := p.Sync(t.Context())
	ok(t, err)
	_, err = p.Photo(task, pictureFile(t), phone.PhotoFacts{Kind: fieldsyncv1.PhotoKind_PHOTO_KIND_AFTER})
	ok(t, err)
	_, err = p.Sync(t.Context())
	ok(t, err)
	ok(t, p.Upload(t.Context(), nil))
	operations := r.operations(t)
	_, err = operations.BackUpNow(t.Context(), &fieldsyncv1.BackUpNowRequest{})
	ok(t, err)
	wantReady := func(r *running, status int) {
		t.Helper()
		for path, want := range map[string]int{"/readyz": status, "/livez": http.StatusOK} {
			if got := do(t, client(t, false, ""), http.MethodGet, r.url+path, "", nil); got.status != want {
				t.Errorf("%s: %d %q, want %d", path, got.status, got.body, want)
			}
		}
	}
	check := func(o fieldsyncv1connect.OperationsServiceClient) *fieldsyncv1.CheckReport {
		t.Helper()
		checked, err := o.CheckNow(t.Context(), &fieldsyncv1.CheckNowRequest{})
		ok(t, err)
		return checked.GetReport()
	}
	if report := check(operations); report.GetFindings() != 0 {
		t.Errorf("%v", report)
	}
	wantReady(r, http.StatusOK)

	name := rot(t, filepath.Join(config.Data, "photos"), r)
	if report := check(operations); report.GetFindings() != 1 || !strings.Contains(report.GetFirst()[0], name) {
		t.Errorf("the photo %s is not named: %v", name, report)
	}
	wantReady(r, http.StatusServiceUnavailable)
	ok(t, r.stop())
	again := start(t, config)
	wantReady(again, http.StatusServiceUnavailable)

	ok(t, backup.FetchPhoto(t.Context(), backup.Folder(config.Backup.Repository), name, nil, func(content []byte) error {
		blobs, err := OpenBlobs(t.Context(), config)
		ok(t, err)
		return ReplacePhoto(t.Context(), blobs, sha256.Sum256(content), bytes.NewReader(content))
	}))
	if report := check(again.operations(t)); report.GetFindings() != 0 {
		t.Errorf("%v", report)
	}
	wantReady(again, http.StatusOK)
}

// Protects: operators are told what is wrong with a backup, and a server whose backup does not answer works on.
func TestBackupThatDoesNotAnswer(t *testing.T) {
	config := testConfig(t)
	config.Backup.Repository, config.Backup.Every = "s3+http://127.0.0.1:1/b", 100*time.Millisecond
	r := settled(t, config)
	operations := r.operations(t)
	_, err := operations.BackUpNow(t.Context(), &fieldsyncv1.BackUpNowRequest{})
	if connect.CodeOf(err) != connect.CodeUnavailable {
		t.Errorf("shipping to nowhere: %v", err)
	}
	p := r.enrol(t, "an", t.TempDir())
	task := r.assigned(t)
	_, err = p.Sync(t.Context())
	ok(t, err)
	ok(t, p.Note(task, "x"))
	_, err = p.Sync(t.Context())
	ok(t, err)
	if status, err := p.Status(); err != nil || status.Kept != 1 {
		t.Errorf("the phone keeps %d, %v", status.Kept, err)
	}
	without := testConfig(t)
	other := settled(t, without)
	if _, err := other.operations(t).BackUpNow(t.Context(), &fieldsyncv1.BackUpNowRequest{}); connect.CodeOf(err) != connect.CodeFailedPrecondition {
		t.Errorf("without a backup: %v", err)
	}
	status, err := other.operations(t).GetStatus(t.Context(), &fieldsyncv1.GetStatusRequest{})
	if err != nil || status.GetBackup() != nil || status.GetJournal().GetLast() == 0 || len(status.GetRoom()) != 3 || status.GetRoom()[0].GetLeft() == 0 {
		t.Errorf("%v, %v", status, err)
	}
}

// Protects: margins of the configuration are those of the engine: a server that has less room than it is told to keep free turns
// writes away and still answers.
func TestGuardsFromTheConfiguration(t *testing.T) {
	config := testConfig(t)
	ok(t, func() error { // A folder that a server with room has made.
		s, err := Open(t.Context(), config, slog.New(slog.DiscardHandler))
		if err != nil {
			return err
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		return s.Serve(ctx)
	}())
	config.Guards.FreeMiB = 1 << 30 // A petabyte.
	if s, err := Open(t.Context(), config, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "storage_full") {
		t.Errorf("started: %v, %v", s, err)
	}
	left, _, err := func() (embedded.Margins, embedded.Margins, error) {
		e, err := embedded.OpenWith(filepath.Join(t.TempDir(), "store"), embedded.Options{})
		ok(t, err)
		defer func() { ok(t, e.Close()) }()
		return e.Room()
	}()
	ok(t, err)
	if left.Bytes == 0 {
		t.Error("what is free is not known")
	}
}

// rot flips a bit of the one original that is kept, and returns its name.
func rot(t *testing.T, photos string, r *running) (name string) {
	t.Helper()
	ok(t, r.store.View(t.Context(), func(tx *store.Tx) error {
		for upload, err := range store.Scan(tx, store.Uploads(), nil) {
			ok(t, err)
			name = hex.EncodeToString(upload.GetSha256())
		}
		return nil
	}))
	path := filepath.Join(photos, name[:2], name[2:4], name)
	content, err := os.ReadFile(path)
	ok(t, err)
	content[len(content)/2] ^= 1
	ok(t, os.Chmod(path, 0o600))
	ok(t, os.WriteFile(path, content, 0o600))
	return name
}
