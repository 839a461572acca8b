package sync

import (
	"os"
	"strings"
	"testing"
)

// Protects app developers: docs/protocol.md names each verdict code with its kind.
func TestVerdictsAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, j := range []judgement{
		applied, keptLate, keptEnded, already, alreadyEnded, reusedNumber, unknownIntent, invalid, taskFull, photosMissing, claimInvalid,
		afterMove, forgotten, maybeLost, tooLarge,
		unknownTask, unknownItem, notStarted, alreadyStarted, photoIDTaken,
	} {
		kind := strings.ToLower(strings.TrimPrefix(j.kind.String(), "VERDICT_KIND_"))
		found := false
		for line := range strings.Lines(string(text)) {
			found = found || strings.Contains(line, "`"+j.code+"`") && strings.Contains(line, kind)
		}
		if !found {
			t.Errorf("no line names `%s` as %s", j.code, kind)
		}
	}
}
