package server

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/cong1022/fieldsync/internal/toolserver"
)

// Protects: the example for app developers, examples/typescript, generates, compiles, and enrols, refreshes and syncs against a real
// server, with the published connect-es and WebCrypto.
func TestTypeScriptExample(t *testing.T) {
	if testing.Short() {
		t.Skip("left out under -short: runs npm, buf and the TypeScript compiler")
	}
	toolserver.NeedNode(t)
	r := settled(t, testConfig(t))
	r.assigned(t)
	code, _, err := r.auth.IssueCodeFor(t.Context(), "an", "")
	if err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(root, "examples", "typescript")
	for _, step := range [][]string{{"ci", "--ignore-scripts", "--loglevel=error"}, {"run", "-s", "generate"}, {"run", "-s", "build"}, {"test", "-s"}} {
		npm := exec.CommandContext(t.Context(), "npm", step...)
		npm.Dir, npm.Env = folder, append(os.Environ(), "FIELDSYNC_URL="+r.url, "FIELDSYNC_CODE="+code)
		if said, err := npm.CombinedOutput(); err != nil {
			t.Fatalf("npm %v: %v\n%s", step, err, said)
		}
	}
}
