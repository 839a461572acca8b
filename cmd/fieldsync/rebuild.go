package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/cong1022/fieldsync/store/embedded"
)

func newRebuildCommand() *cobra.Command {
	var flags offlineFlags
	var renew bool
	cmd := &cobra.Command{
		Use:   "rebuild",
		Short: "Make the store's index anew from its journal, or the journal from the index",
		Long: `Make the index of a data folder anew from the newest snapshot and the journal behind it, beside the old one and then in
its place. Nothing is lost by that: the journal holds everything that was acknowledged. The server must not run.

--journal does the opposite, for a journal that is damaged while the index is not: it keeps the old journal in a folder
beside it and begins a new one with what the index holds.`,
		Example: `  fieldsync rebuild --data /var/lib/fieldsync
  fieldsync rebuild --config city.yaml --journal`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, err := flags.load()
			if err != nil {
				return err
			}
			if err := needData(config); err != nil {
				return err
			}
			lang := language(cmd)
			o := embedded.Options{
				Log:      newLogger(config.Log, cmd.ErrOrStderr()),
				Progress: progress(cmd.ErrOrStderr(), sentence("Dựng lại", "Rebuilding", lang), inBytes),
			}
			if renew {
				kept, err := embedded.RenewJournal(storeFolder(config), o)
				if err == nil {
					err = enterAct(cmd, config)
				}
				if err == nil {
					fmt.Fprintf(cmd.OutOrStdout(), sentence("Nhật ký mới đã bắt đầu; nhật ký cũ ở %s.\n", "A new journal has begun; the old one is in %s.\n", lang), kept)
				}
				return err
			}
			if err := embedded.Rebuild(storeFolder(config), o); err != nil {
				return err
			}
			if err := enterAct(cmd, config); err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), sentence("Chỉ mục đã được dựng lại.", "The index was made anew.", lang))
			return nil
		},
	}
	flags.add(cmd)
	cmd.Flags().BoolVar(&renew, "journal", false, "begin a new journal from the index instead")
	return cmd
}
