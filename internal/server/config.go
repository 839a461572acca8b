package server

import (
	"bytes"
	_ "embed" // For the defaults.
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"reflect"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
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
	Push            PushConfig    `yaml:"push"`
}

// LogConfig is the section log.
type LogConfig struct {
	Level  slog.Level `yaml:"level"`
	Format string     `yaml:"format"`
}

// TokenConfig is the section tokens.
type TokenConfig struct {
	AccessTTL time.Duration `yaml:"access_ttl"`
	CodeTTL   time.Duration `yaml:"code_ttl"`
}

// CORSConfig is the section cors.
type CORSConfig struct {
	Origins []string `yaml:"origins"`
}

// MediaConfig is the section media.
type MediaConfig struct {
	Store string   `yaml:"store"`
	S3    S3Config `yaml:"s3"`
}

// S3Config is the section media.s3.
type S3Config struct {
	Endpoint      string `yaml:"endpoint"`
	Bucket        string `yaml:"bucket"`
	Region        string `yaml:"region"`
	TLS           bool   `yaml:"tls"`
	AccessKey     string `yaml:"access_key"`
	SecretKey     string `yaml:"secret_key"`
	SecretKeyFile string `yaml:"secret_key_file"`
}

// PushConfig is the section push.
type PushConfig struct {
	FCMCredentialsFile string `yaml:"fcm_credentials_file"`
	FCMEndpoint        string `yaml:"fcm_endpoint"`
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
	switch c.Media.Store {
	case "folder":
	case "s3":
		require(c.Media.S3.Endpoint != "", "media.s3.endpoint: needed where media.store is s3")
		require(c.Media.S3.Bucket != "", "media.s3.bucket: needed where media.store is s3")
	default:
		require(false, "media.store: %q is neither folder nor s3", c.Media.Store)
	}
	return errors.Join(errs...)
}
