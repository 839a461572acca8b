// Package s3 keeps originals in an S3-compatible object store: media.Blobs over minio-go.
package s3

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/cong1022/fieldsync/media"
)

// maxRetries bounds how often minio-go repeats a request by itself. Its default of 10 would keep a phone waiting while the
// store is down; the phone repeats its commit anyway.
const maxRetries = 3

// Options say which bucket, and with whose rights.
type Options struct {
	// Endpoint is the host and port of the store, without a scheme.
	Endpoint string
	// Region may be empty where the store knows only one.
	Region string
	// Bucket is made where it is missing.
	Bucket string
	// AccessKey and SecretKey need the rights to get, put, list and remove objects, to put legal holds, to ask for the bucket and its
	// object lock, and to make it if it is missing.
	AccessKey, SecretKey string
	// LockYears is for how many years an original cannot be changed or removed but by those with the right to bypass governance
	// (S3 object lock, governance mode). 0 leaves the lock out. It needs a bucket made with object lock, as Open makes one
	// then; Open fails where the bucket has none.
	LockYears int
	// Clock tells the time from which LockYears count. time.Now by default.
	Clock func() time.Time
	// PlainHTTP leaves TLS out: for a store on the same machine, and for tests.
	PlainHTTP bool
}

// Blobs is a bucket of originals: cas/<SHA-256 in hexadecimal>. Several servers may share it.
type Blobs struct {
	client    *minio.Client
	bucket    string
	can       Capabilities
	lockYears int
	clock     func() time.Time
}

// ErrUnreachable: the store does not answer, or says that it cannot now. The same may work later.
var ErrUnreachable = errors.New("the store does not answer")

// Open connects to the store and makes the bucket where it is missing. ErrUnreachable where that is worth another try.
func Open(ctx context.Context, o Options) (*Blobs, error) {
	client, err := minio.New(o.Endpoint, &minio.Options{
		Creds:      credentials.NewStaticV4(o.AccessKey, o.SecretKey, ""),
		Region:     o.Region,
		Secure:     !o.PlainHTTP,
		MaxRetries: maxRetries,
	})
	if err != nil {
		return nil, fmt.Errorf("object store %q: %w", o.Endpoint, err)
	}
	exists, err := client.BucketExists(ctx, o.Bucket)
	if err != nil {
		return nil, fmt.Errorf("object store %q, bucket %q: %w", o.Endpoint, o.Bucket, unreachable(err))
	}
	if !exists {
		// Another server may make it at the same moment: what counts is that it is there.
		if err := client.MakeBucket(ctx, o.Bucket, minio.MakeBucketOptions{Region: o.Region, ObjectLocking: o.LockYears > 0}); err != nil {
			if made, again := client.BucketExists(ctx, o.Bucket); again != nil || !made {
				return nil, fmt.Errorf("object store %q, making bucket %q: %w", o.Endpoint, o.Bucket, unreachable(err))
			}
		}
	}
	b := &Blobs{client: client, bucket: o.Bucket, lockYears: o.LockYears, clock: o.Clock}
	if b.clock == nil {
		b.clock = time.Now
	}
	if b.can, err = b.probe(ctx); err != nil {
		return nil, fmt.Errorf("object store %q, bucket %q: %w", o.Endpoint, o.Bucket, unreachable(err))
	}
	if b.lockYears > 0 && !b.can.ObjectLock {
		return nil, fmt.Errorf("object store %q: the bucket %q has no object lock, and it cannot be added to a bucket: name another bucket or leave the lock out", o.Endpoint, o.Bucket)
	}
	return b, nil
}

// Can tells what the store was found to do when it was opened.
func (b *Blobs) Can() Capabilities { return b.can }

// Put implements media.Blobs. It reads the content twice: the hash must be known to be right before the first byte leaves,
// since not every store checks it.
func (b *Blobs) Put(ctx context.Context, sum [sha256.Size]byte, content io.ReadSeeker) error {
	if _, err := content.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("keeping an original: %w", err)
	}
	hash := sha256.New()
	size, err := io.Copy(hash, content)
	if err != nil {
		return fmt.Errorf("keeping an original: %w", err)
	}
	if [sha256.Size]byte(hash.Sum(nil)) != sum {
		return fmt.Errorf("keeping an original: %w", media.ErrBlobMismatch)
	}
	if _, err := content.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("keeping an original: %w", err)
	}

	// One PUT, whatever the size: the conditions and the checksum below are then about the whole object. The header is set
	// by hand because minio-go's own way needs trailing headers, which not every store understands.
	options := minio.PutObjectOptions{
		DisableMultipart: true,
		UserMetadata:     map[string]string{"X-Amz-Checksum-Sha256": base64.StdEncoding.EncodeToString(sum[:])},
	}
	// A store that does not know the condition writes the same bytes again.
	options.SetMatchETagExcept("*")
	if b.lockYears > 0 {
		options.Mode, options.RetainUntilDate = minio.Governance, b.clock().UTC().AddDate(b.lockYears, 0, 0)
	}
	_, err = b.client.PutObject(ctx, b.bucket, key(sum), content, size, options)
	if err != nil && status(err) != http.StatusPreconditionFailed {
		return fmt.Errorf("keeping an original: %w", err)
	}
	return nil
}

// Open implements media.Blobs. Each seek that is followed by a read costs the store a request.
func (b *Blobs) Open(ctx context.Context, sum [sha256.Size]byte) (io.ReadSeekCloser, int64, error) {
	object, err := b.client.GetObject(ctx, b.bucket, key(sum), minio.GetObjectOptions{})
	if err != nil {
		return nil, 0, fmt.Errorf("opening an original: %w", err)
	}
	info, err := object.Stat()
	if err == nil {
		return object, info.Size, nil
	}
	err = errors.Join(err, object.Close())
	if status(err) == http.StatusNotFound {
		return nil, 0, media.ErrBlobNotFound
	}
	return nil, 0, fmt.Errorf("opening an original: %w", err)
}

func key(sum [sha256.Size]byte) string { return originals + hex.EncodeToString(sum[:]) }

// status is the HTTP status of the store's refusal, and 0 where the error is none. Stores agree on statuses better than on
// the codes in the body.
func status(err error) int {
	if refusal, ok := errors.AsType[minio.ErrorResponse](err); ok {
		return refusal.StatusCode
	}
	return 0
}

// unreachable says of an error that it is ErrUnreachable, too, unless the store has refused.
func unreachable(err error) error {
	if code := status(err); code == 0 || code >= http.StatusInternalServerError {
		return errors.Join(ErrUnreachable, err)
	}
	return err
}
