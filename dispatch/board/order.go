package board

import (
	"cmp"
	"encoding/base64"
	"encoding/binary"
	"iter"
	"math"

	"github.com/tidwall/btree"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
)

// place is where a row stands in an order: by the two numbers, then by the task's id.
type place struct {
	first, second int64
	task          string
}

func (a place) compare(b place) int {
	return cmp.Or(cmp.Compare(a.first, b.first), cmp.Compare(a.second, b.second), cmp.Compare(a.task, b.task))
}

// order tells where a row stands.
type order int

const (
	byDue order = iota
	byUrgency
	byChange
	// byVersion is for those who watch.
	byVersion
	orderCount
)

var orders = map[fieldsyncv1.BoardOrder]order{
	fieldsyncv1.BoardOrder_BOARD_ORDER_UNSPECIFIED: byDue,
	fieldsyncv1.BoardOrder_BOARD_ORDER_DUE:         byDue,
	fieldsyncv1.BoardOrder_BOARD_ORDER_URGENCY:     byUrgency,
	fieldsyncv1.BoardOrder_BOARD_ORDER_CHANGED:     byChange,
}

func (o order) place(r *row) place {
	due := int64(math.MaxInt64)
	if r.GetDueAt() != nil {
		due = r.GetDueAt().AsTime().UnixMilli()
	}
	p := place{task: r.GetTaskId()}
	switch o {
	case byUrgency:
		p.first, p.second = -int64(max(r.GetUrgency(), fieldsyncv1.Urgency_URGENCY_NORMAL)), due
		if r.GetUrgency() == fieldsyncv1.Urgency_URGENCY_LOW {
			p.first = -int64(fieldsyncv1.Urgency_URGENCY_LOW)
		}
	case byChange:
		p.first = -r.GetChangedAt().AsTime().UnixMilli()
	case byVersion:
		p.first = int64(r.version) //nolint:gosec // It counts from 1.
	default:
		p.first = due
	}
	return p
}

// placed is a row at its place in an order.
type placed struct {
	place

	row *row
}

// view is a set of rows in each order.
type view struct {
	rows  map[string]*row
	trees [orderCount]*btree.BTreeG[placed]
}

func newView() view {
	v := view{rows: make(map[string]*row)}
	for o := range orderCount {
		v.trees[o] = btree.NewBTreeGOptions(func(a, b placed) bool { return a.compare(b.place) < 0 }, btree.Options{NoLocks: true})
	}
	return v
}

func (v view) put(r *row) {
	if old := v.rows[r.GetTaskId()]; old != nil {
		v.delete(old)
	}
	v.rows[r.GetTaskId()] = r
	for o, tree := range v.trees {
		tree.Set(placed{order(o).place(r), r})
	}
}

func (v view) delete(r *row) {
	delete(v.rows, r.GetTaskId())
	for o, tree := range v.trees {
		tree.Delete(placed{place: order(o).place(r)})
	}
}

// in yields the rows in an order, those behind the place after; from the beginning where that is the zero place.
func (v view) in(o order, after place) iter.Seq[*row] {
	return func(yield func(*row) bool) {
		visit := func(p placed) bool { return after == p.place || yield(p.row) }
		if after == (place{}) {
			v.trees[o].Scan(visit)
			return
		}
		v.trees[o].Ascend(placed{place: after}, visit)
	}
}

// tokenVersion is the first byte of every page token; the second is its order.
const tokenVersion = 1

// newToken names the place behind which the next page begins. It grants nothing.
func newToken(o fieldsyncv1.BoardOrder, last *row) string {
	p := orders[o].place(last)
	b := []byte{tokenVersion, byte(orders[o])} //nolint:gosec // One of four.
	b = binary.AppendVarint(binary.AppendVarint(b, p.first), p.second)
	return base64.RawURLEncoding.EncodeToString(append(b, p.task...))
}

// parseToken returns the place in a token, the zero place for none. Invalid "page_token_invalid" for what is no token of this
// order.
func parseToken(token string, o fieldsyncv1.BoardOrder) (place, error) {
	if token == "" {
		return place{}, nil
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err == nil && len(b) > 2 && b[0] == tokenVersion && order(b[1]) == orders[o] {
		first, n := binary.Varint(b[2:])
		if n > 0 {
			if second, m := binary.Varint(b[2+n:]); m > 0 {
				return place{first, second, string(b[2+n+m:])}, nil
			}
		}
	}
	return place{}, fault.New(fault.Invalid, "page_token_invalid",
		"Mã trang không hợp lệ: hãy tải lại từ trang đầu.",
		"The page token is not one of this server's for this order: begin again with the first page.")
}
