package server

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"image"
	"image/jpeg"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
	"github.com/cong1022/fieldsync/store"
)

// Protects: photos never hold mutations up: the latency of a sync that sends one note, beside heavy uploading, against the same
// while nothing else happens, by turns in one run ("p50-ratio", "p95-ratio"; the aim is 2). Uploads are photos of 3 MB, sent, committed
// and looked into: 8 at a time as fast as this machine takes them ("flat out": the server, the client and the mutations share its
// processors), and 40 phones at 250 kB/s each, which is 10 MB/s ("40 phones").
func BenchmarkMutationsBesideUploads(b *testing.B) {
	for _, load := range []struct {
		name     string
		parallel int
		pace     int // Bytes a second, 0: as fast as it goes.
	}{{"40 phones", 40, 250_000}, {"flat out", 8, 0}} {
		b.Run(load.name, func(b *testing.B) {
			config := testConfig(b)
			config.Edge.Uploads, config.Edge.DeviceUploads = 0, 0 // One device stands for all.
			r := settled(b, config)
			writer := newNoteWriter(b, r)
			sender := newPhotoSender(b, r)
			var idle, busy []time.Duration
			var sent int64
			var sending time.Duration
			writer.sync(b, 50) // Warm.
			for b.Loop() {
				for range 4 {
					idle = append(idle, writer.sync(b, 150)...)
					stop := sender.start(b, load.parallel, load.pace)
					sender.wait()
					begun, before := time.Now(), sender.sent.Load()
					busy = append(busy, writer.sync(b, 150)...)
					sent, sending = sent+sender.sent.Load()-before, sending+time.Since(begun)
					stop()
				}
			}
			slices.Sort(idle)
			slices.Sort(busy)
			at := func(all []time.Duration, share float64) float64 {
				return float64(all[int(share*float64(len(all)-1))]) / 1e6
			}
			b.ReportMetric(at(busy, .5)/at(idle, .5), "p50-ratio")
			b.ReportMetric(at(busy, .95)/at(idle, .95), "p95-ratio")
			b.ReportMetric(at(idle, .5), "idle-p50-ms")
			b.ReportMetric(at(busy, .5), "busy-p50-ms")
			b.ReportMetric(at(idle, .95), "idle-p95-ms")
			b.ReportMetric(at(busy, .95), "busy-p95-ms")
			b.ReportMetric(float64(sent)/1e6/sending.Seconds(), "upload-MB/s")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// noteWriter syncs one note at a time.
type noteWriter struct {
	client fieldsyncv1connect.SyncServiceClient
	task   string
	epoch  uint32
	number uint64
	cursor []byte
}

func newNoteWriter(b *testing.B, r *running) *noteWriter {
	b.Helper()
	task := r.assigned(b)
	p := r.enrol(b, "an", b.TempDir())
	status, err := p.Status()
	if err != nil {
		b.Fatal(err)
	}
	return &noteWriter{client: fieldsyncv1connect.NewSyncServiceClient(p.Client(), r.url), task: task, epoch: status.InstallEpoch}
}

func (w *noteWriter) sync(b *testing.B, times int) (took []time.Duration) {
	b.Helper()
	for range times {
		w.number++
		request := &fieldsyncv1.SyncRequest{Cursor: w.cursor, InstallEpoch: w.epoch, Mutations: []*fieldsyncv1.Mutation{{
			Number: w.number, TaskId: w.task, Intent: &fieldsyncv1.Mutation_AddNote{AddNote: &fieldsyncv1.AddNote{Text: "x"}},
		}}}
		begun := time.Now()
		answer, err := w.client.Sync(b.Context(), request)
		took = append(took, time.Since(begun))
		if err != nil || len(answer.GetVerdicts()) != 1 {
			b.Fatalf("%v, %v", answer, err)
		}
		w.cursor = answer.GetCursor()
	}
	return took
}

// photoSender sends photos of one device.
type photoSender struct {
	r      *running
	base   []byte
	device string
	http   *http.Client
	media  fieldsyncv1connect.MediaServiceClient
	count  atomic.Uint64
	sent   atomic.Int64
}

func newPhotoSender(b *testing.B, r *running) *photoSender {
	b.Helper()
	picture := image.NewGray(image.Rect(0, 0, 2000, 1500))
	random := rand.New(rand.NewPCG(1, 2))
	for i := range picture.Pix {
		picture.Pix[i] = byte(random.Uint32())
	}
	var base bytes.Buffer
	if err := jpeg.Encode(&base, picture, &jpeg.Options{Quality: 90}); err != nil {
		b.Fatal(err)
	}
	p := r.enrol(b, "an", b.TempDir())
	status, err := p.Status()
	if err != nil {
		b.Fatal(err)
	}
	token, err := p.Token(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	httpClient := client(b, false, token)
	return &photoSender{
		r: r, base: base.Bytes(), device: status.DeviceID, http: httpClient,
		media: fieldsyncv1connect.NewMediaServiceClient(httpClient, r.url),
	}
}

// start sends photos until the function that it returns is called, which waits for the last one.
func (s *photoSender) start(b *testing.B, parallel, pace int) (stop func()) {
	b.Helper()
	over := make(chan struct{})
	var all sync.WaitGroup
	for range parallel {
		all.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
					s.photo(b, pace, over)
				}
			}
		})
	}
	return func() {
		close(over)
		all.Wait()
	}
}

// wait lets the load begin: the first megabytes have arrived.
func (s *photoSender) wait() {
	for before := s.sent.Load(); s.sent.Load() < before+4<<20; {
		time.Sleep(10 * time.Millisecond)
	}
}

func (s *photoSender) photo(b *testing.B, pace int, over chan struct{}) {
	b.Helper()
	number := s.count.Add(1)
	content := binary.BigEndian.AppendUint64(bytes.Clone(s.base), number)
	sum, task := sha256.Sum256(content), fmt.Sprintf("photo-%d", number)
	record := &storagev1.TaskRecord{
		Task: &fieldsyncv1.Task{
			Id: task, Ticket: &fieldsyncv1.TicketFacet{UnitId: "city"}, Assignment: &fieldsyncv1.AssignmentFacet{},
			Status: &fieldsyncv1.StatusFacet{State: fieldsyncv1.TaskState_TASK_STATE_STARTED},
			Photos: []*fieldsyncv1.Photo{{
				Id: "p", Sha256: sum[:], SizeBytes: uint64(len(content)), ContentType: "image/jpeg",
				State: fieldsyncv1.PhotoState_PHOTO_STATE_ON_PHONE, DeviceId: s.device, MemberId: "an",
			}},
		},
		Scopes: []string{string(store.UnitScope("city"))},
	}
	err := s.r.store.Update(b.Context(), func(tx *store.Tx) error {
		store.NextRevision(record)
		return store.SaveTask(tx, record, 0)
	})
	if err != nil {
		b.Error(err)
		return
	}
	upload, err := s.media.Declare(b.Context(), &fieldsyncv1.DeclareRequest{TaskId: task, PhotoId: "p"})
	if err != nil {
		b.Error(err)
		return
	}
	request, err := http.NewRequestWithContext(b.Context(), http.MethodPatch, s.r.url+upload.GetUploadPath(), &paced{content: content, pace: pace, sent: &s.sent, over: over})
	if err != nil {
		b.Error(err)
		return
	}
	request.ContentLength = int64(len(content))
	request.Header.Set("Tus-Resumable", "1.0.0")
	request.Header.Set("Content-Type", "application/offset+octet-stream")
	request.Header.Set("Upload-Offset", strconv.Itoa(0))
	response, err := s.http.Do(request)
	if err != nil {
		b.Error(err)
		return
	}
	response.Body.Close()
	if _, err := s.media.Commit(b.Context(), &fieldsyncv1.CommitRequest{UploadId: upload.GetUploadId()}); err != nil {
		b.Error(err)
	}
}

// paced is a body that leaves at a pace, and at once when it is over.
type paced struct {
	content []byte
	at      int
	pace    int
	sent    *atomic.Int64
	over    chan struct{}
}

// Read implements io.Reader.
func (p *paced) Read(part []byte) (int, error) {
	if p.pace > 0 {
		part = part[:min(len(part), p.pace/20)]
		select {
		case <-p.over:
		case <-time.After(time.Second / 20):
		}
	}
	n := copy(part, p.content[p.at:])
	p.at += n
	p.sent.Add(int64(n))
	if p.at == len(p.content) {
		return n, io.EOF
	}
	return n, nil
}
