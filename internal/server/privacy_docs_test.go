package server

import (
	"regexp"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	_ "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1" // Their descriptors.
)

// personal are the names of fields that may hold something of a person.
var personal = regexp.MustCompile(`^(name|names|.*_name|phone|email|address|remote_address|reporter|.*reporter.*|position|latitude|longitude|title|description|text|note|comment|reason|member_id|.*photo_path)$`)

// Protects: no field that may hold something of a person is added without a line in docs/privacy.md that says what it is for, where it
// lies and until when.
func TestPersonalDataIsCatalogued(t *testing.T) {
	text := document(t, "docs/privacy.md")
	known := make(map[string]bool)
	for _, pkg := range []protoreflect.FullName{"fieldsync.v1", "fieldsync.storage.v1"} {
		protoregistry.GlobalFiles.RangeFilesByPackage(pkg, func(file protoreflect.FileDescriptor) bool {
			eachMessage(file.Messages(), func(message protoreflect.MessageDescriptor) {
				for i := range message.Fields().Len() {
					known[string(message.Name())+"."+string(message.Fields().Get(i).Name())] = true
				}
				// What is asked and answered lies nowhere: its parts do.
				if name := string(message.Name()); strings.HasSuffix(name, "Request") || strings.HasSuffix(name, "Response") {
					return
				}
				for i := range message.Fields().Len() {
					field := message.Fields().Get(i)
					if !personal.MatchString(string(field.Name())) {
						continue
					}
					if name := "`" + string(message.Name()) + "." + string(field.Name()) + "`"; !strings.Contains(text, name) {
						t.Errorf("docs/privacy.md does not say what %s is", name)
					}
				}
			})
			return true
		})
	}
	for _, name := range regexp.MustCompile("`([A-Z][A-Za-z0-9]*)\\.([a-z_0-9]+)`").FindAllStringSubmatch(text, -1) {
		if !known[name[1]+"."+name[2]] {
			t.Errorf("docs/privacy.md names %s, which is no more", name[0])
		}
	}
}

func eachMessage(messages protoreflect.MessageDescriptors, visit func(protoreflect.MessageDescriptor)) {
	for i := range messages.Len() {
		visit(messages.Get(i))
		eachMessage(messages.Get(i).Messages(), visit)
	}
}
