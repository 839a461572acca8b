// Package versitytest gives tests another real S3 server than MinIO: the Versity S3 Gateway over a folder, built from module
// source and run on the loopback interface. What holds on both, holds by the protocol.
package versitytest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/cong1022/fieldsync/internal/toolserver"
)

// Start runs a gateway of the test's own, with versions kept, which object lock needs: see toolserver.Start. The test's temporary
// folder must be on a file system with extended attributes.
func Start(tb testing.TB) toolserver.Server {
	tb.Helper()
	return toolserver.Start(tb, toolserver.Tool{
		Name: "versitygw", Package: "github.com/versity/versitygw/cmd/versitygw", Module: "github.com/versity/versitygw",
		BuildTime: "about 3 minutes", HealthPath: "/health",
		Command: func(address, home string, keys toolserver.Server) (args, env []string, err error) {
			data, versions := filepath.Join(home, "data"), filepath.Join(home, "versions")
			for _, folder := range []string{data, versions} {
				if err := os.Mkdir(folder, 0o700); err != nil {
					return nil, nil, err
				}
			}
			args = []string{"--port", address, "--health", "/health", "--quiet", "posix", "--versioning-dir", versions, data}
			return args, []string{"ROOT_ACCESS_KEY=" + keys.AccessKey, "ROOT_SECRET_KEY=" + keys.SecretKey}, nil
		},
	})
}
