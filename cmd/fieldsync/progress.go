package main

import (
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/cong1022/fieldsync/backup"
)

// barEvery bounds how often a bar is drawn.
const barEvery = 100 * time.Millisecond

// watched tells whether somebody sits and looks.
func watched(w io.Writer) bool {
	file, ok := w.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// progress draws a bar where somebody sits and looks, and is silent elsewhere. A total below zero is one that nobody knows.
func progress(w io.Writer, what string, unit progressbar.Option) func(done, total int64) {
	if !watched(w) {
		return func(int64, int64) {}
	}
	bar := progressbar.NewOptions64(-1, progressbar.OptionSetWriter(w), progressbar.OptionSetDescription(what), unit,
		progressbar.OptionThrottle(barEvery), progressbar.OptionClearOnFinish())
	known := int64(-1)
	return func(done, total int64) {
		if total < 0 && known >= 0 {
			return // A part of the work that cannot be measured, behind one that can: what was drawn stays.
		}
		if total != known {
			known = total
			bar.ChangeMax64(max(total, 1))
		}
		if known >= 0 {
			done = min(done, known)
		}
		_ = bar.Set64(done) // What cannot be drawn cannot be reported either.
	}
}

// Units of a bar.
var (
	inBytes = progressbar.OptionShowBytes(true)
	inItems = progressbar.OptionShowCount()
)

// counter shows how many, where nobody knows of how many.
func counter(w io.Writer, what string) func(done int64) {
	told := progress(w, what, inItems)
	return func(done int64) { told(done, -1) }
}

// backupProgress draws a bar for each step of a backup or a restore.
func backupProgress(cmd *cobra.Command, what string) backup.Progress {
	lang := language(cmd)
	names := map[backup.Step]string{
		backup.StepSnapshot: sentence("bản chụp", "snapshot", lang),
		backup.StepJournal:  sentence("nhật ký", "journal", lang),
		backup.StepIndex:    sentence("chỉ mục", "index", lang),
		backup.StepPhotos:   sentence("ảnh", "photos", lang),
	}
	units := map[backup.Step]progressbar.Option{backup.StepSnapshot: inBytes, backup.StepJournal: inItems, backup.StepIndex: inBytes, backup.StepPhotos: inItems}
	bars := make(map[backup.Step]func(done, total int64))
	return func(step backup.Step, done, total int64) {
		if bars[step] == nil {
			bars[step] = progress(cmd.ErrOrStderr(), what+": "+names[step], units[step])
		}
		bars[step](done, total)
	}
}
