package bench

import (
	"context"
	"errors"
	"hash/fnv"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"connectrpc.com/connect"
	"github.com/dgraph-io/badger/v4"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
)

// maxBehind is by how many messages a stream of the floor may be behind.
const maxBehind = 256

// The orders of the floor.
const (
	opListen = "listen" // Serve nothing at /empty, a bare stream there too, and Tasks tasks from Badger at /bare.
	opRecord = "record" // Keep what the engine writes for Count phones' pushes.
	opRaw    = "raw"    // Write that again with raw Badger and Count writers, for a time.
)

// floor is the child that does the same without the house.
type floor struct {
	server  *http.Server
	served  chan error
	db      *badger.DB
	dir     string
	updates [][]write
}

func newFloor(context.Context) worker { return &floor{} }

func (f *floor) carryOut(ctx context.Context, o order) (answer, error) {
	switch o.Op {
	case opListen:
		return f.listen(ctx, o)
	case opRecord:
		f.dir = o.Dir
		var err error
		f.updates, err = record(ctx, filepath.Join(o.Dir, "recorded"), o.Count)
		return answer{Calls: len(f.updates)}, err
	case opRaw:
		return f.raw(o.Count, o.For)
	default:
		return answer{}, errors.New("no such order: " + o.Op)
	}
}

func (f *floor) close() error {
	var err error
	if f.server != nil {
		err = errors.Join(f.server.Close(), <-f.served)
	}
	if f.db != nil {
		err = errors.Join(err, f.db.Close())
	}
	if f.dir != "" {
		err = errors.Join(err, os.RemoveAll(f.dir))
	}
	return err
}

// listen serves bare Connect handlers: no login, no validation, no engine.
func (f *floor) listen(ctx context.Context, o order) (answer, error) {
	f.dir = o.Dir
	if o.Tasks > 0 {
		if err := f.fillBare(filepath.Join(o.Dir, "bare"), o.Tasks); err != nil {
			return answer{}, err
		}
	}
	empty, bare := http.NewServeMux(), http.NewServeMux()
	empty.Handle(fieldsyncv1connect.NewSyncServiceHandler(&emptyHandler{groups: make(map[uint64]map[chan time.Time]struct{})}))
	bare.Handle(fieldsyncv1connect.NewSyncServiceHandler(&bareHandler{db: f.db}))
	mux := http.NewServeMux()
	mux.Handle("/empty/", http.StripPrefix("/empty", empty))
	mux.Handle("/bare/", http.StripPrefix("/bare", bare))
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return answer{}, err
	}
	f.server = &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	f.served = make(chan error, 1)
	go func() {
		err := f.server.Serve(listener)
		if errors.Is(err, http.ErrServerClosed) {
			err = nil
		}
		f.served <- err
	}()
	return answer{URL: "http://" + listener.Addr().String()}, nil
}

// emptyHandler answers with nothing, and streams what it is told to.
type emptyHandler struct {
	fieldsyncv1connect.UnimplementedSyncServiceHandler

	mu     sync.Mutex
	groups map[uint64]map[chan time.Time]struct{}
}

// Sync implements the RPC with an empty answer.
func (*emptyHandler) Sync(context.Context, *fieldsyncv1.SyncRequest) (*fieldsyncv1.SyncResponse, error) {
	return &fieldsyncv1.SyncResponse{}, nil
}

// groupOf numbers a crew for the floor's stream.
func groupOf(crew string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(crew)) // Never fails.
	return h.Sum64()
}

// Watch streams to whoever names a group as the cursor, one message for each AwaitChange of that group.
func (h *emptyHandler) Watch(ctx context.Context, req *fieldsyncv1.WatchRequest, stream *connect.ServerStream[fieldsyncv1.WatchResponse]) error {
	wake := make(chan time.Time, maxBehind)
	group := groupOf(string(req.GetCursor()))
	h.mu.Lock()
	if h.groups[group] == nil {
		h.groups[group] = make(map[chan time.Time]struct{})
	}
	h.groups[group][wake] = struct{}{}
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.groups[group], wake)
	}()
	if err := stream.Send(&fieldsyncv1.WatchResponse{Head: &fieldsyncv1.ScopeHead{Sequence: 1}}); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case at := <-wake:
			// About what the house sends.
			err := stream.Send(&fieldsyncv1.WatchResponse{
				Head: &fieldsyncv1.ScopeHead{Sequence: 1, Tasks: 10, Digest: group}, ServerTime: timestamppb.New(at),
				Delta: &fieldsyncv1.SyncResponse{
					Cursor: make([]byte, 12), ServerTime: timestamppb.New(at),
					Tasks: []*fieldsyncv1.TaskDelta{{Task: &fieldsyncv1.Task{
						Id: "06h0jd5zkqprz59vgx30", Revision: 3,
						Assignment: &fieldsyncv1.AssignmentFacet{
							CrewId: "to-00001", AssignedAt: timestamppb.New(at), Instruction: at.Format(time.RFC3339Nano),
						},
					}}},
				},
			})
			if err != nil {
				return err
			}
		}
	}
}

// AwaitChange wakes the streams of a group.
func (h *emptyHandler) AwaitChange(_ context.Context, req *fieldsyncv1.AwaitChangeRequest) (*fieldsyncv1.AwaitChangeResponse, error) {
	now := time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	for wake := range h.groups[req.GetSequence()] {
		select {
		case wake <- now:
		default:
			return nil, errors.New("a stream of the floor does not keep up")
		}
	}
	return &fieldsyncv1.AwaitChangeResponse{}, nil
}

// bareHandler answers every call with all tasks, read from Badger.
type bareHandler struct {
	fieldsyncv1connect.UnimplementedSyncServiceHandler

	db *badger.DB
}

// Sync implements the RPC.
func (h *bareHandler) Sync(context.Context, *fieldsyncv1.SyncRequest) (*fieldsyncv1.SyncResponse, error) {
	answer := &fieldsyncv1.SyncResponse{}
	err := h.db.View(func(txn *badger.Txn) error {
		each := txn.NewIterator(badger.IteratorOptions{})
		defer each.Close()
		for each.Rewind(); each.Valid(); each.Next() {
			task := &fieldsyncv1.Task{}
			if err := each.Item().Value(func(value []byte) error { return proto.Unmarshal(value, task) }); err != nil {
				return err
			}
			answer.Tasks = append(answer.Tasks, &fieldsyncv1.TaskDelta{Task: task, Whole: true})
		}
		return nil
	})
	return answer, err
}

// fillBare puts tasks into a Badger of the handler's own.
func (f *floor) fillBare(dir string, tasks int) (err error) {
	if f.db, err = badger.Open(rawOptions(dir)); err != nil {
		return err
	}
	reports := newWriter(time.Now())
	txn := f.db.NewWriteBatch()
	defer txn.Cancel()
	for range tasks {
		task := reports.task(unitOf(0), crewID(0))
		value, err := proto.Marshal(task)
		if err != nil {
			return err
		}
		if err := txn.Set([]byte(task.GetId()), value); err != nil {
			return err
		}
	}
	return txn.Flush()
}
