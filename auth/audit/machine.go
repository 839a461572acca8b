package audit

import (
	"context"
	"os"
	"os/user"
	"strconv"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/store"
)

// OnMachine returns a context whose transactions enter a command into the log that is run on the server's own machine, where no token is
// asked for: who acts is the user of the operating system who runs this process. About are kinds and ids, in turn, of what it is about.
func OnMachine(ctx context.Context, command string, about ...string) context.Context {
	a := &act{entry: &fieldsyncv1.AuditEntry{Act: command, Outcome: "ok", OsUser: osUser()}}
	for i := 1; i < len(about); i += 2 {
		a.about(about[i-1], about[i])
	}
	return store.WithCompanion(ctx, a.write)
}

func osUser() string {
	u, err := user.Current()
	if err != nil { // No such line in /etc/passwd, as in a container.
		return "uid " + strconv.Itoa(os.Getuid())
	}
	return u.Username
}
