package server

import (
	"bytes"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
)

// protoCodec is protobuf as Connect's own codec speaks it, but for what a phone has recorded: a mutation that cannot be parsed, as one
// with a text that is not UTF-8, is kept as it came (unread_protobuf) and takes the others down with it as little as in JSON.
type protoCodec struct{}

// Name implements connect.Codec.
func (protoCodec) Name() string { return "proto" }

// Marshal implements connect.Codec.
func (c protoCodec) Marshal(message any) ([]byte, error) { return c.MarshalAppend(nil, message) }

// MarshalAppend writes into Connect's buffer, which saves a copy of each answer.
func (protoCodec) MarshalAppend(to []byte, message any) ([]byte, error) {
	m, ok := message.(proto.Message)
	if !ok {
		return nil, fmt.Errorf("%T is no protobuf message", message)
	}
	return proto.MarshalOptions{}.MarshalAppend(to, m)
}

// Unmarshal implements connect.Codec.
func (protoCodec) Unmarshal(data []byte, message any) error {
	m, ok := message.(proto.Message)
	if !ok {
		return fmt.Errorf("%T is no protobuf message", message)
	}
	err := proto.Unmarshal(data, m)
	if sync, ok := m.(*fieldsyncv1.SyncRequest); ok && err != nil {
		return splitSync(data, sync)
	}
	return err
}

// splitSync parses each mutation by itself.
func splitSync(data []byte, sync *fieldsyncv1.SyncRequest) error {
	var rest []byte
	var mutations []*fieldsyncv1.Mutation
	list := sync.ProtoReflect().Descriptor().Fields().ByName("mutations").Number()
	for len(data) > 0 {
		number, kind, n := protowire.ConsumeField(data)
		if n < 0 {
			return protowire.ParseError(n)
		}
		field := data[:n]
		data = data[n:]
		if number != list || kind != protowire.BytesType {
			rest = append(rest, field...)
			continue
		}
		_, _, tag := protowire.ConsumeTag(field)
		text, _ := protowire.ConsumeBytes(field[tag:])
		mutation, err := splitMutation(text)
		if err != nil {
			return fmt.Errorf("mutation %d of the batch: %w", len(mutations)+1, err)
		}
		mutations = append(mutations, mutation)
	}
	if err := proto.Unmarshal(rest, sync); err != nil {
		return err
	}
	sync.Mutations = mutations
	return nil
}

// splitMutation is a mutation, of which at the least the number can be read: see unmarshalMutation.
func splitMutation(text []byte) (*fieldsyncv1.Mutation, error) {
	mutation := &fieldsyncv1.Mutation{}
	err := proto.Unmarshal(text, mutation)
	if err == nil {
		return mutation, nil
	}
	kept := &fieldsyncv1.Mutation{UnreadProtobuf: bytes.Clone(text)} // Connect uses the buffer again.
	numberField := kept.ProtoReflect().Descriptor().Fields().ByName("number").Number()
	for len(text) > 0 {
		field, kind, tag := protowire.ConsumeTag(text)
		if tag < 0 {
			break
		}
		n := protowire.ConsumeFieldValue(field, kind, text[tag:])
		if n < 0 {
			break
		}
		if field == numberField && kind == protowire.VarintType {
			kept.Number, _ = protowire.ConsumeVarint(text[tag:])
		}
		text = text[tag+n:]
	}
	if kept.GetNumber() == 0 {
		return nil, err
	}
	return kept, nil
}
