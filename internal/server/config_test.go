package server

import (
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/cong1022/fieldsync/hotline/open311"
)

// keys are the leaves of a section, as paths such as media.s3.bucket.
func keys(section reflect.Type, prefix string) (paths []string) {
	for field := range section.Fields() {
		path := prefix + field.Tag.Get("yaml")
		if field.Type.Kind() == reflect.Struct {
			paths = append(paths, keys(field.Type, path+".")...)
		} else {
			paths = append(paths, path)
		}
	}
	return paths
}

func envName(key string) string {
	return envPrefix + "_" + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

func write(tb testing.TB, text string) string {
	tb.Helper()
	file := filepath.Join(tb.TempDir(), "config.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
	return file
}

// Protects: what --print-config prints names every key, is a valid configuration, and changes nothing.
func TestDefaults(t *testing.T) {
	bare, err := LoadConfig("", noEnv)
	if err != nil {
		t.Fatal(err)
	}
	printed, err := LoadConfig(write(t, string(DefaultConfig)), noEnv)
	if err != nil || !reflect.DeepEqual(bare, printed) {
		t.Errorf("%v\n%+v\n%+v", err, bare, printed)
	}
	for _, file := range []string{"", "---\n", "# only a comment\n"} {
		if c, err := LoadConfig(write(t, file), noEnv); err != nil || !reflect.DeepEqual(bare, c) {
			t.Errorf("%q: %v %+v", file, err, c)
		}
	}
	for _, key := range keys(reflect.TypeFor[Config](), "") {
		leaf := key[strings.LastIndex(key, ".")+1:]
		if !strings.Contains(string(DefaultConfig), leaf+":") {
			t.Errorf("default.yaml does not name %s", key)
		}
	}
}

// Protects: a file overrides what it states and nothing else.
func TestFile(t *testing.T) {
	c, err := LoadConfig(write(t, "listen: :9000\ntokens: {access_ttl: 1h}\ncors: {origins: [https://a.example, https://b.example]}\n"), noEnv)
	if err != nil {
		t.Fatal(err)
	}
	if c.Listen != ":9000" || c.Tokens.AccessTTL != time.Hour || c.Tokens.CodeTTL != 10*time.Minute || len(c.CORS.Origins) != 2 || c.Issuer != "fieldsync" {
		t.Errorf("%+v", c)
	}
}

// Protects: a configuration that says something else than its author meant does not start a server, and the error says
// where to look.
func TestBadConfig(t *testing.T) {
	for _, c := range []struct{ name, file, names string }{
		{"an unknown key", "lisen: :80", "lisen"},
		{"an unknown key of a section", "media: {s3: {buckets: x}}", "buckets"},
		{"a key twice", "listen: :80\nlisten: :81", "listen"},
		{"no YAML", "listen: [", "yaml"},
		{"a list", "[listen]", "yaml"},
		{"two documents", "listen: :80\n---\ndata: /x", "more than one"},
		{"no port", "listen: localhost", "listen"},
		{"no data", `data: ""`, "data"},
		{"no issuer", `issuer: ""`, "issuer"},
		{"no time to stop", "shutdown_timeout: 0s", "shutdown_timeout"},
		{"no duration", "shutdown_timeout: soon", "line 1"},
		{"an unknown level", "log: {level: loud}", "loud"},
		{"an unknown format", "log: {format: xml}", "log.format"},
		{"tokens that never live", "tokens: {access_ttl: 1ms}", "tokens.access_ttl"},
		{"tokens that never die", "tokens: {access_ttl: 25h}", "tokens.access_ttl"},
		{"codes that never die", "tokens: {code_ttl: 25h}", "tokens.code_ttl"},
		{"a share of more than all", "review: {share: 1.5}", "review.share"},
		{"no time offline", "sync: {offline_days: 0}", "sync.offline_days"},
		{"a network that is none", "webhooks: {allowed_networks: [10.0.0.1]}", "webhooks.allowed_networks"},
		{"a witness whose key is another's", "proof: {witnesses: [other.example/w1+017f50a1+BD7iqKcoPLL9colD2qEn7wnkgwcai0vGmbpFIvCbFM/e]}", "proof.witnesses"},
		{"a service without names", "open311: {services: [{code: c}]}", "open311.services"},
		{"a certificate without its key", "tls: {cert_file: x}", "tls.key_file"},
		{"certificates from two places", "tls: {cert_file: x, key_file: y, acme: {domains: [a.example]}}", "tls.acme.domains"},
		{"a domain that is none", "tls: {acme: {domains: [localhost]}}", "tls.acme.domains"},
		{"an authority without TLS", "tls: {acme: {directory: 'http://acme.example'}}", "tls.acme.directory"},
		{"a proxy that is none", "edge: {trusted_proxies: [nginx]}", "edge.trusted_proxies"},
		{"no time for headers", "edge: {header_timeout: 0s}", "edge.header_timeout"},
		{"a bucket without a bottom", "edge: {device_burst: 0}", "edge.device_per_second"},
		{"a rate that is none", "edge: {address_per_second: -1}", "edge.address_per_second"},
		{"no streams", "edge: {streams_per_connection: 0}", "edge.streams_per_connection"},
		{"a provider without TLS", "oidc: {issuer: 'http://login.example', audiences: [a]}", "oidc.issuer"},
		{"a provider for anybody", "oidc: {issuer: 'https://login.example'}", "oidc.audiences"},
		{"a role that is none", "oidc: {issuer: 'https://login.example', audiences: [a], roles: {x: king}}", "oidc.roles"},
		{"no address of the web", "open311: {public_url: example.org}", "open311.public_url"},
		{"an unknown store", "media: {store: tape}", "media.store"},
		{"S3 without an endpoint", "media: {store: s3}", "media.s3.endpoint"},
		{"S3 without a bucket", `media: {store: s3, s3: {endpoint: "x:9000", bucket: ""}}`, "media.s3.bucket"},
		{"a repository without a bucket", "backup: {repository: \"s3://host\"}", "backup.repository"},
		{"a backup of less than nothing", "backup: {keep_days: -1}", "backup.keep_days"},
		{"a recipient that is none", "backup: {recipients: [me]}", "backup.recipients"},
		{"no hour of the night", "check: {at: soon}", "check.at"},
		{"a secret that is not there", "media: {s3: {secret_key_file: /nowhere}}", "media.s3.secret_key_file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := LoadConfig(write(t, c.file), noEnv); err == nil || !strings.Contains(err.Error(), c.names) {
				t.Errorf("got %v, which should name %s", err, c.names)
			}
		})
	}
	if _, err := LoadConfig(filepath.Join(t.TempDir(), "none.yaml"), noEnv); err == nil || !strings.Contains(err.Error(), "none.yaml") {
		t.Errorf("a file that is not there: %v", err)
	}
	if _, err := LoadConfig(write(t, "listen: x\ndata: \"\"\n"), noEnv); err == nil || !strings.Contains(err.Error(), "listen") || !strings.Contains(err.Error(), "data") {
		t.Errorf("two mistakes are not told together: %v", err)
	}
}

// Protects: every key can be overridden by its environment variable, which wins over the file.
func TestEnv(t *testing.T) {
	values := map[string]string{
		"listen": ":1", "data": "/d", "issuer": "i", "shutdown_timeout": "3s", "log.level": "debug", "log.format": "json",
		"tokens.access_ttl": "5m", "tokens.code_ttl": "1h", "cors.origins": "[https://a.example]",
		"media.store": "s3", "media.s3.endpoint": "e:1", "media.s3.bucket": "b", "media.s3.region": "r", "media.s3.tls": "false",
		"media.s3.access_key": "a", "media.s3.secret_key": "{s: 1}", "media.s3.secret_key_file": "",
		"media.spool_gib": "5", "media.s3.lock_years": "10",
		"push.fcm_credentials_file": "f", "push.fcm_endpoint": "u", "push.contact": "o@example.org",
		"sync.offline_days":         "30",
		"proof.witnesses":           "[witness.example/w1+017f50a1+BD7iqKcoPLL9colD2qEn7wnkgwcai0vGmbpFIvCbFM/e]",
		"webhooks.allowed_networks": "[10.0.0.0/8]", "open311.jurisdiction": "j", "open311.public_url": "https://h", "open311.services": "[{code: c, vi: v, en: e, close_on_claim: true}]",
		"review.share": "0.5", "review.share_per_finding": "1", "review.photos_before": "1", "review.photos_after": "2",
		"review.categories": "{fallen-tree: {before: 1, after: 2}}",
		"tls.cert_file":     "", "tls.key_file": "", "tls.acme.domains": "[a.example]", "tls.acme.email": "e@a.example",
		"tls.acme.directory": "https://acme.example/", "tls.acme.directory_ca_file": "ca",
		"edge.trusted_proxies": "[10.0.0.0/8]", "edge.connections": "1", "edge.streams_per_connection": "2", "edge.header_timeout": "3s",
		"edge.idle_timeout": "4s", "edge.body_timeout": "5s", "edge.write_timeout": "6s", "edge.device_per_second": "7", "edge.device_burst": "8",
		"edge.device_calls": "9", "edge.address_per_second": "10.5", "edge.address_burst": "11", "edge.failures_per_second": "12",
		"edge.failure_burst": "13", "edge.uploads": "14", "edge.device_uploads": "15", "edge.address_calls": "16", "edge.anonymous_calls": "17",
		"report.day": "1", "report.hour": "0",
		"oidc.issuer": "https://login.example/realms/city", "oidc.audiences": "[fieldsync]", "oidc.member_claim": "sub", "oidc.roles_claim": "r",
		"oidc.roles": "{d: dispatcher}", "oidc.units_claim": "u", "oidc.units": "{g: binh-thanh}",
		"backup.repository": "s3://h:1/b", "backup.access_key": "a", "backup.secret_key": "s", "backup.secret_key_file": "", "backup.region": "r",
		"backup.recipients": "[age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p]", "backup.every": "5s", "backup.keep_days": "90",
		"check.at": "03:15", "check.at_start": "false",
		"guards.free_mib": "1", "guards.reserve_mib": "5", "guards.inodes": "2", "guards.descriptors": "3", "journal.snapshot_mib": "4", "journal.snapshot_every": "1h",
		"retention.uploads_days": "2", "retention.audit_days": "30",
		"media.spool": "s3", "media.orphans_after": "48h",
		"tokens.device_grant": "48h", "privacy.phone_lease": "2h",
	}
	env := map[string]string{}
	for _, key := range keys(reflect.TypeFor[Config](), "") {
		value, ok := values[key]
		if !ok {
			t.Fatalf("the key %s has no value here", key)
		}
		env[envName(key)] = value
	}
	got, err := LoadConfig(write(t, "listen: :2\nlog: {level: error}\n"), lookup(env))
	if err != nil {
		t.Fatal(err)
	}
	want := Config{
		Listen: ":1", Data: "/d", Issuer: "i", ShutdownTimeout: 3 * time.Second,
		Log:    LogConfig{Level: slog.LevelDebug, Format: "json"},
		Tokens: TokenConfig{AccessTTL: 5 * time.Minute, CodeTTL: time.Hour, DeviceGrant: 48 * time.Hour},
		CORS:   CORSConfig{Origins: []string{"https://a.example"}},
		Media: MediaConfig{Store: "s3", Spool: "s3", SpoolGiB: 5, OrphansAfter: 48 * time.Hour, S3: S3Config{
			Endpoint: "e:1", Bucket: "b", Region: "r", AccessKey: "a", SecretKey: "{s: 1}", LockYears: 10,
		}},
		Review: ReviewConfig{
			Share: 0.5, SharePerFinding: 1, PhotosBefore: 1, PhotosAfter: 2,
			Categories: map[string]PhotoRule{"fallen-tree": {Before: 1, After: 2}},
		},
		Push:     PushConfig{FCMCredentialsFile: "f", FCMEndpoint: "u", Contact: "o@example.org"},
		Proof:    ProofConfig{Witnesses: []string{"witness.example/w1+017f50a1+BD7iqKcoPLL9colD2qEn7wnkgwcai0vGmbpFIvCbFM/e"}},
		Webhooks: WebhookConfig{AllowedNetworks: []string{"10.0.0.0/8"}},
		TLS: TLSConfig{ACME: ACMEConfig{
			Domains: []string{"a.example"}, Email: "e@a.example", Directory: "https://acme.example/", DirectoryCAFile: "ca",
		}},
		Edge: EdgeConfig{
			TrustedProxies: []string{"10.0.0.0/8"}, Connections: 1, StreamsPerConnection: 2, HeaderTimeout: 3 * time.Second,
			IdleTimeout: 4 * time.Second, BodyTimeout: 5 * time.Second, WriteTimeout: 6 * time.Second, DevicePerSecond: 7, DeviceBurst: 8,
			DeviceCalls: 9, AddressPerSecond: 10.5, AddressBurst: 11, FailuresPerSecond: 12, FailureBurst: 13, AddressCalls: 16, AnonymousCalls: 17, Uploads: 14, DeviceUploads: 15,
		},
		Report:  ReportConfig{Day: 1},
		Privacy: PrivacyConfig{PhoneLease: 2 * time.Hour},
		Sync:    SyncConfig{OfflineDays: 30},
		OIDC: OIDCConfig{
			Issuer: "https://login.example/realms/city", Audiences: []string{"fieldsync"}, MemberClaim: "sub", RolesClaim: "r",
			Roles: map[string]string{"d": "dispatcher"}, UnitsClaim: "u", Units: map[string]string{"g": "binh-thanh"},
		},
		Backup: BackupConfig{
			Repository: "s3://h:1/b", AccessKey: "a", SecretKey: "s", Region: "r", Every: 5 * time.Second, KeepDays: 90,
			Recipients: []string{"age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"},
		},
		Check:     CheckConfig{At: "03:15"},
		Guards:    GuardConfig{FreeMiB: 1, ReserveMiB: 5, Inodes: 2, Descriptors: 3},
		Journal:   JournalConfig{SnapshotMiB: 4, SnapshotEvery: time.Hour},
		Retention: RetentionConfig{UploadsDays: 2, AuditDays: 30},
		Open311: Open311Config{
			Jurisdiction: "j", PublicURL: "https://h",
			Services: []open311.Service{{Code: "c", Vi: "v", En: "e", CloseOnClaim: true}},
		},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	for name, value := range map[string]string{
		"FIELDSYNC_SHUTDOWN_TIMEOUT": "soon", "FIELDSYNC_CORS_ORIGINS": "https://a.example", "FIELDSYNC_MEDIA_S3_TLS": "maybe",
	} {
		if _, err := LoadConfig("", lookup(map[string]string{name: value})); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s=%s: %v", name, value, err)
		}
	}
}

func lookup(env map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		value, ok := env[name]
		return value, ok
	}
}

// Protects: a secret comes from a file of its own where one is named, without the line's end, and stands in no error.
func TestSecret(t *testing.T) {
	const secret = "hunter2-hunter2"
	file := write(t, secret+"\n")
	c, err := LoadConfig("", lookup(map[string]string{"FIELDSYNC_MEDIA_S3_SECRET_KEY_FILE": file}))
	if err != nil || c.Media.S3.SecretKey != secret {
		t.Errorf("from a file: %q %v", c.Media.S3.SecretKey, err)
	}
	for _, broken := range []string{
		"media: {store: s3, s3: {secret_key: " + secret + "}}",
		"media: {s3: {secret_key: " + secret + ", nonsense: 1}}",
		"media: {s3: {secret_key: " + secret + "}}\nlisten: [",
	} {
		if _, err := LoadConfig(write(t, broken), noEnv); err == nil || strings.Contains(err.Error(), "hunter") {
			t.Errorf("%q: %v", broken, err)
		}
	}
	config := testConfig(t)
	config.Media = MediaConfig{Store: "s3", S3: S3Config{Endpoint: "127.0.0.1:1", Bucket: "b", Region: "r", AccessKey: "a", SecretKey: secret}}
	if _, err := OpenBlobs(t.Context(), config); err == nil || strings.Contains(err.Error(), "hunter") {
		t.Errorf("an object store that is away: %v", err)
	}
}
