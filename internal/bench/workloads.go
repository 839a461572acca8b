package bench

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"
)

// What the best peer reached on the same kind of machine, with durable commits: docs/performance.md says how.
const (
	bestPeerPush16 = 4022
	bestPeerPush64 = 4605
)

// served runs work against a server over the folder, in a process of its own.
func (b *bench) served(ctx context.Context, dir string, work func(server *child, url string) error) (err error) {
	b.out.progress("starting the server")
	server, err := startChild(ctx, roleServe)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.stop()) }()
	a, err := server.do(ctx, b.serveOrder(dir))
	if err != nil {
		return err
	}
	return work(server, a.URL)
}

func (b *bench) serveOrder(dir string) order {
	o := order{Op: roleServe, Dir: dir}
	if b.o.Profile != "" {
		b.serial++
		o.Profile = filepath.Join(b.o.Profile, fmt.Sprintf("%s-%d.pprof", b.out.workload, b.serial))
	}
	return o
}

// side is one of two that are measured by turns: the disk's mood, and the other processes', change from second to second.
type side struct {
	name string
	run  func() (answer, error)

	calls, mutations, tasks int
	seconds                 float64
	received, sent          int64
	p50, p99                []float64
}

func (s *side) rate(count int) float64 { return float64(count) / s.seconds }

// byTurns measures the sides several times, one after the other. A client that fails ends it.
func (b *bench) byTurns(sides ...*side) error {
	for round := range b.rounds() {
		for _, s := range sides {
			b.out.progress(fmt.Sprintf("%s, round %d of %d", s.name, round+1, b.rounds()))
			a, err := s.run()
			if err == nil && a.Failed > 0 {
				err = fmt.Errorf("%d clients failed, the first one with: %s", a.Failed, a.Fault)
			}
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			s.calls += a.Calls
			s.mutations += a.Mutations
			s.tasks += a.Tasks
			s.seconds += a.Seconds
			s.received += a.Received
			s.sent += a.Sent
			s.p50, s.p99 = append(s.p50, a.P50), append(s.p99, a.P99)
		}
	}
	return nil
}

func median(values []float64) float64 { return quantile(append([]float64(nil), values...), 0.5) }

func firstSync(ctx context.Context, b *bench) error {
	tasks, phones := b.size(1000, 100), b.size(50, 5)
	dir := b.folder()
	f, err := b.seed(ctx, dir, plan{crews: 1, tasks: tasks, manned: 1, phones: phones})
	if err != nil {
		return err
	}
	bare, err := b.floor.do(ctx, order{Op: opListen, Dir: b.folder(), Tasks: tasks})
	if err != nil {
		return err
	}
	return b.served(ctx, dir, func(_ *child, url string) error {
		if _, err := b.load.do(ctx, order{Op: opSeats, URL: url, Seats: f.seats}); err != nil {
			return err
		}
		b.out.progress("the reference phone")
		reference, err := b.load.do(ctx, order{Op: opPhone, URL: url, Dir: b.dir, Code: f.code, Tasks: tasks})
		if err != nil {
			return err
		}
		all := func(url string, count int) func() (answer, error) {
			return func() (answer, error) {
				return b.load.do(ctx, order{Op: opFirst, URL: url, Count: count, Tasks: tasks})
			}
		}
		one, oneBare := &side{name: "one phone", run: all(url, 1)}, &side{name: "one phone, bare", run: all(bare.URL+"/bare", 1)}
		many, manyBare := &side{name: "all phones", run: all(url, phones)}, &side{name: "all phones, bare", run: all(bare.URL+"/bare", phones)}
		if err := b.byTurns(one, oneBare, many, manyBare); err != nil {
			return err
		}
		rounds := float64(b.rounds())
		b.figure("first-sync", many.seconds/rounds, "s, 50 phones", manyBare.seconds/rounds, ratioAtMost(1.5))
		b.figure("first-sync.one", median(one.p50), "ms", median(oneBare.p50), nil)
		b.figure("first-sync.wire", float64(reference.Received)/1000, "KB", float64(oneBare.received)/rounds/1000, atMost(90))
		b.figure("first-sync.phone", reference.Seconds*1000, "ms", 0, nil)
		b.figure("first-sync.calls", float64(reference.Calls), "calls", 0, nil)
		b.figure("first-sync.task", f.taskBytes, "B, one task", 0, nil)
		return nil
	})
}

func delta(ctx context.Context, b *bench) error {
	tasks, phones, changed := b.size(1000, 100), b.size(32, 4), 20
	dir := b.folder()
	f, err := b.seed(ctx, dir, plan{crews: 1, tasks: tasks, manned: 1, phones: phones, changed: changed})
	if err != nil {
		return err
	}
	empty, err := b.floor.do(ctx, order{Op: opListen, Dir: b.folder()})
	if err != nil {
		return err
	}
	return b.served(ctx, dir, func(server *child, url string) error {
		if _, err := b.load.do(ctx, order{Op: opSeats, URL: url, Seats: f.seats}); err != nil {
			return err
		}
		var cpu time.Duration
		house := &side{name: "delta", run: func() (answer, error) {
			before := server.usage().cpu
			a, err := b.load.do(ctx, order{Op: opPull, Tasks: changed, For: b.round()})
			cpu += server.usage().cpu - before
			return a, err
		}}
		bare := &side{name: "empty calls", run: func() (answer, error) {
			return b.load.do(ctx, order{Op: opEmpty, URL: empty.URL + "/empty", Count: phones, For: b.round()})
		}}
		if err := b.byTurns(house, bare); err != nil {
			return err
		}
		b.figure("delta", house.rate(house.calls), "syncs/s", bare.rate(bare.calls), ratioAtLeast(0.5))
		b.figure("delta.p99", median(house.p99), "ms", median(bare.p99), nil)
		b.figure("delta.wire", float64(house.received)/float64(house.tasks), "B/task", 0, atMost(50))
		b.figure("delta.server-cpu", milliseconds(cpu)/float64(house.calls), "ms/sync", 0, nil)
		return nil
	})
}

// pushPlan is what both sides of the push workloads begin with.
func pushPlan(phones int) plan { return plan{crews: phones, tasks: 100, manned: phones, phones: 1} }

func pushBy(phones int) func(context.Context, *bench) error {
	name, peer := fmt.Sprintf("push-%d", phones), float64(bestPeerPush16)
	if phones == 64 {
		peer = bestPeerPush64
	}
	return func(ctx context.Context, b *bench) error {
		dir := b.folder()
		f, err := b.seed(ctx, dir, pushPlan(phones))
		if err != nil {
			return err
		}
		b.out.progress("recording what a push writes")
		if _, err := b.floor.do(ctx, order{Op: opRecord, Dir: b.folder(), Count: phones}); err != nil {
			return err
		}
		return b.served(ctx, dir, func(server *child, url string) error {
			if _, err := b.load.do(ctx, order{Op: opSeats, URL: url, Seats: f.seats}); err != nil {
				return err
			}
			var cpu time.Duration
			house := &side{name: "push", run: func() (answer, error) {
				before := server.usage().cpu
				a, err := b.load.do(ctx, order{Op: opPush, For: b.round()})
				cpu += server.usage().cpu - before
				return a, err
			}}
			raw := &side{name: "raw Badger", run: func() (answer, error) {
				return b.floor.do(ctx, order{Op: opRaw, Count: phones, For: b.round()})
			}}
			if err := b.byTurns(house, raw); err != nil {
				return err
			}
			rate := house.rate(house.mutations)
			b.figure(name, rate, "updates/s", raw.rate(raw.mutations), ratioAtLeast(0.5))
			b.figure(name+".best-peer", rate/peer, "times", 0, atLeast(5))
			b.figure(name+".p99", median(house.p99), "ms", median(raw.p99), nil)
			b.figure(name+".server-cpu", milliseconds(cpu)/float64(house.mutations), "ms/update", 0, nil)
			b.figure(name+".wire", float64(house.sent+house.received)/float64(house.mutations), "B/update", 0, nil)
			return nil
		})
	}
}

func stormOf(full int) func(context.Context, *bench) error {
	name := fmt.Sprintf("storm-%d", full)
	return func(ctx context.Context, b *bench) error {
		phones, changed := b.size(full, 20), 20
		dir := b.folder()
		f, err := b.seed(ctx, dir, plan{crews: phones / 5, tasks: 30, manned: phones / 5, phones: 5, changed: changed})
		if err != nil {
			return err
		}
		empty, err := b.floor.do(ctx, order{Op: opListen, Dir: b.folder()})
		if err != nil {
			return err
		}
		return b.served(ctx, dir, func(server *child, url string) error {
			if _, err := b.load.do(ctx, order{Op: opSeats, URL: url, Seats: f.seats}); err != nil {
				return err
			}
			b.out.progress("empty calls on as many connections")
			knock, err := b.load.do(ctx, order{Op: opKnock, URL: empty.URL + "/empty", Count: phones})
			if err != nil {
				return err
			}
			b.out.progress("the storm")
			before := server.usage().cpu
			storm, err := b.load.do(ctx, order{Op: opComeBack, URL: url})
			if err != nil {
				return err
			}
			used := server.usage()
			var wall *aim
			if full == 5000 {
				wall = atMost(5)
			}
			b.figure(name, storm.Seconds, "s", knock.Seconds, wall)
			b.figure(name+".errors", float64(storm.Failed), "phones", 0, atMost(0))
			b.figure(name+".p99", storm.P99/1000, "s", knock.P99/1000, nil)
			b.figure(name+".server-peak", used.peak/1e6, "MB", 0, nil)
			b.figure(name+".server-cpu", (used.cpu - before).Seconds(), "s", 0, nil)
			b.figure(name+".wire", float64(storm.Received+storm.Sent)/1e3/float64(phones), "KB/phone", 0, nil)
			if storm.Failed > 0 {
				b.out.progress("")
				return fmt.Errorf("%d phones failed, the first one with: %s", storm.Failed, storm.Fault)
			}
			return nil
		})
	}
}

func watchOf(full int) func(context.Context, *bench) error {
	name := fmt.Sprintf("watch-%d", full)
	return func(ctx context.Context, b *bench) error {
		phones, changes := b.size(full, 20), b.size(200, 4)
		empty, err := b.floor.do(ctx, order{Op: opListen, Dir: b.folder()})
		if err != nil {
			return err
		}
		crews, err := b.watched(ctx, plan{crews: phones / 5, tasks: 10, manned: phones / 5, phones: 5}, empty.URL, changes)
		if err != nil {
			return err
		}
		n := float64(phones)
		var delay *aim
		if full == 1000 {
			delay = atMost(10)
		}
		b.figure(name, crews.house.P99, "ms, p99", crews.bare.P99, delay)
		b.figure(name+".p50", crews.house.P50, "ms", crews.bare.P50, nil)
		b.figure(name+".memory", crews.memory/n/1000, "KB/phone", crews.bareMemory/n/1000, atMost(20))
		b.figure(name+".wire", float64(crews.wire)/n/1000, "KB/phone", 0, atMost(20))
		if full != 1000 {
			return nil
		}
		// The hardest case, and the one that peers were measured with: everybody hears of everything.
		one, err := b.watched(ctx, plan{crews: 1, tasks: 10, manned: 1, phones: phones}, empty.URL, changes/4)
		if err != nil {
			return err
		}
		b.figure(name+".one-crew", one.house.P99, "ms, p99", one.bare.P99, nil)
		return nil
	}
}

// watch is how phones fared on their streams.
type watch struct {
	house, bare        answer
	memory, bareMemory float64
	wire               int64
}

// watched puts the phones of a plan on the streams of a fresh server, and as many on the floor's.
func (b *bench) watched(ctx context.Context, p plan, bareURL string, changes int) (w watch, err error) {
	dir := b.folder()
	f, err := b.seed(ctx, dir, p)
	if err != nil {
		return w, err
	}
	bare := make([]seat, len(f.seats))
	for i, s := range f.seats {
		bare[i] = seat{Crew: s.Crew, Cursor: []byte(s.Crew)}
	}
	if w.bare, w.bareMemory, _, err = b.stream(ctx, b.floor, bareURL+"/empty", bare, nil, changes); err != nil {
		return w, fmt.Errorf("the floor: %w", err)
	}
	err = b.served(ctx, dir, func(server *child, url string) error {
		w.house, w.memory, w.wire, err = b.stream(ctx, server, url, f.seats, &f.desk, changes)
		return err
	})
	return w, err
}

// resting is how long nothing is done before memory is looked at: what an idle phone costs is asked for, and not what opening
// its stream has left behind. The server gives such memory back within ten seconds; the floor has the same time.
const resting = 11 * time.Second

func (b *bench) rest(ctx context.Context) error {
	if b.o.Quick {
		return nil
	}
	b.out.progress("resting")
	select {
	case <-time.After(resting):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// stream opens the streams, has tasks changed, and tells how long that took to arrive, by how much the process that holds the
// streams has grown, and what was received on the wire. A grown heap does not shrink by itself, so the process should be fresh.
func (b *bench) stream(ctx context.Context, holder *child, url string, seats []seat, desk *seat, changes int) (a answer, memory float64, wire int64, err error) {
	if _, err := b.load.do(ctx, order{Op: opSeats, URL: url, Seats: seats}); err != nil {
		return a, 0, 0, err
	}
	if err := b.rest(ctx); err != nil {
		return a, 0, 0, err
	}
	before := holder.usage().resident
	b.out.progress(fmt.Sprintf("opening %d streams", len(seats)))
	if _, err := b.load.do(ctx, order{Op: opWatch}); err != nil {
		return a, 0, 0, err
	}
	if err := b.rest(ctx); err != nil {
		return a, 0, 0, err
	}
	memory = holder.usage().resident - before
	b.out.progress("changing tasks")
	if a, err = b.load.do(ctx, order{Op: opChange, URL: url, Desk: desk, Count: changes}); err != nil {
		return a, 0, 0, err
	}
	if a.Failed > 0 {
		return a, 0, 0, fmt.Errorf("%d failures, the first one: %s", a.Failed, a.Fault)
	}
	closed, err := b.load.do(ctx, order{Op: opUnwatch})
	return a, memory, closed.Received, err
}

func coldStart(ctx context.Context, b *bench) error {
	crews, tasks := b.size(1000, 10), b.size(100, 10)
	dir := b.folder()
	f, err := b.seed(ctx, dir, plan{crews: crews, tasks: tasks, manned: 1, phones: 1})
	if err != nil {
		return err
	}
	disk, err := bytesIn(dir)
	if err != nil {
		return err
	}
	start := func(role string, o order, call func(url string) error) func() (answer, error) {
		return func() (answer, error) {
			begun := time.Now()
			c, err := startChild(ctx, role)
			if err != nil {
				return answer{}, err
			}
			a, err := c.do(ctx, o)
			if err == nil {
				err = call(a.URL)
			}
			elapsed := time.Since(begun)
			return answer{Calls: 1, Seconds: elapsed.Seconds(), P50: milliseconds(elapsed)}, errors.Join(err, c.stop())
		}
	}
	house := &side{name: "starting the server", run: start(roleServe, b.serveOrder(dir), func(url string) error {
		c := newClient(f.seats[0], (&wire{}).transport(), newAPI(url))
		defer c.drop()
		_, err := c.first(ctx, tasks)
		return err
	})}
	bare := &side{name: "starting an empty server", run: start(roleFloor, order{Op: opListen, Dir: b.folder()}, func(url string) error {
		c := newClient(seat{}, (&wire{}).transport(), newAPI(url+"/empty"))
		defer c.drop()
		_, err := c.empty(ctx)
		return err
	})}
	if err := b.byTurns(house, bare); err != nil {
		return err
	}
	b.figure("cold-start", median(house.p50), "ms", median(bare.p50), atMost(100))
	b.figure("cold-start.disk", disk/float64(crews*tasks), "B/task", f.taskBytes, nil)
	return nil
}

// bytesIn adds up the sizes of the files below a folder.
func bytesIn(dir string) (total float64, err error) {
	err = filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		total += float64(info.Size())
		return nil
	})
	return total, err
}

func growth(ctx context.Context, b *bench) error {
	const crewTasks = 100
	sizes := []int{10_000, 100_000, 1_000_000}
	if b.o.Quick {
		sizes = []int{200, 400, 800}
	}
	sides := make([]*side, len(sizes))
	cpu := make([]time.Duration, len(sizes))
	// All servers stand at once, so that they are measured by turns; each has its own load generator, which remembers the
	// phones' numbers.
	for i, size := range sizes {
		dir := b.folder()
		phones := min(4, size/crewTasks)
		f, err := b.seed(ctx, dir, plan{crews: size / crewTasks, tasks: crewTasks, manned: phones, phones: 1})
		if err != nil {
			return err
		}
		server, err := startChild(ctx, roleServe)
		if err != nil {
			return err
		}
		defer func() { _ = server.stop() }() // What matters was measured.
		at, err := server.do(ctx, b.serveOrder(dir))
		if err != nil {
			return err
		}
		load, err := startChild(ctx, roleLoad)
		if err != nil {
			return err
		}
		defer func() { _ = load.stop() }()
		if _, err := load.do(ctx, order{Op: opSeats, URL: at.URL, Seats: f.seats}); err != nil {
			return err
		}
		sides[i] = &side{name: fmt.Sprintf("%d tasks", size), run: func() (answer, error) {
			before := server.usage().cpu
			a, err := load.do(ctx, order{Op: opPush, For: b.round()})
			cpu[i] += server.usage().cpu - before
			return a, err
		}}
	}
	if err := b.byTurns(sides...); err != nil {
		return err
	}
	last := len(sizes) - 1
	for i, name := range []string{"growth.10000", "growth.100000", "growth"} {
		var goal *aim
		if i == last {
			goal = ratioAtMost(1.3)
		}
		b.figure(name, median(sides[i].p50), "ms/sync", median(sides[0].p50), goal)
		b.figure(name+".server-cpu", milliseconds(cpu[i])/float64(sides[i].calls), "ms/sync", milliseconds(cpu[0])/float64(sides[0].calls), nil)
	}
	return nil
}
