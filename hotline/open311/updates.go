package open311

import (
	"encoding/xml"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/cong1022/fieldsync/auth/audit"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/hotline"
	"github.com/cong1022/fieldsync/store"
)

// maxUpdates bounds a list of updates where the caller names no page. FixMyStreet never does, and takes what comes for all there
// is: so a list that would be longer is refused, not cut.
const maxUpdates = 10_000

// shownUpdate is a change of a request as FixMyStreet reads it.
type shownUpdate struct {
	// UpdateID is the completion's id where a completion is told of, so that it is the same in every channel.
	UpdateID    string  `json:"update_id"           xml:"update_id"`
	RequestID   string  `json:"service_request_id"  xml:"service_request_id"`
	Status      word    `json:"status"              xml:"status"`
	Updated     string  `json:"updated_datetime"    xml:"updated_datetime"`
	Description string  `json:"description"         xml:"description"`
	Media       media   `json:"media_url,omitempty" xml:"media_url,omitempty"`
	Extras      *extras `json:"extras,omitempty"    xml:"extras,omitempty"`
}

// extras hold what readers must not decide by: when the crew's phone says that it was. The update itself bears the time at which
// the server accepted it, or pollers that look back two hours would never see what was done offline.
type extras struct {
	Completed string `json:"completed_datetime,omitempty" xml:"completed_datetime,omitempty"`
	Earliest  string `json:"completed_earliest,omitempty" xml:"completed_earliest,omitempty"`
	Latest    string `json:"completed_latest,omitempty"   xml:"completed_latest,omitempty"`
}

func (f *Face) listUpdates(r *request) (answer, error) {
	window, _, err := r.span("start_date", "end_date", f.o.Store.Now())
	if err != nil {
		return answer{}, err
	}
	p, err := r.page()
	if err != nil {
		return answer{}, err
	}
	if !p.given {
		p.size = maxUpdates
	}
	list := []shownUpdate{}
	err = f.o.Store.View(r.Context(), func(tx *store.Tx) error {
		skip := p.skip
		for stub, err := range store.Scan(tx, store.TicketChangesAt(), store.TicketChangeAtKey(window.from, 0)) {
			if err != nil {
				return err
			}
			change, err := store.Get(tx, store.TicketChangeKey(stub.GetSequence()))
			if err != nil {
				return err
			}
			if change.GetAt().AsTime().After(window.to) {
				return nil
			}
			update, err := f.showUpdate(tx, r, change)
			if err != nil {
				return err
			}
			if update == nil {
				continue
			}
			if skip > 0 {
				skip--
				continue
			}
			if len(list) == p.size {
				if !p.given {
					return parameter("start_date, end_date", "có hơn 10.000 cập nhật: hãy thu hẹp hoặc dùng page", "span more than 10,000 updates: narrow them or use page")
				}
				return nil
			}
			list = append(list, *update)
		}
		return nil
	})
	if err != nil {
		return answer{}, err
	}
	return answer{http.StatusOK, struct {
		XMLName xml.Name      `xml:"service_request_updates"`
		Updates []shownUpdate `xml:"request_update"`
	}{Updates: list}, list}, nil
}

// showUpdate is nil for a change that is none for the public.
func (f *Face) showUpdate(tx *store.Tx, r *request, change *fieldsyncv1.TicketChange) (*shownUpdate, error) {
	if change.GetTaskId() == "" {
		w := announcedWithoutTask(change)
		if w == wordNone {
			return nil, nil //nolint:nilnil // Nothing to tell, which is no error.
		}
		return &shownUpdate{
			UpdateID: change.GetId(), RequestID: change.GetHotlineId(), Status: w, Updated: shownTime(change.GetAt().AsTime()),
			Description: r.say(sentences[w][0], sentences[w][1]),
		}, nil
	}
	record, err := store.Get(tx, store.TaskKey(change.GetTaskId()))
	if err != nil {
		return nil, err
	}
	task := record.GetTask()
	w := announced(change, f.services[task.GetTicket().GetCategory()].CloseOnClaim)
	if w == wordNone {
		return nil, nil //nolint:nilnil // Nothing to tell, which is no error.
	}
	update := &shownUpdate{
		UpdateID: change.GetId(), RequestID: change.GetHotlineId(), Status: w, Updated: shownTime(change.GetAt().AsTime()),
		Description: r.say(sentences[w][0], sentences[w][1]),
	}
	completion := task.GetCompletion()
	if change.GetState() != fieldsyncv1.TaskState_TASK_STATE_DONE || completion.GetCompletionId() != change.GetCompletionId() || w == wordInProgress {
		return update, nil
	}
	update.UpdateID = change.GetCompletionId()
	update.Extras = showExtras(completion.GetCompleted())
	update.Media = f.media(r, task)
	return update, nil
}

func showExtras(completed *fieldsyncv1.TimeInterval) *extras {
	if completed == nil {
		return nil
	}
	e := &extras{}
	if at := completed.GetWall(); at != nil {
		e.Completed = shownTime(at.AsTime())
	}
	if at := completed.GetEarliest(); at != nil {
		e.Earliest = shownTime(at.AsTime())
	}
	if at := completed.GetLatest(); at != nil {
		e.Latest = shownTime(at.AsTime())
	}
	return e
}

type updateReceipt struct {
	UpdateID string `json:"update_id" xml:"update_id"`
}

// vietnam is the zone in which crews read times. It has no daylight saving time.
var vietnam = time.FixedZone("+07", 7*60*60)

// postUpdate adds what a citizen says to the ticket's description, and so to the phones of the crew. It changes no state: whether
// work is done, the crew says.
func (f *Face) postUpdate(r *request) (answer, error) {
	photos, err := r.photos()
	if err != nil {
		return answer{}, err
	}
	id, text := strings.TrimSpace(r.form.Get("service_request_id")), strings.TrimSpace(r.form.Get("description")+photos)
	if id == "" {
		return answer{}, parameter("service_request_id", "là bắt buộc", "is required")
	}
	if text == "" {
		return answer{}, parameter("description", "là bắt buộc", "is required")
	}
	p := r.identify("update", "update_id", "update_id_ext")
	var updateID string
	status := http.StatusOK
	err = f.o.Store.Update(r.Context(), func(tx *store.Tx) error {
		status = http.StatusOK
		earlier, _, err := p.before(tx)
		if err != nil {
			return err
		}
		if updateID = earlier.GetId(); updateID != "" {
			return nil // A comment that was edited elsewhere stays here as it was first said.
		}
		ticket, err := knownTicket(tx, id)
		if err != nil {
			return err
		}
		if updateID, err = tx.NewID(); err != nil {
			return err
		}
		status = http.StatusCreated
		said := fmt.Sprintf("[%s, người dân] %s", tx.Now().In(vietnam).Format("02/01/2006 15:04"), text)
		if err := hotline.Comment(tx, ticket, said); err != nil {
			return err
		}
		audit.About(r.Context(), "ticket", ticket.GetId())
		return p.remember(tx, updateID)
	})
	if err != nil {
		return answer{}, err
	}
	f.o.Log.InfoContext(r.Context(), "update taken in by GeoReport", "by", r.by.MemberID, "new", status == http.StatusCreated)
	list := []updateReceipt{{updateID}}
	return answer{status, struct {
		XMLName xml.Name        `xml:"service_request_updates"`
		Updates []updateReceipt `xml:"request_update"`
	}{Updates: list}, list}, nil
}
