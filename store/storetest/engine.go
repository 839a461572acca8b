package storetest

import (
	"errors"
	"maps"
	"strconv"
	"strings"
	"testing"

	"github.com/cong1022/fieldsync/store"
)

func key(s string) []byte { return []byte(s) }

func number(n int) []byte { return strconv.AppendInt(nil, int64(n), 10) }

// opened opens the storage until the end of the test.
func opened(t *testing.T, open func() store.Engine) store.Engine {
	t.Helper()
	e := open()
	t.Cleanup(func() {
		if err := e.Close(); err != nil && !errors.Is(err, store.ErrClosed) {
			t.Errorf("closing the engine: %v", err)
		}
	})
	return e
}

func update(t *testing.T, e store.Engine, fn func(store.KV) error) {
	t.Helper()
	if err := e.Update(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

func view(t *testing.T, e store.Engine, fn func(store.KV) error) {
	t.Helper()
	if err := e.View(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

// fill sets each key to itself.
func fill(t *testing.T, e store.Engine, keys ...string) {
	t.Helper()
	update(t, e, func(kv store.KV) error {
		for _, k := range keys {
			if err := kv.Set(key(k), key(k)); err != nil {
				return err
			}
		}
		return nil
	})
}

// holds fails the test unless the engine holds exactly want.
func holds(t *testing.T, e store.Engine, want map[string]string) {
	t.Helper()
	if got := contents(t, e); !maps.Equal(got, want) {
		t.Errorf("the engine holds %.300q, not %.300q", got, want)
	}
}

func contents(t *testing.T, e store.Engine) map[string]string {
	t.Helper()
	var got map[string]string
	view(t, e, func(kv store.KV) (err error) {
		got, err = everything(kv)
		return err
	})
	return got
}

// behind is behind every key.
var behind = strings.Repeat("\xff", store.MaxKeyBytes+1)

func everything(kv store.KV) (map[string]string, error) {
	all := make(map[string]string)
	for pair, err := range kv.Range(nil, key(behind)) {
		if err != nil {
			return nil, err
		}
		all[string(pair.Key)] = string(pair.Value)
	}
	return all, nil
}

func read(kv store.KV, k []byte) (int, error) {
	value, err := kv.Get(k)
	if err != nil || value == nil {
		return 0, err
	}
	return strconv.Atoi(string(value))
}

func add(kv store.KV, k []byte, n int) error {
	before, err := read(kv, k)
	if err != nil {
		return err
	}
	return kv.Set(k, number(before+n))
}
