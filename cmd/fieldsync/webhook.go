package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cong1022/fieldsync/dispatch/calendar"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
)

func newWebhookCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "webhook",
		Short: "Keep the addresses to which completions and changes of tickets are posted",
		Example: `  fieldsync webhook put hotline https://1022.example/hook
  fieldsync webhook put --rotate hotline https://1022.example/hook  # another secret; the former one signs too for a day
  fieldsync webhook list
  fieldsync webhook replay hotline --since 2026-11-20T08:00:00+07:00
  fieldsync webhook delete hotline`,
	}
	profile := profileFlag(cmd)
	cmd.AddCommand(newWebhookPutCommand(profile), newWebhookListCommand(profile), newWebhookReplayCommand(profile), &cobra.Command{
		Use: "delete ID", Short: "End a webhook", Args: cobra.ExactArgs(1),
		Example: `  fieldsync webhook delete hotline`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return asOperator(*profile, func(o operator) error {
				_, err := o.hotline().DeleteWebhook(cmd.Context(), &fieldsyncv1.DeleteWebhookRequest{Id: args[0]})
				return err
			})
		},
	})
	return cmd
}

func newWebhookPutCommand(profile *string) *cobra.Command {
	var rotate, completions, changes bool
	cmd := &cobra.Command{
		Use: "put ID URL", Short: "Register a webhook or change one; a new secret is printed, once", Args: cobra.ExactArgs(2),
		Example: `  fieldsync webhook put hotline https://1022.example/hook
  fieldsync webhook put --changes=false hotline https://1022.example/hook`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return asOperator(*profile, func(o operator) error {
				resp, err := o.hotline().PutWebhook(cmd.Context(), &fieldsyncv1.PutWebhookRequest{
					Id: args[0], Url: args[1], Completions: completions, TicketChanges: changes, RotateSecret: rotate,
				})
				if err == nil && resp.GetSecret() != "" {
					fmt.Fprintln(cmd.OutOrStdout(), resp.GetSecret())
				}
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&rotate, "rotate", false, "make another secret; the former one signs too for a day")
	cmd.Flags().BoolVar(&completions, "completions", true, "post sealed completions")
	cmd.Flags().BoolVar(&changes, "changes", true, "post changes of tickets")
	return cmd
}

func newWebhookListCommand(profile *string) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List webhooks and what holds them up", Args: cobra.NoArgs,
		Example: `  fieldsync webhook list`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return asOperator(*profile, func(o operator) error {
				resp, err := o.hotline().ListWebhooks(cmd.Context(), &fieldsyncv1.ListWebhooksRequest{})
				if err != nil {
					return err
				}
				format := sentence("%s  %s  chờ gửi lại %d, đã bỏ %d  %s\n", "%s  %s  waiting %d, given up %d  %s\n", language(cmd))
				for _, hook := range resp.GetWebhooks() {
					fmt.Fprintf(cmd.OutOrStdout(), format, hook.GetId(), hook.GetUrl(), hook.GetWaiting(), hook.GetGivenUp(),
						heldUpBy(hook, time.Now(), language(cmd)))
				}
				return nil
			})
		},
	}
}

// heldUpBy says what holds a webhook up: that the receiver wants no more, or the last failure, and until when nothing is posted for it.
func heldUpBy(hook *fieldsyncv1.Webhook, now time.Time, lang string) string {
	if hook.GetEndedAt() != nil {
		return sentence("đã bị bên nhận kết thúc (410)", "ended by the receiver (410)", lang)
	}
	until := hook.GetPausedUntil()
	if until == nil || !until.AsTime().After(now) {
		return hook.GetLastError()
	}
	return fmt.Sprintf(sentence("%s, nghỉ đến %s", "%s, rests until %s", lang), hook.GetLastError(), until.AsTime().In(calendar.Zone).Format(time.DateTime))
}

func newWebhookReplayCommand(profile *string) *cobra.Command {
	var since string
	cmd := &cobra.Command{
		Use: "replay ID", Short: "Post again what has come since a time, under the same ids", Args: cobra.ExactArgs(1),
		Example: `  fieldsync webhook replay hotline
  fieldsync webhook replay hotline --since 2026-11-20T08:00:00+07:00`,
		RunE: func(cmd *cobra.Command, args []string) error {
			request := &fieldsyncv1.ReplayWebhookRequest{Id: args[0]}
			if since != "" {
				at, err := time.Parse(time.RFC3339, since)
				if err != nil {
					return fault.New(fault.Invalid, "flag_invalid",
						fmt.Sprintf("--since %q không phải là thời điểm như 2026-11-20T08:00:00+07:00.", since),
						fmt.Sprintf("--since %q is no time such as 2026-11-20T08:00:00+07:00.", since))
				}
				request.Since = timestamppb.New(at)
			}
			return asOperator(*profile, func(o operator) error {
				resp, err := o.hotline().ReplayWebhook(cmd.Context(), request)
				if err == nil {
					fmt.Fprintln(cmd.OutOrStdout(), resp.GetEvents())
				}
				return err
			})
		},
	}
	cmd.Flags().StringVar(&since, "since", "", "from when on (RFC 3339); default: from the beginning")
	return cmd
}
