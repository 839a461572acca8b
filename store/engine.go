package store

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/cong1022/fieldsync/internal/fault"
)

// Engine is the seam between the house and whatever keeps its bytes: ordered keys and values under serializable
// transactions. One conformance suite, package storetest, runs over every engine.
type Engine interface {
	// Update runs fn in a read-write transaction and returns once what it wrote is durable: it survives kill -9 and a power
	// cut. All of it is kept or none. An error of fn discards its writes and comes back as it is. fn may run more than once,
	// and others' transactions may run between two of its runs, so it must have no side effects. It may run in another
	// goroutine than the caller's; a panic reaches the caller. It must neither call Update nor end its goroutine, as
	// testing.T.Fatal does.
	//
	// ErrOutcomeUnknown: the writes may or may not have been kept. ErrTooLarge: fn wrote more than MaxTransactionBytes and
	// nothing was kept, even where fn returns nil. ErrNoSpace: there is too little room to write, nothing was kept, and the
	// same succeeds once there is room again. ErrClosed: nothing was kept. The context's error: it ended before fn ran and
	// nothing was kept.
	Update(ctx context.Context, fn func(KV) error) error
	// View runs fn over one snapshot, in which every Update that had returned before is visible. Writing fails with
	// ErrReadOnly.
	View(ctx context.Context, fn func(KV) error) error
	// Failed is closed when the engine can no longer tell what is durable: from then on it refuses everything with ErrClosed.
	// The process must stop: opening again recovers.
	Failed() <-chan struct{}
	// Close refuses what comes later, waits for the transactions under way and releases the files. ErrClosed the second time.
	Close() error
}

// KV is an ordered transaction. It is valid until the function that got it returns, and for one goroutine.
type KV interface {
	// Get returns the value of key, or nil where there is none, as under a key that Set would refuse. The value is the
	// caller's to keep.
	Get(key []byte) ([]byte, error)
	// Set stores value under key. Both belong to the transaction afterwards. A key has 1 to MaxKeyBytes bytes and does not
	// begin with "!", which engines keep for themselves. An empty value is a value; nil is refused.
	Set(key, value []byte) error
	// Delete removes key. Removing what is not there is no error.
	Delete(key []byte) error
	// Range yields the pairs with start <= key < end in ascending order, as they stood when the loop began: the
	// transaction's own writes until then included, those within the loop not. Loops may be nested. After an error it
	// stops. The pairs are the caller's to keep.
	Range(start, end []byte) iter.Seq2[Pair, error]
}

// Pair is a key with its value.
type Pair struct{ Key, Value []byte }

// Limits of every engine.
const (
	// MaxTransactionBytes bounds what one Update may write: every Set and Delete counts its key and value, and an engine may
	// count up to 128 bytes more for each.
	MaxTransactionBytes = 1 << 20
	// MaxKeyBytes bounds a key, in bytes.
	MaxKeyBytes = 1 << 10
)

// The errors of the seam.
var (
	ErrOutcomeUnknown = errors.New("store: the commit's outcome is unknown")
	ErrTooLarge       = errors.New("store: the transaction writes more than 1 MiB")
	ErrReadOnly       = errors.New("store: a write in a read-only transaction")
	ErrClosed         = errors.New("store: closed")
)

// ErrNoSpace is what errors.Is finds in every error of NoSpace.
var ErrNoSpace error = fault.New(fault.Unavailable, "storage_full", "Máy chủ hết chỗ lưu.", "The server has no room to write.")

// retryFull is after how long a phone may ask again: making room takes a person.
const retryFull = 30 * time.Second

// Gone is the error of an engine whose files are not in their folder any more: somebody has removed or moved them while they were in use. It
// is a fault as that of NoSpace is; what would be written there now would be gone with the process.
func Gone() error {
	f := fault.New(fault.Unavailable, "storage_gone",
		"Thư mục dữ liệu của máy chủ đã bị xóa hoặc dời đi nên máy chủ không nhận ghi; dữ liệu trên điện thoại vẫn còn và sẽ tự gửi lại.",
		"The server's data folder was removed or moved away, so it takes no writes; what is on the phone stays there and is sent again by itself.")
	f.RetryAfter = retryFull
	return f
}

// NoSpace is the error of an engine that turns writes away because there is less left of something than its margin. It is a
// fault and may be shown to whoever called: what is asked of a server that only reads goes on.
func NoSpace(whatVi, whatEn, left, margin string) error {
	f := fault.New(fault.Unavailable, "storage_full",
		fmt.Sprintf("Máy chủ sắp hết %s (còn %s, cần chừa %s) nên tạm thời không nhận ghi; dữ liệu trên điện thoại vẫn còn và sẽ tự gửi lại.", whatVi, left, margin),
		fmt.Sprintf("The server is running out of %s (%s left, %s are kept free), so it takes no writes for now; what is on the phone stays there and is sent again by itself.", whatEn, left, margin))
	f.RetryAfter = retryFull
	return f
}

// NoSpaceToOpen is the error of an engine that does not open because that takes more of something than there is left.
func NoSpaceToOpen(whatVi, whatEn, left, needed string) error {
	return fault.New(fault.Unavailable, "storage_full",
		fmt.Sprintf("Không đủ %s để mở kho dữ liệu (còn %s, cần %s): hãy giải phóng bớt rồi khởi động lại; không có gì bị mất.", whatVi, left, needed),
		fmt.Sprintf("There is too little %s to open the store (%s left, %s needed): make room, and start again. Nothing is lost.", whatEn, left, needed))
}
