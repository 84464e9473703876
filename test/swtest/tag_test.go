//go:build e2e

package swtest

import (
	"testing"
)

// Two namespaces talk inside a VLAN, and not with one that is outside.
func TestTag(t *testing.T) {
	a, b := NewNetns(t), NewNetns(t)
	NewVeth(t, a, "one", b, "two")
	a.Run(t, "ip", "addr", "add", "10.0.0.1/24", "dev", "one")
	b.Run(t, "ip", "addr", "add", "10.0.0.2/24", "dev", "two")
	ping := []string{"-c", "1", "-W", "5", "-q", "10.0.0.2"}
	a.Run(t, "ping", ping...)
	a.Tag(t, "one", 7)
	if err := a.Command("ping", "-c", "1", "-W", "1", "-q", "10.0.0.2").Run(); err == nil {
		t.Error("a tag that nobody takes off does no harm")
	}
	b.Tag(t, "two", 7)
	a.Run(t, "ping", ping...)
}
