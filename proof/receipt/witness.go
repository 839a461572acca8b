package receipt

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/cong1022/fieldsync/internal/fault"
)

const secretKeyPrefix = "PRIVATE+KEY+"

// Witness cosigns checkpoints (C2SP tlog-cosignature, Ed25519). Whoever has one cosigns only what it has found consistent with all that
// it cosigned before: CheckConsistency.
type Witness struct {
	name string
	hash uint32
	key  ed25519.PrivateKey
}

// NewWitness makes a witness's keys: the secret one, which ParseWitnessSecret reads, and the verifier key, which is for everybody. The
// name says who it is, such as 1022.example/witness: no spaces and no plus. Errors: Invalid "witness_name_invalid".
func NewWitness(name string) (secret, public string, err error) {
	if name == "" || strings.ContainsFunc(name, func(r rune) bool { return r == '+' || r == unicode.ReplacementChar || unicode.IsSpace(r) }) {
		return "", "", fault.New(fault.Invalid, "witness_name_invalid",
			"Tên bên chứng kiến không được trống, không có khoảng trắng hay dấu cộng.", "A witness's name is not empty and has no space and no plus.")
	}
	publicKey, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return "", "", err
	}
	encode := func(key []byte) string {
		return base64.StdEncoding.EncodeToString(append([]byte{algorithmWitness}, key...))
	}
	hash := fmt.Sprintf("%08x", keyHash(name, append([]byte{algorithmWitness}, publicKey...)))
	return secretKeyPrefix + name + "+" + hash + "+" + encode(key.Seed()), name + "+" + hash + "+" + encode(publicKey), nil
}

// ParseWitnessSecret reads the secret key of a witness. Errors: Invalid "witness_key_invalid"; they say nothing of the text.
func ParseWitnessSecret(text string) (Witness, error) {
	rest, isSecret := strings.CutPrefix(strings.TrimSpace(text), secretKeyPrefix)
	name, rest, _ := strings.Cut(rest, "+")
	hash16, key64, _ := strings.Cut(rest, "+")
	material, err := base64.StdEncoding.Strict().DecodeString(key64)
	if isSecret && err == nil && len(material) == 1+ed25519.SeedSize && material[0] == algorithmWitness {
		key := ed25519.NewKeyFromSeed(material[1:])
		w := Witness{name: name, key: key, hash: keyHash(name, append([]byte{algorithmWitness}, key[ed25519.SeedSize:]...))}
		if hash, err := strconv.ParseUint(hash16, 16, 32); err == nil && uint32(hash) == w.hash {
			return w, nil
		}
	}
	return Witness{}, fault.New(fault.Invalid, "witness_key_invalid",
		"Đây không phải khóa bí mật của một bên chứng kiến.", "This is no secret key of a witness.")
}

// Cosign adds the witness's signature at a time to a signed checkpoint, as a line more, in place of an earlier one of its own. Errors: Invalid "checkpoint_malformed".
func (w Witness) Cosign(checkpoint []byte, at time.Time) ([]byte, error) {
	end := bytes.LastIndex(checkpoint, []byte("\n\n"))
	if end < 0 || !bytes.HasSuffix(checkpoint, []byte("\n")) {
		return nil, checkpointMalformed()
	}
	if _, ok := parseCheckpoint(string(checkpoint[:end+1])); !ok {
		return nil, checkpointMalformed()
	}
	seconds := uint64(at.Unix()) //nolint:gosec // Not before 1970.
	raw := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(nil, w.hash), seconds)
	raw = append(raw, ed25519.Sign(w.key, cosigned(seconds, checkpoint[:end+1]))...)
	signed := bytes.Clone(checkpoint[:end+2])
	for line := range bytes.Lines(checkpoint[end+2:]) {
		if !w.signed(line) {
			signed = append(signed, line...)
		}
	}
	return fmt.Appendf(signed, "— %s %s\n", w.name, base64.StdEncoding.EncodeToString(raw)), nil
}

// signed tells whether a signature line is by this very key.
func (w Witness) signed(line []byte) bool {
	own, found := bytes.CutPrefix(line, []byte("— "+w.name+" "))
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSuffix(string(own), "\n"))
	return found && err == nil && len(raw) > 4 && binary.BigEndian.Uint32(raw) == w.hash
}

// cosigned is what a witness signs: the time, and the checkpoint's text.
func cosigned(seconds uint64, text []byte) []byte {
	return fmt.Appendf(nil, "cosignature/v1\ntime %d\n%s", seconds, text)
}
