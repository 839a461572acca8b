package media_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
)

// Protects: taking photos in, 8 at a time and 3 MB each, keeps at least half the pace of writing, syncing and hashing the same
// bytes on the same disk ("ratio"), looking into them included as far as it happens meanwhile ("looked" is the share that was).
// Floor and figure are taken in one run, in turns.
func BenchmarkIngest(b *testing.B) {
	const parallel, each, rounds = 8, 4, 4
	base := sceneJPEG(b, 7, 4000, 96)
	base = append(base, make([]byte, max(0, 3<<20-len(base)))...)
	h := newHouse(b, newFolder(b))
	disk := b.TempDir()
	count := 0
	photo := func() []byte { // Other bytes behind the picture make another photo.
		count++
		return binary.BigEndian.AppendUint64(bytes.Clone(base), uint64(count))
	}
	var floor, ingest time.Duration
	var all float64
	for b.Loop() {
		for range rounds {
			var photos [parallel * each][]byte
			var uploads [parallel * each]*fieldsyncv1.DeclareResponse
			for i := range photos {
				photos[i] = photo()
				task := fmt.Sprintf("b%d", count)
				h.task(task, photos[i])
				uploads[i] = h.as("phone-1").declare(task, "p0")
			}
			floor += eachAtOnce(parallel, func(i int) {
				for _, content := range photos[i*each : (i+1)*each] {
					writeAndHash(b, disk, content)
				}
			})
			ingest += eachAtOnce(parallel, func(i int) {
				phone := h.as("phone-1")
				for j := i * each; j < (i+1)*each; j++ {
					phone.send(uploads[j].GetUploadPath(), photos[j])
					phone.commit(uploads[j].GetUploadId())
				}
			})
			all += float64(len(photos) * len(base))
		}
	}
	looked := 0
	for i := range count {
		if h.load(fmt.Sprintf("b%d", i+1)).GetTask().GetPhotos()[0].GetState() == verified {
			looked++
		}
	}
	b.ReportMetric(floor.Seconds()/ingest.Seconds(), "ratio")
	b.ReportMetric(all/ingest.Seconds()/1e6, "ingest-MB/s")
	b.ReportMetric(all/floor.Seconds()/1e6, "floor-MB/s")
	b.ReportMetric(float64(looked)/float64(count), "looked")
}

func eachAtOnce(parallel int, work func(i int)) time.Duration {
	begun := time.Now()
	var all sync.WaitGroup
	for i := range parallel {
		all.Go(func() { work(i) })
	}
	all.Wait()
	return time.Since(begun)
}

// writeAndHash is what cannot be spared: the bytes on the disk, synced, and their hash.
func writeAndHash(b *testing.B, dir string, content []byte) {
	b.Helper()
	sum := sha256.Sum256(content)
	file, err := os.Create(filepath.Join(dir, fmt.Sprintf("%x", sum)))
	if err != nil {
		b.Error(err)
		return
	}
	defer file.Close()
	if _, err := file.Write(content); err != nil {
		b.Error(err)
	}
	if err := file.Sync(); err != nil {
		b.Error(err)
	}
}

// Protects: an upload under way costs the server the same memory whatever its size. Uploads of 1 and of 40 MB, 40 of each, are
// held in the middle; "KiB/upload" is what the process holds more than before, the client's side of the connection included.
func BenchmarkMemoryOfAnUpload(b *testing.B) {
	for _, size := range []int{1 << 20, 40 << 20} {
		b.Run(fmt.Sprintf("%dMB", size>>20), func(b *testing.B) {
			h := newHouse(b, newFolder(b))
			photo := make([]byte, size)
			const count = 40
			var held []func()
			for b.Loop() {
				before := heap()
				for i := range count {
					binary.BigEndian.PutUint64(photo, uint64(len(held)+i+1))
					task := fmt.Sprintf("m%d-%d", len(held), i)
					h.task(task, photo)
					path := h.as("phone-1").declare(task, "p0").GetUploadPath()
					connection := h.as("phone-1").begin(path, photo, 0, size/2)
					h.spooled(path, size/2)
					held = append(held, func() { connection.Close() })
				}
				b.ReportMetric(float64(heap()-before)/count/1024, "KiB/upload")
			}
			for _, end := range held {
				end()
			}
		})
	}
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapInuse + stats.StackInuse)
}
