package receipt_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/proof/receipt"
)

// Protects whoever checks checkpoints, the server when a witness brings one included: nothing that the log did not sign is taken, and a
// witness cosigns no text that is no checkpoint.
func FuzzCheckpoint(f *testing.F) {
	keys := keysOf(f, vector(f, "log.pub"))
	original := vector(f, "later.checkpoint")
	body, _, _ := bytes.Cut(original, []byte("\n\n"))
	f.Add(original)
	f.Add(append(bytes.Clone(original), "— another.example/witness AAAAAAAAAAAA\n"...))
	f.Add(append(bytes.Clone(body), "\n\n"...))
	f.Add([]byte("\n\n"))
	f.Add([]byte("a\n9007199254740992\nAAAA\n\n— a AAAAAAAA\n"))
	secret, _, err := receipt.NewWitness("1022.example/witness")
	if err != nil {
		f.Fatal(err)
	}
	witness, err := receipt.ParseWitnessSecret(secret)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		signed, err := receipt.OpenCheckpoint(text, keys)
		if err == nil && signed.Text() != string(body)+"\n" {
			t.Fatalf("%q is taken", text)
		} else if err != nil && fault.CodeOf(err) == "" {
			t.Fatalf("no fault: %v", err)
		}
		if cosigned, err := witness.Cosign(text, time.Unix(1_800_000_000, 0)); err == nil && bytes.Count(cosigned, []byte("\n")) < 5 {
			t.Fatalf("%q is cosigned", text)
		} else if err != nil && fault.CodeOf(err) == "" {
			t.Fatalf("no fault: %v", err)
		}
	})
}

// Protects key files, and the configuration's witnesses: whatever stands there is a key or is named as none.
func FuzzKeys(f *testing.F) {
	f.Add(string(vector(f, "log.pub")))
	secret, public, err := receipt.NewWitness("1022.example/witness")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(public)
	f.Add(secret)
	f.Add("# none\n\n++\na+00000000+\na+zzzzzzzz+AAAA\n")
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := receipt.ParseKeys([]byte(text)); err != nil && fault.CodeOf(err) != "key_file_invalid" {
			t.Fatal(err)
		}
		if verifier, err := receipt.ParseWitness(text); err != nil && fault.CodeOf(err) != "witness_key_invalid" {
			t.Fatal(err)
		} else if err == nil && (verifier.Name() == "" || strings.ContainsAny(verifier.Name(), " +\n")) {
			t.Fatalf("%q is a witness by the name %q", text, verifier.Name())
		}
		if _, err := receipt.ParseWitnessSecret(text); err != nil {
			if fault.CodeOf(err) != "witness_key_invalid" || len(text) > 20 && strings.Contains(err.Error(), text) {
				t.Fatal(err)
			}
		}
	})
}
