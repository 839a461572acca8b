package server

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"filippo.io/age"

	"github.com/cong1022/fieldsync/backup"
	"github.com/cong1022/fieldsync/store/embedded"
)

// BackupConfig is the section backup.
type BackupConfig struct {
	Repository    string        `yaml:"repository"`
	AccessKey     string        `yaml:"access_key"`
	SecretKey     string        `yaml:"secret_key" secret:"true"`
	SecretKeyFile string        `yaml:"secret_key_file"`
	Region        string        `yaml:"region"`
	Recipients    []string      `yaml:"recipients"`
	Every         time.Duration `yaml:"every"`
	KeepDays      int           `yaml:"keep_days"`
}

// Keep is for how long each moment can be restored to; 0: for ever.
func (c BackupConfig) Keep() time.Duration { return time.Duration(c.KeepDays) * 24 * time.Hour }

// CheckConfig is the section check.
type CheckConfig struct {
	At      string `yaml:"at"`
	AtStart bool   `yaml:"at_start"`
}

// GuardConfig is the section guards.
type GuardConfig struct {
	FreeMiB     uint64 `yaml:"free_mib"`
	ReserveMiB  uint64 `yaml:"reserve_mib"`
	Inodes      uint64 `yaml:"inodes"`
	Descriptors uint64 `yaml:"descriptors"`
}

// JournalConfig is the section journal.
type JournalConfig struct {
	SnapshotMiB   int64         `yaml:"snapshot_mib"`
	SnapshotEvery time.Duration `yaml:"snapshot_every"`
}

// RetentionConfig is the section retention.
type RetentionConfig struct {
	UploadsDays int `yaml:"uploads_days"`
	AuditDays   int `yaml:"audit_days"`
}

func (c Config) checkKeeping(require func(ok bool, format string, args ...any)) {
	if c.Backup.Repository != "" {
		_, _, err := c.Backup.bucket()
		require(err == nil, "backup.repository: %w", err)
	}
	_, err := c.Backup.Readers()
	require(err == nil, "backup.recipients: %w", err)
	require(c.Backup.Every >= 100*time.Millisecond && c.Backup.Every <= time.Hour, "backup.every: %v is not between 100ms and 1h", c.Backup.Every)
	require(c.Backup.KeepDays >= 0 && c.Backup.KeepDays <= 36500, "backup.keep_days: %d is not between 0 and 36500", c.Backup.KeepDays)
	_, err = c.Check.next(time.Now())
	require(err == nil, "check.at: %w", err)
	require(c.Guards.FreeMiB <= 1<<30, "guards.free_mib: %d is above 1073741824", c.Guards.FreeMiB)
	require(c.Guards.ReserveMiB <= 1<<20, "guards.reserve_mib: %d is above 1048576", c.Guards.ReserveMiB)
	require(c.Journal.SnapshotMiB >= 1 && c.Journal.SnapshotMiB <= 1<<20, "journal.snapshot_mib: %d is not between 1 and 1048576", c.Journal.SnapshotMiB)
	require(c.Journal.SnapshotEvery >= time.Minute && c.Journal.SnapshotEvery <= 720*time.Hour,
		"journal.snapshot_every: %v is not between 1m and 720h", c.Journal.SnapshotEvery)
	require(c.Retention.AuditDays >= 0 && c.Retention.AuditDays <= 36500, "retention.audit_days: %d is not between 0 and 36500", c.Retention.AuditDays)
	require(c.Retention.UploadsDays >= 1 && c.Retention.UploadsDays <= 365, "retention.uploads_days: %d is not between 1 and 365", c.Retention.UploadsDays)
}

func days(n int) time.Duration { return time.Duration(n) * 24 * time.Hour }

// next is when the nightly check is due; zero where there is none.
func (c CheckConfig) next(now time.Time) (time.Time, error) {
	if c.At == "" {
		return time.Time{}, nil
	}
	at, err := time.Parse("15:04", c.At)
	if err != nil {
		return time.Time{}, fmt.Errorf("%q is no time such as 02:30", c.At)
	}
	due := time.Date(now.Year(), now.Month(), now.Day(), at.Hour(), at.Minute(), 0, 0, now.Location())
	if !due.After(now) {
		due = due.AddDate(0, 0, 1)
	}
	return due, nil
}

// engineOptions are how the configuration wants the engine.
func (c Config) engineOptions() embedded.Options {
	o := embedded.Options{
		Margins:       embedded.Margins{Bytes: c.Guards.FreeMiB << 20, Inodes: c.Guards.Inodes, Descriptors: c.Guards.Descriptors},
		ReserveBytes:  c.Guards.ReserveMiB << 20,
		SnapshotBytes: c.Journal.SnapshotMiB << 20, SnapshotEvery: c.Journal.SnapshotEvery,
	}
	if o.Margins == (embedded.Margins{}) {
		o.Margins.Descriptors = 1 // All switched off, which is not the same as nothing said.
	}
	return o
}

// bucket takes a repository's address apart. The bucket is empty for a folder.
func (c BackupConfig) bucket() (o backup.S3Options, ok bool, err error) {
	plain := strings.HasPrefix(c.Repository, "s3+http://")
	if !plain && !strings.HasPrefix(c.Repository, "s3://") {
		return o, false, nil
	}
	u, err := url.Parse(c.Repository)
	if err == nil && u.User != nil {
		return o, false, errors.New("keys do not belong into the address: say backup.access_key and backup.secret_key_file") // And not what it was.
	}
	if err != nil || u.Host == "" || strings.Trim(u.Path, "/") == "" || strings.Contains(strings.Trim(u.Path, "/"), "/") {
		return o, false, fmt.Errorf("%q is not s3://HOST:PORT/BUCKET", c.Repository)
	}
	return backup.S3Options{
		Endpoint: u.Host, Bucket: strings.Trim(u.Path, "/"), PlainHTTP: plain, Region: c.Region,
		AccessKey: c.AccessKey, SecretKey: c.SecretKey,
	}, true, nil
}

// Open connects to the repository.
func (c BackupConfig) Open(ctx context.Context) (backup.Target, error) {
	o, s3, err := c.bucket()
	if err != nil {
		return nil, fmt.Errorf("the repository (key backup.repository): %w", err)
	}
	if !s3 {
		return backup.Folder(c.Repository), nil
	}
	return backup.OpenS3(ctx, o)
}

// Readers are the recipients who can read the backup.
func (c BackupConfig) Readers() ([]age.Recipient, error) {
	if len(c.Recipients) == 0 {
		return nil, nil
	}
	return age.ParseRecipients(strings.NewReader(strings.Join(c.Recipients, "\n")))
}
