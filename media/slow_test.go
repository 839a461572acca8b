package media_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
)

// Protects: 200 phones at once, each on a line of 20 kB/s that is cut twice in the middle: every photo arrives, whole.
func TestTwoHundredSlowUploads(t *testing.T) {
	if testing.Short() {
		t.Skip("left out by -short: takes some ten seconds of waiting for slow lines")
	}
	const phones = 200
	h := newHouse(t, newFolder(t))
	base := sceneJPEG(t, 21, 640, 90)
	var photos [phones][]byte
	var uploads [phones]*fieldsyncv1.DeclareResponse
	for i := range phones {
		photos[i] = binary.BigEndian.AppendUint64(bytes.Clone(base), uint64(i)) // Bytes behind the picture make another photo.
		task := fmt.Sprintf("s%d", i)
		h.task(task, photos[i])
		uploads[i] = h.as("phone-1").declare(task, "p0")
	}
	var all sync.WaitGroup
	var cuts atomic.Int32
	for i := range phones {
		line := startSlowLine(t, h.server.Listener.Addr().String(), len(photos[i])/3, &cuts)
		all.Go(func() {
			if err := sendOver(t.Context(), line, uploads[i].GetUploadPath(), photos[i]); err != nil {
				t.Errorf("photo %d: %v", i, err)
			}
		})
	}
	all.Wait()
	if got := cuts.Load(); got != 2*phones {
		t.Errorf("%d cuts, want %d: the lines were too good to show anything", got, 2*phones)
	}
	for i := range phones {
		h.as("phone-1").commit(uploads[i].GetUploadId())
	}
	eventually(t, "all photos are verified", func() bool {
		for i := range phones {
			if h.load(fmt.Sprintf("s%d", i)).GetTask().GetPhotos()[0].GetState() != verified {
				return false
			}
		}
		return true
	})
	for _, i := range []int{0, phones / 2, phones - 1} {
		download(t, h, fmt.Sprintf("s%d", i), photos[i])
	}
	mustBeEmpty(t, h.spool)
}

// startSlowLine is a proxy that passes 20 kB/s on, and cuts its first two connections that bring so many bytes.
func startSlowLine(t *testing.T, server string, after int, cuts *atomic.Int32) string {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	t.Cleanup(func() {
		listener.Close()
		all.Wait()
	})
	all.Go(func() {
		for left := 2; ; {
			down, err := listener.Accept()
			if err != nil {
				return
			}
			up, err := new(net.Dialer).DialContext(t.Context(), "tcp", server)
			if err != nil {
				down.Close()
				continue
			}
			all.Go(func() {
				_, _ = io.Copy(down, up)
				down.Close()
			})
			// One connection at a time: a phone has one.
			passed := 0
			for part := make([]byte, 1000); ; {
				n, err := down.Read(part)
				if passed += n; left > 0 && passed > after {
					left--
					cuts.Add(1)
					break
				}
				if _, writeErr := up.Write(part[:n]); err != nil || writeErr != nil {
					break
				}
				time.Sleep(time.Duration(n) * time.Second / 20_000)
			}
			down.Close()
			up.Close()
		}
	})
	return listener.Addr().String()
}

// sendOver is a client of tus on a bad line: it asks where its bytes end, and sends the rest.
func sendOver(ctx context.Context, address, path string, photo []byte) error {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	ask := func(method string, offset int, body io.Reader) (int, error) {
		request, err := http.NewRequestWithContext(ctx, method, "http://"+address+path, body)
		if err != nil {
			return 0, err
		}
		request.Header.Set("Authorization", "Bearer phone-1")
		request.Header.Set("Tus-Resumable", "1.0.0")
		request.Header.Set("Content-Type", "application/offset+octet-stream")
		request.Header.Set("Upload-Offset", strconv.Itoa(offset))
		response, err := client.Do(request)
		if err != nil {
			return 0, err
		}
		defer response.Body.Close()
		if response.StatusCode/100 != 2 {
			return 0, fmt.Errorf("%s: %d", method, response.StatusCode)
		}
		return strconv.Atoi(response.Header.Get("Upload-Offset"))
	}
	var failed error
	for range 20 {
		at, err := ask(http.MethodHead, 0, nil)
		if err == nil && at < len(photo) {
			at, err = ask(http.MethodPatch, at, bytes.NewReader(photo[at:]))
		}
		if err == nil && at == len(photo) {
			return nil
		}
		failed = err
	}
	return fmt.Errorf("twenty attempts: %w", failed)
}
