package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"
	"google.golang.org/protobuf/types/known/timestamppb"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/phone"
)

// session is one run of a command on an open phone.
type session struct {
	*phone.Phone
	voice

	errOut io.Writer
	json   bool
}

// runs makes cmd open the phone, do its work and close it.
func (c *phoneCLI) runs(cmd *cobra.Command, do func(ctx context.Context, s *session, args []string) error) *cobra.Command {
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		p, err := c.open(cmd)
		if err != nil {
			return err
		}
		v := voice{out: cmd.OutOrStdout(), english: language(cmd) == "en"}
		err = do(cmd.Context(), &session{Phone: p, voice: v, errOut: cmd.ErrOrStderr(), json: c.json}, args)
		if errors.Is(err, context.Canceled) {
			err = fault.New(fault.Unavailable, "stopped",
				"Đã dừng; việc đã ghi vẫn nằm trong máy.", "Stopped; what was recorded stays on the phone.")
		}
		return errors.Join(err, p.Close())
	}
	return cmd
}

func (c *phoneCLI) open(cmd *cobra.Command) (*phone.Phone, error) {
	dir := c.dir
	if dir == "" {
		config, err := os.UserConfigDir()
		if err != nil {
			return nil, fmt.Errorf("no --dir, and %w", err)
		}
		dir = filepath.Join(config, "fieldsync", "phone")
	}
	o := phone.Options{AppVersion: "fieldsync command line"}
	if cmd.Name() == "run" {
		o.Log = slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil))
	}
	if cmd.Flags().Changed("lat") {
		position := &fieldsyncv1.Position{
			Latitude: c.position.lat, Longitude: c.position.lng, AccuracyM: float32(c.position.accuracy),
			FixedAt: timestamppb.New(time.Now().Add(-c.position.age)), Mock: c.position.mock,
		}
		o.Position = func() *fieldsyncv1.Position { return position }
	}
	return phone.Open(dir, o)
}

// damaged finds the damaged photo that is meant by its id or the end of it.
func (s *session) damaged(task, short string) (string, error) {
	all, err := s.Damaged()
	if err != nil || short == "" {
		return short, err
	}
	for _, photo := range all {
		if photo.TaskID == task && strings.HasSuffix(photo.PhotoID, short) {
			return photo.PhotoID, nil
		}
	}
	return short, nil // The phone says that there is none.
}

// tellDamaged asks for the photos that have to be taken again.
func (s *session) tellDamaged() error {
	all, err := s.Damaged()
	for _, photo := range all {
		s.printf("Ảnh %s bị hỏng, hãy chụp lại: fieldsync phone photo %s TỆP --replaces %s\n",
			"Photo %s is damaged, take it again: fieldsync phone photo %s FILE --replaces %s\n", tail(photo.PhotoID), tail(photo.TaskID), tail(photo.PhotoID))
	}
	return err
}

// resolve finds the task that is meant by its id or by a beginning or end of it.
func (s *session) resolve(short string) (string, error) {
	tasks, err := s.Tasks()
	if err != nil {
		return "", err
	}
	var found []string
	for _, held := range tasks {
		id := held.Task.GetId()
		if id == short {
			return id, nil
		}
		if strings.HasPrefix(id, short) || strings.HasSuffix(id, short) {
			found = append(found, id)
		}
	}
	switch {
	case short == "" || len(found) == 0:
		return short, nil // Not held: the phone says so, or that it is not enrolled.
	case len(found) > 1:
		list := strings.Join(found[:min(len(found), 5)], ", ")
		return "", fault.New(fault.Invalid, "task_ambiguous",
			fmt.Sprintf("%q khớp với %d công việc (%s): hãy ghi dài hơn.", short, len(found), list),
			fmt.Sprintf("%q fits %d tasks (%s): write more of it.", short, len(found), list))
	}
	return found[0], nil
}

// progress shows uploads as a bar on a terminal, and as a line for each quarter elsewhere.
func (s *session) progress() phone.Progress {
	f, ok := s.errOut.(*os.File)
	if ok && term.IsTerminal(int(f.Fd())) {
		bars := make(map[string]*progressbar.ProgressBar)
		return func(photo string, sent, total int64) {
			bar := bars[photo]
			if bar == nil {
				bar = progressbar.NewOptions64(total, progressbar.OptionSetWriter(f), progressbar.OptionShowBytes(true),
					progressbar.OptionSetDescription(s.tr("Ảnh ", "Photo ")+tail(photo)), progressbar.OptionSetWidth(30),
					progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionOnCompletion(func() { _, _ = fmt.Fprintln(f) }))
				bars[photo] = bar
			}
			_ = bar.Set64(sent) // Only a display.
		}
	}
	quarters := make(map[string]int64)
	return func(photo string, sent, total int64) {
		if quarter := 4 * sent / total; quarter > quarters[photo] {
			quarters[photo] = quarter
			_, _ = fmt.Fprintf(s.errOut, s.tr("Ảnh %s: %s / %s\n", "Photo %s: %s of %s\n"),
				tail(photo), humanize.IBytes(uint64(sent)), humanize.IBytes(uint64(total))) //nolint:gosec // Sizes.
		}
	}
}
