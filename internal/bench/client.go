package bench

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
	"github.com/cong1022/fieldsync/phone"
)

const (
	// batch is how many updates a phone of the push workloads sends at once.
	batch = 10
	// maxBudget asks for as much in one answer as the API gives.
	maxBudget = 4 << 20
	// callTimeout ends what hangs, so that a run comes to an end.
	callTimeout = 2 * time.Minute
)

// client is a thin phone: it speaks the API with token, cursor and numbers as the reference phone does, and keeps nothing on a
// disk, since ten thousand phones' disks in one machine are the load generator's own load.
type client struct {
	seat

	api       fieldsyncv1connect.SyncServiceClient
	transport *http.Transport
	cursor    []byte
	number    uint64
	next      int
	ticked    map[string]bool
}

func newClient(s seat, transport *http.Transport, api fieldsyncv1connect.SyncServiceClient) *client {
	return &client{seat: s, cursor: s.Cursor, ticked: make(map[string]bool), transport: transport, api: api}
}

// newAPI speaks as the reference phone does, for many clients, each over the connections of its own transport: what compresses takes
// a megabyte, which a phone has once, and five thousand of them in one machine would be the load generator's own load.
func newAPI(url string) fieldsyncv1connect.SyncServiceClient {
	return fieldsyncv1connect.NewSyncServiceClient(&http.Client{Transport: ownTransport{}}, url,
		connect.WithSendGzip(), connect.WithCompressMinBytes(1024), phone.AcceptZstd())
}

// ownTransport sends what a client calls over the client's own connections.
type ownTransport struct{}

type transportKey struct{}

// RoundTrip implements http.RoundTripper.
func (ownTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	own := req.Context().Value(transportKey{}).(*http.Transport) //nolint:forcetypeassert,errcheck // Each client sets it.
	return own.RoundTrip(req)
}

// drop closes the client's connections, where it has some of its own.
func (c *client) drop() { c.transport.CloseIdleConnections() }

func (c *client) as(ctx context.Context) context.Context {
	ctx = context.WithValue(ctx, transportKey{}, c.transport)
	if c.Token == "" {
		return ctx
	}
	ctx, info := connect.NewClientContext(ctx)
	info.RequestHeader().Set("Authorization", "Bearer "+c.Token)
	return ctx
}

func (c *client) call(ctx context.Context, req *fieldsyncv1.SyncRequest) (*fieldsyncv1.SyncResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return c.api.Sync(c.as(ctx), req)
}

// done is what a call brought.
type done struct{ mutations, tasks int }

// empty is the floor of all calls.
func (c *client) empty(ctx context.Context) (done, error) {
	_, err := c.call(ctx, &fieldsyncv1.SyncRequest{})
	return done{}, err
}

// pull asks for what changed since the seat's cursor, each time the same.
func (c *client) pull(ctx context.Context, want int) (done, error) {
	answer, err := c.call(ctx, &fieldsyncv1.SyncRequest{Cursor: c.cursor})
	if err == nil && len(answer.GetTasks()) != want {
		err = fmt.Errorf("%d tasks in the delta, not %d", len(answer.GetTasks()), want)
	}
	return done{tasks: len(answer.GetTasks())}, err
}

// first reads everything from the beginning.
func (c *client) first(ctx context.Context, want int) (done, error) {
	var d done
	for cursor := []byte(nil); ; {
		answer, err := c.call(ctx, &fieldsyncv1.SyncRequest{Cursor: cursor})
		if err != nil {
			return d, err
		}
		d.tasks += len(answer.GetTasks())
		if cursor = answer.GetCursor(); answer.GetMore() {
			continue
		}
		if d.tasks != want {
			err = fmt.Errorf("%d tasks, not %d", d.tasks, want)
		}
		return d, err
	}
}

// push ticks an item of ten tasks, each the other way round than before, and takes the delta that this makes.
func (c *client) push(ctx context.Context) (done, error) {
	mutations := make([]*fieldsyncv1.Mutation, batch)
	for i := range mutations {
		task := c.Held[c.next%len(c.Held)]
		c.next++
		c.ticked[task.ID] = !c.ticked[task.ID]
		mutations[i] = c.mutation(task)
		mutations[i].Intent = &fieldsyncv1.Mutation_Tick{Tick: &fieldsyncv1.Tick{ItemId: task.Item, Checked: c.ticked[task.ID]}}
	}
	return c.exchange(ctx, mutations)
}

// comeBack notes something on ten tasks and takes all that has changed meanwhile.
func (c *client) comeBack(ctx context.Context) (done, error) {
	mutations := make([]*fieldsyncv1.Mutation, batch)
	for i := range mutations {
		mutations[i] = c.mutation(c.Held[i])
		mutations[i].Intent = &fieldsyncv1.Mutation_AddNote{AddNote: &fieldsyncv1.AddNote{
			Text: fmt.Sprintf("Đã đến hiện trường lần %d, khu vực đã rào chắn, chờ vật tư.", i+1),
		}}
	}
	return c.exchange(ctx, mutations)
}

func (c *client) mutation(task heldTask) *fieldsyncv1.Mutation {
	c.number++
	now := time.Now()
	return &fieldsyncv1.Mutation{
		Number: c.number, TaskId: task.ID, BaseRevision: 2, AssignmentEpoch: 1,
		Recorded: &fieldsyncv1.CaptureTime{
			Wall: timestamppb.New(now), BootId: "7c0e5a52-bench", SinceBootMs: uint64(now.UnixMilli() % (1 << 32)),
		},
	}
}

func (c *client) exchange(ctx context.Context, mutations []*fieldsyncv1.Mutation) (done, error) {
	var d done
	for {
		answer, err := c.call(ctx, &fieldsyncv1.SyncRequest{
			Cursor: c.cursor, Mutations: mutations, InstallEpoch: c.Epoch,
			Clock: &fieldsyncv1.CaptureTime{Wall: timestamppb.Now(), BootId: "7c0e5a52-bench"},
		})
		if err != nil {
			return d, err
		}
		if len(answer.GetVerdicts()) != len(mutations) {
			return d, fmt.Errorf("%d verdicts on %d mutations", len(answer.GetVerdicts()), len(mutations))
		}
		for _, v := range answer.GetVerdicts() {
			if v.GetKind() != fieldsyncv1.VerdictKind_VERDICT_KIND_APPLIED {
				return d, fmt.Errorf("a mutation was judged %s", v.GetCode())
			}
		}
		if answer.GetReset_() {
			return d, fmt.Errorf("the cursor was not known")
		}
		d.mutations += len(mutations)
		d.tasks += len(answer.GetTasks())
		c.cursor, mutations = answer.GetCursor(), nil
		if !answer.GetMore() {
			return d, nil
		}
	}
}

// wire counts what goes over the connections of a transport.
type wire struct{ received, sent atomic.Int64 }

// transport is one whose connections are counted. Nothing is compressed but by Connect.
func (w *wire) transport() *http.Transport {
	dialer := &net.Dialer{}
	return &http.Transport{
		MaxIdleConnsPerHost: 1 << 16, DisableCompression: true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return countedConn{conn, w}, nil
		},
	}
}

type countedConn struct {
	net.Conn

	wire *wire
}

// Read implements net.Conn.
func (c countedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.wire.received.Add(int64(n))
	return n, err
}

// Write implements net.Conn.
func (c countedConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.wire.sent.Add(int64(n))
	return n, err
}

// quantile is the value below which the share q of the values lies; 0 of none. It sorts them.
func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	return values[min(len(values)-1, int(q*float64(len(values))))]
}
