package usage_test

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"vswitchd/internal/usage"
)

func TestFlagError(t *testing.T) {
	for args, want := range map[string]string{
		"--vlna 1":                  "unknown flag: --vlna; did you mean --vlan?",
		"--colour":                  "unknown flag: --colour",
		"-x":                        "unknown flag: -x",
		"-jx":                       "unknown flag: -x",
		"--vlan abc":                `--vlan: is "abc", must be from 0 to 4095`,
		"--vlan -1":                 `--vlan: is -1, must be from 0 to 4095`,
		"--vlan 4096":               `--vlan: is 4096, must be from 0 to 4095`,
		"--vlan":                    "--vlan: the value is missing",
		"-v":                        "--vlan: the value is missing",
		"--json=maybe":              `--json: is "maybe", must be true or false`,
		"-j=maybe":                  `--json: is "maybe", must be true or false`,
		"--fd abc":                  `--fd: is "abc", must be a whole number`,
		"--fd 1e3":                  `--fd: is "1e3", must be a whole number`,
		"--fd 99999999999999999999": `--fd: is "99999999999999999999", must be smaller`,
		"---":                       `"---" is not a flag`,
		"--=1":                      `"--=1" is not a flag`,
	} {
		fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
		fs.Usage = func() {}
		fs.BoolP("json", "j", false, "")
		fs.Int("fd", 0, "")
		fs.VarP(&usage.Integer{Max: 4095}, "vlan", "v", "")
		err := fs.Parse(strings.Fields(args))
		if err == nil {
			t.Errorf("%s: no error", args)
		} else if got := usage.FlagError(fs, err).Error(); got != want {
			t.Errorf("%s: %s\nwant %s", args, got, want)
		}
	}
}

func TestReason(t *testing.T) {
	_, err := net.Dial("unix", "/no/such/socket")
	if got := usage.Reason(fmt.Errorf("asking: %w", err)).Error(); got != "no such file or directory" {
		t.Errorf("got %s", got)
	}
}
