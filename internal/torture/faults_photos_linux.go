package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/cong1022/fieldsync/backup"
	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	blobs "github.com/cong1022/fieldsync/media/folder"
	"github.com/cong1022/fieldsync/store"
	"github.com/cong1022/fieldsync/store/embedded"
)

// originals is how many photos there are.
const originals = 40

// photoBits: one bit of one photo. A check must name it by its hash, and it must come back from the backup.
func photoBits(work string, more more) (r result, err error) {
	ctx := context.Background()
	kept, err := blobs.Open(filepath.Join(work, "photos"))
	if err != nil {
		return r, err
	}
	engine, err := embedded.OpenWith(filepath.Join(work, "photo-store"), engineOptions(embedded.Margins{Descriptors: 1}))
	if err != nil {
		return r, err
	}
	st, err := store.Open(ctx, engine, store.Options{})
	if err != nil {
		return r, errors.Join(err, engine.Close())
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	if err := photograph(ctx, st, kept); err != nil {
		return r, err
	}
	r.acknowledged = originals
	target := backup.Folder(filepath.Join(work, "photo-repository"))
	if err := backup.New(backup.Options{Engine: engine, Target: target, Photo: func(ctx context.Context, sum [sha256.Size]byte) (io.ReadCloser, error) {
		content, _, err := kept.Open(ctx, sum)
		return content, err
	}}).Ship(ctx); err != nil {
		return r, err
	}
	for ; more(r.rounds); r.rounds++ {
		bit, err := flipBit(filepath.Join(work, "photos"))
		if err != nil {
			return r, err
		}
		name := filepath.Base(bit.path)
		found, err := damagedPhotos(ctx, st, kept)
		if err != nil {
			return r, err
		}
		if len(found) != 1 || !strings.Contains(found[0].Where, name) {
			return r, fmt.Errorf("%v: %v", bit, found)
		}
		if err := backup.FetchPhoto(ctx, target, name, nil, func(content []byte) error {
			sum := sha256.Sum256(content)
			return errors.Join(kept.SetAside(sum), kept.Put(ctx, sum, bytes.NewReader(content)))
		}); err != nil {
			return r, err
		}
		if err := os.Remove(bit.path + ".damaged"); err != nil {
			return r, err
		}
		if found, err := damagedPhotos(ctx, st, kept); err != nil || len(found) > 0 {
			r.lost++
			return r, errors.Join(err, fmt.Errorf("photo %s did not come back: %v", name, found))
		}
	}
	r.note = "each named, and brought back from the backup"
	return r, nil
}

func photograph(ctx context.Context, st *store.Store, kept *blobs.Blobs) error {
	for n := range originals {
		content := bytes.Repeat(binary.BigEndian.AppendUint64(nil, uint64(n)), 1000+n)
		sum := sha256.Sum256(content)
		if err := kept.Put(ctx, sum, bytes.NewReader(content)); err != nil {
			return err
		}
		id := fmt.Sprint("u", n)
		if err := st.Update(ctx, func(tx *store.Tx) error {
			return store.Put(tx, store.UploadKey(id), &storagev1.Upload{
				Id: id, Sha256: sum[:], SizeBytes: uint64(len(content)), State: fieldsyncv1.PhotoState_PHOTO_STATE_VERIFIED,
			})
		}); err != nil {
			return err
		}
	}
	return nil
}

func damagedPhotos(ctx context.Context, st *store.Store, kept *blobs.Blobs) ([]store.Finding, error) {
	return store.Check(ctx, st, store.CheckOptions{Evidence: func(ctx context.Context, sum [sha256.Size]byte, _ uint64) error {
		content, _, err := kept.Open(ctx, sum)
		if err != nil {
			return err
		}
		defer content.Close()
		hash := sha256.New()
		if _, err := io.Copy(hash, content); err != nil {
			return err
		}
		if [sha256.Size]byte(hash.Sum(nil)) != sum {
			return errors.New("the original does not have its hash")
		}
		return nil
	}})
}
