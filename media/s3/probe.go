package s3

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"

	"github.com/minio/minio-go/v7"
)

// Capabilities are what not every S3-compatible store does. Originals are safe without them; with them the store itself
// guards what it keeps.
type Capabilities struct {
	// WriteOnce: a second write under a key is refused (If-None-Match). Without it the same bytes are written again.
	WriteOnce bool
	// Checksum: bytes that do not have the SHA-256 that was sent with them are refused. Without it, what is damaged on the way
	// to the store is found when it is read.
	Checksum bool
	// ObjectLock: the bucket can keep objects from being removed.
	ObjectLock bool
}

// The objects that probing leaves behind: one of a few bytes.
const (
	probeOnce     = "probe/write-once"
	probeChecksum = "probe/checksum"
	probeContent  = "fieldsync probes what the store can do"
)

// probe finds out by trying, since stores answer for what they do not do. An error means that the store cannot be written.
func (b *Blobs) probe(ctx context.Context) (can Capabilities, err error) {
	// The first write may find the object of an earlier start.
	for range 2 {
		options := minio.PutObjectOptions{DisableMultipart: true}
		options.SetMatchETagExcept("*")
		err := b.put(ctx, probeOnce, options)
		if can.WriteOnce = status(err) == http.StatusPreconditionFailed; err != nil && !can.WriteOnce {
			return can, fmt.Errorf("writing to try the store: %w", err)
		}
	}
	other := sha256.Sum256([]byte("other content"))
	err = b.put(ctx, probeChecksum, minio.PutObjectOptions{
		DisableMultipart: true,
		UserMetadata:     map[string]string{"X-Amz-Checksum-Sha256": base64.StdEncoding.EncodeToString(other[:])},
	})
	can.Checksum = err != nil && status(err) >= 400 && status(err) < 500
	enabled, _, _, _, err := b.client.GetObjectLockConfig(ctx, b.bucket) //nolint:dogsled // The default retention is not ours.
	// Without a lock stores answer with various refusals; without an answer Put will tell.
	can.ObjectLock = err == nil && enabled == "Enabled"
	return can, ctx.Err()
}

func (b *Blobs) put(ctx context.Context, key string, options minio.PutObjectOptions) error {
	_, err := b.client.PutObject(ctx, b.bucket, key, strings.NewReader(probeContent), int64(len(probeContent)), options)
	return err
}
