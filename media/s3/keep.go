package s3

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"iter"
	"net/http"
	"strings"

	"github.com/minio/minio-go/v7"

	"github.com/cong1022/fieldsync/media"
)

const originals = "cas/"

// List implements media.Blobs. Since is when the store has written the object.
func (b *Blobs) List(ctx context.Context) iter.Seq2[media.Kept, error] {
	return func(yield func(media.Kept, error) bool) {
		for object := range b.client.ListObjectsIter(ctx, b.bucket, minio.ListObjectsOptions{Prefix: originals, Recursive: true}) {
			if object.Err != nil {
				yield(media.Kept{}, fmt.Errorf("listing the originals: %w", object.Err))
				return
			}
			sum, err := hex.DecodeString(strings.TrimPrefix(object.Key, originals))
			if err != nil || len(sum) != sha256.Size {
				continue // Not ours.
			}
			if !yield(media.Kept{Sum: [sha256.Size]byte(sum), Since: object.LastModified}, nil) {
				return
			}
		}
	}
}

// Remove implements media.Blobs. In a bucket with versions the one version is removed: a mere mark of deletion would leave the
// bytes and hide them.
func (b *Blobs) Remove(ctx context.Context, sum [sha256.Size]byte) error {
	info, err := b.client.StatObject(ctx, b.bucket, key(sum), minio.StatObjectOptions{})
	if err == nil {
		err = b.client.RemoveObject(ctx, b.bucket, key(sum), minio.RemoveObjectOptions{VersionID: info.VersionID})
	}
	switch {
	case err == nil || status(err) == http.StatusNotFound:
		return nil
	case b.can.ObjectLock && status(err) >= 400 && status(err) < 500:
		return fmt.Errorf("removing content: %w (%w)", media.ErrBlobLocked, err)
	default:
		return fmt.Errorf("removing content: %w", err)
	}
}

// Hold implements media.Blobs: S3's legal hold, in a bucket with object lock.
func (b *Blobs) Hold(ctx context.Context, sum [sha256.Size]byte, on bool) error {
	if !b.can.ObjectLock {
		return nil
	}
	state := minio.LegalHoldDisabled
	if on {
		state = minio.LegalHoldEnabled
	}
	err := b.client.PutObjectLegalHold(ctx, b.bucket, key(sum), minio.PutObjectLegalHoldOptions{Status: &state})
	if status(err) == http.StatusNotFound {
		return media.ErrBlobNotFound
	}
	if err != nil {
		return fmt.Errorf("putting a legal hold: %w", err)
	}
	return nil
}
