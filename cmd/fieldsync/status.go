package main

import (
	"fmt"
	"io"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
)

func newStatusCommand() *cobra.Command {
	var asJSON, check, quick bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Tell how a server is: backup, checks, journal, room, and what it keeps for how long",
		Long: `Tell how a running server is: how far its backup reaches, what its last checks have found, how large its journal is, what
room is left, and what it keeps for how long. Takes a shell that is enrolled as an admin. Exit status 1 where the server is not
ready, or its backup does not get through.`,
		Example: `  fieldsync status
  fieldsync status --check          # check everything now, which may take minutes
  fieldsync status --json`,
		Args: cobra.NoArgs,
	}
	profile := profileFlag(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the answer as JSON")
	cmd.Flags().BoolVar(&check, "check", false, "check everything first")
	cmd.Flags().BoolVar(&quick, "quick", false, "with --check: only the records")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return asOperator(*profile, func(o operator) error {
			if check {
				if _, err := o.operations().CheckNow(cmd.Context(), &fieldsyncv1.CheckNowRequest{Quick: quick}); err != nil {
					return err
				}
			}
			status, err := o.operations().GetStatus(cmd.Context(), &fieldsyncv1.GetStatusRequest{})
			if err != nil {
				return err
			}
			if asJSON {
				fmt.Fprintln(cmd.OutOrStdout(), protojson.Format(status))
			} else {
				printStatus(cmd.OutOrStdout(), status, language(cmd))
			}
			if len(status.GetUnready()) > 0 || status.GetBackup().GetFailed() != "" {
				return errReported
			}
			return nil
		})
	}
	return cmd
}

func printStatus(w io.Writer, s *fieldsyncv1.GetStatusResponse, lang string) {
	row := func(vi, en, format string, args ...any) {
		fmt.Fprintf(w, "%-20s %s\n", sentence(vi, en, lang), fmt.Sprintf(format, args...))
	}
	ready := sentence("có", "yes", lang)
	if len(s.GetUnready()) > 0 {
		ready = sentence("KHÔNG", "NO", lang)
	}
	row("Sẵn sàng", "Ready", "%s", ready)
	row("Phiên bản", "Version", "%s", s.GetVersion())
	printBackup(row, s.GetBackup(), lang)
	for _, c := range []struct {
		vi, en string
		report *fieldsyncv1.CheckReport
	}{{"Kiểm tra nhanh", "Quick check", s.GetQuickCheck()}, {"Kiểm tra đầy đủ", "Full check", s.GetFullCheck()}} {
		if c.report == nil {
			row(c.vi, c.en, "-")
			continue
		}
		row(c.vi, c.en, sentence("%s: %d điều bất thường", "%s: %d findings", lang), moment(c.report.GetAt()), c.report.GetFindings())
		for _, f := range c.report.GetFirst() {
			fmt.Fprintln(w, "! "+f)
		}
	}
	j := s.GetJournal()
	row("Nhật ký", "Journal", sentence("%s trong %d tệp, bản ghi %d đến %d", "%s in %d files, records %d to %d", lang),
		humanize.IBytes(j.GetBytes()), j.GetFiles(), j.GetFirst(), j.GetLast())
	for _, snapshot := range j.GetSnapshots() {
		row("Bản chụp", "Snapshot", sentence("%s, %s, đến bản ghi %d", "%s, %s, up to record %d", lang),
			moment(snapshot.GetAt()), humanize.IBytes(snapshot.GetBytes()), snapshot.GetPosition())
	}
	for _, room := range s.GetRoom() {
		left := "-"
		if room.Left != nil {
			left = humanize.Comma(int64(room.GetLeft())) //nolint:gosec // What a disk has left.
		}
		row("Còn "+room.GetOf(), "Left of "+room.GetOf(), sentence("%s (ngừng ghi khi dưới %s)", "%s (no writes below %s)", lang),
			left, humanize.Comma(int64(room.GetMargin()))) //nolint:gosec // A margin.
	}
	for _, kept := range s.GetRetained() {
		bound := sentence("giữ mãi", "kept for ever", lang)
		if kept.GetDays() > 0 {
			bound = fmt.Sprintf(sentence("giữ %d ngày", "kept for %d days", lang), kept.GetDays())
		}
		row("Giữ "+kept.GetOf(), "Kept "+kept.GetOf(), sentence("%s, cũ nhất %s, %s", "%s, the oldest of %s, %s", lang),
			humanize.Comma(int64(kept.GetCount())), moment(kept.GetOldest()), bound) //nolint:gosec // A count.
	}
}

func printBackup(row func(vi, en, format string, args ...any), b *fieldsyncv1.BackupStatus, lang string) {
	if b == nil {
		row("Sao lưu", "Backup", "%s", sentence("chưa cấu hình", "not configured", lang))
		return
	}
	row("Sao lưu", "Backup", "%s", b.GetRepository())
	row("", "", sentence("đến %s (bản ghi %d), còn %d bản ghi và %d ảnh", "up to %s (record %d), %d records and %d photos behind", lang),
		moment(b.GetAt()), b.GetRecord(), b.GetBehind(), b.GetPhotosWaiting())
	if b.GetPhotosUnreadable() > 0 {
		row("", "", sentence("%d ảnh không đọc được", "%d photos cannot be read", lang), b.GetPhotosUnreadable())
	}
	if b.GetFailed() != "" {
		row("", "", sentence("LỖI lúc %s: %s", "FAILED at %s: %s", lang), moment(b.GetFailedAt()), b.GetFailed())
	}
}
