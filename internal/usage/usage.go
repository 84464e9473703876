// Package usage rewords errors of the command line and of the system for people: without the
// wording of the libraries that found them, and with a guess at what was meant.
//
// It knows nothing of what the flags are for. Both programs call it.
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

// FlagError rewords an error of parsing flags. For an invalid value, it keeps the message of
// the flag's Set method, which must continue a sentence that begins with the flag's name: "is
// ..., must be ...".
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
		return fmt.Errorf("%q is not a flag", syntax.GetSpecifiedFlag())
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

// Reason returns the system's error without the operation that it belongs to: "permission denied"
// for "dial unix /run/x: connect: permission denied". Other errors are returned unchanged.
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
	Kind        string // its name in help texts
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

// Type returns the value's name in help texts.
func (i *Integer) Type() string { return i.Kind }
