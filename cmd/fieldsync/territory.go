package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cong1022/fieldsync/dispatch/calendar"
	"github.com/cong1022/fieldsync/dispatch/territory"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
	"github.com/cong1022/fieldsync/internal/fault"
)

func (o operator) territory() fieldsyncv1connect.TerritoryServiceClient {
	return fieldsyncv1connect.NewTerritoryServiceClient(o.Client(), o.server, connect.WithSendGzip())
}

// readAll reads a file, or standard input for "-".
func readAll(cmd *cobra.Command, name string) ([]byte, error) {
	in, _, err := openInput(name, cmd.InOrStdin())
	if err != nil {
		return nil, err
	}
	defer in.Close()
	return io.ReadAll(in)
}

func newUnitCommand(run runner) *cobra.Command {
	var from, until string
	cmd := &cobra.Command{
		Use: "unit ID NAME", Short: "Create or rename a unit, or say from when to when it is valid", Args: cobra.ExactArgs(2),
		Example: `  fieldsync admin unit binh-thanh "Phường Bình Thạnh"
  fieldsync admin unit binh-thanh "Phường Bình Thạnh" --from 2025-07-01
  fieldsync admin unit quan-1 "Quận 1" --until 2025-06-30`,
	}
	cmd.Flags().StringVar(&from, "from", "", "the first day on which it answers, such as 2025-07-01 (default: it always has)")
	cmd.Flags().StringVar(&until, "until", "", "the last day on which it does (default: it still does)")
	cmd.RunE = run(func(cmd *cobra.Command, o operator, args []string) (string, error) {
		unit := &fieldsyncv1.Unit{Id: args[0], Name: args[1]}
		var err error
		if unit.ValidFrom, unit.ValidUntil, err = validity(from, until); err != nil {
			return "", err
		}
		_, err = o.dispatch().PutUnit(cmd.Context(), &fieldsyncv1.PutUnitRequest{Unit: unit})
		return args[0], err
	})
	return cmd
}

// validity is from the first moment of a day until the last of another; empty: no bound.
func validity(from, until string) (first, end *timestamppb.Timestamp, err error) {
	for _, text := range []string{from, until} {
		if _, err := calendar.ParseDay(text); text != "" && err != nil {
			return nil, nil, fault.New(fault.Invalid, "flag_invalid",
				fmt.Sprintf("Ngày %q không có thật: hãy ghi như 2025-07-01.", text), fmt.Sprintf("There is no day %q: write it like 2025-07-01.", text))
		}
	}
	if day, err := calendar.ParseDay(from); err == nil {
		first = timestamppb.New(day.Start())
	}
	if day, err := calendar.ParseDay(until); err == nil {
		end = timestamppb.New(day.End())
	}
	return first, end, nil
}

func newCrewCommand(run runner) *cobra.Command {
	var from, until string
	cmd := &cobra.Command{
		Use: "crew ID UNIT NAME", Short: "Create or rename a crew, or say from when to when it takes tasks", Args: cobra.ExactArgs(3),
		Long: `Create or change a crew. --until closes it behind that day: nothing is assigned to it any more, it is not suggested, and nobody joins it.
What it holds stays with it until it is given to others (the tasks are listed here; "fieldsync board --crew ID" lists them at any time), and
what its phones still send counts as before. Without --until the crew is open, or open again.`,
		Example: `  fieldsync admin crew to-1 binh-thanh "Tổ 1"
  fieldsync admin crew to-1 binh-thanh "Tổ 1" --until 2026-11-30`,
	}
	cmd.Flags().StringVar(&from, "from", "", "the first day on which it takes tasks, such as 2025-07-01 (default: it always has)")
	cmd.Flags().StringVar(&until, "until", "", "the last day on which it does (default: it still does)")
	cmd.RunE = run(func(cmd *cobra.Command, o operator, args []string) (string, error) {
		crew := &fieldsyncv1.Crew{Id: args[0], UnitId: args[1], Name: args[2]}
		var err error
		if crew.ValidFrom, crew.ValidUntil, err = validity(from, until); err != nil {
			return "", err
		}
		resp, err := o.dispatch().PutCrew(cmd.Context(), &fieldsyncv1.PutCrewRequest{Crew: crew})
		if err != nil || len(resp.GetHeldTaskIds()) == 0 {
			return args[0], err
		}
		return args[0] + "\n" + sentence("Tổ còn giữ các việc sau, hãy giao cho tổ khác (fieldsync assign VIỆC TỔ):", "It still holds these; give them to others (fieldsync assign TASK CREW):", language(cmd)) +
			"\n  " + strings.Join(resp.GetHeldTaskIds(), "\n  "), nil
	})
	return cmd
}

func newAreasCommand(run runner) *cobra.Command {
	return &cobra.Command{
		Use: "areas FILE", Args: cobra.ExactArgs(1),
		Short: "Put the areas of all units from a GeoJSON file: all of it or nothing",
		Long: `Put the areas of all units, in the place of those before: a GeoJSON FeatureCollection of Polygons and MultiPolygons, each with its
unit's id in the property "unit". The units must exist (fieldsync admin unit); two that are valid at the same time must not overlap
by more than 1,000 square metres. A file with a bad feature changes nothing; every bad feature is named by its number. At most
4,000,000 bytes, and 500,000 for one feature.`,
		Example: `  fieldsync admin areas wards-2025.geojson`,
		RunE: run(func(cmd *cobra.Command, o operator, args []string) (string, error) {
			text, err := readAll(cmd, args[0])
			if err != nil {
				return "", err
			}
			if _, err := territory.ReadAreas(text); err != nil {
				return "", reportRows(cmd, err)
			}
			resp, err := o.territory().PutAreas(cmd.Context(), &fieldsyncv1.PutAreasRequest{Geojson: text})
			return fmt.Sprintf(sentence("%d vùng", "%d areas", language(cmd)), resp.GetAreas()), err
		}),
	}
}

func newSuccessionsCommand(run runner) *cobra.Command {
	return &cobra.Command{
		Use: "successions FILE", Args: cobra.ExactArgs(1),
		Short: "Put which units answer for the districts and wards of before, from a CSV file: all of it or nothing",
		Long: `Put which units answer since a reorganisation for the districts and wards of before, in the place of what was said before. CSV with
the header old_district,old_ward,new_unit; an empty old_ward stands for the district as a whole. Names are compared without
diacritics and case, with the usual abbreviations (Q.1, P.12). A file with a bad row changes nothing; every bad row is named by its
line. At most 4,000,000 bytes.`,
		Example: `  fieldsync admin successions wards-2025.csv`,
		RunE: run(func(cmd *cobra.Command, o operator, args []string) (string, error) {
			text, err := readAll(cmd, args[0])
			if err != nil {
				return "", err
			}
			if _, err := territory.ReadSuccessions(text); err != nil {
				return "", reportRows(cmd, err)
			}
			resp, err := o.territory().PutSuccessions(cmd.Context(), &fieldsyncv1.PutSuccessionsRequest{Csv: text})
			return fmt.Sprintf(sentence("%d địa danh", "%d places", language(cmd)), resp.GetPlaces()), err
		}),
	}
}

func newRerouteCommand(run runner) *cobra.Command {
	return &cobra.Command{
		Use: "reroute UNIT", Args: cobra.ExactArgs(1),
		Short: "Send the open tickets of a unit where they belong now, as after a reorganisation",
		Long: `Send the open tickets of a unit to the units that answer for their places now, by position and by the names in their addresses.
Those of a unit that is no longer valid and that nothing tells of go to the city. "city" routes what nobody has routed yet. Crews
keep their tasks. Safe to repeat.`,
		Example: `  fieldsync admin reroute quan-1
  fieldsync admin reroute city`,
		RunE: run(func(cmd *cobra.Command, o operator, args []string) (string, error) {
			resp, err := o.territory().RerouteUnit(cmd.Context(), &fieldsyncv1.RerouteUnitRequest{UnitId: args[0]})
			return fmt.Sprintf(sentence("%d chuyển, %d về thành phố, %d giữ nguyên", "%d moved, %d to the city, %d kept", language(cmd)),
				resp.GetMoved(), resp.GetToCity(), resp.GetKept()), err
		}),
	}
}

func newRouteCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "route [TICKET [UNIT]]",
		Short: "Send a ticket to the unit that answers for its place, or list those that wait for it",
		Long: `Send a ticket, and its task, to a unit: the one given, or the one that answers for its position, or for the names in its address.
TICKET is fieldsync's id of it, or the hotline's. Where the names tell of several units, the ticket stays and they are listed. Without a ticket: list
the city's open tickets that wait to be routed by hand, oldest first. New tickets whose place is known are routed by themselves.
Takes a shell that is enrolled as a dispatcher or an admin.`,
		Example: `  fieldsync route
  fieldsync route 06h0jd5yg9de4cg0423g
  fieldsync route 1022-2026-00017 binh-thanh`,
		Args: cobra.MaximumNArgs(2),
	}
	profile := profileFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return asOperator(*profile, func(o operator) error {
			if len(args) == 0 {
				return listUnrouted(cmd, o)
			}
			request := &fieldsyncv1.RouteTicketRequest{TicketId: args[0]}
			if len(args) > 1 {
				request.UnitId = args[1]
			}
			resp, err := o.territory().RouteTicket(cmd.Context(), request)
			if err != nil && mayBeAnotherID(err) {
				ticket, findErr := ticketOf(cmd.Context(), o, args[0])
				if findErr != nil {
					return findErr
				}
				request.TicketId = ticket.GetId()
				resp, err = o.territory().RouteTicket(cmd.Context(), request)
			}
			if err != nil {
				return err
			}
			by := routedBy(resp.GetBy(), language(cmd))
			if names := resp.GetNames(); names != "" {
				by += ": " + names
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s → %s (%s)\n", args[0], resp.GetUnitId(), by)
			if len(resp.GetCandidates()) > 0 {
				fmt.Fprintf(cmd.OutOrStdout(), sentence("Có thể là: %s\n", "It may be: %s\n", language(cmd)), strings.Join(resp.GetCandidates(), ", "))
			}
			return nil
		})
	}
	return cmd
}

// routedBy says what has told of a ticket's unit.
func routedBy(by fieldsyncv1.RoutedBy, lang string) string {
	switch by {
	case fieldsyncv1.RoutedBy_ROUTED_BY_POSITION:
		return sentence("theo vị trí", "position", lang)
	case fieldsyncv1.RoutedBy_ROUTED_BY_NAME:
		return sentence("theo địa danh", "name", lang)
	case fieldsyncv1.RoutedBy_ROUTED_BY_HAND:
		return sentence("chuyển tay", "hand", lang)
	default:
		return sentence("giữ nguyên", "stays", lang)
	}
}

// listUnrouted prints what waits to be routed by hand: id, the hotline's id, when it was reported, address.
func listUnrouted(cmd *cobra.Command, o operator) error {
	waiting := 0
	for page := (&fieldsyncv1.Page{Size: 500}); ; {
		tickets, err := o.dispatch().ListTickets(cmd.Context(), &fieldsyncv1.ListTicketsRequest{Page: page, UnroutedOnly: true})
		if err != nil {
			return err
		}
		for _, ticket := range tickets.GetTickets() {
			waiting++
			fmt.Fprintf(cmd.OutOrStdout(), "%s\t%s\t%s\t%s\n", ticket.GetId(), ticket.GetHotlineId(),
				ticket.GetFacts().GetReportedAt().AsTime().In(calendar.Zone).Format(time.DateTime), cell(ticket.GetFacts().GetAddress()))
		}
		if page.Token = tickets.GetNextToken(); page.GetToken() == "" {
			break
		}
	}
	if waiting == 0 {
		fmt.Fprintln(cmd.OutOrStdout(), sentence("Không có phiếu nào chờ chuyển.", "No ticket waits to be routed.", language(cmd)))
	}
	return nil
}
