package embedded

import (
	"fmt"
	"log/slog"
	"strings"
)

// isLocked tells the error of a folder that another process has open. Badger has no sentinel for it, so this one place
// reads the text; the test TestSecondProcess holds it to the version in use.
func isLocked(err error) bool {
	return strings.Contains(err.Error(), "Cannot acquire directory lock")
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
