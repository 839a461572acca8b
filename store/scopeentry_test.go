package store

import (
	"bytes"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	storagev1 "github.com/cong1022/fieldsync/gen/fieldsync/storage/v1"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
)

// The own decoder of a log's entries must read each as the general one does: an entry that lost a step or a reason would let a
// phone miss a change.
func TestEntriesAreDecodedAsByProtobuf(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		entry := &storagev1.ScopeEntry{
			TaskId:   rapid.String().Draw(t, "task"),
			Revision: rapid.Uint64().Draw(t, "revision"),
			Entered:  rapid.Uint64().Draw(t, "entered"),
			Removed:  rapid.Bool().Draw(t, "removed"),
			Reason:   fieldsyncv1.RemovalReason(rapid.Int32().Draw(t, "reason")),
		}
		for range rapid.IntRange(0, maxSteps+2).Draw(t, "steps") {
			entry.Steps = append(entry.Steps, &storagev1.Step{
				Sequence: rapid.Uint64().Draw(t, "sequence"), Revision: rapid.Uint64().Draw(t, "at"),
			})
		}
		if rapid.Bool().Draw(t, "dated") {
			entry.At = &timestamppb.Timestamp{Seconds: rapid.Int64().Draw(t, "seconds"), Nanos: rapid.Int32().Draw(t, "nanos")}
		}
		encoded, err := proto.Marshal(entry)
		if err != nil {
			t.Fatal(err)
		}
		// What a later version may add: it must come through.
		encoded = append(encoded, rapid.SampledFrom([][]byte{nil, {0x48, 0x01}, {0x42, 0x01, 'x'}}).Draw(t, "unknown")...)
		want := new(storagev1.ScopeEntry)
		if err := proto.Unmarshal(encoded, want); err != nil {
			t.Fatal(err)
		}
		general, err := proto.MarshalOptions{Deterministic: true}.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		got, steps, err := decodeEntry(nil, encoded)
		if err != nil || !proto.Equal(whole(got, steps), want) {
			t.Fatalf("%v, error %v, not %v", got, err, want)
		}
		got.Steps = nil
		if own := encodeEntry(got, steps); !bytes.Equal(own, general) {
			t.Fatalf("encoded as %x, not %x", own, general)
		}
	})
}

// whole puts the steps of an entry back into it.
func whole(entry *storagev1.ScopeEntry, steps []step) *storagev1.ScopeEntry {
	for _, s := range steps {
		entry.Steps = append(entry.Steps, &storagev1.Step{Sequence: s.sequence, Revision: s.revision})
	}
	return entry
}

// Damaged bytes must be an error, or what the general decoder makes of them, and never a panic.
func FuzzEntry(f *testing.F) {
	entry, err := proto.Marshal(&storagev1.ScopeEntry{
		TaskId: "t1", Revision: 3, Entered: 1, Steps: []*storagev1.Step{{Sequence: 1, Revision: 1}, {Sequence: 2, Revision: 2}},
		Reason: fieldsyncv1.RemovalReason_REMOVAL_REASON_RETURNED, At: &timestamppb.Timestamp{Seconds: 1, Nanos: 2},
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(entry)
	f.Add(entry[:len(entry)-1])
	f.Fuzz(func(t *testing.T, value []byte) {
		want := new(storagev1.ScopeEntry)
		wrong := proto.Unmarshal(value, want)
		got, steps, err := decodeEntry(nil, value)
		if (err != nil) != (wrong != nil) {
			t.Fatalf("error %v, not %v", err, wrong)
		}
		if err != nil {
			return
		}
		for _, s := range want.GetSteps() {
			s.ProtoReflect().SetUnknown(nil) // A step has two numbers for ever, and so has a time.
		}
		for _, at := range []*timestamppb.Timestamp{want.GetAt(), got.GetAt()} {
			if at != nil {
				at.ProtoReflect().SetUnknown(nil)
			}
		}
		again := new(storagev1.ScopeEntry)
		if err := proto.Unmarshal(encodeEntry(got, steps), again); err != nil || !proto.Equal(again, want) {
			t.Fatalf("%v became %v, error %v", want, again, err)
		}
		if !proto.Equal(whole(got, steps), want) {
			t.Fatalf("%v, not %v", got, want)
		}
	})
}
