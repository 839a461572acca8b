// Package miniotest gives tests a real S3 server: MinIO, built from module source and run on the loopback interface.
//
// MinIO is under the AGPL. It is a tool that tests run, never a library: the nested module internal/tools/minio pins it, and
// nothing of it is linked into fieldsync.
package miniotest

import (
	"path/filepath"
	"testing"

	"github.com/cong1022/fieldsync/internal/toolserver"
)

// Server is a running MinIO with one empty drive: no bucket exists yet.
type Server = toolserver.Server

// Start runs a MinIO of the test's own: see toolserver.Start.
func Start(tb testing.TB) Server {
	tb.Helper()
	return toolserver.Start(tb, toolserver.Tool{
		Name: "minio", Package: "github.com/minio/minio", Module: "github.com/minio/minio", BuildTime: "about 3 to 6 minutes",
		HealthPath: "/minio/health/cluster",
		Command: func(address, home string, keys Server) (args, env []string, err error) {
			args = []string{"server", "--address", address, "--certs-dir", filepath.Join(home, "certs"), filepath.Join(home, "data")}
			env = []string{"MINIO_ROOT_USER=" + keys.AccessKey, "MINIO_ROOT_PASSWORD=" + keys.SecretKey, "MINIO_BROWSER=off", "MINIO_UPDATE=off"}
			return args, env, nil
		},
	})
}
