package receipt_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/proof/receipt"
)

func vector(tb testing.TB, name string) []byte {
	tb.Helper()
	text, err := os.ReadFile(filepath.Join("..", "testdata", name))
	if err != nil {
		tb.Fatal(err)
	}
	return text
}

func keysOf(tb testing.TB, text ...[]byte) receipt.Keys {
	tb.Helper()
	keys, err := receipt.ParseKeys(bytes.Join(text, []byte("\n")))
	if err != nil {
		tb.Fatal(err)
	}
	return keys
}

func wantCode(tb testing.TB, what string, err error, code string) {
	tb.Helper()
	if fault.CodeOf(err) != code || (code == "") != (err == nil) {
		tb.Errorf("%s: %v, want the code %q", what, err, code)
	}
}

// Protects the receipt itself: each bit of the file counts. None can be flipped, no byte left out, doubled or added.
func TestEveryBitCounts(t *testing.T) {
	keys := keysOf(t, vector(t, "log.pub"))
	for _, name := range []string{"sealed-0.tlog-proof", "sealed-6.tlog-proof", "claimed.tlog-proof"} {
		text := vector(t, name)
		refused := func(changed []byte, format string, args ...any) {
			t.Helper()
			if _, err := receipt.Verify(changed, keys); err == nil {
				t.Errorf("%s: "+format+" and nobody noticed", append([]any{name}, args...)...)
			} else if fault.KindOf(err) != fault.Invalid && fault.KindOf(err) != fault.DataLoss {
				t.Errorf("%s: %v is no error for people", name, err)
			}
		}
		for i := range text {
			for bit := range 8 {
				changed := bytes.Clone(text)
				changed[i] ^= 1 << bit
				refused(changed, "bit %d of byte %d was flipped", bit, i)
			}
			refused(append(bytes.Clone(text[:i]), text[i+1:]...), "byte %d was left out", i)
			refused(text[:i], "it was cut at %d", i)
		}
		for _, more := range []string{"\n", " ", "x", "\x00"} {
			refused(append(bytes.Clone(text), more...), "%q was added", more)
			refused(append([]byte(more), text...), "%q was put in front", more)
		}
	}
}

// Protects against other ways to write the same receipt: there is one.
func TestOneWayToWriteIt(t *testing.T) {
	keys := keysOf(t, vector(t, "log.pub"))
	text := string(vector(t, "sealed-6.tlog-proof"))
	lines := strings.Split(text, "\n")
	last := lines[len(lines)-2]
	for name, changed := range map[string]string{
		"a leading zero":           strings.Replace(text, "\nindex ", "\nindex 0", 1),
		"a plus":                   strings.Replace(text, "\nindex ", "\nindex +", 1),
		"carriage returns":         strings.ReplaceAll(text, "\n", "\r\n"),
		"a return in the base64":   strings.Replace(text, "\nextra ", "\nextra \r", 1),
		"no extra":                 strings.Replace(text, lines[1]+"\n", "", 1),
		"two extras":               strings.Replace(text, lines[1], lines[1]+"\n"+lines[1], 1),
		"an index beyond the tree": strings.Replace(text, "\nindex 13\n", "\nindex 99\n", 1),
		"another index":            strings.Replace(text, "\nindex 13\n", "\nindex 12\n", 1),
		"a negative index":         strings.Replace(text, "\nindex 13\n", "\nindex -1\n", 1),
		"a hash more":              strings.Replace(text, "\n\n", "\n"+lines[3]+"\n\n", 1),
		"a hash less":              strings.Replace(text, lines[3]+"\n", "", 1),
		"another version":          strings.Replace(text, "@v1", "@v2", 1),
		"unused bits of base64":    strings.Replace(text, last, looser(last), 1),
		"the signature twice":      text + looser(last) + "\n",
	} {
		if changed == text {
			t.Fatalf("%s: nothing was changed", name)
		}
		if _, err := receipt.Verify([]byte(changed), keys); err == nil {
			t.Errorf("%s: nobody noticed", name)
		}
	}
}

// looser sets a bit of the base64 at the line's end that says nothing.
func looser(line string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	body := strings.TrimRight(line, "=")
	at := strings.IndexByte(alphabet, body[len(body)-1])
	return body[:len(body)-1] + alphabet[at+1:at+2] + line[len(body):]
}

// Protects the answer to "is this the photo": only the very bytes are.
func TestPhoto(t *testing.T) {
	proven, err := receipt.Verify(vector(t, "sealed-0.tlog-proof"), keysOf(t, vector(t, "log.pub")))
	if err != nil {
		t.Fatal(err)
	}
	_, err = proven.Photo([]byte("not a photo of it"))
	wantCode(t, "another photo", err, "photo_unproven")
	_, err = proven.Photo(nil)
	wantCode(t, "an empty file", err, "photo_unproven")
}

// Protects the trust: a receipt needs the signature of its own log, by a key that the file names; a witness alone is not enough,
// and is told of where it signed.
func TestWhomToTrust(t *testing.T) {
	log, witness := vector(t, "log.pub"), vector(t, "witness.pub")
	cosigned := vector(t, "cosigned.checkpoint")
	// The same key under another name is another log's.
	foreign := bytes.Replace(log, []byte("fieldsync/log/01020305+b69422f2"), []byte("example.com/log+8b0d2a52"), 1)
	for _, c := range []struct {
		name, code string
		keys       [][]byte
		witnesses  string
	}{
		{"the log", "", [][]byte{log}, "[]"},
		{"the log and its witness", "", [][]byte{log, []byte("# a comment\n\n"), witness, witness}, "[witness.example/w1]"},
	} {
		signed, err := receipt.OpenCheckpoint(cosigned, keysOf(t, c.keys...))
		wantCode(t, c.name, err, c.code)
		if got := fmt.Sprint(signed.Witnesses); got != c.witnesses {
			t.Errorf("%s: cosigned by %s", c.name, got)
		}
	}
	for name, text := range map[string][]byte{
		"a witness alone": witness, "nothing": nil, "a comment": []byte("# log.pub\n"), "a name of another key": foreign,
		"no key": []byte("fieldsync/log/01020305"), "a private key": []byte("PRIVATE+KEY+x+00000000+AAAA"),
		"a cut key":                   log[:len(log)-5],
		"a witness with another hash": bytes.Replace(witness, []byte("+"), []byte("+0"), 1),
	} {
		_, err := receipt.ParseKeys(text)
		wantCode(t, name, err, "key_file_invalid")
	}
	byLog, byWitness, _ := bytes.Cut(cosigned, []byte("\n— witness"))
	text, _, _ := bytes.Cut(byLog, []byte("— fieldsync"))
	byWitness = bytes.Join([][]byte{text, byWitness}, []byte("— witness"))
	_, err := receipt.OpenCheckpoint(byWitness, keysOf(t, log, witness))
	wantCode(t, "a checkpoint that only the witness signed", err, "checkpoint_unsigned")
	_, err = receipt.OpenCheckpoint(cosigned, receipt.Keys{})
	wantCode(t, "nobody is trusted", err, "checkpoint_unsigned")
	// A cosignature that is no good, of a witness that one trusts, is not ignored.
	spoilt := bytes.Replace(cosigned, []byte("AX9QoQAAAABpJB6Q"), []byte("AX9QoQAAAABpJB6R"), 1)
	_, err = receipt.OpenCheckpoint(spoilt, keysOf(t, log, witness))
	wantCode(t, "another time of cosigning", err, "checkpoint_unsigned")
}

// Protects the finding that a log was rewritten: any other root, size, order, origin or proof is one.
func TestConsistency(t *testing.T) {
	keys := keysOf(t, vector(t, "log.pub"))
	open := func(name string) receipt.Checkpoint {
		signed, err := receipt.OpenCheckpoint(vector(t, name), keys)
		if err != nil {
			t.Fatal(err)
		}
		return signed.Checkpoint
	}
	earlier, later := open("earlier.checkpoint"), open("later.checkpoint")
	var proof []tlog.Hash
	for line := range strings.Lines(string(vector(t, "earlier-later.consistency"))) {
		hash, err := tlog.ParseHash(strings.TrimSpace(line))
		if err != nil {
			t.Fatal(err)
		}
		proof = append(proof, hash)
	}
	otherRoot, otherOrigin := earlier, earlier
	otherRoot.Root[7] ^= 1
	otherOrigin.Origin += "x"
	empty := receipt.Checkpoint{Origin: earlier.Origin}
	for _, c := range []struct {
		name           string
		earlier, later receipt.Checkpoint
		proof          []tlog.Hash
		code           string
	}{
		{"consistent", earlier, later, proof, ""},
		{"the same", later, later, nil, ""},
		{"from nothing", empty, later, nil, ""},
		{"another root", otherRoot, later, proof, "log_inconsistent"},
		{"one size, two roots", earlier, otherRoot, nil, "log_inconsistent"},
		{"another log", otherOrigin, later, proof, "log_inconsistent"},
		{"the wrong way round", later, earlier, proof, "log_inconsistent"},
		{"no proof", earlier, later, nil, "log_inconsistent"},
		{"half a proof", earlier, later, proof[1:], "log_inconsistent"},
	} {
		wantCode(t, c.name, receipt.CheckConsistency(c.earlier, c.later, c.proof), c.code)
	}
}

// Protects the verifier from files that nobody has seen yet: whatever it is given, it ends with a proof or a fault, and what it
// takes for a receipt is one that it would write itself.
func FuzzVerify(f *testing.F) {
	keys := keysOf(f, vector(f, "log.pub"))
	original := vector(f, "sealed-6.tlog-proof")
	for _, name := range []string{"sealed-0.tlog-proof", "sealed-6.tlog-proof", "claimed.tlog-proof", "later.checkpoint"} {
		f.Add(vector(f, name))
	}
	f.Add([]byte("c2sp.org/tlog-proof@v1\nextra " + base64.StdEncoding.EncodeToString(make([]byte, 33)) + "\nindex 0\n\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		parsed, err := receipt.Parse(text)
		if err == nil && !bytes.Equal(parsed.Format(), text) {
			t.Fatal("there are two ways to write it")
		}
		if _, err := receipt.Verify(text, keys); err == nil && !bytes.HasPrefix(text, original[:22]) {
			t.Fatal("something else than a receipt verifies")
		} else if err != nil && fault.CodeOf(err) == "" {
			t.Fatalf("no fault: %v", err)
		}
	})
}
