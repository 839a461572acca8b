package demo

import (
	_ "embed" // For the tickets.
	"encoding/json"
	"fmt"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/timestamppb"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
)

// ticketsJSON is forty reports of the kinds that 1022 gets, at real places of Ho Chi Minh City; the people are invented.
//
//go:embed tickets.json
var ticketsJSON []byte

// tickets returns them as the hotline would hand them over now.
func tickets(now time.Time) ([]*fieldsyncv1.TicketIntake, error) {
	var rows []struct {
		HoursAgo int             `json:"hoursAgo"`
		Ticket   json.RawMessage `json:"ticket"`
	}
	if err := json.Unmarshal(ticketsJSON, &rows); err != nil {
		return nil, fmt.Errorf("the demo's tickets: %w", err)
	}
	intake := make([]*fieldsyncv1.TicketIntake, len(rows))
	for i, row := range rows {
		intake[i] = &fieldsyncv1.TicketIntake{}
		if err := protojson.Unmarshal(row.Ticket, intake[i]); err != nil {
			return nil, fmt.Errorf("the demo's ticket %d: %w", i+1, err)
		}
		intake[i].ReportedAt = timestamppb.New(now.Add(-time.Duration(row.HoursAgo) * time.Hour).Truncate(time.Second))
	}
	return intake, nil
}
