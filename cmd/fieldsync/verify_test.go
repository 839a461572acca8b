package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cong1022/fieldsync/internal/demo"
	"github.com/cong1022/fieldsync/proof/receipt"
)

// at runs the command line and returns what a person sees.
func at(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errOut bytes.Buffer
	status = Run(t.Context(), args, strings.NewReader(""), &out, &errOut)
	return status, out.String(), errOut.String()
}

// Protects what the demo leaves, and what whoever gets it years later does with it: each receipt verifies with its photos, offline,
// in both languages; a changed bit of receipt, photo or key is told of, and the exit status says so.
func TestVerifyWhatTheDemoLeaves(t *testing.T) {
	data := t.TempDir()
	if err := demo.Run(t.Context(), demo.Options{Data: data, Listen: "127.0.0.1:0", Once: true, Lang: "en", Out: &bytes.Buffer{}}); err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(data, "log.pub")
	receipts, err := filepath.Glob(filepath.Join(data, "receipts", "*.tlog-proof"))
	if err != nil || len(receipts) != 2 {
		t.Fatalf("the demo left the receipts %v, %v", receipts, err)
	}
	photos, err := filepath.Glob(filepath.Join(data, "photo-*.jpg"))
	if err != nil || len(photos) < 4 {
		t.Fatalf("the demo left the photos %v, %v", photos, err)
	}
	var matched []string
	for _, file := range receipts {
		for lang, want := range map[string][]string{
			"vi": {"✓ ĐÃ CHỨNG MINH", "đã niêm phong", "KHÔNG được chứng minh:"},
			"en": {"✓ PROVEN", "sealed", "NOT proven:", "who held the phone"},
		} {
			status, out, errOut := at(t, "verify", "--key", key, "--lang", lang, file)
			if status != 0 || errOut != "" {
				t.Errorf("%s: exit status %d\n%s", lang, status, errOut)
			}
			for _, text := range want {
				if !strings.Contains(out, text) {
					t.Errorf("%s: %q is missing in\n%s", lang, text, out)
				}
			}
			for line := range strings.Lines(out) { // Times say the same on every machine.
				if label := strings.TrimSpace(line); (strings.HasPrefix(label, "Accepted") || strings.HasPrefix(label, "Sealed") || strings.HasPrefix(label, "Due")) && !strings.Contains(line, "+07:00") {
					t.Errorf("a time without its offset: %s", line)
				}
			}
		}
		for _, photo := range photos {
			switch status, out, _ := at(t, "verify", "--key", key, "--lang", "en", file, photo); {
			case status == 0 && strings.Contains(out, "✓ "+photo+": bit for bit"):
				matched = append(matched, photo)
			case status == 0 || !strings.Contains(out, "✗ "+photo+": The receipt has no such photo"):
				t.Errorf("%s: exit status %d\n%s", photo, status, out)
			}
		}
	}
	if slices.Sort(matched); len(slices.Compact(slices.Clone(matched))) != 4 || len(matched) != 4 {
		t.Errorf("the photos %v match, four do", matched)
	}

	changed := filepath.Join(t.TempDir(), "changed")
	flipped := func(file string, at int) string {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		content[at] ^= 1
		if err := os.WriteFile(changed, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return changed
	}
	whole, err := os.ReadFile(receipts[0])
	if err != nil {
		t.Fatal(err)
	}
	for i := range whole {
		status, out, errOut := at(t, "verify", "--key", key, "--lang", "en", flipped(receipts[0], i))
		if status != 1 || strings.Contains(out, "PROVEN:") || !strings.HasPrefix(errOut, "fieldsync: ") || !strings.HasSuffix(errOut, "]\n") {
			t.Fatalf("byte %d was changed: exit status %d\n%s%s", i, status, out, errOut)
		}
	}
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"another key":     {[]string{"--key", flipped(key, 40), receipts[0]}, "[key_file_invalid]"},
		"no key":          {[]string{receipts[0]}, `required flag(s) "key" not set`},
		"no such receipt": {[]string{"--key", key, filepath.Join(data, "none")}, "no such file"},
		"no such photo":   {[]string{"--key", key, receipts[0], filepath.Join(data, "none")}, "no such file"},
		"a photo as the receipt": {
			[]string{"--key", key, photos[0]}, "[receipt_malformed]",
		},
	} {
		if status, _, errOut := at(t, append([]string{"verify", "--lang", "en"}, c.args...)...); status != 1 || !strings.Contains(errOut, c.want) {
			t.Errorf("%s: exit status %d, %q is missing in\n%s", name, status, c.want, errOut)
		}
	}
	status, out, _ := at(t, "verify", "--key", key, "--lang", "en", receipts[0], flipped(matched[0], 100))
	if status != 1 || !strings.Contains(out, "✗ "+changed) {
		t.Errorf("a changed photo: exit status %d\n%s", status, out)
	}

	// A witness who was demanded must have cosigned, with that very key.
	witnessKey := filepath.Join(t.TempDir(), "witness.key")
	status, public, errOut := at(t, "log", "new-witness", "1022.example/w", witnessKey)
	if public = strings.TrimSpace(public); status != 0 {
		t.Fatalf("exit status %d\n%s", status, errOut)
	}
	if status, _, errOut := at(t, "log", "new-witness", "1022.example/w", witnessKey); status != 1 || !strings.Contains(errOut, "exists") {
		t.Errorf("over a key that is there: exit status %d\n%s", status, errOut)
	}
	verify := func(text []byte, want string, more ...string) {
		t.Helper()
		file := filepath.Join(t.TempDir(), "receipt")
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		status, out, errOut := at(t, append([]string{"verify", "--key", key, "--lang", "en", file}, more...)...)
		if !strings.Contains(out+errOut, want) || (status == 0) != (errOut == "") {
			t.Errorf("%v: exit status %d, %q is missing in\n%s%s", more, status, want, out, errOut)
		}
	}
	_, another, _ := at(t, "log", "new-witness", "1022.example/w", filepath.Join(t.TempDir(), "key"))
	cosigned := cosign(t, whole, witnessKey)
	verify(whole, "[witness_missing]", "--witness", public)
	verify(cosigned, "[witness_missing]", "--witness", strings.TrimSpace(another))
	verify(cosigned, "1022.example/w", "--witness", public)
	verify(cosigned, "[witness_missing]", "--witness", public, "--witness", strings.TrimSpace(another))
	verify(cosigned, "[witness_key_invalid]", "--witness", "1022.example/w")

	// The log in the folder is what the receipts say it was.
	args := append([]string{"log", "check", "--lang", "en", "--key", key, "--data", filepath.Join(data, "server")}, receipts...)
	if status, out, errOut := at(t, args...); status != 0 || !strings.Contains(out, "2 earlier checkpoints are all the log's beginning") {
		t.Errorf("exit status %d\n%s%s", status, out, errOut)
	}
	// Another server's is not.
	other := t.TempDir()
	if err := demo.Run(t.Context(), demo.Options{Data: other, Listen: "127.0.0.1:0", Once: true, Lang: "en", Out: &bytes.Buffer{}}); err != nil {
		t.Fatal(err)
	}
	args = []string{"log", "check", "--lang", "en", "--key", key, "--data", filepath.Join(other, "server"), receipts[0]}
	if status, _, errOut := at(t, args...); status != 1 || !strings.Contains(errOut, "[log_inconsistent]") {
		t.Errorf("another server's log: exit status %d\n%s", status, errOut)
	}
	if status, _, errOut := at(t, "log", "check", "--key", key, "--data", filepath.Join(data, "none")); status != 1 || !strings.Contains(errOut, "no such file") {
		t.Errorf("no such folder: exit status %d\n%s", status, errOut)
	}
}

// cosign lets a witness cosign a receipt's checkpoint.
func cosign(t *testing.T, text []byte, secretFile string) []byte {
	t.Helper()
	secret, err := os.ReadFile(secretFile)
	if err != nil {
		t.Fatal(err)
	}
	witness, err := receipt.ParseWitnessSecret(string(secret))
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := receipt.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	if parsed.Checkpoint, err = witness.Cosign(parsed.Checkpoint, time.Unix(1764000000, 0)); err != nil {
		t.Fatal(err)
	}
	return parsed.Format()
}
