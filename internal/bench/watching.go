package bench

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
)

const (
	// opening is how many streams are opened beside each other: opening them is not what is measured.
	opening = 100
	// changeEvery is the pace of the dispatcher's changes.
	changeEvery = 20 * time.Millisecond
	// deliveryTimeout is how long the last delivery is waited for.
	deliveryTimeout = 20 * time.Second
)

func httpClient(transport *http.Transport) *http.Client { return &http.Client{Transport: transport} }

// watching is phones on their streams.
type watching struct {
	clients []*client
	stop    context.CancelFunc
	reading sync.WaitGroup
	tally   tally
	// arrived tells of each delivery.
	arrived chan struct{}
}

// openWatches opens a stream a client and returns when the first message has come on all of them.
func openWatches(ctx context.Context, clients []*client) (*watching, error) {
	ctx, stop := context.WithCancel(ctx)
	w := &watching{clients: clients, stop: stop, arrived: make(chan struct{}, 1<<20)}
	group := &errgroup.Group{}
	group.SetLimit(opening)
	for _, c := range clients {
		group.Go(func() error { return w.open(ctx, c) })
	}
	if err := group.Wait(); err != nil {
		return nil, errors.Join(err, w.close())
	}
	return w, nil
}

func (w *watching) open(ctx context.Context, c *client) error {
	stream, err := c.api.Watch(c.as(ctx), &fieldsyncv1.WatchRequest{Cursor: c.cursor})
	if err != nil {
		return err
	}
	if !stream.Receive() {
		return fmt.Errorf("opening a stream: %w", stream.Err())
	}
	w.reading.Go(func() {
		defer stream.Close()
		for stream.Receive() {
			now := time.Now()
			for _, change := range stream.Msg().GetDelta().GetTasks() {
				at, err := time.Parse(time.RFC3339Nano, change.GetTask().GetAssignment().GetInstruction())
				if err != nil {
					w.tally.failed(fmt.Errorf("a delta that nobody ordered: %w", err))
					continue
				}
				w.tally.add(done{tasks: 1}, milliseconds(now.Sub(at)))
				w.arrived <- struct{}{}
			}
		}
		if ctx.Err() == nil {
			w.tally.failed(fmt.Errorf("a stream ended: %w", stream.Err()))
		}
	})
	return nil
}

// change has one task of each of Count crews changed, through the API of the dispatchers, and waits until all phones of those
// crews have heard of it. With one crew only, it is the same crew each time. The floor's changes are made by its AwaitChange.
// What is ordered is the time at which the dispatcher's call began: so the call itself and the commit's fsync count as delay.
func (w *watching) change(ctx context.Context, o order) (answer, error) {
	crews := make(map[string][]*client)
	var order []string
	for _, c := range w.clients {
		if crews[c.Crew] == nil {
			order = append(order, c.Crew)
		}
		crews[c.Crew] = append(crews[c.Crew], c)
	}
	transport := (&wire{}).transport()
	defer transport.CloseIdleConnections()
	desk := fieldsyncv1connect.NewDispatchServiceClient(httpClient(transport), o.URL)
	pace := time.NewTicker(changeEvery)
	defer pace.Stop()
	expected := 0
	begun := time.Now()
	for i := range o.Count {
		crew := order[i%len(order)]
		phones := crews[crew]
		expected += len(phones)
		var err error
		if o.Desk == nil {
			_, err = phones[0].api.AwaitChange(phones[0].as(ctx), &fieldsyncv1.AwaitChangeRequest{Sequence: groupOf(crew)})
		} else {
			caller := client{seat: *o.Desk}
			held := phones[0].Held
			_, err = desk.AssignTask(caller.as(ctx), &fieldsyncv1.AssignTaskRequest{
				TaskId: held[i/len(order)%len(held)].ID, CrewId: crew, Instruction: time.Now().Format(time.RFC3339Nano),
			})
		}
		if err != nil {
			return answer{}, err
		}
		select {
		case <-pace.C:
		case <-ctx.Done():
			return answer{}, ctx.Err()
		}
	}
	late := time.NewTimer(deliveryTimeout)
	defer late.Stop()
	for got := range expected {
		select {
		case <-w.arrived:
		case <-late.C:
			w.tally.failed(fmt.Errorf("%d of %d deliveries came", got, expected))
			return w.tally.sum(time.Since(begun), 0, 0), nil
		case <-ctx.Done():
			return answer{}, ctx.Err()
		}
	}
	w.tally.mu.Lock()
	defer w.tally.mu.Unlock()
	return w.tally.sum(time.Since(begun), 0, 0), nil
}

func (w *watching) close() error {
	w.stop()
	w.reading.Wait()
	for _, c := range w.clients {
		c.drop()
	}
	return nil
}
