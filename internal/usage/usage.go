// Package usage puts errors of the command line and of the system into words for people: without
// those of the libraries that found them, and with a guess of what was meant.
//
// It knows nothing of what the flags are for. Who calls it: both programs.
package usage

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"syscall"

	"github.com/spf13/pflag"

	"vswitchd/internal/nearest"
)

// FlagError rewrites an error of parsing flags. Of a value that is refused, it keeps what
// the flag's own Set says, which is to go on after the name: "is ..., must be ...".
func FlagError(flags *pflag.FlagSet, err error) error {
	var (
		unknown *pflag.NotExistError
		missing *pflag.ValueRequiredError
		invalid *pflag.InvalidValueError
		syntax  *pflag.InvalidSyntaxError
	)
	switch {
	case errors.As(err, &unknown) && unknown.GetSpecifiedShortnames() != "":
		return fmt.Errorf("unknown flag: -%s", unknown.GetSpecifiedName())
	case errors.As(err, &unknown):
		var known []string
		flags.VisitAll(func(f *pflag.Flag) { known = append(known, f.Name) })
		name := unknown.GetSpecifiedName()
		hint := ""
		if s := nearest.Of(name, known); s != "" {
			hint = "; did you mean --" + s + "?"
		}
		return fmt.Errorf("unknown flag: --%s%s", name, hint)
	case errors.As(err, &missing):
		return fmt.Errorf("--%s: the value is missing", missing.GetFlag().Name)
	case errors.As(err, &invalid):
		return valueError(invalid)
	case errors.As(err, &syntax):
		return fmt.Errorf("%q is no flag", syntax.GetSpecifiedFlag())
	}
	return err
}

func valueError(err *pflag.InvalidValueError) error {
	f, cause := err.GetFlag(), errors.Unwrap(err)
	var number *strconv.NumError
	if !errors.As(cause, &number) {
		return fmt.Errorf("--%s: %w", f.Name, cause)
	}
	must := "a whole number"
	if f.Value.Type() == "bool" {
		must = "true or false"
	} else if errors.Is(cause, strconv.ErrRange) {
		must = "smaller"
	}
	return fmt.Errorf("--%s: is %q, must be %s", f.Name, err.GetValue(), must)
}

// Reason returns what the system says is wrong, without what was asked of it: "permission denied"
// for "dial unix /run/x: connect: permission denied". Other errors it returns as they are.
func Reason(err error) error {
	var errno syscall.Errno
	var path *fs.PathError
	switch {
	case errors.As(err, &errno):
		return errno
	case errors.As(err, &path):
		return path.Err
	}
	return err
}

// An Integer is the value of a flag that is a whole number within limits.
type Integer struct {
	N, Min, Max int
	Kind        string // what help calls it
}

// Set implements pflag.Value, like the methods below.
func (i *Integer) Set(s string) error {
	n, err := strconv.Atoi(s)
	if err != nil {
		return fmt.Errorf("is %q, must be from %d to %d", s, i.Min, i.Max)
	}
	if n < i.Min || n > i.Max {
		return fmt.Errorf("is %d, must be from %d to %d", n, i.Min, i.Max)
	}
	i.N = n
	return nil
}

func (i *Integer) String() string { return strconv.Itoa(i.N) }

// Type returns what help calls the value.
func (i *Integer) Type() string { return i.Kind }
