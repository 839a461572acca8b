package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"filippo.io/age"
	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/cong1022/fieldsync/backup"
	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/server"
	"github.com/cong1022/fieldsync/media"
	"github.com/cong1022/fieldsync/store"
	"github.com/cong1022/fieldsync/store/embedded"
)

// repositoryFlags say where a backup lies and who can read it.
type repositoryFlags struct {
	repository, identity string
	recipients           []string
}

func (f *repositoryFlags) add(cmd *cobra.Command) {
	cmd.PersistentFlags().StringVar(&f.repository, "repository", "", "where the backup lies: a folder, or s3://HOST:PORT/BUCKET (s3+http:// without TLS)")
	cmd.PersistentFlags().StringVar(&f.identity, "identity", "", "file with the age identity that an encrypted backup is read with")
	if err := cmd.MarkPersistentFlagRequired("repository"); err != nil {
		panic(err) // The flag is defined two lines above.
	}
}

// open connects to the repository. The keys to an object store come from the environment, where no list of processes shows
// them.
func (f *repositoryFlags) open(ctx context.Context) (backup.Target, error) {
	plain := strings.HasPrefix(f.repository, "s3+http://")
	if !plain && !strings.HasPrefix(f.repository, "s3://") {
		return backup.Folder(f.repository), nil
	}
	u, err := url.Parse(f.repository)
	if err != nil || u.Host == "" || strings.Trim(u.Path, "/") == "" {
		return nil, fmt.Errorf("--repository: %q is not s3://HOST:PORT/BUCKET", f.repository)
	}
	return backup.OpenS3(ctx, backup.S3Options{
		Endpoint: u.Host, Bucket: strings.Trim(u.Path, "/"), PlainHTTP: plain, Region: os.Getenv("FIELDSYNC_BACKUP_REGION"),
		AccessKey: os.Getenv("FIELDSYNC_BACKUP_ACCESS_KEY"), SecretKey: os.Getenv("FIELDSYNC_BACKUP_SECRET_KEY"),
	})
}

func (f *repositoryFlags) identities() ([]age.Identity, error) {
	if f.identity == "" {
		return nil, nil
	}
	file, err := os.Open(f.identity)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return age.ParseIdentities(file)
}

func newBackupCommand() *cobra.Command {
	var repository repositoryFlags
	cmd := &cobra.Command{
		Use:   "backup",
		Short: "Keep a copy of a data folder somewhere else, and check it",
		Long: `Keep a copy of a data folder in a folder elsewhere or in an S3-compatible object store, and check what is there. Every
object is hashed; with --recipient all is encrypted (age). The keys to an object store are taken from
FIELDSYNC_BACKUP_ACCESS_KEY and FIELDSYNC_BACKUP_SECRET_KEY.`,
		Example: `  fieldsync backup now --repository /mnt/backup --data /var/lib/fieldsync
  fieldsync backup list --repository s3://minio.example:9000/fieldsync-backup
  fieldsync backup verify --repository /mnt/backup --identity key.txt`,
	}
	repository.add(cmd)
	cmd.AddCommand(newBackupNowCommand(&repository), newBackupListCommand(&repository), newBackupVerifyCommand(&repository))
	return cmd
}

func newBackupNowCommand(repository *repositoryFlags) *cobra.Command {
	var flags offlineFlags
	cmd := &cobra.Command{
		Use:   "now",
		Short: "Send everything that is new, of a server that does not run",
		Example: `  fieldsync backup now --repository /mnt/backup --data /var/lib/fieldsync
  fieldsync backup now --repository /mnt/backup --recipient age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, err := flags.load()
			if err != nil {
				return err
			}
			target, err := repository.open(cmd.Context())
			if err != nil {
				return err
			}
			recipients, err := age.ParseRecipients(strings.NewReader(strings.Join(repository.recipients, "\n")))
			if err != nil && len(repository.recipients) > 0 {
				return fmt.Errorf("--recipient: %w", err)
			}
			reached, err := ship(cmd, config, target, recipients)
			if err == nil {
				fmt.Fprintf(cmd.OutOrStdout(), sentence("Bản sao lưu đã đầy đủ đến bản ghi %d.\n", "The backup is complete up to record %d.\n", language(cmd)), reached)
			}
			return err
		},
	}
	flags.add(cmd)
	cmd.Flags().StringArrayVar(&repository.recipients, "recipient", nil, "age recipient who can read the backup; may be repeated")
	return cmd
}

func ship(cmd *cobra.Command, config server.Config, target backup.Target, recipients []age.Recipient) (record uint64, err error) {
	ctx := cmd.Context()
	if _, err := os.Stat(storeFolder(config)); err != nil {
		return 0, fmt.Errorf("no data folder (key data): %w", err)
	}
	log := newLogger(config.Log, cmd.ErrOrStderr())
	engine, err := embedded.Open(storeFolder(config), log)
	if err != nil {
		return 0, err
	}
	s, err := store.Open(ctx, engine, store.Options{})
	if err != nil {
		return 0, errors.Join(err, engine.Close())
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	options := backup.Options{Engine: engine, Target: target, Recipients: recipients, Log: log}
	if config.Media.Store == "folder" { // Else they lie in an object store already.
		blobs, err := server.OpenBlobs(ctx, config)
		if err != nil {
			return 0, err
		}
		options.Originals = originals(s, blobs)
	}
	return engine.Journal().Last(), backup.New(options).Ship(ctx)
}

// originals lists the verified photos of a store. Their bytes are read outside of the transaction.
func originals(s *store.Store, blobs media.Blobs) backup.Originals {
	return func(ctx context.Context, yield func(string, func() (io.ReadCloser, error)) error) error {
		var sums [][sha256.Size]byte
		if err := s.View(ctx, func(tx *store.Tx) error {
			sums = nil
			for upload, err := range store.Scan[storagev1.Upload](tx, store.Uploads(), nil) {
				if err != nil {
					return err
				}
				if upload.GetState() == fieldsyncv1.PhotoState_PHOTO_STATE_VERIFIED && len(upload.GetSha256()) == sha256.Size {
					sums = append(sums, [sha256.Size]byte(upload.GetSha256()))
				}
			}
			return nil
		}); err != nil {
			return err
		}
		for _, sum := range sums {
			if err := yield(hex.EncodeToString(sum[:]), func() (io.ReadCloser, error) {
				content, _, err := blobs.Open(ctx, sum)
				return content, err
			}); err != nil {
				return err
			}
		}
		return nil
	}
}

func newBackupListCommand(repository *repositoryFlags) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List what a backup holds", Args: cobra.NoArgs,
		Example: `  fieldsync backup list --repository /mnt/backup`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			target, err := repository.open(cmd.Context())
			if err != nil {
				return err
			}
			objects, _, err := backup.List(cmd.Context(), target)
			if err != nil {
				return err
			}
			photos := 0
			table := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			for _, o := range objects {
				if o.Journal == 0 {
					photos++
					continue
				}
				fmt.Fprintf(table, "%016x\t%s\t%d–%d\t%s\n", o.Journal, o.Kind, o.First, o.Last, o.At.Local().Format(time.DateTime)) //nolint:gosmopolitan // For the person at this terminal.
			}
			if err := table.Flush(); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), sentence("%s ảnh\n", "%s photos\n", language(cmd)), humanize.Comma(int64(photos)))
			return nil
		},
	}
}

func newBackupVerifyCommand(repository *repositoryFlags) *cobra.Command {
	return &cobra.Command{
		Use: "verify", Short: "Read all of a backup and tell what is damaged or missing", Args: cobra.NoArgs,
		Example: `  fieldsync backup verify --repository /mnt/backup --identity key.txt`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			target, err := repository.open(cmd.Context())
			if err != nil {
				return err
			}
			identities, err := repository.identities()
			if err != nil {
				return err
			}
			found, err := backup.Verify(cmd.Context(), target, identities)
			for _, f := range found {
				fmt.Fprintln(cmd.OutOrStdout(), "! "+f.Error())
			}
			switch {
			case err != nil:
				return err
			case len(found) > 0:
				return errReported
			}
			fmt.Fprintln(cmd.OutOrStdout(), sentence("Bản sao lưu nguyên vẹn.", "The backup is whole.", language(cmd)))
			return nil
		},
	}
}
