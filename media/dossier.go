package media

import (
	"archive/zip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/cong1022/fieldsync/auth"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/faultwire"
	"github.com/cong1022/fieldsync/store"
)

// facts are what facts.json in a dossier holds, beside the files.
type facts struct {
	// Task is the task as the API gives it, in protobuf's JSON, without the citizen who reported.
	Task json.RawMessage `json:"task"`
	// Files are the photos that are here, in the order in which they were attached.
	Files []dossierFile `json:"files"`
	// Missing are the ids of those that are still on the phone.
	Missing []string `json:"missing"`
	// UsedElsewhere names the tasks in which the same bytes stand. Dispatchers only.
	UsedElsewhere []otherUse `json:"used_elsewhere,omitempty"`
}

type dossierFile struct {
	Name    string `json:"name"`
	PhotoID string `json:"photo_id"`
	SHA256  string `json:"sha256"`
	Size    uint64 `json:"size_bytes"`
}

type otherUse struct {
	PhotoID      string `json:"photo_id"`
	TicketID     string `json:"other_ticket_id"`
	TaskID       string `json:"other_task_id"`
	OtherPhotoID string `json:"other_photo_id"`
}

// serveDossier streams a zip of a task's evidence to whoever may see the task now: facts.json first, then each original that has
// arrived. Nothing is compressed twice and nothing is held in memory. An original that cannot be read cuts the connection, so that
// no zip looks whole that is not.
//
// Errors: NotFound "task_unknown".
func (s *Service) serveDossier(w http.ResponseWriter, r *http.Request) {
	task, facts, err := s.dossier(r.Context(), r.PathValue("task"))
	if err != nil {
		faultwire.WriteHTTP(w, r, s.log, err)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/zip")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": task.GetId() + "-evidence.zip"}))
	if err := s.writeDossier(r.Context(), w, facts); err != nil {
		if r.Context().Err() == nil {
			s.log.ErrorContext(r.Context(), "a dossier broke off", "task", task.GetId(), "error", err)
		}
		panic(http.ErrAbortHandler)
	}
}

func (s *Service) dossier(ctx context.Context, id string) (*fieldsyncv1.Task, *facts, error) {
	principal, err := auth.PrincipalFrom(ctx)
	if err != nil {
		return nil, nil, err
	}
	var task *fieldsyncv1.Task
	f := &facts{Files: []dossierFile{}, Missing: []string{}}
	err = s.store.View(ctx, func(tx *store.Tx) error {
		record, err := principal.LoadTask(tx, id)
		if err != nil {
			return err
		}
		task = proto.CloneOf(record.GetTask())
		for _, photo := range task.GetPhotos() {
			if photo.GetState() == fieldsyncv1.PhotoState_PHOTO_STATE_ON_PHONE {
				f.Missing = append(f.Missing, photo.GetId())
				continue
			}
			f.Files = append(f.Files, dossierFile{
				Name:    "photos/" + photo.GetId() + "." + strings.TrimPrefix(photo.GetContentType(), "image/"),
				PhotoID: photo.GetId(), SHA256: hex.EncodeToString(photo.GetSha256()), Size: photo.GetSizeBytes(),
			})
			if principal.InCrew() {
				continue // A crew may not learn of others' tasks.
			}
			for place, err := range store.Scan(tx, store.PhotoPlaces(photo.GetSha256()), nil) {
				if err != nil {
					return err
				}
				if place.GetTaskId() != task.GetId() {
					f.UsedElsewhere = append(f.UsedElsewhere, otherUse{photo.GetId(), place.GetTicketId(), place.GetTaskId(), place.GetPhotoId()})
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	if task.GetTicket() != nil {
		task.Ticket.Reporter = nil
	}
	if f.Task, err = (protojson.MarshalOptions{UseProtoNames: true}).Marshal(task); err != nil {
		return nil, nil, fmt.Errorf("encoding the facts of task %s: %w", id, err)
	}
	return task, f, nil
}

func (s *Service) writeDossier(ctx context.Context, w io.Writer, f *facts) error {
	archive := zip.NewWriter(w)
	now := s.store.Now()
	text, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return err
	}
	entry, err := archive.CreateHeader(&zip.FileHeader{Name: "facts.json", Method: zip.Deflate, Modified: now})
	if err != nil {
		return err
	}
	if _, err := entry.Write(text); err != nil {
		return err
	}
	for _, file := range f.Files {
		if err := s.writeOriginal(ctx, archive, file, now); err != nil {
			return fmt.Errorf("photo %s: %w", file.PhotoID, err)
		}
	}
	return archive.Close()
}

func (s *Service) writeOriginal(ctx context.Context, archive *zip.Writer, file dossierFile, now time.Time) error {
	sum, err := hex.DecodeString(file.SHA256)
	if err != nil {
		return err
	}
	content, _, err := s.blobs.Open(ctx, [sha256.Size]byte(sum))
	if err != nil {
		return err
	}
	defer content.Close()
	entry, err := archive.CreateHeader(&zip.FileHeader{Name: file.Name, Method: zip.Store, Modified: now})
	if err != nil {
		return err
	}
	_, err = io.Copy(entry, content)
	return err
}
