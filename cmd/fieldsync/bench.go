package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/cong1022/fieldsync/internal/bench"
)

func newBenchCommand() *cobra.Command {
	var o bench.Options
	var list bool
	cmd := &cobra.Command{
		Use:   "bench [NAME...]",
		Short: "Measure this version on this machine",
		Long: `Measure this version on this machine: a server, phones, and what the machine does without the house, each in a process of
its own, over HTTP on loopback. Without names all workloads run; --list tells them. After --limit the run ends, and what
was not measured is named. A figure that misses its aim is shown as missed; the exit status is 1 only if something failed
or was not measured.

The folder of the stores decides which disk is measured. What a run writes there, up to some 10 GB, it removes.
docs/performance.md tells how to read the figures.`,
		Example: `  fieldsync bench
  fieldsync bench push-16 push-64 --data /var/lib/fieldsync
  fieldsync bench --json > figures.json
  fieldsync bench growth --limit 1h    # on a slow or busy machine
  fieldsync bench --quick      # small sizes: does it work at all?`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if list {
				for _, w := range bench.Workloads() {
					fmt.Fprintf(cmd.OutOrStdout(), "%-12s %s\n", w.Name, w.What)
				}
				return nil
			}
			o.Names, o.Out, o.Progress = args, cmd.OutOrStdout(), cmd.ErrOrStderr()
			return bench.Run(cmd.Context(), o)
		},
	}
	cmd.Flags().BoolVar(&o.Quick, "quick", false, "small sizes; the figures mean nothing")
	cmd.Flags().BoolVar(&o.JSON, "json", false, "print a JSON object a figure {name, value, unit, floor, ratio, aim, met}")
	cmd.Flags().StringVar(&o.Data, "data", "", "make the stores in this folder (default: the system's temporary one)")
	cmd.Flags().DurationVar(&o.Limit, "limit", 15*time.Minute, "end the run after this time; 0 for no end")
	cmd.Flags().StringVar(&o.Profile, "profile", "", "write the servers' CPU profiles into this folder")
	cmd.Flags().BoolVar(&list, "list", false, "tell which workloads there are")
	cmd.AddCommand(&cobra.Command{
		Use: "child ROLE", Short: "What bench starts", Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return bench.Child(cmd.Context(), args[0], cmd.InOrStdin(), cmd.OutOrStdout())
		},
	})
	return cmd
}
