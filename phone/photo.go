package phone

import (
	"bytes"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/gabriel-vasile/mimetype"
	bolt "go.etcd.io/bbolt"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
)

// photosDir holds a copy of each photo until the server has verified it, named by the photo's id.
const photosDir = "photos"

// maxPhoto is the largest original that the API takes.
const maxPhoto = 50 << 20

// PhotoFacts is what the crew member says of a photo.
type PhotoFacts struct {
	// Kind is what it shows.
	Kind fieldsyncv1.PhotoKind
	// FromGallery: picked from the gallery instead of just taken. Such a photo claims no capture time.
	FromGallery bool
	// Replaces is the id of a damaged photo of the task (see Phone.Damaged) in whose place this one was taken: a completion that
	// stands on that one then stands on this one.
	Replaces string
}

// Photo attaches the image in file (JPEG, PNG, WebP or HEIC, at most 50 MiB) to a task: its bytes are copied and hashed, and
// the attach is recorded; both are durable when Photo returns the photo's id. The original may be deleted then.
// Errors beyond those of every intent: Invalid "photo_type", "photo_size"; NotFound "photo_file", "photo_unknown" (the task as held has no damaged photo Replaces).
func (p *Phone) Photo(task, file string, facts PhotoFacts) (string, error) {
	p.photoMu.Lock()
	defer p.photoMu.Unlock()
	id, err := p.photoID()
	if err != nil {
		return "", err
	}
	declaration, err := p.copyPhoto(id, file)
	if err != nil {
		return "", withRoom(err)
	}
	declaration.Kind = facts.Kind
	declaration.FromGallery = facts.FromGallery
	declaration.Position = p.position()
	declaration.ReplacesPhotoId = facts.Replaces
	// A crash here leaves a copy that nothing speaks of: the next Open sweeps it.
	err = p.recordWith(&fieldsyncv1.Mutation{
		TaskId: task,
		Intent: &fieldsyncv1.Mutation_AttachPhoto{AttachPhoto: &fieldsyncv1.AttachPhoto{Photo: declaration}},
	}, func(tx *bolt.Tx) error {
		if err := checkReplaces(tx, task, facts.Replaces); err != nil {
			return err
		}
		return putJSON(tx.Bucket(bucketPhotos), []byte(id), &photo{
			ID: id, TaskID: task, Size: declaration.GetSizeBytes(), State: photoQueued, SHA256: declaration.GetSha256(),
		})
	})
	if err != nil {
		return "", errors.Join(err, os.Remove(p.photoPath(id)))
	}
	return id, nil
}

func checkReplaces(tx *bolt.Tx, taskID, id string) error {
	if id == "" {
		return nil
	}
	task, err := getTask(tx, taskID)
	if err != nil {
		return err
	}
	for _, photo := range task.GetPhotos() {
		if photo.GetId() == id && photo.GetState() == fieldsyncv1.PhotoState_PHOTO_STATE_DAMAGED {
			return nil
		}
	}
	return fault.New(fault.NotFound, "photo_unknown",
		"Công việc không có ảnh hỏng nào mang mã này.", "The task has no damaged photo with this id.")
}

// copyPhoto brings the file's bytes into the folder, durably, and says what they are.
func (p *Phone) copyPhoto(id, file string) (_ *fieldsyncv1.PhotoDeclaration, err error) {
	from, err := os.Open(file)
	if err != nil {
		return nil, fault.New(fault.NotFound, "photo_file",
			fmt.Sprintf("Không đọc được tệp ảnh %s.", file), fmt.Sprintf("Cannot read the photo: %v.", err))
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	path := p.photoPath(id)
	to, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err = errors.Join(err, to.Close()); err != nil {
			err = errors.Join(err, os.Remove(path))
		}
	}()
	if err := p.fail("copy"); err != nil {
		return nil, err
	}
	hash := sha256.New()
	size, err := io.Copy(io.MultiWriter(to, hash), io.LimitReader(from, maxPhoto+1))
	if err != nil {
		return nil, fmt.Errorf("copying the photo: %w", err)
	}
	if size == 0 || size > maxPhoto {
		return nil, fault.New(fault.Invalid, "photo_size",
			"Ảnh phải có từ 1 byte đến 50 MiB.", "A photo has 1 byte to 50 MiB.")
	}
	kind, err := sniff(path)
	if err != nil {
		return nil, err
	}
	if err := p.syncPhoto(to); err != nil {
		return nil, fmt.Errorf("keeping the photo: %w", err)
	}
	return &fieldsyncv1.PhotoDeclaration{
		PhotoId: id, Sha256: hash.Sum(nil), SizeBytes: uint64(size), ContentType: kind, //nolint:gosec // Not negative.
	}, nil
}

// syncPhoto makes a copy and its name durable.
func (p *Phone) syncPhoto(copied *os.File) error {
	if p.noSync {
		return nil
	}
	return errors.Join(copied.Sync(), p.syncDir(filepath.Dir(copied.Name())))
}

// sniff tells an image's media type by its bytes, whatever its name says.
func sniff(path string) (string, error) {
	found, err := mimetype.DetectFile(path)
	if err != nil {
		return "", err
	}
	for kind := found; kind != nil; kind = kind.Parent() { // An animated PNG is a PNG.
		switch name := kind.String(); name {
		case "image/jpeg", "image/png", "image/webp", "image/heic", "image/heif":
			return name, nil
		}
	}
	return "", fault.New(fault.Invalid, "photo_type",
		fmt.Sprintf("Tệp là %s; ảnh phải là JPEG, PNG, WebP hoặc HEIC.", found),
		fmt.Sprintf("The file is %s; a photo is JPEG, PNG, WebP or HEIC.", found))
}

// photoID is 26 characters with 128 random bits, so that no two phones of a crew choose the same.
func (p *Phone) photoID() (string, error) {
	var random [16]byte
	if _, err := io.ReadFull(p.random, random[:]); err != nil {
		return "", fmt.Errorf("reading random bytes: %w", err)
	}
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(random[:])), nil
}

// copyWhole tells whether the copy of a photo is what was recorded, as far as that can be told: by its hash, or by its size alone where
// an older version has recorded it.
func (p *Phone) copyWhole(ph *photo) (bool, error) {
	file, err := os.Open(p.photoPath(ph.ID))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer func() { _ = file.Close() }() // Read only.
	hash := sha256.New()
	size, err := io.Copy(hash, file)
	if err != nil {
		return false, err
	}
	return uint64(size) == ph.Size && (ph.SHA256 == nil || bytes.Equal(hash.Sum(nil), ph.SHA256)), nil //nolint:gosec // Not negative.
}

func (p *Phone) photoPath(id string) string { return filepath.Join(p.dir, photosDir, id) }

// sweepPhotos forgets the photos that are verified and backed up, that nothing in the outbox speaks of any more and whose task does not
// wait for a receipt, and removes the copies of those that are forgotten. The record goes first: a crash in between leaves a copy without a record, which the
// next sweep removes; the other way round would leave a record of bytes that are gone.
func (p *Phone) sweepPhotos() error {
	p.photoMu.Lock()
	defer p.photoMu.Unlock()
	kept := make(map[string]bool)
	err := p.update(func(tx *bolt.Tx, st *state) error {
		spoken := make(map[string]bool)
		for q, err := range outbox(tx) {
			if err != nil {
				return err
			}
			spoken[q.mutation.GetAttachPhoto().GetPhoto().GetPhotoId()] = true
			for _, id := range q.mutation.GetComplete().GetPhotoIds() {
				spoken[id] = true
			}
		}
		owed, err := unproven(tx)
		if err != nil {
			return err
		}
		var gone [][]byte
		for ph, err := range photos(tx) {
			if err != nil {
				return err
			}
			if ph.State == photoVerified && !spoken[ph.ID] && !owed[ph.TaskID] && st.covered(ph, p.clock()) {
				gone = append(gone, []byte(ph.ID))
			} else {
				kept[ph.ID] = true
			}
		}
		for _, id := range gone {
			if err := tx.Bucket(bucketPhotos).Delete(id); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("sweeping photos: %w", err)
	}
	entries, err := os.ReadDir(filepath.Join(p.dir, photosDir))
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if !kept[entry.Name()] {
			if err := os.Remove(p.photoPath(entry.Name())); err != nil {
				return fmt.Errorf("removing the copy of a photo: %w", err)
			}
		}
	}
	return nil
}

// releasePhotos lets photos go up whose attach was in quarantine and has taken effect since: a task shows them, which may be another
// one than they were recorded for if a dispatcher has mended that.
func releasePhotos(tx *bolt.Tx) (released bool, err error) {
	quarantined := make(map[string]*photo)
	for ph, err := range photos(tx) {
		if err != nil {
			return false, err
		}
		if ph.State == photoQuarantined {
			quarantined[ph.ID] = ph
		}
	}
	if len(quarantined) == 0 {
		return false, nil
	}
	shown := make(map[string]string) // The task by the photo.
	for task, err := range replica(tx) {
		if err != nil {
			return false, err
		}
		for _, known := range task.GetPhotos() {
			if quarantined[known.GetId()] != nil {
				shown[known.GetId()] = task.GetId()
			}
		}
	}
	for id, task := range shown {
		if err := changePhoto(tx, id, func(ph *photo) { ph.State, ph.TaskID = photoAttached, task }); err != nil {
			return false, err
		}
	}
	return len(shown) > 0, nil
}
