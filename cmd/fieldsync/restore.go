package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/cong1022/fieldsync/backup"
	"github.com/cong1022/fieldsync/dispatch/calendar"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/internal/server"
	"github.com/cong1022/fieldsync/media"
)

func newRestoreCommand() *cobra.Command {
	var flags offlineFlags
	var repository repositoryFlags
	var to, journal string
	cmd := &cobra.Command{
		Use:   "restore",
		Short: "Make a data folder from nothing but a backup",
		Long: `Make a data folder from nothing but a backup, as it was at a time or as new as the backup is. The folder must not hold a
store. The store gets another server epoch: phones find out, load their scope again and offer again what they still hold.`,
		Example: `  fieldsync restore --repository /mnt/backup --data /var/lib/fieldsync
  fieldsync restore --repository s3://minio.example:9000/fieldsync-backup --identity key.txt --to 2026-11-23T08:30:00+07:00`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, err := flags.load()
			if err != nil {
				return err
			}
			lang := language(cmd)
			target, err := repository.open(cmd.Context(), config)
			if err != nil {
				return err
			}
			o := backup.RestoreOptions{
				Target: target, Log: newLogger(config.Log, cmd.ErrOrStderr()),
				Progress: backupProgress(cmd, sentence("Khôi phục", "Restoring", lang)),
			}
			if o.Identities, err = repository.identities(); err != nil {
				return err
			}
			if to != "" {
				if o.To, err = time.Parse(time.RFC3339, to); err != nil {
					return fault.New(fault.Invalid, "time_invalid",
						fmt.Sprintf("--to: %q không phải thời điểm như 2026-11-23T08:30:00+07:00.", to),
						fmt.Sprintf("--to: %q is no time such as 2026-11-23T08:30:00+07:00.", to))
				}
			}
			if journal != "" {
				if o.Journal, err = strconv.ParseUint(journal, 16, 64); err != nil || o.Journal == 0 {
					return fault.New(fault.Invalid, "flag_invalid",
						fmt.Sprintf("--journal: %q không phải mã nhật ký như 00c5f1a93e7b2d40; xem bằng fieldsync backup list.", journal),
						fmt.Sprintf("--journal: %q is no journal's id such as 00c5f1a93e7b2d40: see `fieldsync backup list`.", journal))
				}
			}
			o.Photo = keepOriginals(cmd.Context(), config)
			r, err := backup.Restore(cmd.Context(), storeFolder(config), o)
			if err != nil {
				return err
			}
			if err := enterAct(cmd, config); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), sentence("Đã khôi phục đến %s (bản ghi %d), %d ảnh.\n", "Restored as of %s (record %d), %d photos.\n", lang),
				r.At.In(calendar.Zone).Format(time.RFC3339Nano), r.Sequence, r.Photos)
			for _, d := range r.Damaged {
				fmt.Fprintln(cmd.OutOrStdout(), "! "+explain(d, lang))
			}
			if len(r.Damaged) > 0 {
				return errReported
			}
			return nil
		},
	}
	flags.add(cmd)
	repository.add(cmd.Flags())
	cmd.Flags().StringVar(&journal, "journal", "", "whose history is wanted, where several servers have written into the repository at the same time: an id that `backup list` tells")
	cmd.Flags().StringVar(&to, "to", "", "the time as of which the data is wanted (RFC 3339); the newest where it is missing")
	return cmd
}

// keepOriginals puts photos where the configuration wants them; nil where they are in an object store anyway. It makes no folder
// before there is a photo: a restore that fails leaves nothing.
func keepOriginals(ctx context.Context, config server.Config) func(context.Context, string, io.Reader) error {
	if config.Media.Store != "folder" {
		return nil
	}
	open := sync.OnceValues(func() (media.Blobs, error) { return server.OpenBlobs(ctx, config) })
	return func(ctx context.Context, name string, content io.Reader) error {
		sum, err := hex.DecodeString(name)
		if err != nil || len(sum) != sha256.Size {
			return fmt.Errorf("%q is no SHA-256", name)
		}
		all, err := io.ReadAll(content) // At most 50 MiB.
		if err != nil {
			return err
		}
		blobs, err := open()
		if err != nil {
			return err
		}
		return blobs.Put(ctx, [sha256.Size]byte(sum), bytes.NewReader(all))
	}
}
