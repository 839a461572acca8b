package s3_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/cong1022/fieldsync/internal/miniotest"
	"github.com/cong1022/fieldsync/internal/toolserver"
	"github.com/cong1022/fieldsync/internal/versitytest"
	"github.com/cong1022/fieldsync/media"
	"github.com/cong1022/fieldsync/media/blobtest"
	"github.com/cong1022/fieldsync/media/s3"
)

const bucket = "evidence"

// Protects: the contract of media.Blobs on real object stores, locked or not, and that what they can do is found out.
func TestBlobs(t *testing.T) {
	onEachServer(t, func(t *testing.T, server toolserver.Server) {
		t.Helper()
		blobs := open(t, server)
		if want := (s3.Capabilities{WriteOnce: true, Checksum: true}); blobs.Can() != want {
			t.Errorf("found %+v, want %+v", blobs.Can(), want)
		}
		blobtest.Run(t, blobs)
	})
}

// Protects: an original under object lock cannot be removed before its time, not by the server's own key either.
func TestObjectLock(t *testing.T) {
	onEachServer(t, func(t *testing.T, server toolserver.Server) {
		t.Helper()
		o := options(server)
		o.LockYears = 10
		blobs, err := s3.Open(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		if want := (s3.Capabilities{WriteOnce: true, Checksum: true, ObjectLock: true}); blobs.Can() != want {
			t.Errorf("found %+v, want %+v", blobs.Can(), want)
		}
		content := []byte("a photo")
		sum := sha256.Sum256(content)
		for range 2 {
			if err := blobs.Put(t.Context(), sum, bytes.NewReader(content)); err != nil {
				t.Fatal(err)
			}
		}
		client, err := minio.New(server.Endpoint, &minio.Options{Creds: credentials.NewStaticV4(server.AccessKey, server.SecretKey, "")})
		if err != nil {
			t.Fatal(err)
		}
		key := "cas/" + hex.EncodeToString(sum[:])
		info, err := client.StatObject(t.Context(), bucket, key, minio.StatObjectOptions{})
		if err != nil {
			t.Fatal(err)
		}
		// By the object's own headers: versitygw's answer about retention is one that minio-go does not read.
		until, err := time.Parse(time.RFC3339, info.Metadata.Get("X-Amz-Object-Lock-Retain-Until-Date"))
		if mode := info.Metadata.Get("X-Amz-Object-Lock-Mode"); err != nil || mode != "GOVERNANCE" || until.Before(time.Now().AddDate(9, 11, 0)) {
			t.Fatalf("retention %q until %v, %v", mode, until, err)
		}
		if err := client.RemoveObject(t.Context(), bucket, key, minio.RemoveObjectOptions{VersionID: info.VersionID}); err == nil {
			t.Error("a locked original was removed")
		}
		// A bucket without the lock cannot get it later: that is said at the start.
		o = options(server)
		o.Bucket = "unlocked"
		if _, err := s3.Open(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		o.LockYears = 1
		if _, err := s3.Open(t.Context(), o); err == nil || !strings.Contains(err.Error(), "object lock") {
			t.Errorf("lock in a bucket without: %v", err)
		}
	})
}

// onEachServer runs a test over each real object store.
func onEachServer(t *testing.T, test func(*testing.T, toolserver.Server)) {
	t.Helper()
	for name, start := range map[string]func(testing.TB) toolserver.Server{"MinIO": miniotest.Start, "versitygw": versitytest.Start} {
		t.Run(name, func(t *testing.T) {
			if testing.Short() {
				t.Skip("left out by -short: runs a real object store, which is built from source on a new machine")
			}
			test(t, start(t))
		})
	}
}

// Protects: a legal hold keeps an original from being removed, without any retention, until it is lifted.
func TestLegalHold(t *testing.T) {
	onEachServer(t, func(t *testing.T, server toolserver.Server) {
		t.Helper()
		client, err := minio.New(server.Endpoint, &minio.Options{Creds: credentials.NewStaticV4(server.AccessKey, server.SecretKey, "")})
		if err != nil {
			t.Fatal(err)
		}
		if err := client.MakeBucket(t.Context(), bucket, minio.MakeBucketOptions{ObjectLocking: true}); err != nil {
			t.Fatal(err)
		}
		blobs := open(t, server)
		content := []byte("a photo in court")
		sum := sha256.Sum256(content)
		if err := blobs.Put(t.Context(), sum, bytes.NewReader(content)); err != nil {
			t.Fatal(err)
		}
		if err := blobs.Hold(t.Context(), sum, true); err != nil {
			t.Fatal(err)
		}
		if err := blobs.Remove(t.Context(), sum); !errors.Is(err, media.ErrBlobLocked) {
			t.Errorf("removing what is held: %v, want ErrBlobLocked", err)
		}
		kept, _, err := blobs.Open(t.Context(), sum)
		if err != nil {
			t.Fatalf("what is held is gone: %v", err)
		}
		kept.Close()
		if err := blobs.Hold(t.Context(), sum, false); err != nil {
			t.Fatal(err)
		}
		if err := blobs.Remove(t.Context(), sum); err != nil {
			t.Errorf("removing what is no longer held: %v", err)
		}
		if err := blobs.Hold(t.Context(), sha256.Sum256([]byte("nobody has put this")), true); !errors.Is(err, media.ErrBlobNotFound) {
			t.Errorf("holding what is not there: %v", err)
		}
	})
}

// Protects: an original is written once, a second Put included, and the store has checked its SHA-256 on the way in.
func TestWrittenOnce(t *testing.T) {
	server := start(t)
	blobs := open(t, server)
	client, err := minio.New(server.Endpoint, &minio.Options{
		Creds: credentials.NewStaticV4(server.AccessKey, server.SecretKey, ""),
	})
	if err != nil {
		t.Fatal(err)
	}
	// With versions kept, a second write would show.
	if err := client.EnableVersioning(t.Context(), bucket); err != nil {
		t.Fatal(err)
	}
	content := []byte("a photo")
	sum := sha256.Sum256(content)
	for range 2 {
		if err := blobs.Put(t.Context(), sum, bytes.NewReader(content)); err != nil {
			t.Fatal(err)
		}
	}
	versions := 0
	for object := range client.ListObjects(t.Context(), bucket, minio.ListObjectsOptions{WithVersions: true, Recursive: true}) {
		if object.Err != nil {
			t.Fatal(object.Err)
		}
		if strings.HasPrefix(object.Key, "probe/") {
			continue
		}
		if versions++; object.Key != "cas/"+hex.EncodeToString(sum[:]) {
			t.Errorf("an object under %q", object.Key)
		}
	}
	if versions != 1 {
		t.Errorf("%d versions of one original, want 1", versions)
	}
	info, err := client.StatObject(t.Context(), bucket, "cas/"+hex.EncodeToString(sum[:]), minio.StatObjectOptions{Checksum: true})
	if err != nil {
		t.Fatal(err)
	}
	if want := base64.StdEncoding.EncodeToString(sum[:]); info.ChecksumSHA256 != want {
		t.Errorf("the store's checksum is %q, want %q", info.ChecksumSHA256, want)
	}
}

// Protects: whoever sets the store up wrongly learns it at the start, not with the first photo.
func TestOpenFails(t *testing.T) {
	server := start(t)
	for name, change := range map[string]func(*s3.Options){
		"wrong secret": func(o *s3.Options) { o.SecretKey = "wrong-secret-key" },
		"bad bucket":   func(o *s3.Options) { o.Bucket = "No Bucket" },
		"a URL":        func(o *s3.Options) { o.Endpoint = "http://" + o.Endpoint + "/path" },
	} {
		t.Run(name, func(t *testing.T) {
			o := options(server)
			change(&o)
			if _, err := s3.Open(t.Context(), o); err == nil {
				t.Fatal("opened")
			}
		})
	}
}

func start(t *testing.T) miniotest.Server {
	t.Helper()
	if testing.Short() {
		t.Skip("left out by -short: runs a real MinIO, which is built from source on a new machine")
	}
	return miniotest.Start(t)
}

func options(server miniotest.Server) s3.Options {
	return s3.Options{
		Endpoint: server.Endpoint, Bucket: bucket,
		AccessKey: server.AccessKey, SecretKey: server.SecretKey, PlainHTTP: true,
	}
}

func open(t *testing.T, server miniotest.Server) *s3.Blobs {
	t.Helper()
	blobs, err := s3.Open(t.Context(), options(server))
	if err != nil {
		t.Fatal(err)
	}
	return blobs
}
