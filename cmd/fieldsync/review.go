package main

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
	"github.com/cong1022/fieldsync/internal/fault"
)

func (o operator) reviews() fieldsyncv1connect.ReviewServiceClient {
	return fieldsyncv1connect.NewReviewServiceClient(o.Client(), o.server)
}

func newReviewCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "review",
		Short: "List what somebody should look at, and settle it",
		Long: `A task is flagged for review where a finding speaks against its evidence, where a crew's work arrived after the task was given to others
or called off, and where its completion was drawn by lot. The flag stands until a person settles it: "upheld" where the doubt is right, "set-aside"
where the evidence stands after all. The decision is kept with the task and moves nothing else: a task whose work is not done is opened
again with "fieldsync reopen". Takes a shell that is enrolled as a dispatcher, a unit's head, the city's supervisor or an admin.`,
		Example: `  fieldsync review list
  fieldsync review show 1022-2026-00017
  fieldsync review resolve 1022-2026-00017 set-aside "ảnh chụp lại ngày 21/11, đúng chỗ"
  fieldsync review resolve 1022-2026-00018 upheld "ảnh của phiếu khác" && fieldsync reopen 1022-2026-00018 "chưa dọn cây"`,
	}
	profile := profileFlag(cmd)
	cmd.AddCommand(newReviewList(profile), newReviewShow(profile), newReviewResolve(profile))
	return cmd
}

func newReviewList(profile *string) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the tasks that wait for review, the oldest first", Args: cobra.NoArgs,
		Example: `  fieldsync review list`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return asOperator(*profile, func(o operator) error {
				v := voice{out: cmd.OutOrStdout(), english: language(cmd) == "en"}
				w := tabwriter.NewWriter(v.out, 0, 0, 2, ' ', 0)
				waiting := 0
				for page := (&fieldsyncv1.Page{}); ; {
					resp, err := o.reviews().ListReviews(cmd.Context(), &fieldsyncv1.ListReviewsRequest{Page: page})
					if err != nil {
						return err
					}
					for _, r := range resp.GetReviews() {
						if waiting++; waiting == 1 {
							fmt.Fprintln(w, strings.Join([]string{
								v.tr("VIỆC", "TASK"), "1022", v.tr("ĐƠN VỊ", "UNIT"), v.tr("TRẠNG THÁI", "STATE"), v.tr("NGHI VẤN", "DOUBTS"), v.tr("TIÊU ĐỀ", "TITLE"),
							}, "\t"))
						}
						fmt.Fprintln(w, strings.Join([]string{r.GetTaskId(), r.GetHotlineId(), r.GetUnitId(), v.state(r.GetState()), codesOf(r.GetDoubts()), cell(r.GetTitle())}, "\t"))
					}
					if page.Token = resp.GetNextToken(); page.GetToken() == "" {
						break
					}
				}
				if waiting == 0 {
					v.printf("Không có gì chờ xem xét.\n", "Nothing waits for review.\n")
				}
				return w.Flush()
			})
		},
	}
}

// codesOf are the codes of doubts, each once.
func codesOf(doubts []*fieldsyncv1.Doubt) string {
	var codes []string
	seen := map[string]bool{}
	for _, doubt := range doubts {
		if code := doubt.GetFinding().GetCode(); !seen[code] {
			seen[code] = true
			codes = append(codes, code)
		}
	}
	return strings.Join(codes, " ")
}

func newReviewShow(profile *string) *cobra.Command {
	return &cobra.Command{
		Use: "show TICKET-OR-TASK", Short: "Tell what there is to look at about a task, and what was decided before", Args: cobra.ExactArgs(1),
		Example: `  fieldsync review show 1022-2026-00017`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return asOperator(*profile, func(o operator) error {
				review, err := reviewOf(cmd.Context(), o, args[0])
				if err != nil {
					return err
				}
				v := voice{out: cmd.OutOrStdout(), english: language(cmd) == "en"}
				v.printf("%s  %s  %s\n", "%s  %s  %s\n", review.GetTaskId(), v.state(review.GetState()), cell(review.GetTitle()))
				for _, doubt := range review.GetDoubts() {
					said := doubt.GetFinding().GetSentence()
					fmt.Fprintf(v.out, "  %-24s %s", doubt.GetFinding().GetCode(), v.tr(said.GetVi(), said.GetEn()))
					if doubt.GetPhotoId() != "" {
						v.printf(" (ảnh %s)", " (photo %s)", doubt.GetPhotoId())
					}
					fmt.Fprintln(v.out)
				}
				if !review.GetWaiting() {
					v.printf("  Không có gì chờ xem xét.\n", "  Nothing waits for review.\n")
				}
				for _, d := range review.GetDecisions() {
					v.printf("  %s %s: %s, %q (%s)\n", "  %s %s: %s, %q (%s)\n", when(d.GetAt()), d.GetMemberId(), outcomeOf(v, d.GetOutcome()), d.GetReason(), strings.Join(d.GetCodes(), " "))
				}
				return nil
			})
		},
	}
}

func outcomeOf(v voice, outcome fieldsyncv1.ReviewOutcome) string {
	if outcome == fieldsyncv1.ReviewOutcome_REVIEW_OUTCOME_UPHELD {
		return v.tr("nghi vấn đúng", "upheld")
	}
	return v.tr("bỏ qua nghi vấn", "set aside")
}

func newReviewResolve(profile *string) *cobra.Command {
	return &cobra.Command{
		Use: "resolve TICKET-OR-TASK upheld|set-aside REASON", Short: "Settle what waits for review about a task", Args: cobra.ExactArgs(3),
		Long: `Settle what waits for review about a task: "upheld" where the doubt is right, "set-aside" where the evidence stands. The reason is
kept with the task, the name of whoever decides and the time too: no citizen's name in it. The same once more changes nothing. What the
task shows by then is what is settled: look at it first ("fieldsync review show").`,
		Example: `  fieldsync review resolve 1022-2026-00017 set-aside "ảnh chụp lại ngày 21/11, đúng chỗ"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			outcome, ok := map[string]fieldsyncv1.ReviewOutcome{
				"upheld": fieldsyncv1.ReviewOutcome_REVIEW_OUTCOME_UPHELD, "set-aside": fieldsyncv1.ReviewOutcome_REVIEW_OUTCOME_SET_ASIDE,
			}[args[1]]
			if !ok {
				return fault.New(fault.Invalid, "outcome_invalid",
					fmt.Sprintf("Kết quả %q không có: hãy chọn upheld (nghi vấn đúng) hoặc set-aside (bỏ qua nghi vấn).", args[1]),
					fmt.Sprintf("There is no outcome %q: choose upheld (the doubt is right) or set-aside (the evidence stands).", args[1]))
			}
			return asOperator(*profile, func(o operator) error {
				review, err := reviewOf(cmd.Context(), o, args[0])
				if err != nil {
					return err
				}
				request := &fieldsyncv1.ResolveReviewRequest{TaskId: review.GetTaskId(), Outcome: outcome, Reason: args[2]}
				if review.GetWaiting() {
					request.ExpectedRevision = new(review.GetRevision())
				}
				resp, err := o.reviews().ResolveReview(cmd.Context(), request)
				if err != nil {
					return err
				}
				v := voice{out: cmd.OutOrStdout(), english: language(cmd) == "en"}
				v.printf("%s: %s\n", "%s: %s\n", resp.GetReview().GetTaskId(), outcomeOf(v, outcome))
				if state := review.GetState(); outcome == fieldsyncv1.ReviewOutcome_REVIEW_OUTCOME_UPHELD &&
					(state == fieldsyncv1.TaskState_TASK_STATE_DONE || state == fieldsyncv1.TaskState_TASK_STATE_CLOSED) {
					v.printf("Công việc vẫn là đã xong; để làm lại: fieldsync reopen %s LÝ-DO\n", "The task is still done; to have it done again: fieldsync reopen %s REASON\n", review.GetTaskId())
				}
				return nil
			})
		},
	}
}

// reviewOf finds the review of the task that an id means: a task's own, a ticket's, or the hotline's of a ticket. Unlike taskOf it
// makes no task of a ticket.
func reviewOf(ctx context.Context, o operator, id string) (*fieldsyncv1.Review, error) {
	got, err := o.reviews().GetReview(ctx, &fieldsyncv1.GetReviewRequest{TaskId: id})
	if err != nil && mayBeAnotherID(err) {
		ticket, ticketErr := ticketOf(ctx, o, id)
		if ticketErr != nil {
			return nil, ticketErr
		}
		if ticket.GetTaskId() == "" {
			return nil, fault.New(fault.NotFound, "task_unknown", "Phiếu này chưa thành công việc nào.", "No task was made of this ticket yet.")
		}
		got, err = o.reviews().GetReview(ctx, &fieldsyncv1.GetReviewRequest{TaskId: ticket.GetTaskId()})
	}
	return got.GetReview(), err
}
