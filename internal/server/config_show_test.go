package server

import (
	"bytes"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// Protects: what is shown of the configuration is the one in force, key by key with its source, and can be read back.
func TestShowConfig(t *testing.T) {
	file := write(t, `
log: {level: debug}
review: {categories: {fallen-tree: {before: 1, after: 2}}}
edge: &edge {trusted_proxies: [10.1.0.0/16]}
open311: {services: [{code: "a", vi: "Cây đổ: chắn # đường", en: b}]}
`)
	env := map[string]string{"FIELDSYNC_LOG_LEVEL": "warn", "FIELDSYNC_CORS_ORIGINS": "[https://a.example]"}
	lookup := func(name string) (string, bool) { value, ok := env[name]; return value, ok }
	config, err := LoadConfig(file, lookup)
	if err != nil {
		t.Fatal(err)
	}
	config.Listen = "127.0.0.1:1"
	var shown bytes.Buffer
	if err := config.Show(&shown, Sources{File: file, Lookup: lookup, Flags: map[string]string{"listen": "--listen"}}); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"listen: 127.0.0.1:1 # --listen", "issuer: fieldsync # default", "  level: WARN # FIELDSYNC_LOG_LEVEL",
		"  origins: ['https://a.example'] # FIELDSYNC_CORS_ORIGINS", "  trusted_proxies: [10.1.0.0/16] # " + file, "  connections: 16384 # default",
		"  access_ttl: 15m0s # default", "  categories: {fallen-tree: {before: 1, after: 2}} # " + file,
	} {
		if !strings.Contains(shown.String(), "\n"+line+"\n") {
			t.Errorf("no line %q in\n%s", line, shown.String())
		}
	}
	if again, err := LoadConfig(write(t, shown.String()), noEnv); err != nil || !reflect.DeepEqual(again, config) {
		t.Errorf("read back: %v\n%+v\n%+v", err, again, config)
	}
}

// Protects: no secret is shown, be it from the file, the environment or a file of its own, or in a URL; and a key that sounds like a
// secret cannot be added without being marked as one.
func TestShowConfigHidesSecrets(t *testing.T) {
	const secret = "khong-ai-duoc-biet"
	marked := 0
	for _, key := range keys(reflect.TypeFor[Config](), "") {
		field := fieldOf(t, key)
		secretive := regexp.MustCompile(`secret|password|passphrase|token|private`).MatchString(field.Tag.Get("yaml")) &&
			!strings.HasSuffix(key, "_file") && field.Type.Kind() == reflect.String
		if secretive != (field.Tag.Get("secret") != "") {
			t.Errorf("%s sounds like a secret: %v; its tag secret is %q", key, secretive, field.Tag.Get("secret"))
		}
		if !secretive {
			continue
		}
		marked++
		parts := strings.Split(key, ".")
		byFile := "{"
		for _, part := range parts {
			byFile += part + ": {"
		}
		byFile = strings.TrimSuffix(byFile, "{") + secret + strings.Repeat("}", len(parts))
		ownFile := strings.Replace(strings.Replace(byFile, secret, write(t, secret), 1), parts[len(parts)-1]+":", parts[len(parts)-1]+"_file:", 1)
		for source, c := range map[string]struct{ file, variable string }{
			"file": {byFile, ""}, "environment": {"", envName(key)}, "its own file": {ownFile, ""},
		} {
			file := write(t, c.file)
			lookup := func(name string) (string, bool) { return secret, name == c.variable }
			config, err := LoadConfig(file, lookup)
			if err != nil {
				t.Fatalf("%s by %s: %v", key, source, err)
			}
			var shown bytes.Buffer
			if err := config.Show(&shown, Sources{File: file, Lookup: lookup}); err != nil {
				t.Fatal(err)
			}
			if strings.Contains(shown.String(), secret) || strings.Count(shown.String(), masked) != 1 {
				t.Errorf("%s by %s:\n%s", key, source, shown.String())
			}
		}
	}
	if marked != 2 {
		t.Errorf("%d secrets were tried", marked)
	}
	file := write(t, "open311: {public_url: 'https://user:"+secret+"@1022.example/'}\noidc: {issuer: 'https://u:"+secret+"@login.example', audiences: [a]}")
	config, err := LoadConfig(file, noEnv)
	if err != nil {
		t.Fatal(err)
	}
	var shown bytes.Buffer
	if err := config.Show(&shown, Sources{File: file, Lookup: noEnv}); err != nil || strings.Contains(shown.String(), secret) {
		t.Errorf("%v\n%s", err, shown.String())
	}
}

func fieldOf(t *testing.T, key string) reflect.StructField {
	t.Helper()
	section := reflect.TypeFor[Config]()
	var found reflect.StructField
	for part := range strings.SplitSeq(key, ".") {
		for field := range section.Fields() {
			if field.Tag.Get("yaml") == part {
				found, section = field, field.Type
				break
			}
		}
	}
	if !strings.HasSuffix(key, found.Tag.Get("yaml")) {
		t.Fatalf("no key %s", key)
	}
	return found
}
