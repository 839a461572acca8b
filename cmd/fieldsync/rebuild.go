package main

import (
	"fmt"
	"io"
	"os"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"

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
				Progress: progress(cmd.ErrOrStderr(), sentence("Dựng lại", "Rebuilding", lang)),
			}
			if renew {
				kept, err := embedded.RenewJournal(storeFolder(config), o)
				if err == nil {
					fmt.Fprintf(cmd.OutOrStdout(), sentence("Nhật ký mới đã bắt đầu; nhật ký cũ ở %s.\n", "A new journal has begun; the old one is in %s.\n", lang), kept)
				}
				return err
			}
			if err := embedded.Rebuild(storeFolder(config), o); err != nil {
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

// progress draws a bar where somebody sits and looks, and is silent elsewhere.
func progress(w io.Writer, what string) func(done, total int64) {
	file, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		return func(int64, int64) {}
	}
	bar := progressbar.NewOptions64(-1, progressbar.OptionSetWriter(w), progressbar.OptionSetDescription(what),
		progressbar.OptionShowBytes(true), progressbar.OptionClearOnFinish())
	return func(done, total int64) {
		bar.ChangeMax64(max(total, 1))
		_ = bar.Set64(min(done, total)) // What cannot be drawn cannot be reported either.
	}
}

// counter shows how many, where nobody knows of how many.
func counter(w io.Writer, what string) func(done int64) {
	file, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		return func(int64) {}
	}
	bar := progressbar.NewOptions64(-1, progressbar.OptionSetWriter(w), progressbar.OptionSetDescription(what),
		progressbar.OptionShowCount(), progressbar.OptionClearOnFinish())
	return func(done int64) { _ = bar.Set64(done) } // What cannot be drawn cannot be reported either.
}
