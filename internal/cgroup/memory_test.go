package cgroup

import (
	"os"
	"path/filepath"
	"testing"
)

// tree makes a root with files, by their paths.
func tree(t *testing.T, files map[string]string) (root string) {
	t.Helper()
	root = t.TempDir()
	for path, text := range files {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestTightestLimit(t *testing.T) {
	const a, b = "sys/fs/cgroup/system.slice/", "sys/fs/cgroup/system.slice/vswitchd.service/"
	for _, c := range []struct {
		name        string
		files       map[string]string
		used, limit uint64
		of          string // the file
	}{
		{"no control groups", map[string]string{}, 0, 0, ""},
		{"version 1", map[string]string{"proc/self/cgroup": "4:memory:/x\n"}, 0, 0, ""},
		{"no limit", map[string]string{b + "memory.max": "max\n", b + "memory.current": "7\n"}, 0, 0, ""},
		{"its own", map[string]string{b + "memory.max": "100\n", b + "memory.current": "7\n"}, 7, 100, b},
		{"the slice's", map[string]string{b + "memory.max": "max\n", b + "memory.current": "7\n", a + "memory.max": "50\n", a + "memory.current": "40\n"}, 40, 50, a},
		{"the tighter one", map[string]string{b + "memory.max": "100\n", b + "memory.current": "7\n", a + "memory.max": "500\n", a + "memory.current": "450\n"}, 450, 500, a},
		{"more than the limit", map[string]string{b + "memory.max": "100\n", b + "memory.current": "7\n", a + "memory.max": "50\n", a + "memory.current": "60\n"}, 60, 50, a},
		{"a container's", map[string]string{"sys/fs/cgroup/memory.max": "9\n", "sys/fs/cgroup/memory.current": "5\n"}, 5, 9, "sys/fs/cgroup/"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if len(c.files) > 0 && c.files["proc/self/cgroup"] == "" {
				c.files["proc/self/cgroup"] = "1:name=systemd:/x\n0::/system.slice/vswitchd.service\n"
			}
			root := tree(t, c.files)
			m := OpenMemory(root)
			defer m.Close()
			used, limit, file, ok := m.Tightest()
			if want := c.of != ""; ok != want || used != c.used || limit != c.limit || ok && file != filepath.Join(root, c.of, "memory.max") {
				t.Errorf("%d of %d by %q, %v", used, limit, file, ok)
			}
		})
	}
}

// The figures are those of the moment, also when the files cannot be opened any more.
func TestLimitsAreReadAnew(t *testing.T) {
	root := tree(t, map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "100\n", "sys/fs/cgroup/memory.current": "5\n"})
	m := OpenMemory(root)
	defer m.Close()
	current := filepath.Join(root, "sys/fs/cgroup/memory.current")
	if err := os.WriteFile(current, []byte("66\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(current); err != nil {
		t.Fatal(err)
	}
	if used, limit, _, ok := m.Tightest(); used != 66 || limit != 100 || !ok {
		t.Errorf("%d of %d, %v", used, limit, ok)
	}
}
