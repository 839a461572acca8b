package server

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cong1022/fieldsync/store"
)

const root = "../.."

func document(tb testing.TB, path string) string {
	tb.Helper()
	text, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		tb.Fatal(err)
	}
	return string(text)
}

// wireCodes is what each kind of fault is called on the wire.
var wireCodes = map[string]string{
	"Internal": "internal", "Invalid": "invalid_argument", "NotFound": "not_found", "Precondition": "failed_precondition",
	"OutOfRange": "out_of_range", "Unauthenticated": "unauthenticated", "Denied": "permission_denied",
	"Exhausted": "resource_exhausted", "Unavailable": "unavailable", "DataLoss": "data_loss",
}

// Protects: docs/protocol.md lists every code that the sources give to a fault, with its Connect code, and no other.
func TestProtocolListsEveryCode(t *testing.T) {
	doc := document(t, "docs/protocol.md")
	_, errorTables, _ := strings.Cut(doc, "\n## Errors\n")
	listed := map[string]string{} // Code to the row's second column.
	for line := range strings.Lines(errorTables) {
		if cells := strings.Split(line, "|"); len(cells) == 5 && strings.HasPrefix(cells[1], " `") {
			listed[strings.Trim(cells[1], " `")] = cells[2]
		}
	}
	used := map[string]bool{"request_invalid": true} // Made in the interceptor, straight as an ErrorInfo.
	eachFault(t, func(at, kind, code string) {
		used[code] = true
		column, ok := listed[code]
		if !ok {
			t.Errorf("%s: docs/protocol.md does not list %s", at, code)
		}
		if want := wireCodes[kind]; kind != "" && !strings.Contains(column, "`"+want+"`") {
			t.Errorf("%s: docs/protocol.md says that %s is %s, it is %s", at, code, column, want)
		}
	})
	if len(used) < 50 {
		t.Errorf("only %d codes found: what is it that no longer calls fault.New?", len(used))
	}
	for code := range listed {
		if !used[code] {
			t.Errorf("docs/protocol.md lists %s, which nothing says", code)
		}
	}
}

// eachFault calls f for each fault that the sources make. kind is empty where it is not spelt out.
func eachFault(t *testing.T, f func(at, kind, code string)) {
	t.Helper()
	files := token.NewFileSet()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "gen" || d.Name() == "node_modules" || d.Name() == "testdata" || d.Name() == "simulate" || path != root && strings.HasPrefix(d.Name(), ".")):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || !selects(call.Fun, "New") {
				if made, ok := n.(*ast.CompositeLit); ok && selects(made.Type, "Error") {
					t.Errorf("%s: make faults with fault.New, so that their codes are found", files.Position(n.Pos()))
				}
				return true
			}
			at := files.Position(n.Pos()).String()
			literal, ok := call.Args[1].(*ast.BasicLit)
			if !ok {
				// The phone hands on what the server, or Connect itself, has said.
				if !strings.HasSuffix(path, filepath.FromSlash("phone/errors.go")) {
					t.Errorf("%s: the code is no literal", at)
				}
				return true
			}
			code, err := strconv.Unquote(literal.Value)
			if err != nil {
				t.Fatal(err)
			}
			kind := ""
			if named, ok := call.Args[0].(*ast.SelectorExpr); ok {
				kind = named.Sel.Name
			}
			f(at, kind, code)
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// selects tells whether an expression is fault.<name>.
func selects(expression ast.Expr, name string) bool {
	selector, ok := expression.(*ast.SelectorExpr)
	if !ok || selector.Sel.Name != name {
		return false
	}
	pkg, ok := selector.X.(*ast.Ident)
	return ok && pkg.Name == "fault"
}

// Protects: whoever writes a digest after the worked example in docs/protocol.md gets the server's.
func TestProtocolDigestExample(t *testing.T) {
	doc := document(t, "docs/protocol.md")
	var sum uint64
	for _, task := range []struct {
		id       string
		revision uint64
	}{{"06h0jd5zkqprz59vgx30", 7}, {"06h0jd5yg9de4cg0423g", 1}} {
		share := store.TaskDigest(task.id, task.revision)
		sum += share
		var pairs []string
		for i := 0; i < len(task.id); i += 2 {
			pairs = append(pairs, fmt.Sprintf("%x", task.id[i:i+2]))
		}
		row := fmt.Sprintf("| `%s` | %d | `%s 00 %x` | `%016x` |", task.id, task.revision, strings.Join(pairs, " "),
			binary.BigEndian.AppendUint64(nil, task.revision), share)
		if !strings.Contains(doc, row) {
			t.Errorf("docs/protocol.md lacks the row %s", row)
		}
	}
	for _, text := range []string{fmt.Sprintf("`%016x`", sum), fmt.Sprintf("`\"%d\"`", sum)} {
		if !strings.Contains(doc, text) {
			t.Errorf("docs/protocol.md lacks the sum %s", text)
		}
	}
}

// Protects: the README's table of the configuration has every key with its environment variable and its default, and no key
// that is gone.
func TestReadmeListsEveryKey(t *testing.T) {
	config, err := LoadConfig("", noEnv)
	if err != nil {
		t.Fatal(err)
	}
	readme := document(t, "README.md")
	known := keys(reflect.TypeFor[Config](), "")
	for _, key := range known {
		row := fmt.Sprintf("| `%s` | `%s` | %s |", key, envName(key), shown(reflect.ValueOf(config), key))
		if !strings.Contains(readme, row) {
			t.Errorf("README.md lacks a row that begins with\n%s", row)
		}
	}
	if rows := strings.Count(readme, " | `"+envPrefix+"_"); rows != len(known) {
		t.Errorf("README.md has %d rows of keys, there are %d", rows, len(known))
	}
}

// shown is a key's default as the README writes it.
func shown(section reflect.Value, key string) string {
	for part := range strings.SplitSeq(key, ".") {
		for i := range section.NumField() {
			if section.Type().Field(i).Tag.Get("yaml") == part {
				section = section.Field(i)
				break
			}
		}
	}
	switch value := section.Interface().(type) {
	case slog.Level:
		return "`" + strings.ToLower(value.String()) + "`"
	case time.Duration:
		short := value.String()
		if strings.HasSuffix(short, "m0s") {
			short = strings.Replace(strings.TrimSuffix(short, "0s"), "h0m", "h", 1) // 15m and 72h, as a person writes them.
		}
		return "`" + short + "`"
	}
	if section.IsZero() || (section.Kind() == reflect.Slice || section.Kind() == reflect.Map) && section.Len() == 0 {
		return "none"
	}
	return fmt.Sprintf("`%v`", section)
}

// Protects: whoever writes an enrolment's proof after the example in docs/protocol.md names the key as the server does.
func TestProtocolThumbprintExample(t *testing.T) {
	doc := document(t, "docs/protocol.md")
	_, rest, found := strings.Cut(doc, "\n{\"crv\":\"P-256\"")
	members, _, _ := strings.Cut(rest, "\n")
	sum := sha256.Sum256([]byte("{\"crv\":\"P-256\"" + members))
	if want := `{"iss":"` + base64.RawURLEncoding.EncodeToString(sum[:]) + `","aud":"fieldsync:enrol"`; !found || !strings.Contains(doc, want) {
		t.Errorf("docs/protocol.md lacks %s", want)
	}
}
