package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/cong1022/fieldsync/dispatch"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
)

// runner makes the RunE of a subcommand that prints what f returns.
type runner = func(f func(cmd *cobra.Command, o operator, args []string) (string, error)) func(*cobra.Command, []string) error

func newCategoriesCommand(run runner) *cobra.Command {
	return &cobra.Command{
		Use: "categories [FILE]", Args: cobra.MaximumNArgs(1),
		Short: "Print all categories as JSON lines, or put those of a JSON file: all of it or none",
		Long: `Print all categories as JSON lines. With a file ("-" reads standard input), put the categories in it instead: one, one a
line, or an array of them, in the form in which they are printed. A file with one bad category changes nothing. At most 500 categories.

A category says in how many working days a task of it has to be done (0: no deadline), which photos and checklist it wants, how
it can end (at least one outcome), and who is told when an assignment is not answered.`,
		Example: `  fieldsync admin categories
  fieldsync admin categories noise.json`,
		RunE: run(func(cmd *cobra.Command, o operator, args []string) (string, error) {
			if len(args) == 0 {
				resp, err := o.categories().ListCategories(cmd.Context(), &fieldsyncv1.ListCategoriesRequest{})
				var lines []string
				for _, category := range resp.GetCategories() {
					line, err := protojson.Marshal(category)
					if err != nil {
						return "", err
					}
					lines = append(lines, string(line))
				}
				return strings.Join(lines, "\n"), err
			}
			in, _, err := openInput(args[0], cmd.InOrStdin())
			if err != nil {
				return "", err
			}
			defer in.Close()
			text, err := io.ReadAll(in)
			if err != nil {
				return "", err
			}
			categories, err := dispatch.ReadCategories(text)
			if err != nil {
				return "", err
			}
			resp, err := o.categories().PutCategories(cmd.Context(), &fieldsyncv1.PutCategoriesRequest{Categories: categories})
			return fmt.Sprintf(sentence("%d loại việc mới, %d thay đổi, %d không đổi", "%d created, %d changed, %d unchanged", language(cmd)),
				resp.GetCreated(), resp.GetChanged(), len(categories)-int(resp.GetCreated()+resp.GetChanged())), err
		}),
	}
}

func newCrewWorkCommand(run runner) *cobra.Command {
	var skills, shifts []string
	cmd := &cobra.Command{
		Use: "crew-work CREW", Args: cobra.ExactArgs(1),
		Short: "Print what a crew can do and when it works, or say so",
		Long: `Without flags, print what a crew can do and when it works. With flags, say so, in the place of what was said before. A crew
without skills can do everything, one without shifts always works. A shift names weekdays (1 for Monday to 7 for Sunday) and
times in Vietnam's time; one whose end is not after its begin ends on the next day.`,
		Example: `  fieldsync admin crew-work to-1
  fieldsync admin crew-work to-1 --skill fallen-tree --skill flooding --shift "1-5 07:30-17:00" --shift "6,7 22:00-06:00"`,
	}
	cmd.Flags().StringArrayVar(&skills, "skill", nil, "a category that the crew can do (repeat it)")
	cmd.Flags().StringArrayVar(&shifts, "shift", nil, `weekdays and times, such as "1-5 07:30-17:00" (repeat it)`)
	cmd.RunE = run(func(cmd *cobra.Command, o operator, args []string) (string, error) {
		if len(skills)+len(shifts) > 0 {
			work := &fieldsyncv1.CrewWork{CrewId: args[0], Skills: skills}
			for _, text := range shifts {
				shift, err := parseShift(text)
				if err != nil {
					return "", err
				}
				work.Shifts = append(work.Shifts, shift)
			}
			if _, err := o.crews().PutCrewWork(cmd.Context(), &fieldsyncv1.PutCrewWorkRequest{Work: work}); err != nil {
				return "", err
			}
		}
		resp, err := o.crews().GetCrewWork(cmd.Context(), &fieldsyncv1.GetCrewWorkRequest{CrewId: args[0]})
		if err != nil {
			return "", err
		}
		line, err := protojson.Marshal(resp)
		return string(line), err
	})
	return cmd
}

// parseShift reads "1-5 07:30-17:00" or "6,7 22:00-06:00". The server checks days and times.
func parseShift(text string) (*fieldsyncv1.Shift, error) {
	days, times, _ := strings.Cut(text, " ")
	from, to, ok := strings.Cut(strings.TrimSpace(times), "-")
	shift := &fieldsyncv1.Shift{From: from, To: to}
	for part := range strings.SplitSeq(days, ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		if len(first) != 1 || len(last) != 1 || first > last || first < "1" || last > "7" {
			ok = false
			break
		}
		for day := first[0]; day <= last[0]; day++ {
			shift.Weekdays = append(shift.Weekdays, uint32(day-'0'))
		}
	}
	if !ok {
		return nil, fault.New(fault.Invalid, "flag_invalid",
			fmt.Sprintf(`Ca %q không đọc được: hãy ghi như "1-5 07:30-17:00".`, text),
			fmt.Sprintf(`The shift %q cannot be read: write it like "1-5 07:30-17:00".`, text))
	}
	return shift, nil
}
