package server

import (
	"context"
	"errors"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
	"github.com/cong1022/fieldsync/media/folder"
	"github.com/cong1022/fieldsync/phone"
	"github.com/cong1022/fieldsync/proof"
	"github.com/cong1022/fieldsync/proof/receipt"
	"github.com/cong1022/fieldsync/store"
	"github.com/cong1022/fieldsync/store/embedded"
)

var errTorn = errors.New("the process ends here")

// torn is an engine that gives up at one write, as if the process had ended in front of it: the transaction leaves nothing behind.
// Behind each commit it calls committed.
type torn struct {
	store.Engine

	// left are the writes until then; none where it is negative.
	left      int
	fired     bool
	committed func()
}

// Update implements store.Engine. The test makes one call at a time.
func (e *torn) Update(ctx context.Context, fn func(store.KV) error) error {
	wrote := false
	err := e.Engine.Update(ctx, func(kv store.KV) error { return fn(&tornKV{kv, e, &wrote}) })
	if err == nil && wrote {
		e.committed()
	}
	return err
}

type tornKV struct {
	store.KV

	e     *torn
	wrote *bool
}

func (kv *tornKV) write(do func() error) error {
	if kv.e.left == 0 {
		kv.e.fired = true
		return errTorn
	}
	kv.e.left--
	*kv.wrote = true
	return do()
}

// Set implements store.KV.
func (kv *tornKV) Set(key, value []byte) error {
	return kv.write(func() error { return kv.KV.Set(key, value) })
}

// Delete implements store.KV.
func (kv *tornKV) Delete(key []byte) error {
	return kv.write(func() error { return kv.KV.Delete(key) })
}

// Protects the proof's place in the transaction of what it proves, in the house as it is composed: through completions, photos, a false
// report and its reversal, the hotline's acknowledgement and reopenings, each step is broken off at every one of its writes and then
// repeated. After each attempt and behind each commit the log and what it is about say the same, and in the end each step has left
// its one leaf.
func TestEveryWriteKeepsTheProof(t *testing.T) {
	dir := t.TempDir()
	log := slog.New(slog.DiscardHandler)
	engine, err := embedded.Open(filepath.Join(dir, "store"), log)
	ok(t, err)
	truth, err := store.Open(t.Context(), engine, store.Options{})
	ok(t, err)
	t.Cleanup(func() { ok(t, truth.Close()) })
	e := &torn{Engine: engine, left: -1, committed: func() {}}
	st, err := store.Open(t.Context(), e, store.Options{})
	ok(t, err)
	blobs, err := folder.Open(filepath.Join(dir, "photos"))
	ok(t, err)
	rooms, err := Compose(t.Context(), Parts{
		Store: st, Blobs: blobs, SpoolDir: filepath.Join(dir, "spool"), Issuer: "test", Log: log,
		Tokens: TokenConfig{AccessTTL: time.Hour, CodeTTL: time.Hour, DeviceGrant: time.Hour},
	})
	ok(t, err)
	server := httptest.NewServer(rooms.Handler())
	t.Cleanup(server.Close)
	r := &running{Server: &Server{Rooms: rooms}, url: server.URL}
	r.update(t, func(tx *store.Tx) error {
		return errors.Join(
			store.Put(tx, store.MemberKey("an"), &fieldsyncv1.Member{Id: "an", Name: "An", Role: fieldsyncv1.Role_ROLE_CREW, CrewId: "to-1"}),
			store.Put(tx, store.MemberKey("sep"), &fieldsyncv1.Member{Id: "sep", Name: "Sếp", Role: fieldsyncv1.Role_ROLE_ADMIN}),
			store.Put(tx, store.MemberKey("tong-dai"), &fieldsyncv1.Member{Id: "tong-dai", Name: "1022", Role: fieldsyncv1.Role_ROLE_HOTLINE}),
			store.Put(tx, store.CrewKey("to-1"), &fieldsyncv1.Crew{Id: "to-1", UnitId: "city", Name: "Tổ 1"}),
		)
	})
	task := r.assigned(t)
	crew, err := phone.Open(t.TempDir(), phone.Options{RetryMin: 1, RetryMax: 1}) // It repeats at once.
	ok(t, err)
	t.Cleanup(func() { ok(t, crew.Close()) })
	code, _, err := r.auth.IssueCodeFor(t.Context(), "an", "")
	ok(t, err)
	ok(t, crew.Enrol(t.Context(), r.url, code, "an"))
	admin := client(t, false, r.token(t, "sep"))
	desk, reports := fieldsyncv1connect.NewDispatchServiceClient(admin, r.url), fieldsyncv1connect.NewFalseReportServiceClient(admin, r.url)
	hotline := fieldsyncv1connect.NewHotlineServiceClient(client(t, false, r.token(t, "tong-dai")), r.url)

	kinds := func() (kinds []receipt.Kind) {
		ok(t, truth.View(t.Context(), func(tx *store.Tx) error {
			for leaf, err := range store.Scan(tx, store.LogLeaves(), nil) {
				if err != nil {
					return err
				}
				kinds = append(kinds, receipt.Kind(leaf.GetKind()))
			}
			return nil
		}))
		return kinds
	}
	completion := func() (id string) {
		ok(t, truth.View(t.Context(), func(tx *store.Tx) error {
			var record *storagev1.TaskRecord
			record, err := store.Get(tx, store.TaskKey(task))
			id = record.GetTask().GetCompletion().GetCompletionId()
			return err
		}))
		return id
	}
	sync := func() error {
		_, err := crew.Sync(t.Context())
		return err
	}
	photos := 0
	complete := func(outcome fieldsyncv1.Outcome) func() error {
		recorded := false
		return func() error {
			if !recorded {
				recorded = true
				photos++
				_, err := crew.Photo(task, otherPicture(t, photos), phone.PhotoFacts{Kind: fieldsyncv1.PhotoKind_PHOTO_KIND_AFTER})
				ok(t, errors.Join(err, crew.Complete(task, outcome, "xong")))
			}
			return sync()
		}
	}
	upload := func() error { return crew.Upload(t.Context(), nil) }
	reopen := func() error {
		_, err := desk.ReopenTask(t.Context(), &fieldsyncv1.ReopenTaskRequest{TaskId: task, CompletionId: completion(), Reason: "cây vẫn còn đó"})
		return err
	}
	assign := func() error {
		if _, err := desk.AssignTask(t.Context(), &fieldsyncv1.AssignTaskRequest{TaskId: task, CrewId: "to-1"}); err != nil {
			return err
		}
		return sync()
	}
	writes := 0
	for _, step := range []struct {
		name string
		do   func() error
		want []receipt.Kind
	}{
		{"sync", sync, nil},
		{"complete", complete(fieldsyncv1.Outcome_OUTCOME_NOTHING_FOUND), []receipt.Kind{receipt.Claimed}},
		{"upload", upload, []receipt.Kind{receipt.Sealed}},
		{"confirm a false report", func() error {
			dossier, err := reports.GetDossier(t.Context(), &fieldsyncv1.GetDossierRequest{HotlineId: "1022-1"})
			if err != nil {
				return err
			}
			_, err = reports.ConfirmFalseReport(t.Context(), &fieldsyncv1.ConfirmFalseReportRequest{HotlineId: "1022-1", DossierSha256: dossier.GetSha256(), Reason: "hai lần đến"})
			return err
		}, []receipt.Kind{receipt.Decided}},
		{"reverse it", func() error {
			_, err := reports.ReverseFalseReport(t.Context(), &fieldsyncv1.ReverseFalseReportRequest{HotlineId: "1022-1", Reason: "camera thấy cây"})
			return err
		}, []receipt.Kind{receipt.Decided}},
		{"acknowledge", func() error {
			_, err := hotline.AcknowledgeCompletions(t.Context(), &fieldsyncv1.AcknowledgeCompletionsRequest{CompletionIds: []string{completion()}})
			return err
		}, []receipt.Kind{receipt.Delivered}},
		{"reopen", reopen, []receipt.Kind{receipt.Reopened}},
		{"assign", assign, nil},
		{"complete again", complete(fieldsyncv1.Outcome_OUTCOME_REPAIRED), []receipt.Kind{receipt.Claimed}},
		{"reopen the claim", reopen, []receipt.Kind{receipt.Reopened}},
		{"assign again", assign, nil},
		{"complete for the third time", complete(fieldsyncv1.Outcome_OUTCOME_REPAIRED), []receipt.Kind{receipt.Claimed}},
		{"upload all", upload, []receipt.Kind{receipt.Sealed}},
	} {
		before := len(kinds())
		audit := func() {
			if err := proof.Audit(t.Context(), truth); err != nil {
				t.Errorf("%s, at its write %d: %v", step.name, writes, err)
			}
		}
		e.committed = audit
		for at := 0; ; at++ {
			writes++
			e.left, e.fired = at, false
			err := step.do()
			e.left = -1
			audit()
			if !e.fired {
				ok(t, err)
				break
			}
		}
		if got := kinds()[before:]; !slices.Equal(got, step.want) {
			t.Errorf("%s has left the leaves %v, want %v", step.name, got, step.want)
		}
	}
	t.Logf("broken off %d times", writes)
}

// otherPicture is a picture whose bytes are not another number's: the server has not got it.
func otherPicture(t *testing.T, number int) string {
	t.Helper()
	content, err := os.ReadFile(pictureFile(t))
	ok(t, err)
	path := filepath.Join(t.TempDir(), "other.jpg")
	ok(t, os.WriteFile(path, append(content, byte(number)), 0o600))
	return path
}
