package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/internal/server"
	"github.com/cong1022/fieldsync/store/embedded"
	"github.com/cong1022/fieldsync/store/journal"
)

// Run runs the command line and returns the exit status: 0 for success, 1 for an error, which it has printed. It ends early
// and in good order when ctx does.
func Run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := newRootCommand() //nolint:contextcheck // A command has its context when it runs.
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	switch {
	case errors.Is(err, errReported):
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		fmt.Fprintln(stderr, "fieldsync: "+sentence("Đã dừng theo yêu cầu.", "Interrupted.", language(cmd)))
	default:
		fmt.Fprintln(stderr, "fieldsync: "+explain(err, language(cmd)))
	}
	return 1
}

// errReported ends a command whose output has told already what failed.
var errReported = errors.New("reported")

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "fieldsync",
		Short: "Offline-first sync between a city's hotline and its field crews",
		Long: `fieldsync stands between a city's hotline and its field crews: tickets become tasks, tasks reach the crews'
phones, what the crews do without signal comes back, and sealed completions close the tickets.

fieldsync đứng giữa tổng đài 1022 và các tổ hiện trường: phiếu phản ánh thành công việc, công việc đến điện thoại
của tổ, việc làm khi mất sóng được gửi về, và báo cáo hoàn thành có ký số khép lại phiếu.`,
		Example: `  fieldsync demo                      # the whole story in a minute, then a server to play with
  fieldsync serve --config city.yaml  # a server for a city
  fieldsync phone --help              # a crew's phone on the command line`,
		Version:       server.Version(),
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.PersistentFlags().Var(new(languageFlag), "lang", "language of messages: vi or en (default: from LC_ALL or LANG, else vi)")
	root.InitDefaultVersionFlag()
	root.InitDefaultHelpFlag() // Else cobra takes what follows --help for its value.
	root.AddCommand(
		newDemoCommand(), newServeCommand(), group(newPhoneCommand()),
		newEnrolCommand(), newTokenCommand(), group(newAdminCommand()), group(newAuthCommand()),
		newImportCommand(), newRouteCommand(), newHintsCommand(), newAssignCommand(), newReopenCommand(), group(newReviewCommand()), newDeliveriesCommand(), newDeadlineCommand(), newEscalationCommand(),
		newBoardCommand(), newReportCommand(), newStuckCommand(),
		group(newHotlineCommand()), group(newWebhookCommand()), group(newFalseReportCommand()),
		newVerifyCommand(), group(newLogCommand()), group(newHoldCommand()),
		newExplainCommand(), group(newQuarantineCommand()), newAuditCommand(), group(newPrivacyCommand()),
		newStatusCommand(), newCheckCommand(), newRebuildCommand(), group(newBackupCommand()), newRestoreCommand(),
		newBenchCommand(),
	)
	return root
}

// languageFlag is vi or en.
type languageFlag string

// String implements pflag.Value.
func (l *languageFlag) String() string { return string(*l) }

// Type implements pflag.Value.
func (*languageFlag) Type() string { return "string" }

// Set implements pflag.Value.
func (l *languageFlag) Set(said string) error {
	if said != "vi" && said != "en" {
		return errors.New("vi or en")
	}
	*l = languageFlag(said)
	return nil
}

// group makes cmd one that only holds others: alone it shows its help, and what it does not hold is an error.
func group(cmd *cobra.Command) *cobra.Command {
	cmd.Args = cobra.NoArgs
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	return cmd
}

// language is what --lang says, else what the environment says, else Vietnamese.
func language(cmd *cobra.Command) string {
	if f := cmd.Flags().Lookup("lang"); f != nil && f.Value.String() != "" {
		return f.Value.String()
	}
	for _, name := range []string{"LC_ALL", "LANG"} {
		for _, lang := range []string{"vi", "en"} {
			if strings.HasPrefix(os.Getenv(name), lang) {
				return lang
			}
		}
	}
	return "vi"
}

// explain says an error in the language: faults, the server's errors and a damaged store have a sentence in both, anything else is
// English.
func explain(err error, lang string) string {
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return sentence(f.Vi, f.En, lang) + " [" + f.Code + "]"
	}
	if info := refusal(err); info != nil {
		return sentence(info.GetMessage().GetVi(), info.GetMessage().GetEn(), lang) + " [" + info.GetCode() + "]"
	}
	if unheard, ok := errors.AsType[*connect.Error](err); ok && unheard.Code() == connect.CodeUnavailable {
		return fmt.Sprintf(sentence("Không gọi được máy chủ: %s", "The server cannot be reached: %s", lang), unheard.Message())
	}
	if damaged, ok := errors.AsType[*embedded.IndexError](err); ok {
		return sentence(fmt.Sprintf("Chỉ mục bị hỏng, có thể dựng lại từ nhật ký bằng `fieldsync rebuild`: %v", damaged.Err), err.Error(), lang)
	}
	if damaged, ok := errors.AsType[*journal.DamageError](err); ok {
		return sentence(
			fmt.Sprintf("Nhật ký bị hỏng: %s, byte %d, bản ghi %d: %v\nNếu chỉ mục còn nguyên, `fieldsync rebuild --journal` bắt đầu nhật ký mới từ chỉ mục; "+
				"nếu không, hãy khôi phục từ bản sao lưu bằng `fieldsync restore`.", damaged.File, damaged.Offset, damaged.Sequence, damaged.Err),
			err.Error()+"\nIf the index is whole, `fieldsync rebuild --journal` begins a new journal from it; else restore from the backup (`fieldsync restore`).", lang)
	}
	return err.Error()
}

// refusal is what the server says about an error, nil where it is none of its own.
func refusal(err error) *fieldsyncv1.ErrorInfo {
	refused, ok := errors.AsType[*connect.Error](err)
	if !ok {
		return nil
	}
	for _, detail := range refused.Details() {
		if value, err := detail.Value(); err == nil {
			if info, ok := value.(*fieldsyncv1.ErrorInfo); ok {
				return info
			}
		}
	}
	return nil
}

func sentence(vi, en, lang string) string {
	if lang == "en" {
		return en
	}
	return vi
}
