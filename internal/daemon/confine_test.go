package daemon

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What the process keeps follows from the configuration.
func TestSandboxFollowsTheConfiguration(t *testing.T) {
	const files, net = "CAP_CHOWN CAP_FOWNER CAP_DAC_OVERRIDE", "CAP_NET_RAW CAP_NET_ADMIN"
	for _, c := range []struct{ name, config, keep string }{
		{"a guest", "[port.a]\n", files},
		{"an uplink", "[port.a]\n[uplink.lan]\ninterface = \"nolink0\"\n", net + " " + files},
		{"a host port", "[host.br0]\n", net + " " + files},
		{"no ports yet", "", net + " " + files + " " + net},
		{"a guest, an uplink later", "[port.a]\n[sandbox]\nkeep_for = [\"uplink\"]\n", net + " " + files},
		{"sockets of a group", "socket_group = \"1\"\n[port.a]\n", files + " " + files},
		{"a socket of a group", "[port.a]\nsocket_group = \"1\"\n", files + " " + files},
		{"QEMU's sockets", "[port.a]\nmode = \"client\"\n", files + " " + files},
		{"a directory of another user", "[port.a]\nsocket = \"$other/a.sock\"\n", files},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := &lab{T: t, dir: t.TempDir(), kinds: allKinds()}
			other := filepath.Join(l.dir, "other")
			l.must(os.Mkdir(other, 0o700))
			l.must(os.Chown(other, 1, 1))
			got := l.kinds.sandboxConfig(l.load(c.config), filepath.Join(l.dir, "vswitchd.toml"))
			if keep := strings.Join(got.Keep, " "); keep != c.keep {
				t.Errorf("keeps %q, not %q", keep, c.keep)
			}
			if hostports := c.name == "a host port" || c.name == "no ports yet"; (len(got.Edit) > 0) != hostports {
				t.Errorf("writes to %v", got.Edit)
			}
		})
	}
}

// Sockets are made in the directories that the configuration names, and the file may be a symbolic
// link.
func TestSandboxHasTheDirectories(t *testing.T) {
	l := &lab{T: t, dir: t.TempDir(), kinds: allKinds()}
	cfg := l.load("[port.a]\n[port.b]\nsocket = \"/x/b.sock\"\n[port.c]\nmode = \"client\"\nsocket = \"/y/c.sock\"\n" +
		"[sandbox]\npaths = [\"/z/\"]\nseccomp = false\n")
	link := filepath.Join(t.TempDir(), "link.toml")
	l.must(os.Symlink(filepath.Join(l.dir, "vswitchd.toml"), link))
	got := l.kinds.sandboxConfig(cfg, link)
	slices.Sort(got.Write)
	want := []string{l.dir, "/x", "/z"}
	slices.Sort(want)
	if diff := cmp.Diff(want, slices.Compact(got.Write)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{filepath.Dir(link), l.dir}, got.Read); diff != "" {
		t.Error(diff)
	}
	if !got.Landlock || got.Seccomp || !got.Capabilities || !got.NoNewPrivs {
		t.Errorf("parts: %+v", got)
	}
}
