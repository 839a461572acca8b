package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"text/tabwriter"
	"time"

	"filippo.io/age"
	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cong1022/fieldsync/backup"
	"github.com/cong1022/fieldsync/dispatch/calendar"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/internal/server"
	"github.com/cong1022/fieldsync/store/embedded"
)

// repositoryFlags say where a backup lies and who can read it.
type repositoryFlags struct{ repository, identity string }

func (f *repositoryFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.repository, "repository", "", "where the backup lies, instead of the configuration's: a folder, or s3://HOST:PORT/BUCKET (s3+http:// without TLS)")
	flags.StringVar(&f.identity, "identity", "", "file with the age identity that an encrypted backup is read with")
}

// open connects to the repository. The keys to an object store come from the configuration or the environment, where no list of
// processes shows them.
func (f *repositoryFlags) open(ctx context.Context, config server.Config) (backup.Target, error) {
	c := config.Backup
	if f.repository != "" {
		c.Repository = f.repository
	}
	if c.Repository == "" {
		return nil, fault.New(fault.Invalid, "repository_unknown",
			"Chưa biết bản sao lưu ở đâu: hãy ghi --repository, hoặc --config với khóa backup.repository.",
			"Where the backup lies is not known: give --repository, or --config with the key backup.repository.")
	}
	return c.Open(ctx)
}

func (f *repositoryFlags) identities() ([]age.Identity, error) {
	if f.identity == "" {
		return nil, nil
	}
	file, err := os.Open(f.identity)
	if err != nil {
		return nil, fault.New(fault.NotFound, "identity_unreadable",
			fmt.Sprintf("Không đọc được --identity: %v.", err), fmt.Sprintf("--identity cannot be read: %v.", err))
	}
	defer file.Close()
	identities, err := age.ParseIdentities(file)
	if err != nil {
		return nil, fault.New(fault.Invalid, "identity_unreadable",
			fmt.Sprintf("%s không phải tệp khóa age (AGE-SECRET-KEY-...): %v.", f.identity, err),
			fmt.Sprintf("%s is no file with an age identity (AGE-SECRET-KEY-...): %v.", f.identity, err))
	}
	return identities, nil
}

func newBackupCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "backup",
		Short: "Keep a copy of a data folder somewhere else, and check it",
		Long: `Keep a copy of a data folder in a folder elsewhere or in an S3-compatible object store, and check what is there. A server
that has a backup configured ships by itself, each second. Every object is hashed; with recipients all is encrypted (age). The
keys to an object store are taken from the configuration or from FIELDSYNC_BACKUP_ACCESS_KEY and FIELDSYNC_BACKUP_SECRET_KEY.`,
		Example: `  fieldsync backup now --config city.yaml
  fieldsync backup list --repository s3://minio.example:9000/fieldsync-backup
  fieldsync backup verify --repository /mnt/backup --identity key.txt`,
	}
	cmd.AddCommand(newBackupNowCommand(), newBackupListCommand(), newBackupVerifyCommand())
	return cmd
}

func newBackupNowCommand() *cobra.Command {
	var flags offlineFlags
	var repository repositoryFlags
	var recipients []string
	cmd := &cobra.Command{
		Use:   "now",
		Short: "Send everything that is new, and wait until the backup has it",
		Long: `Send everything that is new to the repository, and wait until it is there. Where the server runs, it is asked to do that;
this takes a shell that is enrolled as an admin.`,
		Example: `  fieldsync backup now --config city.yaml
  fieldsync backup now --repository /mnt/backup --data /var/lib/fieldsync
  fieldsync backup now --repository /mnt/backup --recipient age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p`,
		Args: cobra.NoArgs,
	}
	profile := profileFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		config, err := flags.load()
		if err != nil {
			return err
		}
		if len(recipients) > 0 {
			config.Backup.Recipients = recipients
		}
		if _, err := config.Backup.Readers(); err != nil {
			return fmt.Errorf("--recipient: %w", err)
		}
		reached, err := ship(cmd, config, &repository)
		if errors.Is(err, embedded.ErrInUse) && repository.repository == "" {
			reached, err = askToShip(cmd, *profile)
		}
		if err == nil {
			fmt.Fprintf(cmd.OutOrStdout(), sentence("Bản sao lưu đã đầy đủ đến bản ghi %d.\n", "The backup is complete up to record %d.\n", language(cmd)), reached)
		}
		return err
	}
	flags.add(cmd)
	repository.add(cmd.Flags())
	cmd.Flags().StringArrayVar(&recipients, "recipient", nil, "age recipient who can read the backup, instead of the configuration's; may be repeated")
	return cmd
}

// ship sends the data of a server that does not run.
func ship(cmd *cobra.Command, config server.Config, repository *repositoryFlags) (record uint64, err error) {
	ctx := cmd.Context()
	if err := needData(config); err != nil {
		return 0, err
	}
	log := newLogger(config.Log, cmd.ErrOrStderr())
	engine, err := embedded.Open(storeFolder(config), log)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, engine.Close()) }()
	target, err := repository.open(ctx, config)
	if err != nil {
		return 0, err
	}
	recipients, err := config.Backup.Readers()
	if err != nil {
		return 0, err
	}
	options := backup.Options{
		Engine: engine, Target: target, Recipients: recipients, Keep: config.Backup.Keep(), Log: log,
		Progress: backupProgress(cmd, sentence("Sao lưu", "Backing up", language(cmd))),
	}
	if config.Media.Store == "folder" { // Else they lie in an object store already.
		blobs, err := server.OpenBlobs(ctx, config)
		if err != nil {
			return 0, err
		}
		options.Photo = server.OpenPhoto(blobs)
	}
	shipper := backup.New(options)
	if err := shipper.Ship(ctx); err != nil {
		return 0, err
	}
	if n := shipper.State().Unreadable; n > 0 {
		return 0, fmt.Errorf("%d photos could not be sent, see above: `fieldsync check` names them", n)
	}
	return shipper.Reached().Sequence, nil
}

// askToShip asks the server that has the data folder open.
func askToShip(cmd *cobra.Command, profile string) (record uint64, err error) {
	err = asOperator(profile, func(o operator) error {
		resp, err := o.operations().BackUpNow(cmd.Context(), &fieldsyncv1.BackUpNowRequest{})
		record = resp.GetBackup().GetRecord()
		return err
	})
	return record, err
}

func newBackupListCommand() *cobra.Command {
	var flags configFlag
	var repository repositoryFlags
	cmd := &cobra.Command{
		Use: "list", Short: "List what a backup holds", Args: cobra.NoArgs,
		Example: `  fieldsync backup list --repository /mnt/backup`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, err := flags.load()
			if err != nil {
				return err
			}
			target, err := repository.open(cmd.Context(), config)
			if err != nil {
				return err
			}
			objects, _, err := backup.List(cmd.Context(), target)
			if err == nil && len(objects) == 0 {
				err = backup.ErrEmpty()
			}
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
				fmt.Fprintf(table, "%016x\t%s\t%d–%d\t%s\n", o.Journal, o.Kind, o.First, o.Last, o.At.In(calendar.Zone).Format(time.DateTime))
			}
			if err := table.Flush(); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), sentence("%s ảnh\n", "%s photos\n", language(cmd)), humanize.Comma(int64(photos)))
			if mixed := backup.Mixed(objects); mixed != nil {
				fmt.Fprintln(cmd.OutOrStdout(), "! "+explain(mixed, language(cmd)))
				return errReported
			}
			return nil
		},
	}
	flags.add(cmd)
	repository.add(cmd.Flags())
	return cmd
}

func newBackupVerifyCommand() *cobra.Command {
	var flags configFlag
	var repository repositoryFlags
	cmd := &cobra.Command{
		Use: "verify", Short: "Read all of a backup and tell what is damaged or missing", Args: cobra.NoArgs,
		Example: `  fieldsync backup verify --repository /mnt/backup --identity key.txt`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, err := flags.load()
			if err != nil {
				return err
			}
			target, err := repository.open(cmd.Context(), config)
			if err != nil {
				return err
			}
			identities, err := repository.identities()
			if err != nil {
				return err
			}
			found, err := backup.Verify(cmd.Context(), target, identities, progress(cmd.ErrOrStderr(), sentence("Kiểm tra", "Verifying", language(cmd)), inItems))
			for _, f := range found {
				fmt.Fprintln(cmd.OutOrStdout(), "! "+explain(f, language(cmd)))
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
	flags.add(cmd)
	repository.add(cmd.Flags())
	return cmd
}
