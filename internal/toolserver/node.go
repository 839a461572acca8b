package toolserver

import (
	"os"
	"os/exec"
	"testing"
)

// NeedNode leaves a test out where Node.js or npm is missing, and says so on the terminal: Go alone must do for the tests. In
// CI, where the environment variable CI is set, their absence is a failure.
func NeedNode(tb testing.TB) {
	tb.Helper()
	for _, command := range []string{"node", "npm"} {
		if _, err := exec.LookPath(command); err == nil {
			continue
		}
		if os.Getenv("CI") != "" {
			tb.Fatalf("%s was not found: %s runs a client from npm; install Node.js 20 or later", command, tb.Name())
		}
		tellf("SKIPPED: %s runs a client from npm, and %s was not found (Node.js 20 or later)", tb.Name(), command)
		tb.Skipf("SKIPPED: %s was not found (Node.js 20 or later)", command)
	}
}
