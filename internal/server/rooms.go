package server

import (
	"context"
	"log/slog"
	"time"

	"github.com/cong1022/fieldsync/auth"
	"github.com/cong1022/fieldsync/auth/audit"
	"github.com/cong1022/fieldsync/dispatch"
	"github.com/cong1022/fieldsync/dispatch/board"
	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
	"github.com/cong1022/fieldsync/hotline"
	"github.com/cong1022/fieldsync/hotline/falsereport"
	"github.com/cong1022/fieldsync/hotline/open311"
	"github.com/cong1022/fieldsync/media"
	"github.com/cong1022/fieldsync/proof"
	"github.com/cong1022/fieldsync/store"
	syncengine "github.com/cong1022/fieldsync/sync"
)

// Parts are what the rooms of the house are composed over.
type Parts struct {
	// Store holds the records; its clock is the house's.
	Store *store.Store
	// Blobs keeps verified photos.
	Blobs media.Blobs
	// SpoolDir is where the bytes of unfinished uploads lie. One house at a time may use it.
	SpoolDir string
	// Spool, where it is not nil, keeps them instead.
	Spool media.Spool
	// SpoolBytes bounds them. 0: 20 GiB.
	SpoolBytes int64
	// OrphansAfter is as in media.Options.
	OrphansAfter time.Duration
	// Retention says how long things are kept. The zero value: as by default.
	Retention RetentionConfig
	// Issuer, Tokens and CORS are what the configuration calls so.
	Issuer string
	Tokens TokenConfig
	CORS   CORSConfig
	// Privacy is what the configuration calls so. The zero value: no lease.
	Privacy PrivacyConfig
	// Open311 is what the configuration calls so.
	Open311 Open311Config
	// Edge is what the configuration calls so. The zero value sets no limits.
	Edge EdgeConfig
	// OIDC is what the configuration calls so.
	OIDC OIDCConfig
	// Witnesses are the verifier keys of those whose cosignatures of checkpoints are taken.
	Witnesses []string
	// PlainWebhooks takes webhooks without TLS.
	PlainWebhooks bool
	// Review says what is asked of completions and which of them people look at. The zero value: nothing, and none.
	Review media.ReviewRules
	// Report is what the configuration calls so. The zero value: the 25th at noon.
	Report ReportConfig
	// OfflineTime is the longest time that a phone may be offline. 0: 90 days.
	OfflineTime time.Duration
	// Reach tells how far the backup goes. Nil: phones hear nothing of it.
	Reach func() *fieldsyncv1.BackupReach
	// Operations serves operators. Nil: there is none.
	Operations fieldsyncv1connect.OperationsServiceHandler
	// Unready says why the server is not ready though it serves. Nil: it always is.
	Unready func() []string
	Log     *slog.Logger
}

// Rooms are the rooms of the house over one store, without a port and without workers.
type Rooms struct {
	log      *slog.Logger
	origins  []string
	edge     EdgeConfig
	proxies  proxies
	review   media.ReviewRules
	unready  func() []string
	store    *store.Store
	auth     *auth.Service
	audit    *audit.Log
	sync     *syncengine.Engine
	dispatch *dispatch.Service
	board    *board.Service
	hotline  *hotline.Service
	open311  *open311.Face
	media    *media.Service
	sealer   *proof.Sealer

	operations   fieldsyncv1connect.OperationsServiceHandler
	falseReports *falsereport.Service
}

// Compose makes the rooms. They hold nothing that must be closed; the parts stay the caller's.
func Compose(ctx context.Context, parts Parts) (_ *Rooms, err error) {
	s := &Rooms{
		log: parts.Log, origins: parts.CORS.Origins, review: parts.Review, store: parts.Store, edge: parts.Edge,
		operations: parts.Operations, unready: parts.Unready,
	}
	if s.operations == nil {
		s.operations = fieldsyncv1connect.UnimplementedOperationsServiceHandler{}
	}
	if s.unready == nil {
		s.unready = func() []string { return nil }
	}
	if s.proxies, err = parts.Edge.proxies(); err != nil {
		return nil, err
	}
	provider, err := parts.OIDC.open(s.store.Now)
	if err != nil {
		return nil, err
	}
	s.audit = audit.New(audit.Options{Store: s.store, Log: s.log, Keep: days(parts.Retention.AuditDays)})
	s.review.Of = dispatch.Category
	if s.auth, err = auth.Open(ctx, s.store, auth.Options{
		Issuer: parts.Issuer, AccessTTL: parts.Tokens.AccessTTL, CodeTTL: parts.Tokens.CodeTTL, Log: s.log,
		Provider: provider, Attempts: s.audit.Attempt,
		DeviceGrant: parts.Tokens.DeviceGrant, PersonalLease: parts.Privacy.PhoneLease,
	}); err != nil {
		return nil, err
	}
	if s.sealer, err = proof.Open(ctx, s.store, parts.Witnesses...); err != nil {
		return nil, err
	}
	if s.sync, err = syncengine.New(syncengine.Options{
		Store: s.store, Log: s.log, Claim: s.claim, CheckClaim: s.sealer.CheckClaim, Moved: s.moved, OfflineTime: parts.OfflineTime,
		Reach: parts.Reach, PersonalLease: parts.Privacy.PhoneLease,
	}); err != nil {
		return nil, err
	}
	s.dispatch = dispatch.New(dispatch.Options{Store: s.store, Log: s.log, Reopened: s.reopened})
	s.board = board.New(board.Options{Store: s.store, MonthDay: parts.Report.Day, MonthHour: parts.Report.Hour})
	if err := s.dispatch.Seed(ctx); err != nil {
		return nil, err
	}
	s.hotline = hotline.New(hotline.Options{
		Store: s.store, Log: s.log, Delivered: s.sealer.Deliver, Cancel: s.dispatch.Withdraw, Router: s.dispatch.Router, PlainWebhooks: parts.PlainWebhooks,
	})
	s.falseReports = falsereport.New(falsereport.Options{
		Store: s.store, Log: s.log, Decide: s.sealer.Decide, Receipts: s.sealer.DecisionReceipts,
	})
	s.open311 = open311.New(open311.Options{
		Store: s.store, Log: s.log, Hotline: s.hotline, ByAPIKey: s.auth.ByAPIKey,
		Jurisdiction: parts.Open311.Jurisdiction, PublicURL: parts.Open311.PublicURL, Services: parts.Open311.Services, Catalogue: s.catalogue,
		PhotoPath: func(task, photo string) string { return s.media.PublicPath(task, photo) },
	})
	s.media, err = media.Open(media.Options{ //nolint:contextcheck // Its sweep at the start is short and must come to its end.
		Store: s.store, Blobs: parts.Blobs, SpoolDir: parts.SpoolDir, Spool: parts.Spool, SpoolBytes: parts.SpoolBytes, Log: s.log,
		UploadTTL:     days(parts.Retention.UploadsDays),
		PhotosChanged: s.advance, OrphansAfter: parts.OrphansAfter,
	})
	return s, err
}

// claim and advance bring a completion on; the transaction that seals it also applies the rules of review to it.

func (s *Rooms) claim(tx *store.Tx, record *storagev1.TaskRecord, by auth.Principal, revision uint64, said *fieldsyncv1.Complete) error {
	if err := s.sealer.Claim(tx, record, by, revision, said); err != nil {
		return err
	}
	return s.reviewed(tx, record, revision, fieldsyncv1.ProofState_PROOF_STATE_CLAIMED)
}

// moved lets dispatch hear of tasks whose state a crew has moved: deadlines and escalations follow it.
func (s *Rooms) moved(tx *store.Tx, record *storagev1.TaskRecord) error {
	return s.dispatch.Moved(tx, record)
}

// reopened takes back the completion of a task that is opened again: in the proof log, and with the hotline's ticket.
func (s *Rooms) reopened(tx *store.Tx, record *storagev1.TaskRecord, member, reason string) error {
	if err := s.sealer.Reopen(tx, record, member, reason); err != nil {
		return err
	}
	return hotline.Reopen(tx, record.GetTask().GetTicket().GetTicketId())
}

func (s *Rooms) advance(tx *store.Tx, record *storagev1.TaskRecord, revision uint64) error {
	before := record.GetTask().GetCompletion().GetProofState()
	if err := s.sealer.Advance(tx, record, revision); err != nil {
		return err
	}
	return s.reviewed(tx, record, revision, before)
}

func (s *Rooms) reviewed(tx *store.Tx, record *storagev1.TaskRecord, revision uint64, before fieldsyncv1.ProofState) error {
	const sealed = fieldsyncv1.ProofState_PROOF_STATE_SEALED
	if before == sealed || record.GetTask().GetCompletion().GetProofState() != sealed {
		return nil
	}
	return s.review.Apply(tx, record.GetTask(), revision)
}

// catalogue is what can be reported through GeoReport: the categories, where the configuration lists no services.
func (s *Rooms) catalogue(ctx context.Context) (services []open311.Service, err error) {
	return services, s.store.View(ctx, func(tx *store.Tx) error {
		services = nil
		for category, err := range store.Scan(tx, store.Categories(), nil) {
			if err != nil {
				return err
			}
			services = append(services, open311.Service{
				Code: category.GetId(), Vi: category.GetName().GetVi(), En: category.GetName().GetEn(),
				CloseOnClaim: category.GetClosing() == fieldsyncv1.ClosingRule_CLOSING_RULE_CLAIM, Retired: category.GetRetired(),
			})
		}
		return nil
	})
}

// AdminCode issues a fresh one-time code for the first admin; it is empty once an admin's device is enrolled.
func (s *Rooms) AdminCode(ctx context.Context) (code string, expires time.Time, err error) {
	return s.auth.Bootstrap(audit.OnMachine(ctx, "fieldsync serve: admin code", "member", "admin"))
}

// Forget does what the daily worker does: removals and verdicts older than the longest offline time are forgotten.
func (s *Rooms) Forget(ctx context.Context) error { return s.sync.Forget(ctx) }

// FireTimers does once what the worker of the timers does without end: it takes some of those that are due, escalations and warnings
// of deadlines, and tells how many.
func (s *Rooms) FireTimers(ctx context.Context) (taken int, err error) {
	taken, _, err = s.dispatch.FireTimers(ctx, 20)
	return taken, err
}
