package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
)

// Protects a dispatcher's terminal and spreadsheet from what a citizen wrote: no escape sequence, no line of its own, no letters turned
// around, no formula; and words as they were. The due time is Vietnam's, wherever the machine is.
func TestBoardOfHostileTexts(t *testing.T) {
	row := &fieldsyncv1.BoardRow{
		TaskId: "06h0jd5zkqprz59vgx30", HotlineId: "=1+1", Title: "\t=cmd|' /C calc'!A0", DueAt: timestamppb.New(time.Date(2026, 12, 2, 17, 0, 0, 0, time.UTC)), Address: "Cây đổ\x1b[2J\u009b2J\r\nVN-9\tđã xong\u202e",
	}
	for _, test := range []struct {
		sheet      sheet
		want, less string
	}{
		{sheet{}, "Cây đổ [2J 2J  VN-9 đã xong", "\x1b\u009b\r\t\u202e"},
		{sheet{}, "02/12/2026 24:00", ""},
		{sheet{csv: true}, "'=1+1,", ""},
		{sheet{csv: true}, ",'\t=cmd|' /C calc'!A0,", "\uFEFF"},
		{sheet{excel: true}, "\uFEFF06h0jd5zkqprz59vgx30,'=1+1,", ""},
	} {
		var out bytes.Buffer
		cmd := &cobra.Command{}
		cmd.Flags().String("lang", "en", "")
		cmd.SetOut(&out)
		p := newBoardPrinter(cmd, test.sheet)
		check(t, p.row(row))
		check(t, p.flush())
		if got := out.String(); !strings.Contains(got, test.want) || strings.ContainsAny(got, test.less) || !test.sheet.is() && strings.Count(got, "\n") != 1 {
			t.Errorf("%+v: %q, want in it %q", test.sheet, got, test.want)
		}
	}
}
