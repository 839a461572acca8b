package server

import (
	"context"
	"errors"
	"math"
	"os"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/store"
)

// firstFindings is how many findings an answer tells.
const firstFindings = 100

// GetStatus implements the RPC of that name.
func (k *keeper) GetStatus(ctx context.Context, _ *fieldsyncv1.GetStatusRequest) (*fieldsyncv1.GetStatusResponse, error) {
	resp := &fieldsyncv1.GetStatusResponse{Unready: k.unready(), Journal: new(fieldsyncv1.JournalStatus), Version: Version()}
	j := k.engine.Journal()
	resp.Journal.First, resp.Journal.Last = j.First(), j.Last()
	for _, s := range j.Segments() {
		resp.Journal.Files++
		resp.Journal.Bytes += uint64(s.Bytes) //nolint:gosec // A size.
	}
	snapshots, err := k.engine.Snapshots()
	if err != nil {
		return nil, err
	}
	for _, s := range snapshots {
		status := &fieldsyncv1.SnapshotStatus{Position: s.Position, Bytes: uint64(s.Bytes)} //nolint:gosec // A size.
		if info, err := os.Stat(s.Path); err == nil {
			status.At = timestamppb.New(info.ModTime())
		}
		resp.Journal.Snapshots = append(resp.Journal.Snapshots, status)
	}
	resp.Backup = k.backupStatus()
	k.mu.Lock()
	resp.QuickCheck, resp.FullCheck = report(k.quick), report(k.full)
	k.mu.Unlock()
	if err := k.store.View(ctx, func(tx *store.Tx) error {
		resp.Retained = nil
		for _, kept := range []struct {
			of    string
			days  int
			count func(*store.Tx) (store.Held, error)
		}{
			{"verdicts", k.config.Sync.OfflineDays, store.HeldVerdicts},
			{"removals", k.config.Sync.OfflineDays, store.HeldRemovals},
			{"uploads", k.config.Retention.UploadsDays, store.HeldUploads},
			{"audit", k.config.Retention.AuditDays, store.HeldAudit},
		} {
			held, err := kept.count(tx)
			if err != nil {
				return err
			}
			retained := &fieldsyncv1.Retained{Of: kept.of, Count: held.Count, Days: uint32(kept.days), At: tx.Timestamp()} //nolint:gosec // Days.
			if !held.Oldest.IsZero() {
				retained.Oldest = timestamppb.New(held.Oldest)
			}
			resp.Retained = append(resp.Retained, retained)
		}
		return nil
	}); err != nil {
		return nil, err
	}
	resp.Room, err = k.room()
	if err != nil {
		k.log.WarnContext(ctx, "what is free cannot be told", "error", err)
	}
	return resp, nil
}

func (k *keeper) backupStatus() *fieldsyncv1.BackupStatus {
	if k.shipper == nil {
		return nil
	}
	state := k.shipper.State()
	status := &fieldsyncv1.BackupStatus{
		Repository: k.config.Backup.Repository, Record: state.Sequence,
		PhotosWaiting: uint64(state.PhotosWaiting), PhotosUnreadable: uint64(state.Unreadable), //nolint:gosec // Counts.
	}
	if last := k.engine.Journal().Last(); last > state.Sequence {
		status.Behind = last - state.Sequence
	}
	if !state.At.IsZero() {
		status.At = timestamppb.New(state.At)
	}
	if state.Failed != nil {
		status.Failed, status.FailedAt = state.Failed.Error(), timestamppb.New(state.FailedAt)
	}
	return status
}

// room is what is left, in the order of the API's comment.
func (k *keeper) room() ([]*fieldsyncv1.Room, error) {
	left, margins, err := k.engine.Room()
	if err != nil {
		return nil, err
	}
	room := func(of string, left, margin uint64) *fieldsyncv1.Room {
		r := &fieldsyncv1.Room{Of: of, Margin: margin}
		if left != math.MaxUint64 {
			r.Left = &left
		}
		return r
	}
	return []*fieldsyncv1.Room{
		room("bytes", left.Bytes, margins.Bytes), room("inodes", left.Inodes, margins.Inodes),
		room("descriptors", left.Descriptors, margins.Descriptors),
	}, nil
}

func report(c *Checked) *fieldsyncv1.CheckReport {
	if c == nil {
		return nil
	}
	return &fieldsyncv1.CheckReport{
		At: timestamppb.New(c.At), Took: durationpb.New(c.Took),
		Findings: uint32(len(c.Findings)), First: c.Findings[:min(len(c.Findings), firstFindings)], //nolint:gosec // A count.
	}
}

// CheckNow implements the RPC of that name.
func (k *keeper) CheckNow(ctx context.Context, req *fieldsyncv1.CheckNowRequest) (*fieldsyncv1.CheckNowResponse, error) {
	// It ends with the server, not with the one who waits for it.
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	go func() {
		select {
		case <-k.stopped:
			cancel()
		case <-ctx.Done():
		}
	}()
	c, err := k.check(ctx, CheckOptions{Quick: req.GetQuick()})
	if errors.Is(err, errChecking) {
		return nil, fault.New(fault.Precondition, "check_running",
			"Đang có một lần kiểm tra khác; hãy xem kết quả bằng fieldsync status.", "A check is under way: see fieldsync status for what it finds.")
	}
	if err != nil {
		return nil, err
	}
	return &fieldsyncv1.CheckNowResponse{Report: report(&c)}, nil
}

// BackUpNow implements the RPC of that name.
func (k *keeper) BackUpNow(ctx context.Context, _ *fieldsyncv1.BackUpNowRequest) (*fieldsyncv1.BackUpNowResponse, error) {
	if k.shipper == nil {
		return nil, fault.New(fault.Precondition, "backup_not_configured",
			"Máy chủ chưa được cấu hình sao lưu (backup.repository).", "The server keeps no backup (backup.repository).")
	}
	if err := k.shipper.Ship(ctx); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		k.log.ErrorContext(ctx, "backup: shipping", "error", err)
		if fault.CodeOf(err) != "" {
			return nil, err
		}
		return nil, fault.New(fault.Unavailable, "backup_target_unreachable",
			"Nơi sao lưu không nhận; máy chủ tự thử lại, chi tiết trong nhật ký.", "The repository does not take it: the server tries again by itself, its log tells more.")
	}
	return &fieldsyncv1.BackUpNowResponse{Backup: k.backupStatus()}, nil
}
