package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/cong1022/fieldsync/dispatch/calendar"
	"github.com/cong1022/fieldsync/internal/server"
)

func newServeCommand() *cobra.Command {
	var file, data, listen string
	var printConfig, effective bool
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the server",
		Long: `Run the server until Ctrl-C or SIGTERM, which lets the calls under way finish.

The configuration is YAML over embedded defaults; --print-config prints them, documented. A key that is not known is an
error. Each key can be overridden by an environment variable, such as FIELDSYNC_MEDIA_S3_SECRET_KEY for
media.s3.secret_key; the flags override both. With --effective, --print-config prints what is in force instead and where each
value comes from; secrets are not shown.

Until the first admin is enrolled, each start prints a one-time code for that.`,
		Example: `  fieldsync serve
  fieldsync serve --config city.yaml
  FIELDSYNC_LOG_FORMAT=json fieldsync serve --data /var/lib/fieldsync --listen 127.0.0.1:8022
  fieldsync serve --print-config > city.yaml
  fieldsync serve --config city.yaml --print-config --effective`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if printConfig && !effective {
				_, err := cmd.OutOrStdout().Write(server.DefaultConfig)
				return err
			}
			config, err := server.LoadConfig(file, os.LookupEnv)
			if err != nil {
				return err
			}
			flags := map[string]string{}
			if data != "" {
				config.Data, flags["data"] = data, "--data"
			}
			if listen != "" {
				config.Listen, flags["listen"] = listen, "--listen"
			}
			if printConfig {
				return config.Show(cmd.OutOrStdout(), server.Sources{File: file, Lookup: os.LookupEnv, Flags: flags})
			}
			if effective {
				return errors.New("--effective goes with --print-config")
			}
			return serve(cmd, config)
		},
	}
	cmd.Flags().StringVar(&file, "config", "", "configuration file (YAML)")
	cmd.Flags().StringVar(&data, "data", "", "data folder, instead of the configuration's")
	cmd.Flags().StringVar(&listen, "listen", "", "host:port, instead of the configuration's")
	cmd.Flags().BoolVar(&printConfig, "print-config", false, "print the documented defaults and exit")
	cmd.Flags().BoolVar(&effective, "effective", false, "with --print-config: what is in force, without its secrets, and where each value comes from")
	return cmd
}

func serve(cmd *cobra.Command, config server.Config) error {
	ctx, out := cmd.Context(), cmd.OutOrStdout()
	s, err := server.Open(ctx, config, newLogger(config.Log, cmd.ErrOrStderr()))
	if err != nil {
		return err
	}
	code, expires, err := s.AdminCode(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "fieldsync serves at %s, data in %s\n", s.URL(), config.Data)
	if code != "" {
		// On the terminal and not in the log, where it would outlive its ten minutes in other hands.
		fmt.Fprintf(out, "No admin is enrolled yet. Until %s:\n  fieldsync enrol --server %s --code %s\n",
			expires.In(calendar.Zone).Format(time.TimeOnly+" -07"), s.URL(), code)
	}
	if err := s.Serve(ctx); err != nil {
		return err
	}
	fmt.Fprintln(out, "fieldsync stopped in good order")
	return nil
}

func newLogger(config server.LogConfig, w io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: config.Level}
	if config.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}
