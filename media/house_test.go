package media_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/jpeg"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"buf.build/go/protovalidate"
	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cong1022/fieldsync/auth"
	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
	"github.com/cong1022/fieldsync/internal/faultwire"
	"github.com/cong1022/fieldsync/internal/miniotest"
	"github.com/cong1022/fieldsync/internal/toolserver"
	"github.com/cong1022/fieldsync/internal/versitytest"
	"github.com/cong1022/fieldsync/media"
	"github.com/cong1022/fieldsync/media/folder"
	"github.com/cong1022/fieldsync/media/s3"
	"github.com/cong1022/fieldsync/store"
	"github.com/cong1022/fieldsync/store/embedded"
)

// callers are who may call the server under test, by bearer token. A device's token is its id.
var callers = map[string]auth.Principal{
	"phone-1": {DeviceID: "phone-1", MemberID: "an", Role: fieldsyncv1.Role_ROLE_CREW, CrewID: "crew-1", UnitID: "unit-1"},
	"phone-2": {DeviceID: "phone-2", MemberID: "binh", Role: fieldsyncv1.Role_ROLE_CREW, CrewID: "crew-1", UnitID: "unit-1"},
	"phone-3": {DeviceID: "phone-3", MemberID: "chi", Role: fieldsyncv1.Role_ROLE_CREW, CrewID: "crew-2", UnitID: "unit-1"},
	"desk-1":  {DeviceID: "desk-1", MemberID: "dung", Role: fieldsyncv1.Role_ROLE_DISPATCHER, UnitID: "unit-1"},
	"desk-2":  {DeviceID: "desk-2", MemberID: "em", Role: fieldsyncv1.Role_ROLE_DISPATCHER, UnitID: "unit-2"},
	"city":    {DeviceID: "city", MemberID: "giang", Role: fieldsyncv1.Role_ROLE_DISPATCHER, UnitID: auth.CityUnit},
	"admin":   {DeviceID: "admin", MemberID: "ha", Role: fieldsyncv1.Role_ROLE_ADMIN},
	"hotline": {DeviceID: "hotline", MemberID: "1022", Role: fieldsyncv1.Role_ROLE_HOTLINE},
}

// house is a server with the media room only, over a real store.
type house struct {
	t     testing.TB
	store *store.Store
	blobs media.Blobs
	spool string
	// verified is called by PhotosChanged; sealed counts the calls whose transaction was not discarded by verified.
	verified func(record *storagev1.TaskRecord) error
	sealed   atomic.Int32
	server   *httptest.Server
	service  *media.Service
	// idle keeps the worker from running; stop ends it.
	idle bool
	stop func()
	// now is the store's clock; spoolBytes the bound on the spool, 0 for the default.
	now        *clock
	spoolBytes int64
	// bucket, where it is not nil, keeps the bytes of unfinished uploads.
	bucket media.Spool
}

// clock is a clock that tests set while a server reads it.
type clock struct{ at atomic.Pointer[time.Time] }

func clockAt(at time.Time) *clock {
	c := new(clock)
	c.set(at)
	return c
}

func (c *clock) set(at time.Time) { c.at.Store(&at) }

func (c *clock) read() time.Time { return *c.at.Load() }

func newHouse(tb testing.TB, blobs media.Blobs) *house {
	tb.Helper()
	return newHouseOver(tb, blobs, nil)
}

// newHouseOver has the bytes of unfinished uploads in bucket; nil: in a folder.
func newHouseOver(tb testing.TB, blobs media.Blobs, bucket media.Spool) *house {
	tb.Helper()
	engine, err := embedded.Open(tb.TempDir(), slog.New(slog.DiscardHandler))
	if err != nil {
		tb.Fatal(err)
	}
	h := &house{t: tb, blobs: blobs, bucket: bucket, spool: filepath.Join(tb.TempDir(), "spool"), now: clockAt(time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC))}
	records, err := store.Open(tb.Context(), engine, store.Options{Clock: h.now.read})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := records.Close(); err != nil {
			tb.Error(err)
		}
	})
	h.store = records
	h.start()
	tb.Cleanup(func() {
		h.server.Close()
		h.stop()
	})
	return h
}

// start runs the server as a new process would: only the store, the blobs and the spool are those of before.
func (h *house) start() {
	h.t.Helper()
	log := slog.New(slog.DiscardHandler)
	service, err := media.Open(media.Options{
		Store: h.store, Blobs: h.blobs, SpoolDir: h.spool, Spool: h.bucket, SpoolBytes: h.spoolBytes, Log: log,
		PhotosChanged: func(_ *store.Tx, record *storagev1.TaskRecord, _ uint64) error {
			if h.verified != nil {
				if err := h.verified(record); err != nil {
					return err
				}
			}
			h.sealed.Add(1)
			return nil
		},
	})
	if err != nil {
		h.t.Fatal(err)
	}
	h.service = service
	ctx, cancel := context.WithCancel(context.Background()) // Until the cleanup, which comes after the test's context has ended.
	var worker sync.WaitGroup
	if !h.idle {
		worker.Go(func() {
			if err := service.Run(ctx); err != nil {
				h.t.Error(err)
			}
		})
	}
	h.stop = func() {
		cancel()
		worker.Wait()
	}
	mux := http.NewServeMux()
	service.Routes(mux)
	faults := connect.WithInterceptors(
		connect.UnaryInterceptorFunc(func(next connect.UnaryFunc) connect.UnaryFunc {
			return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
				message, _ := req.Any().(proto.Message) // Always one.
				if err := protovalidate.Validate(message); err != nil {
					return nil, connect.NewError(connect.CodeInvalidArgument, err)
				}
				answer, err := next(ctx, req)
				if err != nil {
					return nil, faultwire.Connect(ctx, log, err)
				}
				return answer, nil
			}
		}),
	)
	mux.Handle(fieldsyncv1connect.NewMediaServiceHandler(service, faults))
	mux.Handle(fieldsyncv1connect.NewHoldServiceHandler(service, faults))
	h.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		if principal, ok := callers[token]; ok {
			r = r.WithContext(auth.WithPrincipal(r.Context(), principal))
		}
		mux.ServeHTTP(w, r)
	}))
}

func (h *house) restart() {
	h.t.Helper()
	h.server.Close()
	h.stop()
	h.start()
}

// task makes a task of crew-1 in unit-1, with photos of phone-1 as AttachPhoto leaves them: the first is p0, and so on.
func (h *house) task(id string, photos ...[]byte) {
	h.t.Helper()
	task := &fieldsyncv1.Task{
		Id:         id,
		Ticket:     &fieldsyncv1.TicketFacet{UnitId: "unit-1"},
		Assignment: &fieldsyncv1.AssignmentFacet{CrewId: "crew-1"},
		Status:     &fieldsyncv1.StatusFacet{State: fieldsyncv1.TaskState_TASK_STATE_STARTED},
	}
	for i, photo := range photos {
		sum := sha256.Sum256(photo)
		task.Photos = append(task.Photos, &fieldsyncv1.Photo{
			Id: fmt.Sprintf("p%d", i), Sha256: sum[:], SizeBytes: uint64(len(photo)), ContentType: "image/jpeg",
			State: fieldsyncv1.PhotoState_PHOTO_STATE_ON_PHONE, DeviceId: "phone-1", MemberId: "an", Revision: 1,
		})
	}
	h.update(func(tx *store.Tx) error {
		record := &storagev1.TaskRecord{
			Task:    task,
			Scopes:  []string{string(store.CrewScope("crew-1")), string(store.UnitScope("unit-1"))},
			Tenures: []*storagev1.Tenure{{CrewId: "crew-1", From: timestamppb.New(tx.Now())}},
		}
		store.NextRevision(record)
		return store.SaveTask(tx, record, 0)
	})
}

func (h *house) update(fn func(tx *store.Tx) error) {
	h.t.Helper()
	if err := h.store.Update(h.t.Context(), fn); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) load(task string) *storagev1.TaskRecord {
	h.t.Helper()
	var record *storagev1.TaskRecord
	err := h.store.View(h.t.Context(), func(tx *store.Tx) (err error) {
		record, err = store.Get(tx, store.TaskKey(task))
		return err
	})
	if err != nil || record == nil {
		h.t.Fatalf("loading %s: %v, %v", task, record, err)
	}
	return record
}

// mustBe checks the state of a task's only photo.
func (h *house) mustBe(task string, want fieldsyncv1.PhotoState) {
	h.t.Helper()
	if got := h.load(task).GetTask().GetPhotos()[0].GetState(); got != want {
		h.t.Fatalf("the photo of %s is %v, want %v", task, got, want)
	}
}

// caller is a client with a token.
type caller struct {
	h     *house
	token string
}

func (h *house) as(token string) caller { return caller{h, token} }

func (c caller) rpc() fieldsyncv1connect.MediaServiceClient {
	return fieldsyncv1connect.NewMediaServiceClient(authorized(c.token), c.h.server.URL)
}

func (c caller) holds() fieldsyncv1connect.HoldServiceClient {
	return fieldsyncv1connect.NewHoldServiceClient(authorized(c.token), c.h.server.URL)
}

// authorized is an HTTP client that sends a bearer token.
type authorized string

func (a authorized) Do(r *http.Request) (*http.Response, error) {
	if a != "" {
		r.Header.Set("Authorization", "Bearer "+string(a))
	}
	return http.DefaultClient.Do(r)
}

func (c caller) declare(task, photo string) *fieldsyncv1.DeclareResponse {
	c.h.t.Helper()
	answer, err := c.rpc().Declare(c.h.t.Context(), &fieldsyncv1.DeclareRequest{TaskId: task, PhotoId: photo})
	if err != nil {
		c.h.t.Fatalf("declaring %s of %s: %v", photo, task, err)
	}
	return answer
}

func (c caller) commit(upload string) *fieldsyncv1.CommitResponse {
	c.h.t.Helper()
	answer, err := c.rpc().Commit(c.h.t.Context(), &fieldsyncv1.CommitRequest{UploadId: upload})
	if err != nil {
		c.h.t.Fatalf("committing %s: %v", upload, err)
	}
	return answer
}

// refused checks that a commit fails with a code.
func (c caller) refused(upload, code string) *fieldsyncv1.ErrorInfo {
	c.h.t.Helper()
	_, err := c.rpc().Commit(c.h.t.Context(), &fieldsyncv1.CommitRequest{UploadId: upload})
	info := infoOf(err)
	if info.GetCode() != code {
		c.h.t.Fatalf("committing %s: %v, want %s", upload, err, code)
	}
	return info
}

// answer is a response, read to its end.
type answer struct {
	status int
	header http.Header
	body   string
}

func (c caller) do(method, path string, body io.Reader, header ...string) answer {
	c.h.t.Helper()
	request, err := http.NewRequestWithContext(c.h.t.Context(), method, c.h.server.URL+path, body)
	if err != nil {
		c.h.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, err := authorized(c.token).Do(request)
	if err != nil {
		c.h.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer response.Body.Close()
	got, err := io.ReadAll(response.Body)
	if err != nil {
		c.h.t.Fatalf("%s %s: %v", method, path, err)
	}
	return answer{response.StatusCode, response.Header, string(got)}
}

func (c caller) head(path string) answer {
	c.h.t.Helper()
	return c.do(http.MethodHead, path, nil, "Tus-Resumable", "1.0.0")
}

func (c caller) patch(path string, offset int, body io.Reader) answer {
	c.h.t.Helper()
	return c.do(http.MethodPatch, path, body, "Tus-Resumable", "1.0.0",
		"Content-Type", "application/offset+octet-stream", "Upload-Offset", strconv.Itoa(offset))
}

// begin opens a connection of its own and sends the head of a PATCH from offset to the end of the photo, and the bytes up
// to until.
func (c caller) begin(path string, photo []byte, offset, until int) net.Conn {
	c.h.t.Helper()
	connection, err := new(net.Dialer).DialContext(c.h.t.Context(), "tcp", c.h.server.Listener.Addr().String())
	if err != nil {
		c.h.t.Fatal(err)
	}
	_, err = fmt.Fprintf(connection, "PATCH %s HTTP/1.1\r\nHost: fieldsync\r\nAuthorization: Bearer %s\r\nTus-Resumable: 1.0.0\r\n"+
		"Content-Type: application/offset+octet-stream\r\nUpload-Offset: %d\r\nContent-Length: %d\r\n\r\n%s",
		path, c.token, offset, len(photo)-offset, photo[offset:until])
	if err != nil {
		c.h.t.Fatal(err)
	}
	return connection
}

// spooled waits until so many bytes of an upload are in the spool.
func (h *house) spooled(uploadPath string, bytes int) {
	h.t.Helper()
	eventually(h.t, fmt.Sprintf("%d bytes are spooled", bytes), func() bool {
		if h.bucket != nil {
			size, err := h.bucket.Size(h.t.Context(), path.Base(uploadPath))
			return err == nil && size == int64(bytes)
		}
		info, err := os.Stat(filepath.Join(h.spool, path.Base(uploadPath)))
		return err == nil && info.Size() == int64(bytes)
	})
}

// spoolFiles are the uploads of which there are bytes.
func (h *house) spoolFiles() (names []string) {
	h.t.Helper()
	if h.bucket != nil {
		kept, err := h.bucket.List(h.t.Context())
		if err != nil {
			h.t.Fatal(err)
		}
		return slices.Collect(maps.Keys(kept))
	}
	entries, err := os.ReadDir(h.spool)
	if err != nil {
		h.t.Fatal(err)
	}
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

// send sends a whole photo.
func (c caller) send(path string, photo []byte) {
	c.h.t.Helper()
	c.mustPatch(path, 0, photo)
}

// mustPatch sends some bytes and checks that they were taken.
func (c caller) mustPatch(path string, offset int, part []byte) {
	c.h.t.Helper()
	got := c.patch(path, offset, bytes.NewReader(part))
	if got.status != http.StatusNoContent || got.header.Get("Upload-Offset") != strconv.Itoa(offset+len(part)) {
		c.h.t.Fatalf("sending %d bytes at %d: %d, offset %q, %q", len(part), offset, got.status, got.header.Get("Upload-Offset"), got.body)
	}
}

// mustStandAt checks the offset that HEAD tells.
func (c caller) mustStandAt(path string, offset, size int) {
	c.h.t.Helper()
	got := c.head(path)
	if got.status != http.StatusOK || got.header.Get("Upload-Offset") != strconv.Itoa(offset) ||
		got.header.Get("Upload-Length") != strconv.Itoa(size) {
		c.h.t.Fatalf("HEAD: %d, offset %q of %q; want %d of %d", got.status,
			got.header.Get("Upload-Offset"), got.header.Get("Upload-Length"), offset, size)
	}
}

// infoOf returns what the service itself says of an error.
func infoOf(err error) *fieldsyncv1.ErrorInfo {
	var failure *connect.Error
	if !errors.As(err, &failure) {
		return nil
	}
	for _, detail := range failure.Details() {
		value, err := detail.Value()
		if info, ok := value.(*fieldsyncv1.ErrorInfo); ok && err == nil {
			return info
		}
	}
	return nil
}

// codeOf returns the code in the answer to a plain request that failed.
func codeOf(tb testing.TB, got answer) string {
	tb.Helper()
	var body struct {
		Message string `json:"message"`
	}
	if err := json.Unmarshal([]byte(got.body), &body); err != nil {
		tb.Fatalf("the answer %q: %v", got.body, err)
	}
	code, _, _ := strings.Cut(body.Message, ":")
	return code
}

// newPhoto is a JPEG that nobody has seen before, of some 150 KB.
func newPhoto(tb testing.TB) []byte {
	tb.Helper()
	picture := image.NewGray(image.Rect(0, 0, 480, 360))
	for i := range picture.Pix {
		picture.Pix[i] = byte(rand.Uint32())
	}
	var photo bytes.Buffer
	if err := jpeg.Encode(&photo, picture, &jpeg.Options{Quality: 90}); err != nil {
		tb.Fatal(err)
	}
	return photo.Bytes()
}

func newFolder(tb testing.TB) media.Blobs {
	tb.Helper()
	blobs, err := folder.Open(tb.TempDir())
	if err != nil {
		tb.Fatal(err)
	}
	return blobs
}

// onEachStore runs tests over every implementation of media.Blobs, and over both of media.Spool.
func onEachStore(t *testing.T, tests map[string]func(*house)) {
	t.Helper()
	run := func(t *testing.T, blobs media.Blobs, bucket media.Spool) {
		t.Helper()
		for name, test := range tests {
			t.Run(name, func(t *testing.T) { test(newHouseOver(t, blobs, bucket)) })
		}
	}
	t.Run("folder", func(t *testing.T) { run(t, newFolder(t), nil) })
	t.Run("MinIO", func(t *testing.T) { run(t, openBucket(t, miniotest.Start), nil) })
	for name, start := range map[string]func(testing.TB) toolserver.Server{"MinIO": miniotest.Start, "versitygw": versitytest.Start} {
		t.Run(name+", uploads too", func(t *testing.T) {
			blobs := openBucket(t, start)
			run(t, blobs, spoolIn(t, blobs))
		})
	}
}

// openBucket starts a real object store.
func openBucket(t *testing.T, start func(testing.TB) toolserver.Server) *s3.Blobs {
	t.Helper()
	if testing.Short() {
		t.Skip("left out by -short: runs a real object store, which is built from source on a new machine")
	}
	server := start(t)
	blobs, err := s3.Open(t.Context(), s3.Options{
		Endpoint: server.Endpoint, Bucket: "evidence",
		AccessKey: server.AccessKey, SecretKey: server.SecretKey, PlainHTTP: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	return blobs
}

func spoolIn(t *testing.T, blobs *s3.Blobs) media.Spool {
	t.Helper()
	spool, err := blobs.Spool()
	if err != nil {
		t.Fatal(err)
	}
	return spool
}

// mustHaveNoBytes checks that no bytes of unfinished uploads are left.
func (h *house) mustHaveNoBytes() {
	h.t.Helper()
	if h.bucket == nil {
		mustBeEmpty(h.t, h.spool)
		return
	}
	if left, err := h.bucket.List(h.t.Context()); err != nil || len(left) > 0 {
		h.t.Fatalf("the bucket holds bytes of %v, %v; want none", left, err)
	}
}
