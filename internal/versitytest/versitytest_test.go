package versitytest_test

import (
	"net"
	"testing"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/cong1022/fieldsync/internal/toolserver"
	"github.com/cong1022/fieldsync/internal/versitytest"
)

// Protects: the server is a real S3 with the keys it names, and nothing of it is left when its test has ended.
func TestServerLivesAsLongAsItsTest(t *testing.T) {
	if testing.Short() {
		t.Skip("left out by -short: builds versitygw on a new machine")
	}
	var server toolserver.Server
	t.Run("running", func(t *testing.T) {
		server = versitytest.Start(t)
		client, err := minio.New(server.Endpoint, &minio.Options{
			Creds: credentials.NewStaticV4(server.AccessKey, server.SecretKey, ""),
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := client.MakeBucket(t.Context(), "evidence", minio.MakeBucketOptions{ObjectLocking: true}); err != nil {
			t.Fatalf("a bucket with object lock: %v", err)
		}
	})
	connection, err := new(net.Dialer).DialContext(t.Context(), "tcp", server.Endpoint)
	if err == nil {
		connection.Close()
		t.Fatalf("the server still listens on %s after its test", server.Endpoint)
	}
}
