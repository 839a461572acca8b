package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/cong1022/fieldsync/auth"
	"github.com/cong1022/fieldsync/dispatch/board"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
	"github.com/cong1022/fieldsync/store"
)

// boardRows is how many rows a page has, and how many records the floor reads.
const boardRows = 100

// dispatchBoard measures the dispatchers' board, in this process: what it does is the memory's work. The floor reads as many
// records plainly from the same store.
func dispatchBoard(ctx context.Context, b *bench) (err error) {
	crews, tasks := b.size(1000, 10), b.size(100, 10)
	dir := b.folder()
	f, err := b.seed(ctx, dir, plan{crews: crews, tasks: tasks, manned: 1, phones: 1})
	if err != nil {
		return err
	}
	st, err := openStore(ctx, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	desk := auth.Principal{DeviceID: f.desk.Device, MemberID: f.desk.Member, Role: fieldsyncv1.Role_ROLE_DISPATCHER, UnitID: auth.CityUnit}
	v := &viewing{store: st, service: board.New(board.Options{Store: st}), as: auth.WithPrincipal(ctx, desk)}
	b.out.progress("loading the board")
	begun := time.Now()
	if v.ids, err = v.page(nil); err != nil {
		return err
	}
	b.figure("board.load", milliseconds(time.Since(begun)), "ms", 0, nil)
	if err := v.holds(crews * tasks); err != nil {
		return err
	}
	for _, look := range []struct {
		name   string
		filter *fieldsyncv1.BoardFilter
	}{{"board", nil}, {"board.search", &fieldsyncv1.BoardFilter{Text: "cay"}}} {
		b.out.progress(look.name)
		page, plain, err := v.looks(b.size(2000, 20), look.filter)
		if err != nil {
			return err
		}
		b.figure(look.name, page, "ms, p99", plain, nil)
	}
	b.out.progress("board.change")
	change, plain, err := v.changes(ctx, b.size(500, 5))
	if err != nil {
		return err
	}
	b.figure("board.change", change, "ms, p99", plain, nil)
	return nil
}

// viewing is a dispatcher before the board.
type viewing struct {
	store   *store.Store
	service *board.Service
	as      context.Context //nolint:containedctx // Whoever looks, for as long as this is measured.
	ids     []string
}

func (v *viewing) page(filter *fieldsyncv1.BoardFilter) (ids []string, err error) {
	resp, err := v.service.ListBoard(v.as, &fieldsyncv1.ListBoardRequest{Filter: filter, PageSize: boardRows})
	for _, r := range resp.GetRows() {
		ids = append(ids, r.GetTaskId())
	}
	return ids, err
}

// holds is an error where the board has not as many tasks: it would be measured over less than it claims.
func (v *viewing) holds(want int) error {
	resp, err := v.service.GetWorkload(v.as, &fieldsyncv1.GetWorkloadRequest{})
	if err != nil {
		return err
	}
	all := resp.GetTotal()
	if held := int(all.GetOpen() + all.GetAssigned() + all.GetAccepted() + all.GetStarted() + all.GetPaused()); held != want {
		return fmt.Errorf("the board holds %d tasks, not %d", held, want)
	}
	return nil
}

// plain reads the records of as many tasks by their keys.
func (v *viewing) plain(ids []string) error {
	return v.store.View(v.as, func(tx *store.Tx) error {
		for _, id := range ids {
			if _, err := store.Get(tx, store.TaskKey(id)); err != nil {
				return err
			}
		}
		return nil
	})
}

// looks takes page and floor by turns, and returns the 99th percentile of each in milliseconds.
func (v *viewing) looks(n int, filter *fieldsyncv1.BoardFilter) (page, plain float64, err error) {
	var pages, plains []float64
	for range n {
		begun := time.Now()
		if _, err := v.page(filter); err != nil {
			return 0, 0, err
		}
		pages = append(pages, milliseconds(time.Since(begun)))
		begun = time.Now()
		if err := v.plain(v.ids); err != nil {
			return 0, 0, err
		}
		plains = append(plains, milliseconds(time.Since(begun)))
	}
	return quantile(pages, 0.99), quantile(plains, 0.99), nil
}

// changes commits changes one after the other and measures from the return of each commit until a stream over loopback HTTP
// shows it. The floor reads one record.
func (v *viewing) changes(ctx context.Context, n int) (change, plain float64, err error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, 0, err
	}
	mux := http.NewServeMux()
	mux.Handle(fieldsyncv1connect.NewBoardServiceHandler(v.service))
	principal, err := auth.PrincipalFrom(v.as) //nolint:contextcheck // The one who looks, not the one who measures.
	if err != nil {
		return 0, 0, err
	}
	srv := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mux.ServeHTTP(w, r.WithContext(auth.WithPrincipal(r.Context(), principal)))
	})}
	go func() { _ = srv.Serve(listener) }() // Ends with Close.
	defer func() { err = errors.Join(err, srv.Close()) }()
	client := fieldsyncv1connect.NewBoardServiceClient(&http.Client{}, "http://"+listener.Addr().String())
	watchCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := client.WatchBoard(watchCtx, &fieldsyncv1.WatchBoardRequest{})
	if err != nil {
		return 0, 0, err
	}
	if !stream.Receive() {
		return 0, 0, fmt.Errorf("the board's stream: %w", stream.Err())
	}
	var shown, plains []float64
	for i := range n {
		id := v.ids[i%len(v.ids)]
		if err := v.touch(ctx, id); err != nil {
			return 0, 0, err
		}
		begun := time.Now()
		if !stream.Receive() || len(stream.Msg().GetRows()) != 1 || stream.Msg().GetRows()[0].GetTaskId() != id {
			return 0, 0, fmt.Errorf("the board showed %v for %s: %w", stream.Msg(), id, stream.Err())
		}
		shown = append(shown, milliseconds(time.Since(begun)))
		begun = time.Now()
		if err := v.plain([]string{id}); err != nil {
			return 0, 0, err
		}
		plains = append(plains, milliseconds(time.Since(begun)))
	}
	return quantile(shown, 0.99), quantile(plains, 0.99), nil
}

// touch changes a task as any other commit does.
func (v *viewing) touch(ctx context.Context, id string) error {
	return v.store.Update(ctx, func(tx *store.Tx) error {
		record, err := store.Get(tx, store.TaskKey(id))
		if err != nil {
			return err
		}
		record.Task.Ticket.Revision = store.NextRevision(record)
		return store.SaveTask(tx, record, 0)
	})
}
