package receipt

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/cong1022/fieldsync/internal/fault"
)

// Algorithms of keys, as C2SP signed-note and tlog-cosignature number them.
const (
	algorithmLog     = 1
	algorithmWitness = 4
)

// Keys are whom a verifier trusts: the log, whose signature every checkpoint needs, and witnesses, whose cosignatures are
// told of. The zero value trusts nobody.
type Keys struct {
	known     note.Verifiers
	logs      map[nameHash]bool
	witnesses map[nameHash]bool
}

type nameHash struct {
	name string
	hash uint32
}

// ParseKeys reads a file of verifier keys (C2SP signed-note: name+hash+key), one a line: the log's (Ed25519), former ones
// included, and witnesses' (Ed25519 cosignatures). Empty lines and lines that begin with # are skipped.
// Errors: Invalid "key_file_invalid".
func ParseKeys(text []byte) (Keys, error) {
	keys := Keys{logs: make(map[nameHash]bool), witnesses: make(map[nameHash]bool)}
	var all []note.Verifier
	for number, line := range strings.Split(string(text), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		verifier, witness, err := parseKey(line)
		if err != nil {
			return Keys{}, keyFileInvalid(number+1, err)
		}
		kind := keys.logs
		if witness {
			kind = keys.witnesses
		}
		id := nameHash{verifier.Name(), verifier.KeyHash()}
		if !kind[id] { // The same key twice is the same key.
			kind[id] = true
			all = append(all, verifier)
		}
	}
	if len(keys.logs) == 0 {
		return Keys{}, keyFileInvalid(0, nil)
	}
	keys.known = note.VerifierList(all...)
	return keys, nil
}

// ParseWitness reads the verifier key of one witness (name+hash+key, Ed25519 cosignatures). Errors: Invalid "witness_key_invalid".
func ParseWitness(text string) (note.Verifier, error) {
	verifier, witness, err := parseKey(strings.TrimSpace(text))
	if err == nil && witness {
		return verifier, nil
	}
	return nil, fault.New(fault.Invalid, "witness_key_invalid",
		fmt.Sprintf("%q không phải khóa công khai của một bên chứng kiến (dạng tên+mã+khóa, loại 4).", text),
		fmt.Sprintf("%q is no public key of a witness (name+hash+key, of the type 4).", text))
}

func keyFileInvalid(line int, cause error) error {
	if cause == nil {
		return fault.New(fault.Invalid, "key_file_invalid",
			"Tệp khóa không có khóa công khai nào của nhật ký (dạng tên+mã+khóa, mỗi dòng một khóa).",
			"The key file holds no public key of a log (name+hash+key, one a line).")
	}
	return fault.New(fault.Invalid, "key_file_invalid",
		fmt.Sprintf("Dòng %d của tệp khóa không phải một khóa công khai (dạng tên+mã+khóa): %v.", line, cause),
		fmt.Sprintf("Line %d of the key file is no public key (name+hash+key): %v.", line, cause))
}

func parseKey(line string) (verifier note.Verifier, witness bool, err error) {
	name, rest, _ := strings.Cut(line, "+")
	hexHash, key64, _ := strings.Cut(rest, "+")
	key, err := base64.StdEncoding.Strict().DecodeString(key64)
	if err != nil || len(key) != 1+ed25519.PublicKeySize || key[0] != algorithmWitness {
		verifier, err = note.NewVerifier(line)
		return verifier, false, err
	}
	hash, err := strconv.ParseUint(hexHash, 16, 32)
	if err != nil || name == "" || uint32(hash) != keyHash(name, key) {
		return nil, false, fmt.Errorf("the hash is not the key's")
	}
	return cosigner{name: name, hash: uint32(hash), key: key[1:]}, true, nil
}

// keyHash is a key's hash (C2SP signed-note): the beginning of SHA-256 over the name, a newline and the key with its algorithm.
func keyHash(name string, key []byte) uint32 {
	sum := sha256.Sum256(append([]byte(name+"\n"), key...))
	return binary.BigEndian.Uint32(sum[:4])
}

// cosigner verifies a witness's Ed25519 cosignatures (C2SP tlog-cosignature): a time, and a signature over it and the note.
type cosigner struct {
	name string
	hash uint32
	key  ed25519.PublicKey
}

// Name implements note.Verifier.
func (c cosigner) Name() string { return c.name }

// KeyHash implements note.Verifier.
func (c cosigner) KeyHash() uint32 { return c.hash }

// Verify implements note.Verifier.
func (c cosigner) Verify(text, signature []byte) bool {
	if len(signature) != 8+ed25519.SignatureSize {
		return false
	}
	return ed25519.Verify(c.key, cosigned(binary.BigEndian.Uint64(signature), text), signature[8:])
}
