package swtest

import (
	"encoding/binary"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"vswitchd/test/bpf"
)

// Tag puts an interface of the namespace into a VLAN: all that is sent through it gets a tag, and
// of all that comes the tag is taken off, in the place where a network stack does that, before
// segmentation and behind what merges segments. It is for kernels without VLAN devices.
func (n *Netns) Tag(t testing.TB, iface string, vlan uint16) {
	t.Helper()
	ns, err := netns.GetFromName(n.Name)
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	h, err := netlink.NewHandleAt(ns)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	link, err := h.LinkByName(iface)
	if err != nil {
		t.Fatal(err)
	}
	index := link.Attrs().Index
	clsact := &netlink.GenericQdisc{QdiscType: "clsact", QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT,
	}}
	if err := h.QdiscAdd(clsact); err != nil {
		t.Fatalf("%s: adding clsact: %v", iface, err)
	}
	for _, f := range []struct {
		name    string
		parent  uint32
		program []bpf.Instruction
	}{
		{"push", netlink.HANDLE_MIN_EGRESS, pushTag(vlan)},
		{"pop", netlink.HANDLE_MIN_INGRESS, popTag()},
	} {
		fd, err := bpf.Load(unix.BPF_PROG_TYPE_SCHED_CLS, f.program)
		if err != nil {
			t.Fatalf("loading program %s: %v", f.name, err)
		}
		err = h.FilterAdd(&netlink.BpfFilter{
			FilterAttrs: netlink.FilterAttrs{
				LinkIndex: index, Parent: f.parent, Handle: netlink.MakeHandle(0, 1), Protocol: unix.ETH_P_ALL, Priority: 1,
			},
			Fd: fd, Name: f.name, DirectAction: true,
		})
		unix.Close(fd) // the filter holds the program
		if err != nil {
			t.Fatalf("%s: adding filter %s: %v", iface, f.name, err)
		}
	}
}

// Functions of the kernel (linux/bpf.h).
const (
	helperPushVLAN = 18 // bpf_skb_vlan_push(skb, protocol, tci)
	helperPopVLAN  = 19 // bpf_skb_vlan_pop(skb)
)

// Programs get the frame in register 1, which is a helper's first argument, too, and return
// TC_ACT_OK, 0.
func pushTag(vlan uint16) []bpf.Instruction {
	tpid := binary.NativeEndian.Uint16([]byte{0x81, 0x00})
	return []bpf.Instruction{
		{Code: bpf.Move, Registers: 2, Immediate: int32(tpid)},
		{Code: bpf.Move, Registers: 3, Immediate: int32(vlan)},
		{Code: bpf.Call, Immediate: helperPushVLAN},
		{Code: bpf.Move, Registers: 0},
		{Code: bpf.Exit},
	}
}

func popTag() []bpf.Instruction {
	return []bpf.Instruction{
		{Code: bpf.Call, Immediate: helperPopVLAN},
		{Code: bpf.Move, Registers: 0},
		{Code: bpf.Exit},
	}
}
