package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
	"rsc.io/qr"

	"github.com/cong1022/fieldsync/dispatch/calendar"
	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/phone"
)

// newCodeCommand is `fieldsync admin code`. A script gets the code alone; a person at a terminal also what a camera can read.
func newCodeCommand(profile *string) *cobra.Command {
	var show bool
	var file, address string
	cmd := &cobra.Command{
		Use: "code MEMBER", Short: "Issue a one-time enrolment code, as text and as a QR code", Args: cobra.ExactArgs(1),
		Long: `Issue a one-time enrolment code for a member: good for ten minutes, for one device. On a terminal it is also shown as a QR
code, which says the server's address too: the app scans it, "fieldsync phone enrol" takes its text. Whoever sees the QR code can
enrol as the member, so show it to that person alone.`,
		Example: `  fieldsync admin code an
  fieldsync admin code an --png an.png --address https://1022.example
  fieldsync admin code an --qr=false   # the code alone`,
	}
	cmd.Flags().BoolVar(&show, "qr", false, "show a QR code (default: where the output is a terminal)")
	cmd.Flags().StringVar(&file, "png", "", "write the QR code to this file, for its owner's eyes")
	cmd.Flags().StringVar(&address, "address", "", "where phones find the server (default: where this shell finds it)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return asOperator(*profile, func(o operator) error {
			answer, err := o.identity().IssueCode(cmd.Context(), &fieldsyncv1.IssueCodeRequest{MemberId: args[0]})
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			fmt.Fprintln(out, answer.GetCode()) // First, so that it is not lost with what fails below.
			if address == "" {
				address = o.server
			}
			invitation := phone.Invitation{Server: address, Code: answer.GetCode()}
			if !cmd.Flags().Changed("qr") {
				terminal, ok := out.(*os.File)
				show = ok && term.IsTerminal(int(terminal.Fd()))
			}
			if show {
				if err := showQR(out, invitation.String()); err != nil {
					return err
				}
				until := answer.GetExpiresAt().AsTime().In(calendar.Zone).Format(time.TimeOnly + " -07")
				fmt.Fprintf(out, sentence("Quét mã này, hoặc chạy lệnh sau, trước %s:\n", "Scan this, or run this, before %s:\n", language(cmd)), until)
				fmt.Fprintf(out, "  fieldsync phone enrol '%s'\n", invitation)
			}
			if file != "" {
				return writeQR(file, invitation.String())
			}
			return nil
		})
	}
	return cmd
}

// quietZone is how many light modules a QR code needs around it (ISO/IEC 18004).
const quietZone = 4

// showQR draws a QR code with half blocks, two rows of modules a line, black on white whatever the terminal's colours are.
func showQR(out io.Writer, text string) error {
	code, err := qr.Encode(text, qr.M)
	if err != nil {
		return fmt.Errorf("drawing the QR code: %w", err)
	}
	drawn := new(strings.Builder)
	for y := -quietZone; y < code.Size+quietZone; y += 2 {
		drawn.WriteString("\x1b[38;5;16;48;5;231m")
		for x := -quietZone; x < code.Size+quietZone; x++ {
			half := 0
			if code.Black(x, y) { // Outside of the code nothing is black.
				half = 1
			}
			if code.Black(x, y+1) {
				half += 2
			}
			drawn.WriteString([]string{" ", "▀", "▄", "█"}[half])
		}
		drawn.WriteString("\x1b[0m\n")
	}
	_, err = io.WriteString(out, drawn.String())
	return err
}

// writeQR writes a QR code as PNG, readable by this user only: it is as good as the code. A file that is there is left alone, since
// others may read it.
func writeQR(file, text string) error {
	code, err := qr.Encode(text, qr.M)
	if err != nil {
		return fmt.Errorf("drawing the QR code: %w", err)
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("writing the QR code: %w", err)
	}
	_, err = f.Write(code.PNG())
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("writing the QR code: %w", err)
	}
	return nil
}

// enrolment is where and with what `enrol` enrols: what its argument says, which is a QR code's text, or its flags.
func enrolment(args []string, server, code string) (phone.Invitation, error) {
	switch {
	case len(args) == 1 && server == "" && code == "":
		return phone.ParseInvitation(args[0])
	case len(args) == 0 && server != "" && code != "":
		return phone.Invitation{Server: server, Code: code}, nil
	}
	return phone.Invitation{}, fault.New(fault.Invalid, "invitation_missing",
		"Hãy cho nội dung mã QR (fieldsync://enrol?…), hoặc cả --server và --code.",
		"Give the QR code's text (fieldsync://enrol?…), or both --server and --code.")
}
