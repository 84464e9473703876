package swtest

import (
	"encoding/json"
	"errors"
	"os/exec"
	"testing"

	"vswitchd/internal/doctor"
)

// Doctor runs `vswitchctl doctor` for a port, or for all ports if port is "", and returns its
// report and exit code. It fails the test if there is no report.
func (s *Switch) Doctor(t testing.TB, port string) (r doctor.Report, code int) {
	t.Helper()
	args := []string{"--control", s.ControlSocket(), "doctor", "--interval", "1s", "-j"}
	if port != "" {
		args = append(args, port)
	}
	cmd := exec.Command(built(t, "vswitchctl"), args...)
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatalf("vswitchctl doctor: %v: %s", err, out)
	}
	return r, cmd.ProcessState.ExitCode()
}
