package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"
)

// Kinds of objects.
const (
	kindPart     = "part"
	kindSnapshot = "snapshot"
	kindPhoto    = "photo"
	kindWriter   = "writer"

	encryptedSuffix = ".age"
)

// Object is what a backup consists of. All that a restore has to know of one stands in its name, so that a listing is the
// catalogue:
//
//	journal/<journal>/part/<first>-<last>-<time of the last>-<SHA-256>[.age]
//	journal/<journal>/snapshot/<position>-<position>-<time>-<SHA-256>[.age]
//	photo/<SHA-256 of the original>[.age]
//	writer/<number>-<journal>-<time>-<SHA-256>
//
// The SHA-256 is that of the object's bytes, encrypted or not. All but photos are compressed (Zstandard) before they are
// encrypted (age); who writes is told in the clear.
type Object struct {
	Name string
	// Kind is part, snapshot, photo or writer.
	Kind string
	// Journal tells the journal, First and Last which of its records it holds; a snapshot is at Last. Of a writer, Last is its number.
	Journal     uint64
	First, Last uint64
	// At is when the last of them was committed, by the server's clock.
	At time.Time
	// Encrypted: an identity is needed to read it.
	Encrypted bool

	sum string
}

func journalName(journal uint64, kind string, first, last uint64, at time.Time, sum string) string {
	return fmt.Sprintf("journal/%016x/%s/%020d-%020d-%020d-%s", journal, kind, first, last, at.UnixNano(), sum)
}

// parse returns false for a name that is none of ours.
func parse(name string) (o Object, ours bool) {
	o.Name = name
	rest, encrypted := strings.CutSuffix(name, encryptedSuffix)
	o.Encrypted = encrypted
	parts := strings.Split(rest, "/")
	if len(parts) == 2 && parts[0] == kindPhoto {
		o.Kind, o.sum = kindPhoto, parts[1]
		return o, len(o.sum) == sha256.Size*2
	}
	if len(parts) == 2 && parts[0] == kindWriter {
		var nanos int64
		o.Kind = kindWriter
		_, err := fmt.Sscanf(strings.ReplaceAll(parts[1], "-", " "), "%d %x %d %s", &o.Last, &o.Journal, &nanos, &o.sum)
		o.First, o.At = o.Last, time.Unix(0, nanos)
		return o, err == nil && !encrypted && len(o.sum) == sha256.Size*2
	}
	if len(parts) != 4 || parts[0] != "journal" {
		return o, false
	}
	o.Kind = parts[2]
	var nanos int64
	if _, err := fmt.Sscanf(parts[1]+" "+strings.ReplaceAll(parts[3], "-", " "), "%x %d %d %d %s", &o.Journal, &o.First, &o.Last, &nanos, &o.sum); err != nil {
		return o, false
	}
	o.At = time.Unix(0, nanos)
	return o, (o.Kind == kindPart || o.Kind == kindSnapshot) && len(o.sum) == sha256.Size*2
}

// seal compresses and encrypts content into a temporary file, which the caller removes, and returns the SHA-256 of what is in
// it. Photos are not compressed: they are already.
func seal(content io.Reader, compress bool, recipients []age.Recipient) (_ *os.File, sum string, err error) {
	file, err := os.CreateTemp("", "fieldsync-backup-*")
	if err != nil {
		return nil, "", err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, discard(file))
		}
	}()
	hash := sha256.New()
	var out io.WriteCloser = nopCloser{io.MultiWriter(file, hash)}
	layers := []io.WriteCloser{out}
	if len(recipients) > 0 {
		if out, err = age.Encrypt(out, recipients...); err != nil {
			return nil, "", err
		}
		layers = append(layers, out)
	}
	if compress {
		encoder, err := zstd.NewWriter(out, zstd.WithEncoderConcurrency(1))
		if err != nil {
			return nil, "", err
		}
		out = encoder
		layers = append(layers, out)
	}
	if _, err := io.Copy(out, content); err != nil {
		return nil, "", err
	}
	for _, layer := range slices.Backward(layers) {
		if err := layer.Close(); err != nil {
			return nil, "", err
		}
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return nil, "", err
	}
	return file, hex.EncodeToString(hash.Sum(nil)), nil
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

func discard(file *os.File) error { return errors.Join(file.Close(), os.Remove(file.Name())) }

// fetch brings an object into a temporary file, checks its hash, and gives what was sealed in it to read.
func fetch(ctx context.Context, target Target, o Object, identities []age.Identity, read func(io.Reader) error) (err error) {
	if o.Encrypted && len(identities) == 0 {
		return errIdentityNeeded(o.Name)
	}
	object, err := target.Open(ctx, o.Name)
	if err != nil {
		return err
	}
	defer object.Close()
	file, err := os.CreateTemp("", "fieldsync-backup-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, discard(file)) }()
	hash := sha256.New()
	if _, err := io.Copy(io.MultiWriter(file, hash), object); err != nil {
		return fmt.Errorf("%s: %w", o.Name, err)
	}
	// An encrypted photo's name has the hash of the original: age has a checksum of its own.
	if got := hex.EncodeToString(hash.Sum(nil)); got != o.sum && (o.Kind != kindPhoto || !o.Encrypted) {
		return errDamaged(o.Name, fmt.Errorf("SHA-256 %s", got))
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	var content io.Reader = file
	if o.Encrypted {
		if content, err = age.Decrypt(content, identities...); err != nil {
			if _, other := errors.AsType[*age.NoIdentityMatchError](err); other {
				return errIdentityWrong(o.Name)
			}
			return errDamaged(o.Name, err)
		}
	}
	if o.Kind != kindPhoto {
		decoder, err := zstd.NewReader(content, zstd.WithDecoderConcurrency(1))
		if err != nil {
			return err
		}
		defer decoder.Close()
		content = decoder
	}
	if err := read(content); err != nil {
		return fmt.Errorf("%s: %w", o.Name, err)
	}
	return nil
}

// readPhoto reads a photo, at most 50 MiB, and holds it against the hash in its name.
func readPhoto(o Object, content io.Reader) ([]byte, error) {
	all, err := io.ReadAll(content)
	if err != nil {
		return nil, errDamaged(o.Name, err) // It lies in a temporary file: only what decrypts it complains.
	}
	if got := sha256.Sum256(all); hex.EncodeToString(got[:]) != o.sum {
		return nil, errDamaged(o.Name, fmt.Errorf("SHA-256 %x", got))
	}
	return all, nil
}
