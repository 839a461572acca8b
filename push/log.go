package push

import (
	"context"
	"log/slog"
)

// Log is the Sender of a server without a push service: it says at Info what it would send.
type Log struct {
	Logger *slog.Logger
}

// Send implements Sender. It always succeeds.
func (l Log) Send(ctx context.Context, m Message) error {
	l.Logger.InfoContext(ctx, "no push service is configured: this hint would be sent", "device_id", m.DeviceID, "visible", m.Visible)
	return nil
}
