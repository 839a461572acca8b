package server

import (
	"bytes"
	_ "embed" // For the defaults.
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/cong1022/fieldsync/hotline/open311"
	"github.com/cong1022/fieldsync/media"
	"github.com/cong1022/fieldsync/proof/receipt"
)

// DefaultConfig is the documented configuration with its defaults: what the server runs on where nothing else is said.
//
//go:embed default.yaml
var DefaultConfig []byte

// envPrefix begins the name of every environment variable that overrides a key.
const envPrefix = "FIELDSYNC"

// Config is what default.yaml documents, key by key.
type Config struct {
	Listen          string        `yaml:"listen"`
	Data            string        `yaml:"data"`
	Issuer          string        `yaml:"issuer"`
	ShutdownTimeout time.Duration `yaml:"shutdown_timeout"`
	Log             LogConfig     `yaml:"log"`
	Tokens          TokenConfig   `yaml:"tokens"`
	CORS            CORSConfig    `yaml:"cors"`
	Media           MediaConfig   `yaml:"media"`
	Review          ReviewConfig  `yaml:"review"`
	Push            PushConfig    `yaml:"push"`
	Open311         Open311Config `yaml:"open311"`
	Webhooks        WebhookConfig `yaml:"webhooks"`
	Proof           ProofConfig   `yaml:"proof"`
	TLS             TLSConfig     `yaml:"tls"`
	Edge            EdgeConfig    `yaml:"edge"`
	Report          ReportConfig  `yaml:"report"`
	OIDC            OIDCConfig    `yaml:"oidc"`
	Sync            SyncConfig    `yaml:"sync"`

	// What keeps what was acknowledged: see config_keep.go.
	Backup    BackupConfig    `yaml:"backup"`
	Check     CheckConfig     `yaml:"check"`
	Guards    GuardConfig     `yaml:"guards"`
	Journal   JournalConfig   `yaml:"journal"`
	Retention RetentionConfig `yaml:"retention"`
	Privacy   PrivacyConfig   `yaml:"privacy"`
}

// ReportConfig is the section report.
type ReportConfig struct {
	Day  int `yaml:"day"`
	Hour int `yaml:"hour"`
}

// SyncConfig is the section sync.
type SyncConfig struct {
	OfflineDays int `yaml:"offline_days"`
}

func (c SyncConfig) offlineTime() time.Duration { return time.Duration(c.OfflineDays) * 24 * time.Hour }

// LogConfig is the section log.
type LogConfig struct {
	Level  slog.Level `yaml:"level"`
	Format string     `yaml:"format"`
}

// TokenConfig is the section tokens.
type TokenConfig struct {
	AccessTTL time.Duration `yaml:"access_ttl"`
	CodeTTL   time.Duration `yaml:"code_ttl"`
	// DeviceGrant is how long a device that is not seen can still refresh.
	DeviceGrant time.Duration `yaml:"device_grant"`
}

// PrivacyConfig is the section privacy.
type PrivacyConfig struct {
	PhoneLease time.Duration `yaml:"phone_lease"`
}

// CORSConfig is the section cors.
type CORSConfig struct {
	Origins []string `yaml:"origins"`
}

// MediaConfig is the section media.
type MediaConfig struct {
	Store        string        `yaml:"store"`
	Spool        string        `yaml:"spool"`
	SpoolGiB     int           `yaml:"spool_gib"`
	OrphansAfter time.Duration `yaml:"orphans_after"`
	S3           S3Config      `yaml:"s3"`
}

// S3Config is the section media.s3.
type S3Config struct {
	Endpoint      string `yaml:"endpoint"`
	Bucket        string `yaml:"bucket"`
	Region        string `yaml:"region"`
	TLS           bool   `yaml:"tls"`
	AccessKey     string `yaml:"access_key"`
	SecretKey     string `yaml:"secret_key" secret:"true"`
	SecretKeyFile string `yaml:"secret_key_file"`
	LockYears     int    `yaml:"lock_years"`
}

// ReviewConfig is the section review.
type ReviewConfig struct {
	Share           float64              `yaml:"share"`
	SharePerFinding float64              `yaml:"share_per_finding"`
	PhotosBefore    int                  `yaml:"photos_before"`
	PhotosAfter     int                  `yaml:"photos_after"`
	Categories      map[string]PhotoRule `yaml:"categories"`
}

// PhotoRule is what review.categories holds by category.
type PhotoRule struct {
	Before int `yaml:"before"`
	After  int `yaml:"after"`
}

func (c ReviewConfig) rules() media.ReviewRules {
	rules := media.ReviewRules{
		Share: c.Share, SharePerFinding: c.SharePerFinding,
		Photos:     media.PhotoRule{Before: c.PhotosBefore, After: c.PhotosAfter},
		Categories: make(map[string]media.PhotoRule, len(c.Categories)),
	}
	for category, rule := range c.Categories {
		rules.Categories[category] = media.PhotoRule(rule)
	}
	return rules
}

// Open311Config is the section open311.
type Open311Config struct {
	Jurisdiction string            `yaml:"jurisdiction"`
	PublicURL    string            `yaml:"public_url"`
	Services     []open311.Service `yaml:"services"`
}

// ProofConfig is the section proof.
type ProofConfig struct {
	Witnesses []string `yaml:"witnesses"`
}

func (c ProofConfig) check(require func(ok bool, format string, args ...any)) {
	for _, witness := range c.Witnesses {
		_, err := receipt.ParseWitness(witness)
		require(err == nil, "proof.witnesses: %q is no verifier key of a witness (name+hash+key)", witness)
	}
	require(len(c.Witnesses) <= 16, "proof.witnesses: at most 16")
}

// WebhookConfig is the section webhooks.
type WebhookConfig struct {
	AllowedNetworks []string `yaml:"allowed_networks"`
}

func (c WebhookConfig) networks() (prefixes []netip.Prefix, err error) {
	for _, text := range c.AllowedNetworks {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("webhooks.allowed_networks: %q is no network such as 10.1.0.0/16", text)
		}
		prefixes = append(prefixes, prefix)
	}
	return prefixes, nil
}

// PushConfig is the section push.
type PushConfig struct {
	FCMCredentialsFile string `yaml:"fcm_credentials_file"`
	FCMEndpoint        string `yaml:"fcm_endpoint"`
	Contact            string `yaml:"contact"`
}

// LoadConfig reads the defaults, over them the file (none where file is empty), over that the environment as lookup knows
// it (os.LookupEnv). Its errors name the key and say what is allowed.
func LoadConfig(file string, lookup func(string) (string, bool)) (Config, error) {
	var c Config
	if err := decodeStrictly(DefaultConfig, &c); err != nil {
		return c, fmt.Errorf("the embedded defaults: %w", err)
	}
	if file != "" {
		text, err := os.ReadFile(file)
		if err != nil {
			return c, fmt.Errorf("reading the configuration: %w", err)
		}
		if err := decodeStrictly(text, &c); err != nil {
			return c, fmt.Errorf("the configuration %s: %w", file, err)
		}
	}
	if err := overrideFromEnv(reflect.ValueOf(&c).Elem(), envPrefix, lookup); err != nil {
		return c, err
	}
	if c.Media.S3.SecretKeyFile != "" {
		secret, err := os.ReadFile(c.Media.S3.SecretKeyFile)
		if err != nil {
			return c, fmt.Errorf("reading media.s3.secret_key_file: %w", err)
		}
		c.Media.S3.SecretKey = strings.TrimSpace(string(secret))
	}
	if c.Backup.SecretKeyFile != "" {
		secret, err := os.ReadFile(c.Backup.SecretKeyFile)
		if err != nil {
			return c, fmt.Errorf("reading backup.secret_key_file: %w", err)
		}
		c.Backup.SecretKey = strings.TrimSpace(string(secret))
	}
	return c, c.check()
}

func decodeStrictly(text []byte, c *Config) error {
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	err := decoder.Decode(c)
	if errors.Is(err, io.EOF) {
		return nil // An empty file changes nothing.
	}
	if err != nil {
		return err
	}
	if err := decoder.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return errors.New("more than one YAML document: what follows the first would be ignored")
	}
	return nil
}

// overrideFromEnv looks up each key of the section by the name that its path gives it.
func overrideFromEnv(section reflect.Value, prefix string, lookup func(string) (string, bool)) error {
	for i := range section.NumField() {
		name := prefix + "_" + strings.ToUpper(section.Type().Field(i).Tag.Get("yaml"))
		field := section.Field(i)
		if field.Kind() == reflect.Struct {
			if err := overrideFromEnv(field, name, lookup); err != nil {
				return err
			}
			continue
		}
		text, ok := lookup(name)
		if !ok {
			continue
		}
		if field.Kind() == reflect.String { // As it is: a secret may look like anything in YAML.
			field.SetString(text)
			continue
		}
		if err := yaml.Unmarshal([]byte(text), field.Addr().Interface()); err != nil {
			return fmt.Errorf("the environment variable %s: %w", name, err)
		}
	}
	return nil
}

func (c Config) check() error {
	var errs []error
	require := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	_, _, err := net.SplitHostPort(c.Listen)
	require(err == nil, "listen: %q is no host:port", c.Listen)
	require(c.Data != "", "data: a folder is needed")
	require(c.Issuer != "", "issuer: a name is needed")
	require(c.ShutdownTimeout > 0, "shutdown_timeout: %v is not above 0", c.ShutdownTimeout)
	require(c.Log.Format == "text" || c.Log.Format == "json", "log.format: %q is neither text nor json", c.Log.Format)
	require(c.Tokens.AccessTTL >= time.Second && c.Tokens.AccessTTL <= 24*time.Hour,
		"tokens.access_ttl: %v is not between 1s and 24h", c.Tokens.AccessTTL)
	require(c.Tokens.CodeTTL >= time.Second && c.Tokens.CodeTTL <= 24*time.Hour,
		"tokens.code_ttl: %v is not between 1s and 24h", c.Tokens.CodeTTL)
	require(strings.HasPrefix(c.Push.Contact, "https://") || strings.Contains(c.Push.Contact, "@"), "push.contact: %q is neither a mail address nor an https URL", c.Push.Contact)
	require(c.Report.Day >= 1 && c.Report.Day <= 28, "report.day: %d is not between 1 and 28", c.Report.Day)
	require(c.Report.Hour >= 0 && c.Report.Hour <= 23, "report.hour: %d is not between 0 and 23", c.Report.Hour)
	require(c.Tokens.DeviceGrant >= 24*time.Hour && c.Tokens.DeviceGrant <= 365*24*time.Hour,
		"tokens.device_grant: %v is not between 24h and 8760h", c.Tokens.DeviceGrant)
	require(c.Privacy.PhoneLease == 0 || c.Privacy.PhoneLease >= time.Hour, "privacy.phone_lease: %v is neither 0 nor an hour or more", c.Privacy.PhoneLease)
	require(c.Media.SpoolGiB >= 1 && c.Media.SpoolGiB <= 1<<20, "media.spool_gib: %d is not between 1 and 1048576", c.Media.SpoolGiB)
	require(c.Media.Spool == "folder" || c.Media.Spool == "s3", "media.spool: %q is neither folder nor s3", c.Media.Spool)
	require(c.Media.Spool != "s3" || c.Media.Store == "s3", "media.spool: s3 needs media.store: s3")
	require(c.Media.OrphansAfter >= 0, "media.orphans_after: %v is below 0", c.Media.OrphansAfter)
	require(c.Media.S3.LockYears >= 0 && c.Media.S3.LockYears <= 100, "media.s3.lock_years: %d is not between 0 and 100", c.Media.S3.LockYears)
	require(c.Review.Share >= 0 && c.Review.Share <= 1, "review.share: %v is not between 0 and 1", c.Review.Share)
	require(c.Review.SharePerFinding >= 0 && c.Review.SharePerFinding <= 1,
		"review.share_per_finding: %v is not between 0 and 1", c.Review.SharePerFinding)
	require(c.Sync.OfflineDays >= 1 && c.Sync.OfflineDays <= 3650, "sync.offline_days: %d is not between 1 and 3650", c.Sync.OfflineDays)
	c.Proof.check(require)
	_, err = c.Webhooks.networks()
	require(err == nil, "%w", err)
	err = c.TLS.check()
	require(err == nil, "%w", err)
	err = c.OIDC.check()
	require(err == nil, "%w", err)
	err = c.Edge.check()
	require(err == nil, "%w", err)
	for i, service := range c.Open311.Services {
		require(service.Code != "" && len(service.Code) <= 100 && service.Vi != "" && service.En != "",
			"open311.services: the %d. needs a code of at most 100 bytes, vi and en", i+1)
	}
	require(c.Open311.PublicURL == "" || strings.HasPrefix(c.Open311.PublicURL, "http://") || strings.HasPrefix(c.Open311.PublicURL, "https://"),
		"open311.public_url: %q begins with neither http:// nor https://", c.Open311.PublicURL)
	switch c.Media.Store {
	case "folder":
	case "s3":
		require(c.Media.S3.Endpoint != "", "media.s3.endpoint: needed where media.store is s3")
		require(c.Media.S3.Bucket != "", "media.s3.bucket: needed where media.store is s3")
	default:
		require(false, "media.store: %q is neither folder nor s3", c.Media.Store)
	}
	c.checkKeeping(require)
	return errors.Join(errs...)
}
