package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/phone"
)

// phoneCLI is what the flags of `fieldsync phone` say.
type phoneCLI struct {
	dir      string
	position struct {
		lat, lng, accuracy float64
		age                time.Duration
		mock               bool
	}
	json bool
}

// newPhoneCommand is `fieldsync phone`: the reference phone on the command line.
func newPhoneCommand() *cobra.Command {
	c := new(phoneCLI)
	root := &cobra.Command{
		Use:   "phone",
		Short: "A crew's phone on the command line",
		Long: `The reference phone: enrol it once, sync it when there is a network, and record work at any time.

Only enrol, sync, watch and run need the server; everything else works offline and is kept durably until the next sync.
A TASK is its id, or any beginning or end of it that no other task on the phone has.`,
		Example: `  fieldsync phone enrol --server http://127.0.0.1:8022 --code K7QD-2MXA-9RTC
  fieldsync phone sync
  fieldsync phone list
  fieldsync phone start 4k9zt0
  fieldsync phone photo 4k9zt0 after.jpg --kind after --lat 10.7769 --lng 106.7009 --accuracy 8
  fieldsync phone complete 4k9zt0 --outcome repaired --note "Đã cưa và dọn cây"
  fieldsync phone sync`,
		Args: cobra.NoArgs,
	}
	root.PersistentFlags().StringVar(&c.dir, "dir", "", "the phone's folder (default: fieldsync/phone in the user's configuration folder)")
	root.AddCommand(
		c.enrol(), c.sync(), c.watch(), c.run(),
		c.list(), c.show(), c.status(), c.verdicts(), c.receipts(),
		c.plain("accept", "Say that the crew will do the task", (*phone.Phone).Accept),
		c.plain("start", "Say that work begins", (*phone.Phone).Start),
		c.plain("resume", "Go on after a pause", (*phone.Phone).Resume),
		c.reasoned("pause", "Interrupt work, with a reason", "chờ điện lực cắt điện", (*phone.Phone).Pause),
		c.reasoned("decline", "Say that the crew can't take the task, with a reason", "ngoài địa bàn", (*phone.Phone).Decline),
		c.reasoned("handover", "Give the task back for another crew, with a reason", "cần xe cẩu", (*phone.Phone).HandOver),
		c.note(), c.tick(), c.photo(), c.complete(),
	)
	return root
}

func (c *phoneCLI) enrol() *cobra.Command {
	var server, code, name string
	cmd := &cobra.Command{
		Use:   "enrol [QR-TEXT]",
		Short: "Make this phone a device, with a one-time code",
		Long: `Make this phone a device of the member for whom the dispatcher issued the code. What the QR code of "fieldsync admin code" says
holds the server's address and the code; else both are given. The phone's key stays in its folder. Where the answer is lost, ask
for a fresh code and enrol again: the server knows the phone by its key.`,
		Example: `  fieldsync phone enrol --server http://127.0.0.1:8022 --code K7QD-2MXA-9RTC --name "Samsung A15, tổ 3"
  fieldsync phone enrol 'fieldsync://enrol?code=K7QD-2MXA-9RTC&server=https%3A%2F%2F1022.example'`,
		Args: cobra.MaximumNArgs(1),
	}
	cmd.Flags().StringVar(&server, "server", "", "the server's address, where no QR code's text says it")
	cmd.Flags().StringVar(&code, "code", "", "the one-time code, the same")
	cmd.Flags().StringVar(&name, "name", "", "what to call the device (default: this computer's name)")
	return c.runs(cmd, func(ctx context.Context, s *session, args []string) error {
		with, err := enrolment(args, server, code)
		if err != nil {
			return err
		}
		if name == "" {
			name, _ = os.Hostname() // Without a name it is a device without a name.
		}
		if err := s.Enrol(ctx, with.Server, with.Code, name); err != nil {
			return err
		}
		st, err := s.Status()
		s.printf("Đã đăng ký máy %s cho %s.\n", "Enrolled device %s for %s.\n", st.DeviceID, st.MemberName)
		return err
	})
}

func (c *phoneCLI) sync() *cobra.Command {
	var noPhotos bool
	cmd := &cobra.Command{
		Use:   "sync",
		Short: "Send what was recorded, receive what changed, upload photos",
		Example: `  fieldsync phone sync
  fieldsync phone sync --no-photos`,
		Args: cobra.NoArgs,
	}
	cmd.Flags().BoolVar(&noPhotos, "no-photos", false, "leave the originals of photos for another time")
	return c.runs(cmd, func(ctx context.Context, s *session, _ []string) error {
		report, err := s.Sync(ctx)
		if report.Calls > 0 {
			s.report(report)
		}
		if err != nil || noPhotos {
			return err
		}
		st, err := s.Status()
		if err != nil {
			return err
		}
		if st.PhotosWaiting+st.ReceiptsOwed == 0 {
			return s.tellDamaged()
		}
		if err := s.Upload(ctx, s.progress()); err != nil {
			return err
		}
		// The photos just sent have changed their tasks, and so may have sealed their completions.
		if _, err := s.Sync(ctx); err != nil {
			return err
		}
		if st, err = s.Status(); err != nil {
			return err
		}
		if st.ReceiptsOwed > 0 {
			if err := s.Upload(ctx, nil); err != nil {
				return err
			}
		}
		return s.tellDamaged()
	})
}

func (c *phoneCLI) watch() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "watch",
		Short: "Wait until the server has something new for this phone",
		Long: `Wait until the server has something new for this phone. A small change is on the phone by then; any other comes with
the next sync. Where the network does not let streams live, long polls do the same.`,
		Example: `  fieldsync phone watch && fieldsync phone sync`,
		Args:    cobra.NoArgs,
	}
	return c.runs(cmd, func(ctx context.Context, s *session, _ []string) error {
		if err := s.Watch(ctx); err != nil {
			return err
		}
		s.printf("Có thay đổi trên máy chủ.\n", "There is something new on the server.\n")
		return nil
	})
}

func (c *phoneCLI) run() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "run",
		Short:   "Stay in sync until stopped",
		Long:    "Sync, upload, wait for a change, and begin again, over any failure of the network, until stopped with Ctrl-C.",
		Example: `  fieldsync phone run --dir ./phone-of-lan`,
		Args:    cobra.NoArgs,
	}
	return c.runs(cmd, func(ctx context.Context, s *session, _ []string) error { return s.Run(ctx) })
}

func (c *phoneCLI) list() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the tasks on this phone",
		Example: `  fieldsync phone list
  fieldsync phone list --json`,
		Args: cobra.NoArgs,
	}
	c.addJSON(cmd)
	return c.runs(cmd, func(_ context.Context, s *session, _ []string) error {
		tasks, err := s.Tasks()
		if err != nil {
			return err
		}
		return s.list(tasks)
	})
}

func (c *phoneCLI) show() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show TASK",
		Short: "Show one task, with what waits to be sent about it",
		Long: `Show one task, with what waits to be sent about it. The first time that this is done under an assignment, it is recorded
that the crew has seen the task; the dispatcher hears of it with the next sync.`,
		Example: `  fieldsync phone show 4k9zt0
  fieldsync phone show 4k9zt0 --json`,
		Args: cobra.ExactArgs(1),
	}
	c.addJSON(cmd)
	return c.runs(cmd, func(_ context.Context, s *session, args []string) error {
		id, err := s.resolve(args[0])
		if err != nil {
			return err
		}
		held, err := s.Task(id)
		if err != nil {
			return err
		}
		if err := s.show(held); err != nil {
			return err
		}
		return s.Seen(id)
	})
}

func (c *phoneCLI) status() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Say how this phone is: what waits, since when, last sync",
		Example: `  fieldsync phone status
  fieldsync phone status --json`,
		Args: cobra.NoArgs,
	}
	c.addJSON(cmd)
	return c.runs(cmd, func(_ context.Context, s *session, _ []string) error {
		st, err := s.Status()
		if err != nil {
			return err
		}
		return s.statusOf(st)
	})
}

func (c *phoneCLI) verdicts() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "verdicts",
		Short:   "List what did not simply take effect, and why",
		Example: `  fieldsync phone verdicts`,
		Args:    cobra.NoArgs,
	}
	c.addJSON(cmd)
	return c.runs(cmd, func(_ context.Context, s *session, _ []string) error {
		judged, err := s.Verdicts()
		if err != nil {
			return err
		}
		return s.judged(judged)
	})
}

// plain is an intent without a word.
func (c *phoneCLI) plain(verb, short string, intent func(*phone.Phone, string) error) *cobra.Command {
	cmd := &cobra.Command{
		Use: verb + " TASK", Short: short, Args: cobra.ExactArgs(1),
		Example: fmt.Sprintf("  fieldsync phone %s 4k9zt0", verb),
	}
	return c.records(cmd, func(s *session, task string, _ []string) error { return intent(s.Phone, task) })
}

// reasoned is an intent with a reason.
func (c *phoneCLI) reasoned(verb, short, example string, intent func(p *phone.Phone, task, reason string) error) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use: verb + " TASK", Short: short, Args: cobra.ExactArgs(1),
		Example: fmt.Sprintf("  fieldsync phone %s 4k9zt0 --reason %q", verb, example),
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why: 1 to 500 characters")
	must(cmd.MarkFlagRequired("reason"))
	return c.records(cmd, func(s *session, task string, _ []string) error { return intent(s.Phone, task, reason) })
}

func (c *phoneCLI) note() *cobra.Command {
	cmd := &cobra.Command{
		Use: "note TASK TEXT", Short: "Write something down: 1 to 2,000 characters", Args: cobra.ExactArgs(2),
		Example: `  fieldsync phone note 4k9zt0 "Cây đổ chắn hai làn, đã đặt biển báo"`,
	}
	return c.records(cmd, func(s *session, task string, args []string) error { return s.Note(task, args[1]) })
}

func (c *phoneCLI) tick() *cobra.Command {
	var undo bool
	cmd := &cobra.Command{
		Use: "tick TASK ITEM", Short: "Tick a checklist item off", Args: cobra.ExactArgs(2),
		Example: `  fieldsync phone tick 4k9zt0 warning-sign
  fieldsync phone tick 4k9zt0 warning-sign --undo`,
	}
	cmd.Flags().BoolVar(&undo, "undo", false, "take the tick back")
	return c.records(cmd, func(s *session, task string, args []string) error { return s.Tick(task, args[1], !undo) })
}

func (c *phoneCLI) photo() *cobra.Command {
	var kind, replaces string
	var gallery bool
	kinds := enumFlags(fieldsyncv1.PhotoKind_name, "PHOTO_KIND_")
	cmd := &cobra.Command{
		Use: "photo TASK FILE", Short: "Attach a photo: JPEG, PNG, WebP or HEIC, at most 50 MiB", Args: cobra.ExactArgs(2),
		Long: `Attach a photo. Its bytes are copied into the phone's folder and hashed at once; the hash goes with the next sync, the
original behind it. The copy is removed when the server has verified it.`,
		Example: `  fieldsync phone photo 4k9zt0 truoc.jpg --kind before
  fieldsync phone photo 4k9zt0 sau.jpg --kind after --lat 10.7769 --lng 106.7009 --accuracy 8
  fieldsync phone photo 4k9zt0 sau-2.jpg --kind after --replaces e4ygr6`,
	}
	cmd.Flags().StringVar(&replaces, "replaces", "", "the damaged photo in whose place this one was taken: its id, or the end of it")
	cmd.Flags().StringVar(&kind, "kind", "other", "what it shows: "+strings.Join(kinds.names(), ", "))
	cmd.Flags().BoolVar(&gallery, "gallery", false, "picked from the gallery instead of just taken")
	return c.records(cmd, func(s *session, task string, args []string) error {
		value, err := kinds.parse("kind", kind)
		if err != nil {
			return err
		}
		if replaces, err = s.damaged(task, replaces); err != nil {
			return err
		}
		_, err = s.Photo(task, args[1], phone.PhotoFacts{Kind: fieldsyncv1.PhotoKind(value), FromGallery: gallery, Replaces: replaces})
		return err
	})
}

func (c *phoneCLI) complete() *cobra.Command {
	var outcome, note string
	outcomes := enumFlags(fieldsyncv1.Outcome_name, "OUTCOME_")
	cmd := &cobra.Command{
		Use: "complete TASK", Short: "Say how the task ended", Args: cobra.ExactArgs(1),
		Example: `  fieldsync phone complete 4k9zt0 --outcome repaired --note "Đã thay nắp cống"
  fieldsync phone complete 4k9zt0 --outcome nothing-found`,
	}
	cmd.Flags().StringVar(&outcome, "outcome", "", "how it ended: "+strings.Join(outcomes.names(), ", "))
	cmd.Flags().StringVar(&note, "note", "", "what is to be said: at most 2,000 characters")
	must(cmd.MarkFlagRequired("outcome"))
	return c.records(cmd, func(s *session, task string, _ []string) error {
		value, err := outcomes.parse("outcome", outcome)
		if err != nil {
			return err
		}
		return s.Complete(task, fieldsyncv1.Outcome(value), note)
	})
}

// must is for mistakes in this file, such as a required flag that does not exist.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

func (c *phoneCLI) addJSON(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&c.json, "json", false, "print JSON")
}

// records makes cmd record an intent about the task that its first argument names.
func (c *phoneCLI) records(cmd *cobra.Command, record func(s *session, task string, args []string) error) *cobra.Command {
	flags := cmd.Flags()
	flags.Float64Var(&c.position.lat, "lat", 0, "where, degrees north")
	flags.Float64Var(&c.position.lng, "lng", 0, "where, degrees east")
	flags.DurationVar(&c.position.age, "fix-age", 0, "how old the position is, such as 90s")
	flags.BoolVar(&c.position.mock, "mock", false, "the position comes from a mock location provider, as the phone says")
	flags.Float64Var(&c.position.accuracy, "accuracy", 0, "radius of 68 % confidence in metres; 0 when unknown")
	cmd.MarkFlagsRequiredTogether("lat", "lng")
	return c.runs(cmd, func(_ context.Context, s *session, args []string) error {
		task, err := s.resolve(args[0])
		if err != nil {
			return err
		}
		if err := record(s, task, args); err != nil {
			return err
		}
		st, err := s.Status()
		s.printf("Đã ghi vào máy; đang chờ gửi: %d.\n", "Recorded on the phone; waiting to be sent: %d.\n", st.Queued)
		return err
	})
}
