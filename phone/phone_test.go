package phone

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/hex"
	"fmt"
	"image"
	"image/jpeg"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
)

// TestMain checks that no test leaves a goroutine behind: whoever starts one has a stop that waits for it.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// tester is what testing.T and rapid.T have in common.
type tester interface {
	rapid.TB
	Cleanup(f func())
}

// rig is a phone in a folder, with a server, that can be killed and opened again.
type rig struct {
	*Phone

	tb     tester
	server *fake
	dir    string
	o      Options
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := rigAt(t, newFake(t), t.TempDir())
	r.enrol()
	return r
}

func rigAt(tb tester, server *fake, dir string) *rig {
	tb.Helper()
	r := &rig{tb: tb, server: server, dir: dir, o: Options{
		RetryMin: time.Millisecond, RetryMax: 2 * time.Millisecond, ChunkBytes: 1 << 10,
		Clock: func() (now time.Time) { server.do(func() { now = server.now }); return now },
	}}
	r.open()
	tb.Cleanup(func() { _ = r.Close() })
	return r
}

func (r *rig) open() {
	r.tb.Helper()
	var err error
	if r.Phone, err = Open(r.dir, r.o); err != nil {
		r.tb.Fatal(err)
	}
}

// restart is a kill as far as a process can do it to itself: nothing but the folder survives.
func (r *rig) restart() {
	r.tb.Helper()
	if err := r.Close(); err != nil {
		r.tb.Fatal(err)
	}
	r.open()
}

func (r *rig) enrol() {
	r.tb.Helper()
	if err := r.Enrol(context.Background(), r.server.url, "GOOD-CODE-0001", "test"); err != nil {
		r.tb.Fatal(err)
	}
}

func (r *rig) assign(ids ...string) {
	r.server.do(func() {
		for _, id := range ids {
			r.server.put(id, assigned)
		}
	})
}

func (r *rig) sync() Report {
	r.tb.Helper()
	report, err := r.Sync(context.Background())
	if err != nil {
		r.tb.Fatal(err)
	}
	r.same()
	return report
}

// same fails where the replica is not, byte for byte, what the server has.
func (r *rig) same() {
	r.tb.Helper()
	held, err := r.Tasks()
	if err != nil {
		r.tb.Fatal(err)
	}
	r.server.do(func() {
		if len(held) != len(r.server.tasks) {
			r.tb.Fatalf("the phone holds %d tasks, the server %d", len(held), len(r.server.tasks))
		}
		for _, h := range held {
			if want := r.server.tasks[h.Task.GetId()]; !proto.Equal(h.Task, want) {
				r.tb.Fatalf("the phone holds\n%v\nthe server\n%v", h.Task, want)
			}
		}
	})
}

func (r *rig) status() Status {
	r.tb.Helper()
	s, err := r.Status()
	if err != nil {
		r.tb.Fatal(err)
	}
	return s
}

func must(tb tester, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

func wantCode(tb tester, err error, code string) {
	tb.Helper()
	if fault.CodeOf(err) != code {
		tb.Fatalf("got error %v, want code %s", err, code)
	}
}

// jpegFile writes a photo of about size bytes.
func jpegFile(tb tester, dir string, seed uint64, size int) string {
	tb.Helper()
	var b bytes.Buffer
	must(tb, jpeg.Encode(&b, image.NewGray(image.Rect(0, 0, 8, 8)), nil))
	// Bytes behind the end of the image are a common thing that cameras write.
	source := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), 1})
	tail := make([]byte, max(0, size-b.Len()))
	_, _ = source.Read(tail)
	b.Write(tail)
	path := filepath.Join(dir, fmt.Sprintf("source-%d.jpg", seed))
	must(tb, os.WriteFile(path, b.Bytes(), 0o600))
	return path
}

// The crew's day: everything is recorded without a network, survives a kill after each step, and arrives in one call.
func TestOfflineDay(t *testing.T) {
	r := newRig(t)
	r.assign("t1", "t2")
	r.sync()
	for i, step := range []func() error{
		func() error { return r.Accept("t1") },
		func() error { return r.Start("t1") },
		func() error { return r.Pause("t1", "chờ điện lực") },
		func() error { return r.Resume("t1") },
		func() error { return r.Note("t1", "Đã cưa cành") },
		func() error { return r.Tick("t1", "sign", true) },
		func() error { return r.Complete("t1", fieldsyncv1.Outcome_OUTCOME_REPAIRED, "xong") },
		func() error { return r.Decline("t2", "ngoài địa bàn") },
		func() error { return r.HandOver("t2", "cần xe cẩu") },
	} {
		must(t, step())
		r.restart()
		if got := r.status().Queued; got != i+1 {
			t.Fatalf("after step %d the outbox holds %d", i, got)
		}
	}
	held, err := r.Task("t1")
	must(t, err)
	if len(held.Pending) != 7 || held.Task.GetStatus().GetState() != fieldsyncv1.TaskState_TASK_STATE_ASSIGNED {
		t.Fatal("the replica must stay the server's truth, with what waits beside it")
	}
	m := held.Pending[0]
	if m.GetBaseRevision() != 1 || m.GetAssignmentEpoch() != 1 || m.GetRecorded().GetServerTime() == nil {
		t.Fatalf("mutation lacks its base: %v", m)
	}
	report := r.sync()
	if report.Calls != 1 || report.Sent != 9 {
		t.Fatalf("want one call with 9 mutations, got %+v", report)
	}
	if s := r.status(); s.Queued != 0 || !s.Whole {
		t.Fatalf("status after the sync: %+v", s)
	}
}

// What breaks the rules is refused at once, in words, and leaves no number behind.
func TestRefusedAtOnce(t *testing.T) {
	r := newRig(t)
	r.assign("t1")
	r.sync()
	notImage := filepath.Join(t.TempDir(), "a.jpg")
	must(t, os.WriteFile(notImage, []byte("no image at all"), 0o600))
	none := filepath.Join(t.TempDir(), "empty.jpg")
	must(t, os.WriteFile(none, nil, 0o600))
	huge := jpegFile(t, t.TempDir(), 1, 100)
	must(t, os.Truncate(huge, maxPhoto+1))
	attach := func(task, file string) error {
		_, err := r.Photo(task, file, PhotoFacts{Kind: fieldsyncv1.PhotoKind_PHOTO_KIND_AFTER})
		return err
	}
	for name, c := range map[string]struct {
		err  error
		code string
	}{
		"foreign task":     {r.Start("t9"), "task_unknown"},
		"empty note":       {r.Note("t1", ""), "intent_invalid"},
		"long note":        {r.Note("t1", strings.Repeat("ă", 2001)), "intent_invalid"},
		"not UTF-8":        {r.Note("t1", "h\xffi"), "intent_invalid"},
		"no reason":        {r.Pause("t1", ""), "intent_invalid"},
		"no outcome":       {r.Complete("t1", 0, ""), "intent_invalid"},
		"unknown outcome":  {r.Complete("t1", 77, ""), "intent_invalid"},
		"unknown item":     {r.Tick("t1", "nothing", true), "item_unknown"},
		"no image":         {attach("t1", notImage), "photo_type"},
		"empty photo":      {attach("t1", none), "photo_size"},
		"huge photo":       {attach("t1", huge), "photo_size"},
		"no file":          {attach("t1", notImage+"x"), "photo_file"},
		"photo of no task": {attach("t9", jpegFile(t, t.TempDir(), 2, 900)), "task_unknown"},
		"unknown kind": {func() error {
			_, err := r.Photo("t1", jpegFile(t, t.TempDir(), 3, 900), PhotoFacts{Kind: 9})
			return err
		}(), "intent_invalid"},
		"task not held":     {func() error { _, err := r.Task("t9"); return err }(), "task_unknown"},
		"bad server":        {r.Enrol(t.Context(), "ftp://x", "GOOD-CODE-0001", ""), "server_invalid"},
		"server and a name": {r.Enrol(t.Context(), "https://a:b@x", "GOOD-CODE-0001", ""), "server_invalid"},
	} {
		if fault.CodeOf(c.err) != c.code {
			t.Errorf("%s: got %v, want %s", name, c.err, c.code)
		}
	}
	if left, _ := os.ReadDir(filepath.Join(r.dir, photosDir)); len(left) != 0 {
		t.Errorf("%d copies of refused photos left", len(left))
	}
	must(t, r.Start("t1"))
	if held, _ := r.Task("t1"); len(held.Pending) != 1 || held.Pending[0].GetNumber() != 1 {
		t.Errorf("a refused intent took a number: %v", held.Pending)
	}
}

// One folder, one process: the second is told so instead of waiting or corrupting.
func TestFolderInUse(t *testing.T) {
	r := newRig(t)
	_, err := Open(r.dir, Options{})
	wantCode(t, err, "phone_in_use")
}

// A phone that is not enrolled says so, and touches nothing.
func TestNotEnrolled(t *testing.T) {
	p, err := Open(t.TempDir(), Options{})
	must(t, err)
	defer func() { must(t, p.Close()) }()
	_, err = p.Sync(t.Context())
	wantCode(t, err, "not_enrolled")
	wantCode(t, p.Start("t1"), "not_enrolled")
	wantCode(t, p.Watch(t.Context()), "not_enrolled")
	wantCode(t, p.Run(t.Context()), "not_enrolled")
	must(t, p.Upload(t.Context(), nil))
}

// The thumbprint is that of RFC 7638, or no server would know the phone: the key of RFC 7515, A.3, and its published thumbprint.
func TestThumbprint(t *testing.T) {
	x, _ := hex.DecodeString("7fcdce2770f6c45d4183cbee6fdb4b7b580733357be9ef13bacf6e3c7bd15445")
	y, _ := hex.DecodeString("c7f144cd1bbd9b7e872cdfedb9eeb9f4b3695d6ea90b24ad8a4623288588e5ad")
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append(append([]byte{4}, x...), y...))
	must(t, err)
	got, err := thumbprint(key)
	must(t, err)
	if want := "oKIywvGUpTVTyxMQ3bwIIeQUudfr_CkLMjCE19ECD-U"; got != want {
		t.Fatalf("thumbprint %s, want %s", got, want)
	}
}
