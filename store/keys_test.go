package store_test

import (
	"bytes"
	"cmp"
	"go/ast"
	"go/parser"
	"go/token"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/cong1022/fieldsync/store"
)

// Each family of keys has a word of its own, which holds no zero byte, so that none begins within another; a family's
// prefixes have its word and its record.
func TestFamilies(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "keys.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	type family struct{ key, record string }
	families, prefixes := make(map[string]family), make(map[string]family)
	for _, decl := range file.Decls {
		fn, ok := decl.(*ast.FuncDecl)
		if !ok || fn.Recv != nil || !fn.Name.IsExported() {
			continue
		}
		result, ok := fn.Type.Results.List[0].Type.(*ast.IndexExpr)
		if !ok {
			t.Errorf("%s returns neither a Key nor a Prefix", fn.Name)
			continue
		}
		var word string
		ast.Inspect(fn.Body, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok {
				if name, ok := call.Fun.(*ast.Ident); ok && name.Name == "newKey" {
					word, _ = strconv.Unquote(call.Args[0].(*ast.BasicLit).Value) //nolint:forcetypeassert,errcheck // A word is written out.
				}
			}
			return true
		})
		if strings.Trim(word, "abcdefghijklmnopqrstuvwxyz-") != "" || word == "" {
			t.Errorf("%s has the word %q", fn.Name, word)
		}
		record := result.Index.(*ast.SelectorExpr)                                       //nolint:forcetypeassert,errcheck // A message of gen.
		this := family{fn.Name.Name, record.X.(*ast.Ident).Name + "." + record.Sel.Name} //nolint:forcetypeassert,errcheck // As above.
		switch kind := result.X.(*ast.Ident).Name; kind {                                //nolint:forcetypeassert,errcheck // Key or Prefix.
		case "Key":
			if other, taken := families[word]; taken {
				t.Errorf("%s and %s share the word %q", other.key, this.key, word)
			}
			families[word] = this
		case "Prefix":
			prefixes[word] = this
		default:
			t.Errorf("%s returns a %s", this.key, kind)
		}
	}
	for word, prefix := range prefixes {
		if families[word].record != prefix.record {
			t.Errorf("%s scans %s, %s holds %s", prefix.key, prefix.record, families[word].key, families[word].record)
		}
	}
	if len(families) < 20 {
		t.Errorf("only %d families found", len(families))
	}
}

// Keys tell texts apart and sort by them, whatever bytes somebody outside has put into them.
func TestTextsInKeys(t *testing.T) {
	text := rapid.StringOfN(rapid.SampledFrom([]rune{0, 1, 2, 'a', 0x10ffff}), 0, 3, -1)
	rapid.Check(t, func(t *rapid.T) {
		a, b := text.Draw(t, "a"), text.Draw(t, "b")
		c, d := text.Draw(t, "c"), text.Draw(t, "d")
		if rapid.Bool().Draw(t, "same") {
			c = a
		}
		got := bytes.Compare(store.MemberDeviceKey(a, b), store.MemberDeviceKey(c, d))
		if want := cmp.Or(strings.Compare(a, c), strings.Compare(b, d)); got != want {
			t.Fatalf("the keys of (%q, %q) and (%q, %q) compare as %d, not %d", a, b, c, d, got, want)
		}
		if got := bytes.HasPrefix(store.MemberDeviceKey(a, b), store.MemberDevices(c)); got != (a == c) {
			t.Fatalf("the key of (%q, %q) under the prefix of %q: %t", a, b, c, got)
		}
	})
}

// A due time sorts as a number, and what 64 bits cannot hold stays at the nearest end instead of wrapping around.
func TestTimesInKeys(t *testing.T) {
	times := []time.Time{
		time.Unix(0, 0), time.Unix(0, 1), time.Date(2026, 11, 20, 0, 0, 0, 0, time.FixedZone("ICT", 7*3600)),
		time.Date(2026, 11, 20, 0, 0, 0, 1, time.UTC), time.Unix(0, math.MaxInt64-1), time.Unix(0, math.MaxInt64),
	}
	for i := 1; i < len(times); i++ {
		if bytes.Compare(store.OutboxKey(times[i-1], "a"), store.OutboxKey(times[i], "a")) >= 0 {
			t.Errorf("%s does not sort before %s", times[i-1], times[i])
		}
	}
	for _, at := range []struct{ time, as time.Time }{
		{time.Time{}, times[0]},
		{time.Date(1500, 1, 1, 0, 0, 0, 0, time.UTC), times[0]},
		{time.Date(1969, 12, 31, 23, 59, 59, 0, time.UTC), times[0]},
		{time.Date(2300, 1, 1, 0, 0, 0, 0, time.UTC), times[len(times)-1]},
		{time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), times[len(times)-1]},
	} {
		if !bytes.Equal(store.OutboxKey(at.time, "a"), store.OutboxKey(at.as, "a")) {
			t.Errorf("%s does not count as %s", at.time, at.as)
		}
	}
}

// Ids sort by their time to the millisecond.
func TestIDsSortByTime(t *testing.T) {
	c := newClock()
	s := opened(t, engine(t), c)
	var ids []string
	for range 200 {
		view(t, s, func(tx *store.Tx) error {
			id, err := tx.NewID()
			ids = append(ids, id)
			return err
		})
		c.advance(time.Millisecond)
	}
	if !slices.IsSorted(ids) {
		t.Error("they do not")
	}
	for _, id := range ids {
		if len(id) != 20 || strings.Trim(id, "0123456789abcdefghjkmnpqrstvwxyz") != "" {
			t.Errorf("%q is not 20 characters of Crockford's base32", id)
		}
	}
}

// Ids made side by side within one millisecond are all different.
func TestIDsAreUnique(t *testing.T) {
	s := opened(t, engine(t), newClock())
	const makers, each = 16, 2000
	made := make([][]string, makers)
	var all sync.WaitGroup
	for m := range makers {
		all.Go(func() {
			err := s.View(t.Context(), func(tx *store.Tx) error {
				for range each {
					id, err := tx.NewID()
					if err != nil {
						return err
					}
					made[m] = append(made[m], id)
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	ids := slices.Concat(made...)
	slices.Sort(ids)
	if n := len(slices.Compact(ids)); n != makers*each {
		t.Errorf("%d of %d are different", n, makers*each)
	}
}
