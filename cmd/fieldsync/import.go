package main

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"
	"google.golang.org/protobuf/proto"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/hotline"
	"github.com/cong1022/fieldsync/hotline/georeport"
	"github.com/cong1022/fieldsync/internal/fault"
)

// A call is one transaction of the server, which bounds it.
const (
	importBatch      = 50
	importBatchBytes = hotline.MaxBatchBytes * 3 / 4
)

func newImportCommand() *cobra.Command {
	var unit, badFile string
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Hand tickets over from a file of service requests (GeoReport v2 JSON, or CSV)",
		Long: `Hand tickets over from a file of service requests: GeoReport v2 JSON, an array of requests as GET /requests.json
answers; or CSV (UTF-8; commas, semicolons or tabs), whose first line names the columns: service_request_id or "Mã phiếu",
service_name or "Lĩnh vực", service_code, description or "Nội dung", address or "Địa chỉ", lat, latitude or "Vĩ độ", long, longitude or "Kinh độ",
requested_datetime or "Thời gian" (RFC 3339), reporter_name or "Người phản ánh", reporter_phone or "Số điện thoại", parent_id or
"Phiếu gốc" (the ticket of which it is a duplicate). Other columns are left alone. "-" reads standard input.

A ticket is known by its service_request_id: a second import of the same file changes nothing, one with newer facts
updates. A service_code that is a category's id, or else a service_name that is a category's name, gives the ticket that category (fieldsync
admin categories); any other name is a kind of its own, without checklist and escalation. Tickets go to the unit of their
position, or of the old district or the ward in their address; what nothing tells of waits for the city's dispatchers (fieldsync route).

Good rows are taken in, bad ones are reported by line, field and what to do, and the rest goes on; the exit status is then 1. A row is in as
a whole or not at all. --bad writes the bad rows to a file, too. An import that is broken off (Ctrl-C, no network) is begun again with the same
file: what is in stays unchanged. Memory does not grow with the file.

Takes a shell that is enrolled as the hotline or an admin.`,
		Example: `  fieldsync import requests.json
  fieldsync import --unit binh-thanh requests.json
  fieldsync import phieu-thang-11.csv --bad dong-loi.csv
  curl -s https://city.example/open311/v2/requests.json | fieldsync import -`,
		Args: cobra.ExactArgs(1),
	}
	profile := profileFlag(cmd)
	cmd.Flags().StringVar(&unit, "unit", "", `unit that answers for the tickets (default: each goes to the one of its place, or to "city", whose dispatchers route it)`)
	cmd.Flags().StringVar(&badFile, "bad", "", "CSV file for the bad rows: line, id, field, what is wrong and what to do")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return asOperator(*profile, func(o operator) (err error) {
			in, size, err := openInput(args[0], cmd.InOrStdin())
			if err != nil {
				return err
			}
			defer in.Close()
			i := importing{ctx: cmd.Context(), operator: o, unit: unit, errs: cmd.ErrOrStderr(), lang: language(cmd)}
			if badFile != "" {
				if sameFile(args[0], badFile) {
					return fault.New(fault.Invalid, "flag_invalid",
						"--bad là chính tệp phiếu, sẽ bị ghi đè: hãy ghi tên một tệp khác.", "--bad is the file of tickets itself, which it would overwrite: name another file.")
				}
				closeBad, err := i.alsoTo(badFile)
				if err != nil {
					return err
				}
				defer func() { err = errors.Join(err, closeBad()) }()
			}
			err = i.run(withProgress(in, size, cmd.ErrOrStderr()))
			fmt.Fprintf(cmd.OutOrStdout(), sentence(
				"%d phiếu mới, %d cập nhật, %d không đổi, %d dòng lỗi\n",
				"%d created, %d updated, %d unchanged, %d bad rows\n", i.lang), i.created, i.updated, i.unchanged, i.bad)
			if err == nil && i.bad > 0 {
				return errReported
			}
			return err
		})
	}
	return cmd
}

func openInput(name string, stdin io.Reader) (io.ReadCloser, int64, error) {
	if name == "-" {
		return io.NopCloser(stdin), -1, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	return f, info.Size(), nil
}

// sameFile tells whether two names lead to one file that exists.
func sameFile(a, b string) bool {
	left, leftErr := os.Stat(a)
	right, rightErr := os.Stat(b)
	return leftErr == nil && rightErr == nil && os.SameFile(left, right)
}

// withProgress shows on a terminal how much of the input has been read.
func withProgress(in io.Reader, size int64, terminal io.Writer) io.Reader {
	f, ok := terminal.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return in
	}
	bar := progressbar.NewOptions64(size, progressbar.OptionSetWriter(f), progressbar.OptionShowBytes(true),
		progressbar.OptionSetDescription("import"), progressbar.OptionClearOnFinish())
	return io.TeeReader(in, bar)
}

// importing is one run of the import.
type importing struct {
	ctx      context.Context //nolint:containedctx // Of the one run that this is.
	operator operator
	unit     string
	errs     io.Writer
	lang     string

	badRows                          *csv.Writer // Nil: nobody wants them in a file.
	batch                            []*fieldsyncv1.TicketIntake
	lines                            []int // Of the batch, in the file.
	size                             int
	created, updated, unchanged, bad int
}

// alsoTo has the bad rows written to a new CSV file, which end completes.
func (i *importing) alsoTo(name string) (end func() error, err error) {
	f, err := os.Create(name)
	if err != nil {
		return nil, err
	}
	i.badRows = csv.NewWriter(f)
	err = i.badRows.Write([]string{"line", "service_request_id", "field", sentence("sai gì và cần làm gì", "what is wrong and what to do", i.lang)})
	return func() error {
		i.badRows.Flush()
		return errors.Join(i.badRows.Error(), f.Close())
	}, err
}

func (i *importing) run(in io.Reader) error {
	known, err := i.operator.categories().ListCategories(i.ctx, &fieldsyncv1.ListCategoriesRequest{})
	if err != nil {
		return err
	}
	var failed error
	err = georeport.Read(in, georeport.NewKinds(known.GetCategories()), func(ticket *fieldsyncv1.TicketIntake, line int, bad *georeport.RowError) bool {
		if bad != nil {
			failed = i.report(bad)
			return failed == nil
		}
		ticket.UnitId = i.unit
		size := proto.Size(ticket)
		if len(i.batch) == importBatch || i.size+size > importBatchBytes {
			if failed = i.send(); failed != nil {
				return false
			}
		}
		i.batch, i.lines, i.size = append(i.batch, ticket), append(i.lines, line), i.size+size
		return true
	})
	if failed == nil {
		failed = i.send()
	}
	return errors.Join(failed, err)
}

func (i *importing) report(bad *georeport.RowError) error {
	i.bad++
	reason := sentence(bad.Reason.GetVi(), bad.Reason.GetEn(), i.lang)
	fmt.Fprintf(i.errs, sentence("dòng %d (%s): %s\n", "line %d (%s): %s\n", i.lang), bad.Line, cell(bad.ID), reason)
	if i.badRows == nil {
		return nil
	}
	return i.badRows.Write([]string{strconv.Itoa(bad.Line), sheetCell(bad.ID), bad.Field, reason})
}

// send hands the batch over. What the server refuses because of one of its rows it takes without that row: the call is cut in halves
// until it is found.
func (i *importing) send() error {
	err := i.submit(i.batch, i.lines)
	i.batch, i.lines, i.size = i.batch[:0], i.lines[:0], 0
	return err
}

func (i *importing) submit(batch []*fieldsyncv1.TicketIntake, lines []int) error {
	if len(batch) == 0 {
		return nil
	}
	resp, err := i.operator.hotline().SubmitTickets(i.ctx, &fieldsyncv1.SubmitTicketsRequest{Tickets: batch})
	if err == nil {
		i.count(resp.GetResults())
		return nil
	}
	info := refusal(err)
	field, ofRow := refusedFor[info.GetCode()]
	switch {
	case !ofRow:
		return err
	case len(batch) == 1:
		return i.report(&georeport.RowError{Line: lines[0], ID: batch[0].GetHotlineId(), Field: field, Reason: info.GetMessage()})
	}
	half := len(batch) / 2
	if err := i.submit(batch[:half], lines[:half]); err != nil {
		return err
	}
	return i.submit(batch[half:], lines[half:])
}

// refusedFor are the codes by which a server refuses one row of a call, and the field that it is for. Anything else ends the import.
var refusedFor = map[string]string{
	"parent_unknown": "parent_id", "parent_invalid": "parent_id", "ticket_time_invalid": "requested_datetime", "batch_too_large": "", "request_invalid": "",
}

func (i *importing) count(results []*fieldsyncv1.SubmitTicketsResponse_Result) {
	for _, result := range results {
		switch result.GetResult() {
		case fieldsyncv1.IntakeResult_INTAKE_RESULT_CREATED:
			i.created++
		case fieldsyncv1.IntakeResult_INTAKE_RESULT_UPDATED:
			i.updated++
		default:
			i.unchanged++
		}
	}
}
