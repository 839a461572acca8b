package phone

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	bolt "go.etcd.io/bbolt"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
)

func copies(t *testing.T, r *rig) int {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(r.dir, photosDir))
	must(t, err)
	return len(entries)
}

func (r *rig) attach(t *testing.T, seed uint64, size int) (file, id string) {
	t.Helper()
	file = jpegFile(t, t.TempDir(), seed, size)
	id, err := r.Photo("t1", file, PhotoFacts{Kind: fieldsyncv1.PhotoKind_PHOTO_KIND_AFTER})
	must(t, err)
	return file, id
}

// A photo gets through a connection that keeps breaking, byte for byte, without sending again what has arrived; its copy
// goes only then.
func TestUploadOverCuts(t *testing.T) {
	r := newRig(t)
	r.assign("t1")
	r.sync()
	file, id := r.attach(t, 1, 10<<10)
	original, err := os.ReadFile(file)
	must(t, err)
	must(t, os.Remove(file)) // The phone has its own copy.
	must(t, r.Upload(t.Context(), nil))
	if copies(t, r) != 1 {
		t.Fatal("the copy went before the attach was sent")
	}
	r.sync()
	r.restart()
	var sent []int64
	// Declare, HEAD, pieces; cut in the middle of a piece, the answer of a piece lost, the Commit lost both ways.
	r.server.expect(none, none, none, cutBody, none, none, none, lostAnswer, none, none, none, lostRequest)
	must(t, r.Upload(t.Context(), func(photo string, now, total int64) {
		if photo != id || total != int64(len(original)) {
			t.Errorf("progress of %s: %d of %d", photo, now, total)
		}
		sent = append(sent, now)
	}))
	sum := sha256.Sum256(original)
	r.server.do(func() {
		if !bytes.Equal(r.server.kept[hex.EncodeToString(sum[:])], original) {
			t.Error("the server keeps other bytes")
		}
		if r.server.patches > 13 {
			t.Errorf("%d pieces for 10, of which 2 were cut", r.server.patches)
		}
	})
	for i := 1; i < len(sent); i++ {
		if sent[i] < sent[i-1] {
			t.Errorf("progress went back: %v", sent)
		}
	}
	if copies(t, r) != 0 || r.status().PhotosWaiting != 0 {
		t.Error("the verified photo still lies on the phone")
	}
	r.sync()
}

// The answer of a Commit is lost: the photo is verified all the same, and the next Declare says so.
func TestUploadCommitAnswerLost(t *testing.T) {
	r := newRig(t)
	r.assign("t1")
	r.sync()
	r.attach(t, 1, 900)
	r.sync()
	r.server.expect(none, none, none, lostAnswer)
	must(t, r.Upload(t.Context(), nil))
	if copies(t, r) != 0 {
		t.Error("the verified photo still lies on the phone")
	}
}

// One photo's trouble is its own: the others arrive, and it is tried again.
func TestUploadOneFails(t *testing.T) {
	r := newRig(t)
	r.assign("t1")
	r.sync()
	for seed := range uint64(3) {
		r.attach(t, seed, 2000)
	}
	r.sync()
	var lost *fieldsyncv1.Photo
	r.server.do(func() {
		task := r.server.tasks["t1"]
		lost, task.Photos = task.GetPhotos()[1], []*fieldsyncv1.Photo{task.GetPhotos()[0], task.GetPhotos()[2]}
	})
	wantCode(t, r.Upload(t.Context(), nil), "photo_unknown")
	if s := r.status(); s.PhotosWaiting != 1 || copies(t, r) != 1 {
		t.Fatalf("want one photo left: %+v", s)
	}
	r.server.do(func() { r.server.tasks["t1"].Photos = append(r.server.tasks["t1"].Photos, lost) })
	must(t, r.Upload(t.Context(), nil))
	if copies(t, r) != 0 {
		t.Error("copies left")
	}
}

// While the server is away an upload gives up after a few attempts, and costs each further photo one, not all of them.
func TestUploadServerAway(t *testing.T) {
	r := newRig(t)
	r.assign("t1")
	r.sync()
	r.attach(t, 1, 2000)
	r.attach(t, 2, 2000)
	r.sync()
	r.server.do(func() {
		r.server.calls = nil
		for range 100 {
			r.server.troubles = append(r.server.troubles, lostRequest)
		}
	})
	wantCode(t, r.Upload(t.Context(), nil), "server_unreachable")
	r.server.do(func() {
		r.server.troubles = nil
		if len(r.server.calls) != maxFailures+1 {
			t.Errorf("%d attempts", len(r.server.calls))
		}
	})
	must(t, r.Upload(t.Context(), nil))
}

// An upload that the server has forgotten, and one that belongs to an expired token, go on by themselves.
func TestUploadForgotten(t *testing.T) {
	r := newRig(t)
	r.assign("t1")
	r.sync()
	r.attach(t, 1, 5000)
	r.sync()
	pieces := 0
	must(t, r.Upload(t.Context(), func(string, int64, int64) {
		if pieces++; pieces == 3 {
			r.server.do(func() { clear(r.server.uploads); r.server.good = "expired" })
		}
	}))
	r.server.do(func() {
		if len(r.server.kept) != 1 {
			t.Error("the photo did not arrive")
		}
	})
}

// A refused photo keeps its bytes on the phone and is not sent; a picked one claims no capture time.
func TestPhotoRefused(t *testing.T) {
	r := newRig(t)
	r.assign("t1")
	r.sync()
	r.server.do(func() {
		r.server.judge = func(*fieldsyncv1.Mutation) *fieldsyncv1.Verdict {
			return &fieldsyncv1.Verdict{Kind: fieldsyncv1.VerdictKind_VERDICT_KIND_QUARANTINED, Code: "x"}
		}
	})
	_, err := r.Photo("t1", jpegFile(t, t.TempDir(), 1, 2000), PhotoFacts{FromGallery: true})
	must(t, err)
	held, err := r.Task("t1")
	must(t, err)
	if p := held.Pending[0].GetAttachPhoto().GetPhoto(); p.GetCaptured() != nil || !p.GetFromGallery() || p.GetContentType() != "image/jpeg" {
		t.Errorf("declared %v", p)
	}
	r.sync()
	must(t, r.Upload(t.Context(), nil))
	if s := r.status(); s.PhotosRefused != 1 || s.PhotosWaiting != 0 || copies(t, r) != 1 {
		t.Errorf("status %+v", s)
	}
}

// A kill between the copy of a photo and its record, or between the end of a record and that of its copy, leaves an orphan
// that the next start removes; a verified photo of which the outbox still speaks stays.
func TestPhotoKills(t *testing.T) {
	r := newRig(t)
	r.assign("t1")
	r.sync()
	_, id := r.attach(t, 1, 900)
	must(t, os.WriteFile(r.photoPath("orphan"), []byte("x"), 0o600))
	must(t, r.update(func(tx *bolt.Tx, _ *state) error { return setPhoto(tx, id, photoVerified) }))
	r.restart()
	if _, err := os.Stat(r.photoPath(id)); err != nil || copies(t, r) != 1 {
		t.Errorf("%d copies, the photo of the outbox: %v", copies(t, r), err)
	}
}

// Protects: a photo whose copy on the phone is lost or damaged is told once, and is not sent again and again; the others go through.
func TestDamagedCopy(t *testing.T) {
	for name, damage := range map[string]func(path string) error{
		"gone":    os.Remove,
		"cut":     func(path string) error { return os.Truncate(path, 1000) },
		"flipped": func(path string) error { return os.WriteFile(path, bytes.Repeat([]byte("x"), 10<<10), 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.assign("t1")
			r.sync()
			_, bad := r.attach(t, 1, 10<<10)
			_, good := r.attach(t, 2, 10<<10)
			must(t, damage(r.photoPath(bad)))
			r.sync()
			if err := r.Upload(t.Context(), nil); fault.CodeOf(err) != "photo_copy_damaged" {
				t.Errorf("the damaged one: %v", err)
			}
			must(t, r.Upload(t.Context(), nil))
			if s := r.status(); s.PhotosLost != 1 || s.PhotosWaiting != 0 {
				t.Errorf("%+v", s)
			}
			r.sync()
			if _, err := os.Stat(r.photoPath(good)); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the good one is still there: %v", err)
			}
		})
	}
}

// Protects: a database that cannot be read is named, in both languages, by whatever reads or writes it, and stays as it is.
func TestDamagedDatabase(t *testing.T) {
	made := newRig(t)
	made.assign("t1")
	made.sync()
	must(t, made.Close())
	whole, err := os.ReadFile(filepath.Join(made.dir, databaseFile))
	must(t, err)
	for name, damage := range map[string]func(b []byte) []byte{
		"cut":         func(b []byte) []byte { return b[:5000] },
		"cut in half": func(b []byte) []byte { return b[:len(b)/2] },
		"no header":   func(b []byte) []byte { clear(b[:8192]); return b },
		"zeros":       func(b []byte) []byte { clear(b[8192:]); return b },
		"noise": func(b []byte) []byte {
			for i := range b[8192:] {
				b[8192+i] = byte(i * 7)
			}
			return b
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			damaged := damage(bytes.Clone(whole))
			path := filepath.Join(dir, databaseFile)
			must(t, os.WriteFile(path, damaged, 0o600))
			p, err := Open(dir, Options{})
			if err == nil {
				_, err = p.Tasks()
				_ = p.Close()
			}
			if fault.CodeOf(err) != "phone_damaged" {
				t.Errorf("%v", err)
			}
			if after, err := os.ReadFile(path); err != nil || !bytes.Equal(after, damaged) {
				t.Errorf("the file was changed: %v", err)
			}
		})
	}
}

// Protects: a crew member whose phone is full is told so, in words that help, and nothing is half recorded.
func TestPhoneFull(t *testing.T) {
	for _, step := range []string{"commit", "copy"} {
		t.Run(step, func(t *testing.T) {
			f := newFake(t)
			f.put("t1", assigned)
			full := false
			p, err := Open(t.TempDir(), Options{Fail: func(at string) error {
				if full && at == step {
					return &fs.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}
				}
				return nil
			}})
			must(t, err)
			t.Cleanup(func() { must(t, p.Close()) })
			must(t, p.Enrol(t.Context(), f.url, "GOOD-CODE-0001", "x"))
			_, err = p.Sync(t.Context())
			must(t, err)
			file := jpegFile(t, t.TempDir(), 1, 10<<10)
			full = true
			if _, err := p.Photo("t1", file, PhotoFacts{Kind: fieldsyncv1.PhotoKind_PHOTO_KIND_AFTER}); fault.CodeOf(err) != "phone_full" {
				t.Errorf("%v", err)
			}
			full = false
			if s, err := p.Status(); err != nil || s.Queued != 0 || s.PhotosWaiting != 0 {
				t.Errorf("%+v, %v", s, err)
			}
		})
	}
}
