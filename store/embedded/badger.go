package embedded

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/dgraph-io/badger/v4"
)

// openBadger opens Badger in managed mode (see versions), also where it was killed while it made or removed a file of its log.
func openBadger(o badger.Options) (*badger.DB, error) {
	if err := removeEmptied(o.Dir); err != nil {
		return nil, err
	}
	return badger.OpenManaged(o)
}

// removeEmptied removes the empty files among those that Badger writes through maps. It makes such a file before it gives it its length, and
// takes the length before it removes it; a kill in between leaves one, and Badger does not open with it ("Create a new file").
func removeEmptied(dir string) error {
	for _, kind := range []string{"*.mem", "*.vlog"} {
		files, err := filepath.Glob(filepath.Join(dir, kind))
		if err != nil {
			return err
		}
		for _, file := range files {
			info, err := os.Stat(file)
			if err == nil && info.Size() == 0 {
				err = os.Remove(file)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// badgerLog hands Badger's own lines to slog. Its information is for those who debug Badger.
type badgerLog struct{ log *slog.Logger }

func (l badgerLog) Errorf(format string, args ...any)   { l.log.Error("badger", line(format, args)) }
func (l badgerLog) Warningf(format string, args ...any) { l.log.Warn("badger", line(format, args)) }
func (l badgerLog) Infof(format string, args ...any)    { l.log.Debug("badger", line(format, args)) }
func (l badgerLog) Debugf(string, ...any)               {}

func line(format string, args []any) slog.Attr {
	return slog.String("says", strings.TrimSpace(fmt.Sprintf(format, args...)))
}
