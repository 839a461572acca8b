package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protopath"
	"google.golang.org/protobuf/reflect/protorange"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
)

// jsonCodec is protobuf's JSON, as Connect's own codec speaks it, but for what a phone has recorded. Fields that this server
// does not know are left out of a message, as everywhere; of a mutation they must not vanish: an intent of a newer app, or a
// value that cannot be read, is kept in the mutation as it came (unread_json), so that quarantine holds all of it as it does
// for clients that speak protobuf. One that cannot be read at all does not take the others down with it either.
type jsonCodec struct{ name string }

// Name implements connect.Codec.
func (c jsonCodec) Name() string { return c.name }

// Marshal implements connect.Codec.
func (jsonCodec) Marshal(message any) ([]byte, error) {
	m, ok := message.(proto.Message)
	if !ok {
		return nil, fmt.Errorf("%T is no protobuf message", message)
	}
	text, err := protojson.Marshal(m)
	if err == nil {
		return text, nil
	}
	// Protobuf holds times that JSON cannot show, and what was taken in before the intake looked at them may have one: it would make every
	// list fail that it is in.
	m = proto.Clone(m)
	if nearestTimes(m) != nil {
		return nil, err
	}
	return protojson.Marshal(m)
}

// What JSON can show of times.
var (
	firstTime = timestamppb.New(time.Date(1, time.January, 1, 0, 0, 0, 0, time.UTC))
	lastTime  = timestamppb.New(time.Date(9999, time.December, 31, 23, 59, 59, 0, time.UTC))
)

// nearestTimes puts in the place of each time that JSON cannot show the nearest one that it can.
func nearestTimes(m proto.Message) error {
	return protorange.Range(m.ProtoReflect(), func(values protopath.Values) error {
		inner, ok := values.Index(-1).Value.Interface().(protoreflect.Message)
		if !ok {
			return nil
		}
		at, ok := inner.Interface().(*timestamppb.Timestamp)
		if !ok || at.IsValid() {
			return nil
		}
		at.Seconds, at.Nanos = min(max(at.GetSeconds(), firstTime.GetSeconds()), lastTime.GetSeconds()), 0
		return nil
	})
}

// lenient leaves out what is not known.
var lenient = protojson.UnmarshalOptions{DiscardUnknown: true}

// Unmarshal implements connect.Codec.
func (jsonCodec) Unmarshal(data []byte, message any) error {
	m, ok := message.(proto.Message)
	if !ok {
		return fmt.Errorf("%T is no protobuf message", message)
	}
	if len(data) == 0 {
		return errors.New("zero-length payload is not a valid JSON object")
	}
	sync, ok := m.(*fieldsyncv1.SyncRequest)
	if !ok {
		return lenient.Unmarshal(data, m)
	}
	// The usual request holds nothing that is new to this server.
	if protojson.Unmarshal(data, sync) == nil {
		return nil
	}
	return unmarshalSync(data, sync)
}

func unmarshalSync(data []byte, sync *fieldsyncv1.SyncRequest) error {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(data, &fields); err != nil {
		return err
	}
	var raw []json.RawMessage
	if list, ok := fields["mutations"]; ok {
		if err := json.Unmarshal(list, &raw); err != nil {
			return err
		}
		delete(fields, "mutations")
	}
	rest, err := json.Marshal(fields)
	if err != nil {
		return err
	}
	if err := lenient.Unmarshal(rest, sync); err != nil {
		return err
	}
	for i, text := range raw {
		mutation, err := unmarshalMutation(text)
		if err != nil {
			return fmt.Errorf("mutation %d of the batch: %w", i+1, err)
		}
		sync.Mutations = append(sync.Mutations, mutation)
	}
	return nil
}

// unmarshalMutation reads as much of a mutation as this server understands. At the least that is its number: without it
// nothing could be said of it.
func unmarshalMutation(text []byte) (*fieldsyncv1.Mutation, error) {
	mutation := &fieldsyncv1.Mutation{}
	if protojson.Unmarshal(text, mutation) == nil {
		return mutation, nil
	}
	proto.Reset(mutation)
	if err := lenient.Unmarshal(text, mutation); err != nil {
		number, nerr := numberOf(text)
		if nerr != nil {
			return nil, errors.Join(err, nerr)
		}
		mutation = &fieldsyncv1.Mutation{Number: number}
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, text); err != nil {
		return nil, err
	}
	// JSON is UTF-8 (RFC 8259, section 8.1). What is not would be a mutation that cannot be stored, and would hold up those behind it.
	mutation.UnreadJson = strings.ToValidUTF8(compact.String(), "\uFFFD")
	return mutation, nil
}

func numberOf(text []byte) (uint64, error) {
	var m struct {
		Number any `json:"number"`
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(&m); err != nil {
		return 0, err
	}
	return strconv.ParseUint(fmt.Sprint(m.Number), 10, 64)
}
