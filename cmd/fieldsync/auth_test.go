package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// Protects: docs/rights.md is what the server enforces. Where it fails, `make generate` writes it anew.
func TestRightsDocument(t *testing.T) {
	var now bytes.Buffer
	check(t, writeRights(&now))
	written, err := os.ReadFile(filepath.Join("..", "..", "docs", "rights.md"))
	check(t, err)
	if !bytes.Equal(written, now.Bytes()) {
		t.Error("docs/rights.md is stale: go run ./cmd/fieldsync auth matrix --markdown > docs/rights.md")
	}
}
