// Vswitchctl shows the state of a running vswitchd: it is a thin shell around the control API. It
// prints tables for people and, with -j, the API's JSON for programs.
//
// Exit codes: 0 success; 1 refused or failed, with the reason on standard error; 2 wrong usage; 3
// no vswitchd is running; 4 `doctor` has found errors or warnings.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"vswitchd/internal/control"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// Exit codes.
const (
	exitOK       = 0
	exitFailed   = 1
	exitUsage    = 2
	exitNoDaemon = 3
	exitFindings = 4
)

// failure is an error in executing a command. All other errors are about the command line.
type failure struct{ error }

func (f failure) Unwrap() error { return f.error }

func run(args []string, stdout, stderr io.Writer) int {
	root := newRoot(stdout)
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteC()
	var f failure
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errFindings):
		return exitFindings
	case errors.Is(err, control.ErrNoDaemon):
		fmt.Fprintln(stderr, "vswitchctl:", err)
		return exitNoDaemon
	case errors.As(err, &f):
		fmt.Fprintln(stderr, "vswitchctl:", err)
		return exitFailed
	}
	fmt.Fprintf(stderr, "vswitchctl: %v\n%s", err, cmd.UsageString())
	return exitUsage
}
