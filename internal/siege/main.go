//go:build linux

// Command siege holds the port to its promise under attack: while it is flooded, bombed and kept waiting, a well-behaved phone gets its
// answers within three times its idle time, and the server's memory stays bounded.
//
//	go run ./internal/siege
//
// The server is a process of its own with its defaults, but that this machine is its proxy: each attacker comes from an address of its own
// by X-Forwarded-For, so that the limits by address hold, from which loopback is exempt. The attackers are a third process, at a lower
// priority: they stand for other machines, and would else take from the server the processor on which it has to answer.
//
// Floods also have a floor: the same process sends the same at the same pace to a path that is none. What the phone waits beside that is
// what the attackers' work costs this machine, however little the server does.
//
// It prints a line for each attack and exits with 0 only if all held.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"
)

const (
	// slowdown is how many times its idle latency the well-behaved phone may see.
	slowdown = 3
	// memory is how much the server may have resident in all. A call under way can hold two buffers of 8 MiB, which connect keeps for the
	// next; the attackers have 32 under way; Go collects garbage when the heap has doubled; a quarter of a GiB is for all else.
	memory = 1280 << 20
	// floorTime is how long the floor of a flood is measured, at most.
	floorTime = 15 * time.Second
)

// plan is how hard the attacks are.
type plan struct {
	Requests    int           `json:"requests"`    // With bad tokens.
	Connections int           `json:"connections"` // That are slow or say nothing; less where the machine permits less.
	Bombs       int           `json:"bombs"`       // Of each kind.
	Hold        time.Duration `json:"hold"`        // How long slow connections are kept.
	Idle        time.Duration `json:"idle"`        // How long the idle latency is measured.
	Only        string        `json:"only"`        // Comma-separated names of attacks; empty: all.
	Patience    time.Duration `json:"patience"`    // What the server grants headers and bodies, instead of its 30 s; 0: these.
}

func main() {
	if role := os.Getenv(roleVariable); role != "" {
		fmt.Fprintln(os.Stderr, play(role))
		os.Exit(3) //nolint:forbidigo // This is main.
	}
	p := plan{}
	flag.IntVar(&p.Requests, "requests", 100_000, "requests with bad tokens")
	flag.IntVar(&p.Connections, "connections", 10_000, "connections that are slow or say nothing")
	flag.IntVar(&p.Bombs, "bombs", 8000, "decompression bombs of each kind, of 1 GiB each: fewer are over before a hundredth of the phone's calls says anything")
	flag.DurationVar(&p.Hold, "hold", 40*time.Second, "how long slow connections are kept: above 30s, the server ends them")
	flag.DurationVar(&p.Idle, "idle", 10*time.Second, "how long the idle latency is measured")
	flag.StringVar(&p.Only, "only", "", "comma-separated attacks instead of all")
	asJSON := flag.Bool("json", false, "a JSON object for each attack instead of a table")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	results, err := p.run(ctx)
	stop()
	held := report(os.Stdout, results, *asJSON)
	if err != nil {
		fmt.Fprintln(os.Stderr, "siege:", err)
	}
	if err != nil || !held {
		os.Exit(1) //nolint:forbidigo // This is main.
	}
}

// result is a line of the report.
type result struct {
	attackResult

	Name        string  `json:"name"`
	Seconds     float64 `json:"seconds"`
	IdleP50     float64 `json:"idle_p50_ms"`
	IdleP99     float64 `json:"idle_p99_ms"`
	P50         float64 `json:"p50_ms"`
	P99         float64 `json:"p99_ms"`
	RatioP50    float64 `json:"ratio_p50"`
	RatioP99    float64 `json:"ratio_p99"`
	FloorP50    float64 `json:"floor_p50_ms,omitempty"` // Beside the same flood, refused at the header.
	FloorP99    float64 `json:"floor_p99_ms,omitempty"`
	Calls       int     `json:"calls"`        // Of the well-behaved phone.
	FailedCalls int     `json:"failed_calls"` // Of these.
	MemoryMiB   float64 `json:"memory_mib"`   // The most that the server had resident.
	Failure     string  `json:"failure,omitempty"`
	Held        bool    `json:"held"`
}

// run makes all attacks, one after the other, each beside the phone.
func (p plan) run(ctx context.Context) (results []result, err error) {
	dir, err := os.MkdirTemp("", "fieldsync-siege-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	c, err := found(ctx, dir, p.Patience)
	if err != nil {
		return nil, err
	}
	defer c.end()
	if _, err := c.measure(ctx, p.Idle/4); err != nil { // To warm up.
		return nil, err
	}
	idle, err := c.measure(ctx, p.Idle)
	if err != nil {
		return nil, err
	}
	for _, a := range attacks {
		if p.Only != "" && !slices.Contains(strings.Split(p.Only, ","), a.name) {
			continue
		}
		r, err := c.under(ctx, a, p, idle)
		if err != nil {
			return results, fmt.Errorf("%s: %w", a.name, err)
		}
		results = append(results, r)
	}
	return results, nil
}

// judge says what of an attack did not hold, apart from latency, which a busy machine can spoil.
func (r *result) judge() string {
	switch {
	case r.Sent == 0:
		return "nothing was sent"
	case r.Unexpected > 0:
		return fmt.Sprintf("%d answers that should not be, such as %s", r.Unexpected, r.Example)
	case r.FailedCalls > 0:
		return fmt.Sprintf("%d calls of the phone failed", r.FailedCalls)
	case r.MemoryMiB > memory>>20:
		return fmt.Sprintf("the server had more than %d MiB", memory>>20)
	}
	return ""
}

func report(out io.Writer, results []result, asJSON bool) (held bool) {
	held = true
	if !asJSON {
		fmt.Fprintf(out, "%-13s %7s %8s %7s %5s %9s %6s %9s %6s %9s %7s  %s\n", "attack", "sent", "refused", "closed", "s", "p50 ms", "ratio", "p99 ms", "ratio", "floor p99", "MiB", "held")
	}
	for _, r := range results {
		held = held && r.Held
		if asJSON {
			if err := json.NewEncoder(out).Encode(r); err != nil { // A ratio to nothing.
				fmt.Fprintln(out, err)
				held = false
			}
			continue
		}
		verdict := "yes"
		if !r.Held {
			verdict = "NO: " + r.Failure
		}
		fmt.Fprintf(out, "%-13s %7d %8d %7d %5.1f %9.2f %6.2f %9.2f %6.2f %9.2f %7.1f  %s\n",
			r.Name, r.Sent, r.Refused, r.Closed, r.Seconds, r.P50, r.RatioP50, r.P99, r.RatioP99, r.FloorP99, r.MemoryMiB, verdict)
	}
	if !asJSON && len(results) > 0 {
		fmt.Fprintf(out, "idle: p50 %.2f ms, p99 %.2f ms\n", results[0].IdleP50, results[0].IdleP99)
		if scaled := results[0].Scaled; scaled > 0 {
			fmt.Fprintf(out, "connections: %d, since this machine lets a process have no more open files\n", scaled)
		}
	}
	return held
}
