// Package version provides the version of this binary of vswitchd. Both programs and the
// control API report it.
package version

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// release is set by the linker for release builds: -ldflags "-X
// vswitchd/internal/version.release=1.2.3"
var release string

// String returns the version: that of the release, or else the commit that the binary was built
// from, or else "devel".
func String() string {
	if release != "" {
		return release
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "devel"
	}
	return fromBuild(info)
}

func fromBuild(info *debug.BuildInfo) string {
	var commit, dirty string
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision" && len(s.Value) >= 12:
			commit = "-" + s.Value[:12]
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "-dirty"
		}
	}
	if commit == "" {
		return "devel"
	}
	return "devel" + commit + dirty
}

// Line returns the output of --version for a program.
func Line(program string) string {
	return fmt.Sprintf("%s %s (%s %s/%s)", program, String(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
