package hostport

import (
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
)

// Each interface has another peer, whose name the kernel takes.
func TestPeerNames(t *testing.T) {
	names := map[string]string{}
	for _, name := range []string{"a", "br0", "abcdefghijkl", "abcdefghijklm", "abcdefghijklmn", "abcdefghijklmno", "abcdefghijklmnp"} {
		peer := peerName(name)
		if len(peer) > 15 || !strings.HasPrefix(peer, "vs-") || names[peer] != "" {
			t.Errorf("the peer of %s is %s", name, peer)
		}
		names[peer] = name
	}
	if got := peerName("br0"); got != "vs-br0" {
		t.Errorf("the peer of br0 is %s", got)
	}
}

// A pair that is there is found again whatever the length of its name; and two interfaces are no
// pair for having the right names.
func TestFindTellsPairsFromOthers(t *testing.T) {
	for _, name := range []string{"br0", "abcdefghijklmno"} {
		if v, err := find(name); v != nil || err != nil {
			t.Fatalf("before it is made: %v, %v", v, err)
		}
		v, err := newVeth(name, 1400, nil)
		if err != nil {
			t.Fatal(err)
		}
		again, err := find(name)
		if err != nil || again == nil || again.host.Index != v.host.Index || again.peer.MTU != 1400 {
			t.Errorf("found again: %+v, %v", again, err)
		}
		if err := v.remove(); err != nil {
			t.Error(err)
		}
	}
	for host, peer := range map[string]string{"br0": "x0", "vs-br0": "x1"} {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = host
		if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: peer}); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if l, err := netlink.LinkByName(host); err == nil {
				_ = netlink.LinkDel(l)
			}
		}()
	}
	if v, err := find("br0"); err == nil {
		t.Errorf("two strangers are a pair: %+v", v)
	}
}

// A lock is had once, until it is released.
func TestLock(t *testing.T) {
	l, err := takeLock("br0")
	if err != nil {
		t.Fatal(err)
	}
	other, err := takeLock("br1")
	if err != nil {
		t.Fatal(err)
	}
	other.release()
	if _, err := takeLock("br0"); err == nil || !strings.Contains(err.Error(), "belongs to another process") {
		t.Errorf("taken twice: %v", err)
	}
	l.release()
	if l, err = takeLock("br0"); err != nil {
		t.Errorf("after its release: %v", err)
	}
	l.release()
}
