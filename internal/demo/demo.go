// Package demo plays the whole way from a ticket to a closed ticket against a real server in this process: two crews of
// reference phones, one of them offline in the middle, one answer lost on purpose. Each step is checked.
package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cong1022/fieldsync/internal/server"
)

// Options of a demo.
type Options struct {
	// Data is the folder to keep everything in. Empty: a temporary one, removed at the end. A folder that holds a server's
	// data already is refused: the story needs a fresh start.
	Data string
	// Listen is the server's host and port.
	Listen string
	// Once ends after the story instead of serving on.
	Once bool
	// JSON prints the steps as JSON lines {step, ok, ms, detail}.
	JSON bool
	// Lang is the language of the story: vi or en.
	Lang string
	Out  io.Writer
}

// ErrFailed means that a step of the story did not hold. The output says which.
var ErrFailed = errors.New("a step of the demo did not hold")

// Run plays the story and then serves until ctx ends, or returns at once with Once. It returns nil only if every step held.
func Run(ctx context.Context, o Options) (err error) {
	if o.Data == "" {
		if o.Data, err = os.MkdirTemp("", "fieldsync-demo-*"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(o.Data)) }()
	} else if _, err := os.Stat(filepath.Join(o.Data, "server")); err == nil {
		return fmt.Errorf("%s holds the data of an earlier demo: remove it or name another folder", o.Data)
	}
	config, err := server.LoadConfig("", func(string) (string, bool) { return "", false })
	if err != nil {
		return err
	}
	config.Data = filepath.Join(o.Data, "server")
	config.Listen = o.Listen
	pushes := &pushCounter{}
	started := time.Now()
	srv, err := server.Open(ctx, config, slog.New(pushes))
	if err != nil {
		// Nothing of the story is in it, and the next attempt wants a fresh one.
		return errors.Join(err, os.RemoveAll(config.Data))
	}

	serving, stop := context.WithCancel(ctx)
	defer stop()
	group, serving := errgroup.WithContext(serving)
	group.Go(func() error { return srv.Serve(serving) })
	group.Go(func() error {
		s := &story{options: o, server: srv, pushes: pushes, started: started}
		err := s.play(serving)
		s.close() // From here on their folders are for whoever tries what is printed.
		if err != nil || o.Once {
			stop()
			return err
		}
		s.printNext()
		<-serving.Done()
		return nil
	})
	return group.Wait()
}

// line is a checked step as --json prints it.
type line struct {
	Step   string  `json:"step"`
	OK     bool    `json:"ok"`
	MS     float64 `json:"ms"`
	Detail string  `json:"detail"`
}

// text is a sentence in both languages.
type text struct{ vi, en string }

func (t text) in(lang string) string {
	if lang == "en" {
		return t.en
	}
	return t.vi
}

func say(vi, en string, args ...any) text {
	return text{fmt.Sprintf(vi, args...), fmt.Sprintf(en, args...)}
}

// step runs and prints one step of the story.
func (s *story) step(ctx context.Context, name string, title text, f func(context.Context) (text, error)) error {
	began := time.Now()
	if name == "server" {
		began = s.started
	}
	detail, err := f(ctx)
	l := line{Step: name, OK: err == nil, MS: float64(time.Since(began).Microseconds()) / 1000, Detail: detail.in(s.options.Lang)}
	if err != nil {
		l.Detail = err.Error()
	}
	if s.options.JSON {
		if err := json.NewEncoder(s.options.Out).Encode(l); err != nil {
			return err
		}
	} else {
		mark := "✓"
		if !l.OK {
			mark = "✗"
		}
		fmt.Fprintf(s.options.Out, "%s %-46s %8.1f ms  %s\n", mark, title.in(s.options.Lang), l.MS, l.Detail)
	}
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrFailed, name, err)
	}
	return nil
}

// printNext says what to try while the server goes on.
func (s *story) printNext() {
	if s.options.JSON {
		return
	}
	fmt.Fprintf(s.options.Out, text{vi: `
Máy chủ vẫn chạy tại %[1]s (dữ liệu: %[2]s). Thử tiếp ở cửa sổ khác:

  fieldsync token --profile %[2]s/dispatcher
  curl -s -H "Authorization: Bearer $(fieldsync token --profile %[2]s/dispatcher)" \
    -H 'Content-Type: application/json' -d '{"page":{"size":3}}' %[1]s/fieldsync.v1.DispatchService/ListTasks
  fieldsync assign --profile %[2]s/dispatcher 1022-2026-00012 to-cay-xanh
  fieldsync phone --dir %[2]s/phone-an sync && fieldsync phone --dir %[2]s/phone-an list

Ctrl-C để dừng.
`, en: `
The server goes on at %[1]s (data: %[2]s). Try in another window:

  fieldsync token --profile %[2]s/dispatcher
  curl -s -H "Authorization: Bearer $(fieldsync token --profile %[2]s/dispatcher)" \
    -H 'Content-Type: application/json' -d '{"page":{"size":3}}' %[1]s/fieldsync.v1.DispatchService/ListTasks
  fieldsync assign --profile %[2]s/dispatcher 1022-2026-00012 to-cay-xanh
  fieldsync phone --dir %[2]s/phone-an sync && fieldsync phone --dir %[2]s/phone-an list

Ctrl-C ends it.
`}.in(s.options.Lang), s.server.URL(), s.options.Data)
}
