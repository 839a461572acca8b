package server

import (
	"net/http"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
)

func note(task string, number uint64, text string) *fieldsyncv1.Mutation {
	return &fieldsyncv1.Mutation{Number: number, TaskId: task, Intent: &fieldsyncv1.Mutation_AddNote{AddNote: &fieldsyncv1.AddNote{Text: text}}}
}

// Protects "a poisoned one never blocks the ones behind it" in protobuf: a mutation with a text that is not UTF-8, or with bytes that are
// no protobuf behind its number, has a verdict of its own, the same each time, and lies in quarantine as it came.
func TestUnreadProtobufIsKept(t *testing.T) {
	r := settled(t, testConfig(t))
	task, token := r.assigned(t), r.token(t, "an")
	body, err := proto.Marshal(&fieldsyncv1.SyncRequest{InstallEpoch: 1, Mutations: []*fieldsyncv1.Mutation{
		note(task, 1, "một"), note(task, 2, "h@i"), note(task, 3, "ba"),
	}})
	if err != nil {
		t.Fatal(err)
	}
	body = []byte(strings.Replace(string(body), "h@i", "h\xffi", 1))
	torn := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 4)
	torn = append(torn, 0x0f, 0xff)
	body = protowire.AppendBytes(protowire.AppendTag(body, 2, protowire.BytesType), torn)
	want := []string{"applied", "intent_unknown", "applied", "intent_unknown"}
	judgedTheSame(t, r, token, protoType, string(body), proto.Unmarshal, want)
	kept, err := fieldsyncv1connect.NewSupportServiceClient(client(t, false, r.token(t, "sep")), r.url).
		ListQuarantined(t.Context(), &fieldsyncv1.ListQuarantinedRequest{})
	if err != nil || len(kept.GetMutations()) != 2 {
		t.Fatalf("%v, %v", kept, err)
	}
	for i, whole := range []string{"h\xffi", string(torn)} {
		if held := kept.GetMutations()[i].GetMutation().GetUnreadProtobuf(); !strings.Contains(string(held), whole) {
			t.Errorf("kept: %q, want in it %q", held, whole)
		}
	}
	for _, bad := range []string{"\x12\x02\x0f\xff", "\x12\x05", "\xff"} { // Without a number, too short, no tag.
		if got := do(t, client(t, false, token), http.MethodPost, r.url+syncPath, protoType, strings.NewReader(bad)); got.code() != "invalid_argument" {
			t.Errorf("%q: %d %s", bad, got.status, got.body)
		}
	}
}

// Protects the reader of protobuf: whatever the bytes are, it takes what protobuf's own takes and reads it the same, and a request that it
// takes is one that can be encoded.
func FuzzProtobufRequest(f *testing.F) {
	whole, err := proto.Marshal(&fieldsyncv1.SyncRequest{Cursor: []byte{1}, Mutations: []*fieldsyncv1.Mutation{note("t", 1, "h@i"), note("t", 2, "x")}})
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{string(whole), strings.Replace(string(whole), "@", "\xff", 1), "", "\x12\x04\x08\x01\x0f\xff", "\x12\x05"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, plain := &fieldsyncv1.SyncRequest{}, &fieldsyncv1.SyncRequest{}
		err := protoCodec{}.Unmarshal(data, got)
		if proto.Unmarshal(data, plain) == nil && (err != nil || !proto.Equal(got, plain)) {
			t.Errorf("read as %v: %v, want %v", got, err, plain)
		}
		if err != nil {
			return
		}
		if _, err := (protoCodec{}).Marshal(got); err != nil {
			t.Errorf("what was read cannot be written: %v", err)
		}
	})
}
