package store

import (
	"bytes"
	"fmt"
	"iter"

	"google.golang.org/protobuf/proto"
)

// Key is where one record of the type T lies.
type Key[T any] []byte

// Prefix is where the records of the type T lie whose keys begin alike.
type Prefix[T any] []byte

// message is a pointer to a generated struct, so that a Key of the struct can make a new one.
type message[T any] interface {
	*T
	proto.Message
}

// Get returns the record under key, or nil where there is none.
func Get[T any, M message[T]](tx *Tx, key Key[T]) (M, error) {
	record, _, err := GetSized[T, M](tx, key)
	return record, err
}

// GetSized is Get, and tells how many bytes the record has: adding up a task's takes a third as long as decoding it.
func GetSized[T any, M message[T]](tx *Tx, key Key[T]) (record M, size int, err error) {
	value, err := tx.get(key)
	if err != nil || value == nil {
		return nil, 0, err
	}
	record, err = decode[T, M](key, value)
	return record, len(value), err
}

// Put stores the record under key, in the place of whatever lay there.
func Put[T any, M message[T]](tx *Tx, key Key[T], record M) error {
	value, err := proto.MarshalOptions{Deterministic: true}.Marshal(record)
	if err != nil {
		return fmt.Errorf("encoding the record of %q: %w", key, err)
	}
	tx.wrote(key, value)
	return tx.kv.Set(key, value)
}

// Delete removes the record under key, if there is one.
func Delete[T any](tx *Tx, key Key[T]) error {
	tx.wrote(key, nil)
	return tx.kv.Delete(key)
}

func (tx *Tx) get(key []byte) ([]byte, error) {
	if seen := tx.seen[string(key)]; seen != nil {
		return *seen, nil
	}
	value, err := tx.kv.Get(key)
	if err == nil && tx.seen != nil {
		tx.seen[string(key)] = &value
	}
	return value, err
}

// wrote notes what lies under key now, nil for nothing, where it was read before: most of what a transaction writes it does not
// read again.
func (tx *Tx) wrote(key, value []byte) {
	if seen := tx.seen[string(key)]; seen != nil {
		*seen = value
	}
}

// Scan yields the records under prefix in the order of their keys, beginning behind the key after, or with the first one
// where after is nil.
func Scan[T any, M message[T]](tx *Tx, prefix Prefix[T], after Key[T]) iter.Seq2[M, error] {
	return func(yield func(M, error) bool) {
		for pair, err := range tx.scan(prefix, after) {
			if err != nil {
				yield(nil, err)
				return
			}
			record, err := decode[T, M](pair.Key, pair.Value)
			if !yield(record, err) || err != nil {
				return
			}
		}
	}
}

func (tx *Tx) scan(prefix, after []byte) iter.Seq2[Pair, error] {
	start := prefix
	if after != nil {
		start = append(bytes.Clone(after), 0)
	}
	return tx.kv.Range(start, prefixEnd(prefix))
}

// prefixEnd is the first key behind all keys that begin with prefix.
func prefixEnd(prefix []byte) []byte {
	end := bytes.Clone(prefix)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
	panic("store: a prefix of 0xff bytes only") // Every prefix begins with a word of keys.go.
}

func decode[T any, M message[T]](key, value []byte) (M, error) {
	record := M(new(T))
	if err := proto.Unmarshal(value, record); err != nil {
		return nil, fmt.Errorf("the record of %q is damaged: %w", key, err)
	}
	return record, nil
}
