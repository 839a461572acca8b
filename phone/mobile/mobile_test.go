package mobile

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"strings"
	"testing"
)

// Protects apps on Android and iOS: gobind leaves out, without a word, what it cannot carry over. So everything that this
// package exports keeps to its rules: signed numbers, floats, strings, booleans, byte slices, errors, and structs and
// interfaces of this package; at most one result and an error.
func TestBindable(t *testing.T) {
	files := token.NewFileSet()
	var parsed []*ast.File
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if !strings.HasSuffix(entry.Name(), ".go") || strings.HasSuffix(entry.Name(), "_test.go") {
			continue
		}
		file, err := parser.ParseFile(files, entry.Name(), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		parsed = append(parsed, file)
	}
	// What comes from other packages stays unknown here, and must not be exported.
	config := types.Config{Importer: none{}, Error: func(error) {}}
	pkg, _ := config.Check("mobile", files, parsed, nil)
	exported := 0
	for _, name := range pkg.Scope().Names() {
		object := pkg.Scope().Lookup(name)
		if !object.Exported() {
			continue
		}
		exported++
		for _, fault := range unbindable(pkg, object) {
			t.Errorf("%s: %s", name, fault)
		}
	}
	if exported < 6 {
		t.Errorf("only %d names are exported: the package was not read", exported)
	}
	// The test can fail.
	for name, source := range map[string]string{
		"an unsigned number": "type T struct{ N uint32 }", "a slice": "func F() []string { return nil }", "a map": "func F(map[string]string) {}",
		"a channel": "type T struct{ C chan int }", "a function": "func F(func()) {}", "two results": "func F() (int, string) { return 0, `` }",
		"another package's type": "import `time`\nfunc F(time.Time) {}", "an interface's slice": "type I interface{ M([]int) }",
		"a method's": "type T struct{}\nfunc (*T) M() uint64 { return 0 }",
	} {
		file, err := parser.ParseFile(files, "bad.go", "package bad\n"+source, 0)
		if err != nil {
			t.Fatal(err)
		}
		bad, _ := config.Check("bad", files, []*ast.File{file}, nil)
		found := 0
		for _, n := range bad.Scope().Names() {
			found += len(unbindable(bad, bad.Scope().Lookup(n)))
		}
		if found == 0 {
			t.Errorf("%s was taken for bindable", name)
		}
	}
}

type none struct{}

func (none) Import(string) (*types.Package, error) { return nil, errors.New("not looked at") }

// unbindable names what gobind could not carry over.
func unbindable(pkg *types.Package, object types.Object) (faults []string) {
	check := func(what string, t types.Type) {
		if !bindable(pkg, t) {
			faults = append(faults, what+" has the type "+t.String())
		}
	}
	signature := func(name string, s *types.Signature) {
		for v := range s.Params().Variables() {
			check("a parameter of "+name, v.Type())
		}
		results := s.Results()
		if results.Len() > 2 || results.Len() == 2 && results.At(1).Type().String() != "error" {
			faults = append(faults, name+" has results other than one and an error")
		}
		for v := range results.Variables() {
			check("a result of "+name, v.Type())
		}
	}
	switch o := object.(type) {
	case *types.Func:
		signature(o.Name(), o.Signature())
	case *types.TypeName:
		switch under := o.Type().Underlying().(type) {
		case *types.Struct:
			for field := range under.Fields() {
				if field.Exported() {
					check(field.Name(), field.Type())
				}
			}
			methods := types.NewMethodSet(types.NewPointer(o.Type()))
			for method := range methods.Methods() {
				if m := method.Obj(); m.Exported() {
					signature(m.Name(), m.Type().(*types.Signature)) //nolint:forcetypeassert,errcheck // A method's type is one.
				}
			}
		case *types.Interface:
			for m := range under.Methods() {
				signature(m.Name(), m.Signature())
			}
		default:
			faults = append(faults, "neither a struct nor an interface")
		}
	default:
		check(o.Name(), o.Type())
	}
	return faults
}

func bindable(pkg *types.Package, t types.Type) bool {
	switch t := t.(type) {
	case *types.Basic:
		switch t.Kind() {
		case types.Bool, types.Int, types.Int32, types.Int64, types.Float32, types.Float64, types.String, types.UntypedString, types.UntypedInt:
			return true
		default:
			return false
		}
	case *types.Slice:
		element, ok := t.Elem().(*types.Basic)
		return ok && element.Kind() == types.Byte
	case *types.Pointer:
		named, ok := t.Elem().(*types.Named)
		return ok && named.Obj().Pkg() == pkg && named.Obj().Exported()
	case *types.Named:
		return t.String() == "error" || t.Obj().Pkg() == pkg && t.Obj().Exported() && types.IsInterface(t)
	default:
		return false
	}
}

// Protects the app's view: what the phone says is in the app's language, with the code ahead of it, and nothing that is not
// there is handed out.
func TestWords(t *testing.T) {
	for language, want := range map[string]string{"vi": "Máy này chưa được đăng ký", "en": "This phone is not enrolled"} {
		p, err := Open(t.TempDir(), "1.0", language)
		if err != nil {
			t.Fatal(err)
		}
		for _, err := range []error{p.Note("t", "?"), p.Sync(), p.Watch()} {
			if Code(err) != "not_enrolled" || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v", language, err)
			}
		}
		if err := p.Complete("t", "magic", ""); Code(err) != "outcome_unknown" {
			t.Error(err)
		}
		if s, err := p.Status(); err != nil || s.Enrolled || s.LastSync != 0 {
			t.Errorf("%+v, %v", s, err)
		}
		tasks, err := p.Tasks()
		if err != nil || tasks.Len() != 0 || tasks.Get(0) != nil || tasks.Get(-1) != nil {
			t.Errorf("%v, %v", tasks, err)
		}
		l := &ended{code: make(chan string, 1)}
		p.Run(l)
		if code := <-l.code; code != "not_enrolled" {
			t.Errorf("Run ended with %q", code)
		}
		p.Stop()
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
}

type ended struct{ code chan string }

func (*ended) Changed(int64, int64, int64) {}

func (e *ended) Stopped(code, _ string) { e.code <- code }
