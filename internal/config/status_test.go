package config_test

import (
	"fmt"
	"strings"
	"testing"
)

// The status page is on this machine alone, unless the file says by which names other machines ask
// for it.
func TestStatusPageIsLocal(t *testing.T) {
	for address, local := range map[string]bool{
		"": true, "127.0.0.1:9748": true, "[::1]:9748": true, "localhost:9748": true, "127.1.2.3:1": true,
		":9748": false, "0.0.0.0:9748": false, "[::]:9748": false, "192.0.2.1:9748": false, "host.example:9748": false,
	} {
		text := fmt.Sprintf("[control]\nstatus = %q\n", address)
		_, errs := kinds.Parse("f", []byte(text))
		if local != (len(errs) == 0) {
			t.Errorf("status = %q: %v", address, errs)
		}
		if !local && !strings.HasPrefix(errs.Error(), "f:2: control.status: other machines can reach ") {
			t.Errorf("status = %q: %v", address, errs)
		}
		if cfg, errs := kinds.Parse("f", []byte(text+"status_hosts = [\"vswitch.example\"]\n")); len(errs) > 0 || cfg.Control.Status != address {
			t.Errorf("status = %q, with a name: %v", address, errs)
		}
	}
}
