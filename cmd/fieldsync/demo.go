package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/cong1022/fieldsync/internal/demo"
)

func newDemoCommand() *cobra.Command {
	var o demo.Options
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Play the way from a ticket to a closed ticket, then keep serving",
		Long: `Start a server on embedded defaults with forty tickets of the kinds that 1022 gets, and play the story with two crews
of reference phones: one is offline in the middle, one answer is lost on purpose. Each step is checked and printed with the
time it took. Then the server goes on, and what to try next is printed.`,
		Example: `  fieldsync demo
  fieldsync demo --once --json       # exit status 0 only if every step held
  fieldsync demo --data ./demo-data  # keep everything there`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Lang, o.Out = language(cmd), cmd.OutOrStdout()
			if o.Once && !cmd.Flags().Changed("listen") {
				o.Listen = "127.0.0.1:0" // Nobody has to find it.
			}
			err := demo.Run(cmd.Context(), o)
			if errors.Is(err, demo.ErrFailed) {
				return errReported
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&o.Once, "once", false, "exit after the story")
	cmd.Flags().BoolVar(&o.JSON, "json", false, "print the checked steps as JSON lines {step, ok, ms, detail}")
	cmd.Flags().StringVar(&o.Data, "data", "", "keep the data in this folder (default: a temporary one)")
	cmd.Flags().StringVar(&o.Listen, "listen", "127.0.0.1:8022", "host:port of the server")
	return cmd
}
