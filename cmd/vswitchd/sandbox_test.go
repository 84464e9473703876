package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vswitchd/internal/control"
	"vswitchd/internal/tomldoc"
)

// sandbox returns what the program says of its sandbox.
func (p *confined) sandbox() (s control.Sandbox) {
	p.Helper()
	raw, err := p.get("/v1/switch")
	var info control.SwitchInfo
	if err == nil {
		err = json.Unmarshal(raw, &info)
	}
	if err != nil {
		p.Fatal(err)
	}
	return info.Sandbox
}

// edit changes the running configuration, and returns the error.
func (p *confined) edit(path string, value any) error {
	p.Helper()
	at, err := tomldoc.ParsePath(path)
	if err != nil {
		p.Fatal(err)
	}
	patch := tomldoc.Patch{{Op: "add", Path: at, Value: value}}
	_, err = control.NewClient(p.dir+"/control").EditConfig(p.Context(), patch, "", false)
	return err
}

// The sandbox is on unless it is switched off. In it, ports can be added where the configuration
// has sockets, and what cannot be added is refused with the reason.
func TestSandboxedProgram(t *testing.T) {
	p := launch(t, "", "socket_group = \"root\"\n[port.a]\n")
	s := p.sandbox()
	for _, part := range s.Parts {
		if part.State != "on" {
			t.Errorf("%s is %s: %s", part.Name, part.State, part.Detail)
		}
	}
	if len(s.Parts) != 4 || len(s.Write) != 1 || len(s.Read) != 1 {
		t.Errorf("sandbox: %+v", s)
	}
	p.guest("a", 1<<20, 1)
	p.reload("socket_group = \"root\"\n[port.a]\n[port.b]\n")
	p.guest("b", 1<<20, 1)
	if err := p.edit("/port/c", map[string]any{}); err != nil {
		t.Error(err)
	}
	p.guest("c", 1<<20, 1)
	elsewhere := filepath.Join(t.TempDir(), "d.sock")
	for path, want := range map[string]string{"/port/d": "sandbox.paths", "/uplink/lan": "CAP_NET_RAW", "/port/e": "use its number"} {
		value := map[string]any{
			"/port/d": map[string]any{"socket": elsewhere}, "/uplink/lan": map[string]any{"interface": "nolink0"},
			"/port/e": map[string]any{"socket_group": "no-such-group"},
		}[path]
		if err := p.edit(path, value); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
	}
	p.reload("socket_group = \"root\"\n[port.b]\n")
	if _, err := os.Lstat(filepath.Join(p.dir, "a.sock")); !os.IsNotExist(err) {
		t.Errorf("the socket of a port that was removed: %v", err)
	}
	p.lives()
}

// Without the sandbox the program does what the system lets it do.
func TestSandboxSwitchedOff(t *testing.T) {
	p := launch(t, "", "[port.a]\n[sandbox]\nlandlock = false\nseccomp = false\ncapabilities = false\nno_new_privs = false\n")
	for _, part := range p.sandbox().Parts {
		if part.State != "off" {
			t.Errorf("%s is %s: %s", part.Name, part.State, part.Detail)
		}
	}
	dir, err := os.MkdirTemp("", "vswitchd-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := p.edit("/port/d", map[string]any{"socket": filepath.Join(dir, "d.sock")}); err != nil {
		t.Error(err)
	}
	p.lives()
}
