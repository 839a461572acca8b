package backup_test

import (
	"testing"

	"filippo.io/age"

	"github.com/cong1022/fieldsync/backup"
	"github.com/cong1022/fieldsync/internal/miniotest"
)

// Protects: the same over a real object store.
func TestRestoreFromS3(t *testing.T) {
	if testing.Short() {
		t.Skip("left out by -short: builds MinIO on a new machine")
	}
	server := miniotest.Start(t)
	target, err := backup.OpenS3(t.Context(), backup.S3Options{
		Endpoint: server.Endpoint, Bucket: "fieldsync-backup", AccessKey: server.AccessKey, SecretKey: server.SecretKey, PlainHTTP: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	testRestore(t, target, []age.Recipient{identity.Recipient()}, identity)
}
