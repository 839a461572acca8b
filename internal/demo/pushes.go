package demo

import (
	"context"
	"log/slog"
	"os"
	"sync/atomic"
)

// pushCounter is the log of the demo's server: it counts the pushes that the server says it would send, and shows what is
// worse than information.
type pushCounter struct{ seen atomic.Int64 }

// Enabled implements slog.Handler.
func (*pushCounter) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelInfo }

// Handle implements slog.Handler.
func (c *pushCounter) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelWarn {
		return slog.NewTextHandler(os.Stderr, nil).Handle(ctx, r)
	}
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "visible" && a.Value.Bool() {
			c.seen.Add(1)
		}
		return true
	})
	return nil
}

// WithAttrs implements slog.Handler.
func (c *pushCounter) WithAttrs([]slog.Attr) slog.Handler { return c }

// WithGroup implements slog.Handler.
func (c *pushCounter) WithGroup(string) slog.Handler { return c }
