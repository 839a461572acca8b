package embedded

import (
	"fmt"
	"log/slog"
	"strings"
)

// badgerLog hands Badger's own lines to slog. Its information is for those who debug Badger.
type badgerLog struct{ log *slog.Logger }

func (l badgerLog) Errorf(format string, args ...any)   { l.log.Error("badger", line(format, args)) }
func (l badgerLog) Warningf(format string, args ...any) { l.log.Warn("badger", line(format, args)) }
func (l badgerLog) Infof(format string, args ...any)    { l.log.Debug("badger", line(format, args)) }
func (l badgerLog) Debugf(string, ...any)               {}

func line(format string, args []any) slog.Attr {
	return slog.String("says", strings.TrimSpace(fmt.Sprintf(format, args...)))
}
