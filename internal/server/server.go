// Package server composes the rooms of the house into one server: their handlers behind one port, their workers, and the
// order in which all of it starts and stops.
package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"buf.build/go/protovalidate"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/hotline/webhook"
	"github.com/cong1022/fieldsync/internal/outward"
	"github.com/cong1022/fieldsync/media"
	"github.com/cong1022/fieldsync/media/folder"
	"github.com/cong1022/fieldsync/media/s3"
	"github.com/cong1022/fieldsync/push"
	"github.com/cong1022/fieldsync/store"
	"github.com/cong1022/fieldsync/store/embedded"
)

// Server is a composed server. It owns its data folder from Open to Close.
type Server struct {
	*Rooms

	config   Config
	workers  []func(context.Context) error
	listener net.Listener
	// tls is nil where a proxy ends it.
	tls *tls.Config
}

// Open opens the data folder, makes the rooms and takes the port, so that everything that can go wrong at a start has gone
// wrong when it returns. Serve does the rest.
func Open(ctx context.Context, config Config, log *slog.Logger) (_ *Server, err error) {
	if err := checkWritable(config.Data); err != nil {
		return nil, err
	}
	log.InfoContext(ctx, "fieldsync starts", "version", Version(), "data", config.Data)
	go compileRules()
	engineOptions := config.engineOptions()
	engineOptions.Log = log
	engine, err := embedded.OpenWith(filepath.Join(config.Data, "store"), engineOptions)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, engine.Close())
		}
	}()
	st, err := store.Open(ctx, engine, store.Options{})
	if err != nil {
		return nil, err
	}
	blobs, err := OpenBlobs(ctx, config)
	switch {
	case err == nil:
		reportStore(ctx, blobs, log)
	case errors.Is(err, s3.ErrUnreachable) && config.Media.Spool != "s3": // Unfinished uploads do not lie there, too.
		log.ErrorContext(ctx, "photos wait in the spool until the object store answers", "error", err)
		blobs = &lateBlobs{open: func(ctx context.Context) (media.Blobs, error) { return OpenBlobs(ctx, config) }, log: log}
	default:
		return nil, err
	}
	spool, err := openSpool(config, blobs)
	if err != nil {
		return nil, err
	}
	keeper, err := newKeeper(ctx, config, engine, st, blobs, log)
	if err != nil {
		return nil, err
	}
	s := &Server{config: config, workers: keeper.workers()}
	if s.tls, err = config.TLS.open(config.Data, log); err != nil {
		return nil, err
	}
	if s.Rooms, err = Compose(ctx, Parts{
		Store: st, Blobs: blobs, SpoolDir: filepath.Join(config.Data, "uploads"), Spool: spool,
		SpoolBytes: int64(config.Media.SpoolGiB) << 30, OrphansAfter: orphansAfter(config.Media), Log: log,
		Issuer: config.Issuer, Tokens: config.Tokens, Privacy: config.Privacy, CORS: config.CORS, Review: config.Review.rules(), Report: config.Report,
		Edge: config.Edge, OIDC: config.OIDC, Open311: config.Open311, PlainWebhooks: len(config.Webhooks.AllowedNetworks) > 0, Witnesses: config.Proof.Witnesses,
		OfflineTime: config.Sync.offlineTime(), Reach: keeper.reach, Retention: config.Retention, Operations: keeper, Unready: keeper.unready,
	}); err != nil {
		return nil, err
	}
	sender, err := s.openSender(ctx)
	if err != nil {
		return nil, err
	}
	pusher := push.NewWorker(push.Options{Store: st, Sender: sender, Log: log})
	s.workers = append(s.workers, s.auth.Run, s.audit.Run, pusher.Run, s.sync.RunRetention, s.media.Run, giveBack, s.dispatch.RunTimers,
		s.hotline.FillIndexes, s.dispatch.FillReviews)
	allowed, err := config.Webhooks.networks()
	if err != nil {
		return nil, err
	}
	hooks := webhook.New(webhook.Options{Store: st, Log: log, Source: config.Issuer, Allowed: allowed})
	s.workers = append(s.workers, hooks.Run)
	if s.listener, err = (&net.ListenConfig{}).Listen(ctx, "tcp", config.Listen); err != nil {
		return nil, fmt.Errorf("taking the port (key listen): %w", err)
	}
	return s, nil
}

// compileRules compiles the rules of what phones come back with, beside the opening of the store: else the first of them would wait for it
// as long as for all the rest.
func compileRules() {
	for _, m := range []proto.Message{&fieldsyncv1.SyncRequest{}, &fieldsyncv1.Mutation{}} {
		_ = protovalidate.Validate(m) // An empty one is wrong, of course.
	}
}

// openSender makes what sends pushes: to browsers always, which takes no account anywhere; to phones by FCM where it is configured.
func (s *Server) openSender(ctx context.Context) (push.Sender, error) {
	keys, err := push.OpenWebPushKeys(ctx, s.store)
	if err != nil {
		return nil, err
	}
	phones, err := s.openFCM(ctx)
	browsers := push.NewWebPush(push.WebPushOptions{Keys: keys, Contact: s.config.Push.Contact, Client: outward.NewClient(nil)})
	return push.ByKind{Browsers: push.NewConsiderate(browsers, s.store.Now), Phones: push.NewConsiderate(phones, s.store.Now)}, err
}

func (s *Server) openFCM(ctx context.Context) (push.Sender, error) {
	if s.config.Push.FCMCredentialsFile == "" {
		return push.Log{Logger: s.log}, nil
	}
	credentials, err := os.ReadFile(s.config.Push.FCMCredentialsFile)
	if err != nil {
		return nil, fmt.Errorf("reading push.fcm_credentials_file: %w", err)
	}
	fcm, err := push.NewFCM(ctx, push.FCMOptions{CredentialsJSON: credentials, Endpoint: s.config.Push.FCMEndpoint})
	if err != nil {
		return nil, fmt.Errorf("push.fcm_credentials_file: %w", err)
	}
	return fcm, nil
}

// OpenBlobs opens the place for verified photos that the configuration names.
func OpenBlobs(ctx context.Context, config Config) (media.Blobs, error) {
	if c := config.Media; c.Store == "s3" {
		return s3.Open(ctx, s3.Options{
			Endpoint: c.S3.Endpoint, Region: c.S3.Region, Bucket: c.S3.Bucket,
			AccessKey: c.S3.AccessKey, SecretKey: c.S3.SecretKey, PlainHTTP: !c.S3.TLS, LockYears: c.S3.LockYears,
		})
	}
	return folder.Open(filepath.Join(config.Data, "photos"))
}

// openSpool returns nil where the folder of the rooms' own is meant.
func openSpool(config Config, blobs media.Blobs) (media.Spool, error) {
	bucket, ok := blobs.(*s3.Blobs)
	if !ok || config.Media.Spool != "s3" {
		return nil, nil //nolint:nilnil // As it says.
	}
	return bucket.Spool()
}

// orphansAfter: in the configuration 0 is never, in the room's options it is the default.
func orphansAfter(config MediaConfig) time.Duration {
	if config.OrphansAfter == 0 {
		return -1
	}
	return config.OrphansAfter
}

// reportStore says what the object store was found to guard by itself, so that nobody relies on a lock that is not there.
func reportStore(ctx context.Context, blobs media.Blobs, log *slog.Logger) {
	if bucket, ok := blobs.(*s3.Blobs); ok {
		can := bucket.Can()
		log.InfoContext(ctx, "object store probed", "write_once", can.WriteOnce, "checksum", can.Checksum, "object_lock", can.ObjectLock)
	}
}

// Serve serves until ctx ends, then lets the requests under way finish (at most shutdown_timeout), stops the workers and
// closes the data folder. It returns nil after an orderly stop. It stops by itself, with an error, when the store can no
// longer tell what is durable: a restart recovers.
func (s *Server) Serve(ctx context.Context) error {
	srv := s.httpServer()
	running, stop := context.WithCancel(ctx)
	defer stop()
	group, running := errgroup.WithContext(running)
	group.Go(func() error {
		if err := s.serve(ctx, srv); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	for _, run := range s.workers {
		group.Go(func() error { return run(running) })
	}
	group.Go(func() error {
		select {
		case <-running.Done():
		case <-s.store.Failed():
			s.drain()
			_ = srv.Close() // Nothing that is acknowledged from now on could be relied upon.
			return store.ErrOutcomeUnknown
		}
		s.drain()
		deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.config.ShutdownTimeout)
		defer cancel()
		if err := srv.Shutdown(deadline); err != nil {
			s.log.WarnContext(ctx, "requests under way were cut off", "after", s.config.ShutdownTimeout)
			return srv.Close()
		}
		return nil
	})
	return errors.Join(group.Wait(), s.store.Close())
}

// drain ends the streams and long polls, which would keep the port open.
func (s *Server) drain() {
	s.sync.Drain()
	s.board.Drain()
	s.hotline.Drain()
}

// checkWritable makes the data folder and finds out at once whether it can be written.
func checkWritable(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making the data folder (key data): %w", err)
	}
	probe, err := os.CreateTemp(dir, ".writable-*")
	if err != nil {
		return fmt.Errorf("the data folder %s (key data) cannot be written: %w", dir, err)
	}
	return errors.Join(probe.Close(), os.Remove(probe.Name()))
}
