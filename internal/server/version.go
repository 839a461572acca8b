package server

import (
	"runtime"
	"runtime/debug"
)

// Version tells which build of fieldsync runs: the module's version, or what Go makes of the commit that it was built from, "(devel)" where
// neither is known (go run, tests); and the version of Go and the platform.
func Version() string {
	version := "(devel)"
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		version = info.Main.Version
	}
	return version + " " + runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH
}
