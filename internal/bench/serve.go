package bench

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"runtime/pprof"
	"time"

	"github.com/cong1022/fieldsync/internal/server"
)

// serving is the child that is the server, as `fieldsync serve` runs it.
type serving struct {
	stop    context.CancelFunc
	served  chan error
	profile *os.File
}

func newServing(context.Context) worker { return &serving{} }

func (s *serving) carryOut(ctx context.Context, o order) (answer, error) {
	config, err := serverConfig(o.Dir)
	if err != nil {
		return answer{}, err
	}
	if o.Profile != "" {
		if s.profile, err = os.Create(o.Profile); err != nil {
			return answer{}, err
		}
		if err := pprof.StartCPUProfile(s.profile); err != nil {
			return answer{}, err
		}
	}
	srv, err := server.Open(ctx, config, slog.New(slog.DiscardHandler))
	if err != nil {
		return answer{}, err
	}
	if _, _, err := srv.AdminCode(ctx); err != nil {
		return answer{}, err
	}
	running, stop := context.WithCancel(ctx)
	s.stop, s.served = stop, make(chan error, 1)
	go func() { s.served <- srv.Serve(running) }()
	return answer{URL: srv.URL()}, nil
}

func (s *serving) close() error {
	if s.stop == nil {
		return nil
	}
	s.stop()
	err := <-s.served
	if s.profile != nil {
		pprof.StopCPUProfile()
		err = errors.Join(err, s.profile.Close())
	}
	return err
}

// serverConfig is the default configuration over a folder and a free port of loopback. The environment has no say, so that
// the figures are of one configuration. Tokens live for the whole run: what a call costs is measured, checked in full each
// time, and not what a refresh costs.
func serverConfig(dir string) (server.Config, error) {
	config, err := server.LoadConfig("", func(string) (string, bool) { return "", false })
	config.Data, config.Listen, config.Tokens.AccessTTL = dir, "127.0.0.1:0", 24*time.Hour
	config.Tokens.CodeTTL = time.Hour
	config.ShutdownTimeout = 5 * time.Second
	return config, err
}
