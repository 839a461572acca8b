package server_test

import (
	"strings"
	"testing"

	"github.com/cong1022/fieldsync/internal/miniotest"
	"github.com/cong1022/fieldsync/internal/server"
	"github.com/cong1022/fieldsync/media/s3"
)

// Protects: media.s3.lock_years reaches the object store: a bucket that the server makes has object lock, and one without it
// is an error at the start.
func TestObjectLockIsConfigured(t *testing.T) {
	if testing.Short() {
		t.Skip("left out by -short: runs a real object store, which is built from source on a new machine")
	}
	minio := miniotest.Start(t)
	config := server.Config{Data: t.TempDir(), Media: server.MediaConfig{Store: "s3", S3: server.S3Config{
		Endpoint: minio.Endpoint, AccessKey: minio.AccessKey, SecretKey: minio.SecretKey, Bucket: "locked", LockYears: 7,
	}}}
	blobs, err := server.OpenBlobs(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	if bucket, ok := blobs.(*s3.Blobs); !ok || !bucket.Can().ObjectLock {
		t.Errorf("the bucket was made without object lock: %+v", blobs)
	}
	config.Media.S3.Bucket, config.Media.S3.LockYears = "unlocked", 0
	if _, err := server.OpenBlobs(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	config.Media.S3.LockYears = 7
	if _, err := server.OpenBlobs(t.Context(), config); err == nil || !strings.Contains(err.Error(), "object lock") {
		t.Errorf("a bucket without object lock, where one is wanted: %v", err)
	}
}
