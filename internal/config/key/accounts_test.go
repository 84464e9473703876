package key

import "testing"

// The system's users and groups are remembered, for a process that cannot read them any more, which
// TestSandboxedProgram of cmd/vswitchd is about.
func TestAccounts(t *testing.T) {
	a := ReadAccounts()
	for _, file := range []string{users, groups} {
		if id := a.numbers[file]["root"]; id != "0" {
			t.Errorf("%s: root has the number %q", file, id)
		}
	}
	// Files that can be read decide alone.
	a.numbers[users]["gone"] = "12"
	if id, err := a.user("gone"); err == nil {
		t.Errorf("a user that the system does not have any more: %s", id)
	}
	if id, err := a.group("root"); id != "0" || err != nil {
		t.Errorf("group root: %q, %v", id, err)
	}
}
