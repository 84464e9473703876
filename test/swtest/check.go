package swtest

import (
	"os"
	"path/filepath"
	"testing"
)

// Check has vswitchd check a configuration file.
func Check(t testing.TB, config string) (code int, stdout, stderr string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "vswitchd.toml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return Exec(t, nil, nil, "--config", file, "--check")
}
