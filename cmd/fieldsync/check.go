package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/cong1022/fieldsync/backup"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/internal/server"
	"github.com/cong1022/fieldsync/store"
	"github.com/cong1022/fieldsync/store/embedded"
)

// configFlag is that of the commands that need only the configuration.
type configFlag struct{ config string }

func (f *configFlag) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.config, "config", "", "the server's configuration file (YAML)")
}

func (f *configFlag) load() (server.Config, error) { return server.LoadConfig(f.config, os.LookupEnv) }

// offlineFlags are those of the commands that work on the data folder of a server that does not run.
type offlineFlags struct {
	configFlag

	data string
}

func (f *offlineFlags) add(cmd *cobra.Command) {
	f.configFlag.add(cmd)
	cmd.Flags().StringVar(&f.data, "data", "", "data folder, instead of the configuration's")
}

func (f *offlineFlags) load() (server.Config, error) {
	config, err := f.configFlag.load()
	if f.data != "" {
		config.Data = f.data
	}
	return config, err
}

// needData is for the commands that must not make a data folder where there is none.
func needData(config server.Config) error {
	if _, err := os.Stat(storeFolder(config)); err != nil {
		return fault.New(fault.NotFound, "data_missing",
			fmt.Sprintf("Không có thư mục dữ liệu (khóa data): %v.", err), fmt.Sprintf("There is no data folder (key data): %v.", err))
	}
	return nil
}

// storeFolder is where a server keeps its store.
func storeFolder(config server.Config) string { return filepath.Join(config.Data, "store") }

func newCheckCommand() *cobra.Command {
	var flags offlineFlags
	var repository repositoryFlags
	var quick, repair bool
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Read everything in a data folder and tell what is damaged",
		Long: `Read the journal, the snapshots and the index of a data folder to their ends, and hold the records against each other:
checksums, sequences without gaps, the logs of the scopes against their heads and digests, verdicts against the numbering,
the hotline's feed, and whether each verified photo is there under its hash. The server must not run: one that does checks
itself each night, and when ` + "`fieldsync status --check`" + ` asks it to.

Findings name file and place, or the record. Exit status 1 where there is one. --quick leaves out photos and the comparison
of the index with the journal. --repair brings photos that are missing or damaged back from the backup; what it found damaged
is kept beside, as <hash>.damaged.`,
		Example: `  fieldsync check
  fieldsync check --data /var/lib/fieldsync
  fieldsync check --config city.yaml --quick
  fieldsync check --config city.yaml --repair --identity key.txt`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, err := flags.load()
			if err != nil {
				return err
			}
			found, err := checkData(cmd, config, quick)
			if err != nil {
				return err
			}
			if repair && len(found.photos) > 0 {
				if err := repairPhotos(cmd, config, &repository, found.photos); err != nil {
					return err
				}
				if found, err = checkData(cmd, config, quick); err != nil {
					return err
				}
			}
			lang := language(cmd)
			for _, f := range found.Findings {
				fmt.Fprintln(cmd.OutOrStdout(), "! "+f)
			}
			if n := len(found.Findings); n > 0 {
				fmt.Fprintf(cmd.OutOrStdout(), sentence("%d điều bất thường\n", "%d findings\n", lang), n)
				return errReported
			}
			fmt.Fprintln(cmd.OutOrStdout(), sentence("Dữ liệu nguyên vẹn.", "Everything is as it was written.", lang))
			return nil
		},
	}
	flags.add(cmd)
	repository.add(cmd.Flags())
	cmd.Flags().BoolVar(&quick, "quick", false, "only the records")
	cmd.Flags().BoolVar(&repair, "repair", false, "bring photos that are missing or damaged back from the backup")
	return cmd
}

// checked is what a check has found, with the photos among it.
type checked struct {
	server.Checked

	photos [][sha256.Size]byte
}

func checkData(cmd *cobra.Command, config server.Config, quick bool) (c checked, err error) {
	ctx := cmd.Context()
	if err := needData(config); err != nil {
		return c, err // Opening would make one.
	}
	lang := language(cmd)
	engine, err := embedded.OpenWith(storeFolder(config), embedded.Options{
		Log:      newLogger(config.Log, cmd.ErrOrStderr()),
		Progress: progress(cmd.ErrOrStderr(), sentence("Nhật ký và chỉ mục", "Journal and index", lang), inBytes),
	})
	if err != nil {
		return c, err
	}
	s, err := store.Open(ctx, engine, store.Options{})
	if err != nil {
		return c, errors.Join(err, engine.Close())
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	blobs, err := server.OpenBlobs(ctx, config)
	if err != nil {
		return c, err
	}
	c.Checked, err = server.CheckData(ctx, engine, s, blobs, server.CheckOptions{
		Quick:    quick,
		Progress: counter(cmd.ErrOrStderr(), sentence("Ảnh đã đọc", "Photos read", lang)),
		Records:  counter(cmd.ErrOrStderr(), sentence("Bản ghi đã đối chiếu", "Records compared", lang)),
		Damaged:  func(sum [sha256.Size]byte) { c.photos = append(c.photos, sum) },
	})
	if err == nil && !quick {
		err = server.SaveCheck(config.Data, c.Checked) // The server is ready again, or no more.
	}
	return c, err
}

// repairPhotos brings photos back from the backup. What lies in their places is set aside first.
func repairPhotos(cmd *cobra.Command, config server.Config, repository *repositoryFlags, photos [][sha256.Size]byte) (err error) {
	if config.Media.Store != "folder" {
		return fault.New(fault.Precondition, "photos_elsewhere",
			"Ảnh nằm trong kho đối tượng (media.store: s3); hãy khôi phục bằng phương tiện của kho đó.",
			"The photos lie in an object store (media.store: s3): bring them back by its own means.")
	}
	target, err := repository.open(cmd.Context(), config)
	if err != nil {
		return err
	}
	identities, err := repository.identities()
	if err != nil {
		return err
	}
	blobs, err := server.OpenBlobs(cmd.Context(), config)
	if err != nil {
		return err
	}
	lang := language(cmd)
	var repaired []string
	defer func() {
		if len(repaired) > 0 {
			err = errors.Join(err, enterAct(cmd, config, repaired...))
		}
	}()
	for _, sum := range photos {
		photo := hex.EncodeToString(sum[:])
		err := backup.FetchPhoto(cmd.Context(), target, photo, identities, func(content []byte) error {
			return server.ReplacePhoto(cmd.Context(), blobs, sum, bytes.NewReader(content))
		})
		if cmd.Context().Err() != nil {
			return cmd.Context().Err()
		}
		if err != nil {
			fmt.Fprintf(cmd.ErrOrStderr(), sentence("Không lấy lại được ảnh %s: %s\n", "Photo %s could not be brought back: %s\n", lang), photo, explain(err, lang))
			continue
		}
		repaired = append(repaired, "id", photo)
		fmt.Fprintf(cmd.OutOrStdout(), sentence("Đã lấy lại ảnh %s từ bản sao lưu.\n", "Photo %s was brought back from the backup.\n", lang), photo)
	}
	return nil
}
