package audit

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"slices"
	"strings"
	"time"

	"github.com/cong1022/fieldsync/auth"
	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/store"
)

const (
	defaultPage = 100
	// maxLookedAt bounds the entries that one page reads in search of those that fit.
	maxLookedAt = 5000
)

var _ fieldsyncv1connect.AuditServiceHandler = (*Log)(nil)

// question is a request, looked up.
type question struct {
	request *fieldsyncv1.ListAuditEntriesRequest
	ticket  string
}

// fits tells whether an entry is asked for.
func (q question) fits(entry *fieldsyncv1.AuditEntry) bool {
	about := func(kind, id string) bool {
		return id == "" || slices.ContainsFunc(places(entry), func(s *fieldsyncv1.AuditSubject) bool { return s.GetKind() == kind && s.GetId() == id })
	}
	return about("ticket", q.ticket) && about("device", q.request.GetDeviceId()) && about("member", q.request.GetMemberId()) &&
		strings.HasPrefix(entry.GetAct(), q.request.GetAct())
}

// places is where what is asked for is found with the least reading, and the key behind which to begin; before is zero for the newest.
func (q question) places(before time.Time, id string) (prefix store.Prefix[storagev1.AuditRecord], after store.Key[storagev1.AuditRecord]) {
	var kind, subject string
	switch {
	case q.ticket != "":
		kind, subject = "ticket", q.ticket
	case q.request.GetDeviceId() != "":
		kind, subject = "device", q.request.GetDeviceId()
	case q.request.GetMemberId() != "":
		kind, subject = "member", q.request.GetMemberId()
	default:
		if !before.IsZero() {
			after = store.AuditKey(before, id)
		}
		return store.Audit(), after
	}
	if !before.IsZero() {
		after = store.AuditSubjectKey(kind, subject, before, id)
	}
	return store.AuditOf(kind, subject), after
}

// ListAuditEntries implements the RPC of that name. Errors: Invalid "page_token_invalid".
func (l *Log) ListAuditEntries(ctx context.Context, req *fieldsyncv1.ListAuditEntriesRequest) (*fieldsyncv1.ListAuditEntriesResponse, error) {
	if _, err := auth.PrincipalFrom(ctx); err != nil {
		return nil, err
	}
	limit := int(req.GetLimit())
	if limit == 0 {
		limit = defaultPage
	}
	before, id, err := parseToken(req.GetPageToken())
	if err != nil {
		return nil, err
	}
	if until := req.GetUntil(); until != nil && (before.IsZero() || until.AsTime().Before(before)) {
		before, id = until.AsTime().Add(-1), ""
	}
	resp := &fieldsyncv1.ListAuditEntriesResponse{}
	return resp, l.store.View(ctx, func(tx *store.Tx) error {
		q := question{request: req}
		if req.GetTicketId() != "" {
			if q.ticket, err = ticketOf(tx, req.GetTicketId()); err != nil {
				return err
			}
		}
		prefix, after := q.places(before, id)
		looked := 0
		var last *fieldsyncv1.AuditEntry
		for record, err := range store.Scan(tx, prefix, after) {
			if err != nil {
				return err
			}
			entry := record.GetEntry()
			if from := req.GetFrom(); from != nil && entry.GetAt().AsTime().Before(from.AsTime()) {
				return nil
			}
			if len(resp.GetEntries()) == limit || looked == maxLookedAt {
				resp.NextToken = formToken(last)
				return nil
			}
			looked, last = looked+1, entry
			whole, err := store.Get(tx, store.AuditKey(entry.GetAt().AsTime(), entry.GetId())) // A place holds only id and time.
			if err != nil {
				return err
			}
			if q.fits(whole.GetEntry()) {
				resp.Entries = append(resp.Entries, whole.GetEntry())
			}
		}
		return nil
	})
}

// A token is the time and the id of the last entry that was looked at.
func formToken(last *fieldsyncv1.AuditEntry) string {
	raw := binary.BigEndian.AppendUint64(nil, uint64(last.GetAt().AsTime().UnixNano()))
	return base64.RawURLEncoding.EncodeToString(append(raw, last.GetId()...))
}

func parseToken(token string) (at time.Time, id string, err error) {
	if token == "" {
		return at, "", nil
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(raw) < 9 {
		return at, "", fault.New(fault.Invalid, "page_token_invalid",
			"Mã trang không hợp lệ: hãy tải lại từ trang đầu.",
			"The page token is not one of this server's: begin again with the first page.")
	}
	return time.Unix(0, int64(binary.BigEndian.Uint64(raw))).UTC(), string(raw[8:]), nil //nolint:gosec // Whatever a stranger says is only a place to read from.
}
