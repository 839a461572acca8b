package store

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
)

// BlobRecords are the prefixes of all keys of which KeptBlobs tells anything.
func BlobRecords() [][]byte { return [][]byte{Uploads(), Looks()} }

// KeptBlobs tells which content a record refers to, by its SHA-256, that is kept beside the store and must be in a backup with it:
// originals, thumbnails, public copies. Most records refer to none.
func KeptBlobs(key, value []byte) (sums [][sha256.Size]byte, err error) {
	add := func(sum []byte) {
		if len(sum) == sha256.Size && !slices.Contains(sums, [sha256.Size]byte(sum)) {
			sums = append(sums, [sha256.Size]byte(sum))
		}
	}
	switch {
	case bytes.HasPrefix(key, Uploads()):
		upload := new(storagev1.Upload)
		if err := proto.Unmarshal(value, upload); err != nil {
			return nil, fmt.Errorf("the record of %q is damaged: %w", key, err)
		}
		if upload.GetState() != fieldsyncv1.PhotoState_PHOTO_STATE_ON_PHONE {
			add(upload.GetSha256())
		}
	case bytes.HasPrefix(key, Looks()):
		look := new(storagev1.Look)
		if err := proto.Unmarshal(value, look); err != nil {
			return nil, fmt.Errorf("the record of %q is damaged: %w", key, err)
		}
		add(look.GetThumbnailSha256())
		add(look.GetPublicSha256())
	}
	return sums, nil
}
