package sync

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/cong1022/fieldsync/auth"
	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/store"
)

const (
	defaultQuarantinePage = 100
	// maxQuarantineScan bounds how much of the quarantine one page reads in search of what the caller may see.
	maxQuarantineScan = 10_000
)

// quarantineID names a mutation in quarantine: its place there.
type quarantineID struct {
	device  string
	epoch   uint32
	number  uint64
	payload [sha256.Size]byte
}

func idOf(q *storagev1.Quarantined) (quarantineID, *fieldsyncv1.Mutation, error) {
	m := &fieldsyncv1.Mutation{}
	if err := proto.Unmarshal(q.GetMutation(), m); err != nil {
		return quarantineID{}, nil, fmt.Errorf("a mutation of %s in quarantine is damaged: %w", q.GetDeviceId(), err)
	}
	return quarantineID{q.GetDeviceId(), q.GetInstallEpoch(), m.GetNumber(), sha256.Sum256(q.GetMutation())}, m, nil
}

// String is the id on the wire.
func (id quarantineID) String() string {
	return fmt.Sprintf("%s/%d/%d/%s", id.device, id.epoch, id.number, hex.EncodeToString(id.payload[:]))
}

func (id quarantineID) key() store.Key[storagev1.Quarantined] {
	return store.QuarantinedKey(id.device, id.epoch, id.number, id.payload)
}

func errQuarantinedUnknown() error {
	return fault.New(fault.NotFound, "quarantined_unknown",
		"Không có thao tác này trong vùng cách ly.", "There is no such mutation in quarantine.")
}

func parseQuarantineID(text string) (quarantineID, error) {
	parts := strings.Split(text, "/")
	if len(parts) != 4 {
		return quarantineID{}, errQuarantinedUnknown()
	}
	epoch, err1 := strconv.ParseUint(parts[1], 10, 32)
	number, err2 := strconv.ParseUint(parts[2], 10, 64)
	sum, err3 := hex.DecodeString(parts[3])
	if err1 != nil || err2 != nil || err3 != nil || len(sum) != sha256.Size {
		return quarantineID{}, errQuarantinedUnknown()
	}
	return quarantineID{parts[0], uint32(epoch), number, [sha256.Size]byte(sum)}, nil
}

// loadQuarantined returns a mutation in quarantine if the principal may know of its device.
func loadQuarantined(tx *store.Tx, p auth.Principal, id quarantineID) (*storagev1.Quarantined, error) {
	q, err := store.Get(tx, id.key())
	if err != nil {
		return nil, err
	}
	if q == nil {
		return nil, errQuarantinedUnknown()
	}
	if _, err := p.LoadDevice(tx, id.device); err != nil {
		if fault.KindOf(err) == fault.NotFound {
			return nil, errQuarantinedUnknown()
		}
		return nil, err
	}
	return q, nil
}

// ListQuarantined implements the RPC of that name.
func (e *Engine) ListQuarantined(ctx context.Context, req *fieldsyncv1.ListQuarantinedRequest) (*fieldsyncv1.ListQuarantinedResponse, error) {
	p, err := auth.PrincipalFrom(ctx)
	if err != nil {
		return nil, err
	}
	limit := int(req.GetLimit())
	if limit == 0 {
		limit = defaultQuarantinePage
	}
	prefix, after := store.QuarantinedAll(), store.Key[storagev1.Quarantined](nil)
	if req.GetDeviceId() != "" {
		prefix = store.QuarantinedOf(req.GetDeviceId())
	}
	if token := req.GetPageToken(); token != "" {
		raw, err := base64.RawURLEncoding.Strict().DecodeString(token)
		if err != nil {
			return nil, errPageToken()
		}
		last, err := parseQuarantineID(string(raw))
		if err != nil {
			return nil, errPageToken()
		}
		after = last.key()
	}
	resp := &fieldsyncv1.ListQuarantinedResponse{}
	return resp, e.store.View(ctx, func(tx *store.Tx) error {
		scanned, last := 0, ""
		for q, err := range store.Scan(tx, prefix, after) {
			if err != nil {
				return err
			}
			if len(resp.GetMutations()) == limit || scanned == maxQuarantineScan {
				resp.NextToken = base64.RawURLEncoding.EncodeToString([]byte(last))
				return nil
			}
			id, m, err := idOf(q)
			if err != nil {
				return err
			}
			scanned, last = scanned+1, id.String()
			if _, err := p.LoadDevice(tx, q.GetDeviceId()); fault.KindOf(err) == fault.NotFound {
				continue
			} else if err != nil {
				return err
			}
			dropImpossible(m.ProtoReflect())
			resp.Mutations = append(resp.Mutations, &fieldsyncv1.QuarantinedMutation{
				Id: last, MemberId: q.GetMemberId(), DeviceId: q.GetDeviceId(), InstallEpoch: q.GetInstallEpoch(),
				Mutation: m, Code: q.GetCode(), At: q.GetAt(),
			})
		}
		return nil
	})
}

func errPageToken() error {
	return fault.New(fault.Invalid, "page_token_invalid",
		"Mã trang không hợp lệ; hãy bắt đầu lại từ trang đầu.", "Not a page token of this server: begin again from the first page.")
}

// ReleaseQuarantined implements the RPC of that name. The mutation takes effect in the name of whoever recorded it, judged as
// of its arrival: the crew and the bounds of the time of recording are those of then.
func (e *Engine) ReleaseQuarantined(ctx context.Context, req *fieldsyncv1.ReleaseQuarantinedRequest) (*fieldsyncv1.ReleaseQuarantinedResponse, error) {
	p, err := auth.PrincipalFrom(ctx)
	if err != nil {
		return nil, err
	}
	id, err := parseQuarantineID(req.GetId())
	if err != nil {
		return nil, err
	}
	resp := &fieldsyncv1.ReleaseQuarantinedResponse{}
	return resp, e.store.Update(ctx, func(tx *store.Tx) error {
		q, err := loadQuarantined(tx, p, id)
		if err != nil {
			return err
		}
		_, m, err := idOf(q)
		if err != nil {
			return err
		}
		resolution := &storagev1.Resolution{MemberId: p.MemberID, At: tx.Timestamp(), Reason: req.GetReason(), Released: true}
		if req.GetMended() != nil {
			m = proto.CloneOf(req.GetMended())
			m.Number = id.number
			if resolution.Mended, err = (proto.MarshalOptions{Deterministic: true}).Marshal(m); err != nil {
				return err
			}
		}
		by := auth.Principal{DeviceID: q.GetDeviceId(), MemberID: q.GetMemberId(), Role: fieldsyncv1.Role_ROLE_CREW, CrewID: q.GetCrewId()}
		c, err := e.newChunk(tx, by, q.GetInstallEpoch(), nil)
		if err != nil {
			return err
		}
		c.arrived = q.GetAt().AsTime()
		c.release = id.String()
		judged, revision, err := c.judge(m, proto.Size(m))
		if err != nil {
			return err
		}
		if judged.kind != kindApplied && judged.kind != kindMerged {
			return fault.New(fault.Precondition, "release_failed",
				"Không thể áp dụng: "+judged.vi, "It cannot take effect: "+judged.en+" ["+judged.code+"]")
		}
		if err := c.save(); err != nil {
			return err
		}
		resp.Verdict = judged.verdict(tx, id.number, revision)
		resp.Verdict.CompletionId = c.completion
		return resolve(tx, q, id, resolution)
	})
}

// DiscardQuarantined implements the RPC of that name.
func (e *Engine) DiscardQuarantined(ctx context.Context, req *fieldsyncv1.DiscardQuarantinedRequest) (*fieldsyncv1.DiscardQuarantinedResponse, error) {
	p, err := auth.PrincipalFrom(ctx)
	if err != nil {
		return nil, err
	}
	id, err := parseQuarantineID(req.GetId())
	if err != nil {
		return nil, err
	}
	return &fieldsyncv1.DiscardQuarantinedResponse{}, e.store.Update(ctx, func(tx *store.Tx) error {
		q, err := loadQuarantined(tx, p, id)
		if err != nil {
			return err
		}
		return resolve(tx, q, id, &storagev1.Resolution{MemberId: p.MemberID, At: tx.Timestamp(), Reason: req.GetReason()})
	})
}

// resolve takes a mutation out of the quarantine and keeps it, with what was decided, for whoever asks later.
func resolve(tx *store.Tx, q *storagev1.Quarantined, id quarantineID, resolution *storagev1.Resolution) error {
	q.Resolution = resolution
	if err := store.Put(tx, store.ResolvedKey(id.device, id.epoch, id.number, id.payload), q); err != nil {
		return err
	}
	return store.Delete(tx, id.key())
}
