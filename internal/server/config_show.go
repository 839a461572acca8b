package server

import (
	"fmt"
	"io"
	"net/url"
	"os"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"
)

// masked is what is shown of a secret: that there is one.
const masked = "(masked)"

// Sources tell where the values of a configuration were taken from: what [LoadConfig] was given, and the keys that flags have set
// since, each with its flag.
type Sources struct {
	File   string
	Lookup func(string) (string, bool)
	Flags  map[string]string
}

// Show writes the configuration in force as YAML, behind each value where it comes from. It is read back as the same configuration, but
// for secrets, of which it only tells that they are there: fields with the tag secret, and passwords in URLs.
func (c Config) Show(w io.Writer, from Sources) error {
	said := map[string]any{}
	if from.File != "" {
		text, err := os.ReadFile(from.File)
		if err != nil {
			return fmt.Errorf("reading the configuration: %w", err)
		}
		if err := yaml.Unmarshal(text, &said); err != nil {
			return fmt.Errorf("the configuration %s: %w", from.File, err)
		}
	}
	shown, err := from.section(reflect.ValueOf(c), "", said)
	if err != nil {
		return err
	}
	shown.HeadComment = "The configuration in force. Secrets are not shown."
	encoder := yaml.NewEncoder(w)
	encoder.SetIndent(2)
	if err := encoder.Encode(shown); err != nil {
		return err
	}
	return encoder.Close()
}

// section is a section's keys and values, where said is what the file has of it.
func (s Sources) section(section reflect.Value, prefix string, said map[string]any) (*yaml.Node, error) {
	shown := &yaml.Node{Kind: yaml.MappingNode}
	for field, value := range section.Fields() {
		name := field.Tag.Get("yaml")
		inFile, isInFile := said[name]
		key, entry := &yaml.Node{Kind: yaml.ScalarNode, Value: name}, &yaml.Node{}
		var err error
		if value.Kind() == reflect.Struct {
			below, _ := inFile.(map[string]any) // The file may say nothing of it.
			entry, err = s.section(value, prefix+name+".", below)
		} else {
			err = entry.Encode(shownValue(field, value))
			entry.Style |= yaml.FlowStyle
			entry.LineComment = s.of(prefix+name, isInFile)
			if secretFile := section.FieldByName(field.Name + "File"); field.Tag.Get("secret") != "" && secretFile.IsValid() && secretFile.String() != "" {
				entry.LineComment = "from " + secretFile.String()
			}
		}
		if err != nil {
			return nil, fmt.Errorf("%s%s: %w", prefix, name, err)
		}
		shown.Content = append(shown.Content, key, entry)
	}
	return shown, nil
}

// of says where a key's value comes from.
func (s Sources) of(key string, inFile bool) string {
	if flag, ok := s.Flags[key]; ok {
		return flag
	}
	variable := envPrefix + "_" + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
	if _, ok := s.Lookup(variable); ok {
		return variable
	}
	if inFile {
		return s.File
	}
	return "default"
}

func shownValue(field reflect.StructField, value reflect.Value) any {
	if value.Kind() != reflect.String || value.String() == "" {
		return value.Interface()
	}
	if field.Tag.Get("secret") != "" {
		return masked
	}
	if u, err := url.Parse(value.String()); err == nil && u.User != nil {
		if _, has := u.User.Password(); has {
			u.User = url.UserPassword(u.User.Username(), masked)
			return u.String()
		}
	}
	return value.Interface()
}
