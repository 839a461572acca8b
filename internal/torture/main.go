// Command torture holds the store to its first two promises by force: what was acknowledged is there, and it is there once.
// Sixty-four writers offer numbered mutations to a process of their own; that process is killed, stopped and copied, left
// without disk, inodes or descriptors, bits of its files are flipped, its index or all of its folder is deleted. After each blow the
// folder is opened again, or made anew from its backup, what the writers were told is counted against what it holds, and the next
// blow falls on the same folder.
//
//	go run ./internal/torture -rounds 100
//
// It prints a line for each class of fault and exits with 0 only if nothing was lost and nothing took effect twice. The
// small file systems need the right to mount; without it those classes are said to be skipped and the exit status is 2.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/cong1022/fieldsync/store/embedded"
)

func main() {
	if dir := os.Getenv(childVariable); dir != "" {
		fmt.Fprintln(os.Stderr, runChild(dir))
		os.Exit(3) //nolint:forbidigo // This is main.
	}
	rounds := flag.Int("rounds", 10, "how often each fault is made")
	only := flag.String("only", "", "comma-separated classes of faults instead of all")
	dir := flag.String("dir", "", "where to work (default: the folder for temporary files)")
	flag.Parse()
	// The round that is under way ends; a second one ends the process.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	context.AfterFunc(ctx, stop)
	held, skipped, err := run(ctx, *rounds, *only, *dir, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "torture:", err)
	}
	switch {
	case err != nil || !held:
		os.Exit(1) //nolint:forbidigo // This is main.
	case skipped:
		os.Exit(2) //nolint:forbidigo // This is main.
	}
}

// runChild is the process that is tortured. What is behind the folder's name in the variable are its margins.
func runChild(variable string) error {
	dir, margins, err := parseChild(variable)
	if err != nil {
		return err
	}
	return write(dir, os.Getenv(repositoryVariable), margins, os.Stdout)
}

func childValue(dir string, m embedded.Margins) string {
	return fmt.Sprintf("%d,%d,%d,%s", m.Bytes, m.Inodes, m.Descriptors, dir)
}

func parseChild(variable string) (string, embedded.Margins, error) {
	parts := strings.SplitN(variable, ",", 4)
	if len(parts) != 4 {
		return "", embedded.Margins{}, fmt.Errorf("%s is %q", childVariable, variable)
	}
	var numbers [3]uint64
	for i := range numbers {
		n, err := strconv.ParseUint(parts[i], 10, 64)
		if err != nil {
			return "", embedded.Margins{}, err
		}
		numbers[i] = n
	}
	return parts[3], embedded.Margins{Bytes: numbers[0], Inodes: numbers[1], Descriptors: numbers[2]}, nil
}

// result is a line of the report.
type result struct {
	rounds                      int
	acknowledged, lost, doubled uint64
	note                        string
}

// errSkipped: the machine does not let this fault be made.
var errSkipped = errors.New("skipped")

// more tells a class of faults that has made so many rounds whether it makes one more.
type more func(done int) bool

// run makes all faults and tells whether the promises held, and whether a class could not be made. Once ctx has ended it makes no more.
func run(ctx context.Context, rounds int, only, dir string, out io.Writer) (held, skipped bool, err error) {
	work, err := os.MkdirTemp(dir, "fieldsync-torture-")
	if err != nil {
		return false, false, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	fmt.Fprintf(out, "%-12s %7s %13s %5s %8s\n", "fault", "rounds", "acknowledged", "lost", "doubled")
	held = true
	for _, f := range faults {
		if only != "" && !strings.Contains(","+only+",", ","+f.name+",") {
			continue
		}
		told := bar(f.name, rounds)
		r, err := f.make(work, func(done int) bool {
			told(done)
			return done < rounds && ctx.Err() == nil
		})
		if err != nil {
			r.note = err.Error()
		}
		switch {
		case errors.Is(err, errSkipped):
			skipped = true
		case err != nil || r.lost > 0 || r.doubled > 0:
			held = false
		}
		fmt.Fprintf(out, "%-12s %7d %13d %5d %8d  %s\n", f.name, r.rounds, r.acknowledged, r.lost, r.doubled, r.note)
		if ctx.Err() != nil {
			return false, skipped, errors.New("interrupted: what stands above is all that was done")
		}
	}
	return held, skipped, nil
}

// bar shows on a terminal which round of how many is under way.
func bar(class string, rounds int) (told func(done int)) {
	if !term.IsTerminal(int(os.Stderr.Fd())) {
		return func(int) {}
	}
	shown := progressbar.NewOptions(rounds, progressbar.OptionSetWriter(os.Stderr), progressbar.OptionSetDescription(class),
		progressbar.OptionShowCount(), progressbar.OptionClearOnFinish())
	return func(done int) { _ = shown.Set(done) } // What cannot be drawn cannot be reported either.
}
