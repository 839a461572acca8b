package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/cong1022/fieldsync/internal/server"
	"github.com/cong1022/fieldsync/media"
	"github.com/cong1022/fieldsync/store"
	"github.com/cong1022/fieldsync/store/embedded"
)

// offlineFlags are those of the commands that work on the data folder of a server that does not run.
type offlineFlags struct{ config, data string }

func (f *offlineFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.config, "config", "", "the server's configuration file (YAML)")
	cmd.Flags().StringVar(&f.data, "data", "", "data folder, instead of the configuration's")
}

func (f *offlineFlags) load() (server.Config, error) {
	config, err := server.LoadConfig(f.config, os.LookupEnv)
	if f.data != "" {
		config.Data = f.data
	}
	return config, err
}

// storeFolder is where a server keeps its store.
func storeFolder(config server.Config) string { return filepath.Join(config.Data, "store") }

func newCheckCommand() *cobra.Command {
	var flags offlineFlags
	var quick bool
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Read everything in a data folder and tell what is damaged",
		Long: `Read the journal, the snapshots and the index of a data folder to their ends, and hold the records against each other:
checksums, sequences without gaps, the logs of the scopes against their heads and digests, verdicts against the numbering,
the hotline's feed, and whether each verified photo is there under its hash. The server must not run.

Findings name file and place, or the record. Exit status 1 where there is one. --quick leaves out photos and the comparison
of the index with the journal.`,
		Example: `  fieldsync check
  fieldsync check --data /var/lib/fieldsync
  fieldsync check --config city.yaml --quick`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, err := flags.load()
			if err != nil {
				return err
			}
			found, err := checkData(cmd.Context(), config, quick, cmd.ErrOrStderr())
			for _, f := range found {
				fmt.Fprintln(cmd.OutOrStdout(), "! "+f)
			}
			if err != nil {
				return err
			}
			lang := language(cmd)
			if len(found) > 0 {
				fmt.Fprintf(cmd.OutOrStdout(), sentence("%d điều bất thường\n", "%d findings\n", lang), len(found))
				return errReported
			}
			fmt.Fprintln(cmd.OutOrStdout(), sentence("Dữ liệu nguyên vẹn.", "Everything is as it was written.", lang))
			return nil
		},
	}
	flags.add(cmd)
	cmd.Flags().BoolVar(&quick, "quick", false, "only the records and the newest part of the journal")
	return cmd
}

func checkData(ctx context.Context, config server.Config, quick bool, log io.Writer) (found []string, err error) {
	if _, err := os.Stat(storeFolder(config)); err != nil {
		return nil, fmt.Errorf("no data folder (key data): %w", err) // Opening would make one.
	}
	engine, err := embedded.Open(storeFolder(config), newLogger(config.Log, log))
	if err != nil {
		return nil, err
	}
	s, err := store.Open(ctx, engine, store.Options{})
	if err != nil {
		return nil, errors.Join(err, engine.Close())
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	var options store.CheckOptions
	if !quick {
		blobs, err := server.OpenBlobs(ctx, config)
		if err != nil {
			return nil, err
		}
		options.Evidence = func(ctx context.Context, sum [sha256.Size]byte, bytes uint64) error {
			return checkOriginal(ctx, blobs, sum, bytes)
		}
		damaged, err := engine.Verify(ctx)
		for _, d := range damaged {
			found = append(found, d.Error())
		}
		if err != nil {
			return found, err
		}
	}
	findings, err := store.Check(ctx, s, options)
	for _, f := range findings {
		found = append(found, f.String())
	}
	return found, err
}

// checkOriginal reads an original and tells what is wrong with it.
func checkOriginal(ctx context.Context, blobs media.Blobs, sum [sha256.Size]byte, bytes uint64) error {
	content, _, err := blobs.Open(ctx, sum)
	if err != nil {
		return err
	}
	defer content.Close()
	hash := sha256.New()
	size, err := io.Copy(hash, content)
	switch {
	case err != nil:
		return err
	case uint64(size) != bytes: //nolint:gosec // A size.
		return fmt.Errorf("the original has %d bytes, not %d", size, bytes)
	case [sha256.Size]byte(hash.Sum(nil)) != sum:
		return errors.New("the original does not have its hash")
	}
	return nil
}
