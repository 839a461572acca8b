package dispatch

import (
	"encoding/base64"
	"iter"
	"regexp"

	"google.golang.org/protobuf/proto"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/store"
)

const (
	defaultPageSize = 100
	// maxScanned and maxPageBytes end a page early, so that neither a filter that hardly anything passes nor a page of long
	// descriptions makes one call dear. The token of such a page goes on where it stopped.
	maxScanned   = 10_000
	maxPageBytes = 2 << 20

	tokenVersion = 1
)

// The ids of the house: those that callers choose and those that the store makes.
var idPattern = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)

// cut says which part of a list is wanted: up to size values behind the id after, from the beginning where it is empty.
type cut struct {
	after string
	size  int
}

func newCut(page *fieldsyncv1.Page) (cut, error) {
	c := cut{size: int(page.GetSize())}
	if c.size == 0 {
		c.size = defaultPageSize
	}
	var err error
	if page.GetToken() != "" {
		c.after, err = parseToken(page.GetToken())
	}
	return c, err
}

// behind is the key behind which a scan begins.
func behind[T any](c cut, key func(id string) store.Key[T]) store.Key[T] {
	if c.after == "" {
		return nil
	}
	return key(c.after)
}

// list collects a page of what show makes of the records that it keeps. The token is empty once the records have come to
// their end.
func list[R any, V proto.Message](c cut, records iter.Seq2[R, error], id func(R) string,
	show func(R) (value V, keep bool, err error),
) (values []V, token string, err error) {
	var scanned, size int
	var last string
	for record, err := range records {
		if err != nil {
			return nil, "", err
		}
		if len(values) == c.size || scanned == maxScanned || size >= maxPageBytes {
			return values, newToken(last), nil
		}
		value, keep, err := show(record)
		if err != nil {
			return nil, "", err
		}
		scanned, last = scanned+1, id(record)
		if keep {
			values, size = append(values, value), size+proto.Size(value)
		}
	}
	return values, "", nil
}

// newToken makes the token of the page behind the record id. It grants nothing: what the caller may see is asked anew.
func newToken(id string) string {
	return base64.RawURLEncoding.EncodeToString(append([]byte{tokenVersion}, id...))
}

// parseToken returns the id in a token. Invalid "page_token_invalid" for anything that newToken has not made.
func parseToken(token string) (string, error) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(token)
	// Go's decoder skips line breaks even when strict, so only what encodes to the same text again is taken.
	if err != nil || len(raw) == 0 || raw[0] != tokenVersion || !idPattern.Match(raw[1:]) || newToken(string(raw[1:])) != token {
		return "", fault.New(fault.Invalid, "page_token_invalid",
			"Mã trang không hợp lệ: hãy tải lại từ trang đầu.",
			"The page token is not one of this server's: begin again with the first page.")
	}
	return string(raw[1:]), nil
}
