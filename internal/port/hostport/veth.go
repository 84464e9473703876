package hostport

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"vswitchd/internal/config/key"
	vswitch "vswitchd/switch"
)

// peerPrefix is what the peers' names begin with.
const peerPrefix = "vs-"

// peerName returns the name of the other end of a host port's interface. Where that would be too
// long, a hash stands for the interface's name.
func peerName(name string) string {
	if len(peerPrefix)+len(name) <= key.MaxName {
		return peerPrefix + name
	}
	sum := sha256.Sum256([]byte(name))
	return peerPrefix + hex.EncodeToString(sum[:])[:key.MaxName-len(peerPrefix)]
}

// ipv6Sysctls is where the kernel has the settings of each interface for IPv6.
const ipv6Sysctls = "/proc/sys/net/ipv6/conf"

// A veth is a host port's pair of interfaces, as it was when it was looked for.
type veth struct {
	host, peer *netlink.Veth
}

// find looks for a host port's pair. Without an error and a pair, there are no interfaces of these
// names; the error says which foreign interface has one of them.
func find(name string) (*veth, error) {
	host, err := linkNamed(name)
	if err != nil {
		return nil, err
	}
	peer, err := linkNamed(peerName(name))
	if err != nil {
		return nil, err
	}
	switch h, p := asVeth(host), asVeth(peer); {
	case host == nil && peer == nil:
		return nil, nil
	case h != nil && p != nil && h.ParentIndex == p.Index && p.ParentIndex == h.Index:
		return &veth{h, p}, nil
	case host != nil:
		return nil, foreign(name, host)
	}
	return nil, foreign(peerName(name), peer)
}

// foreign says that somebody else has an interface of that name.
func foreign(name string, l netlink.Link) error {
	a := l.Attrs()
	if a.Name != name {
		name += ", which is another name of " + a.Name
	}
	return fmt.Errorf("there is a network interface %s already, and vswitchd has not made it", name)
}

// linkNamed returns nil if there is no interface of that name.
func linkNamed(name string) (netlink.Link, error) {
	l, err := netlink.LinkByName(name)
	var missing netlink.LinkNotFoundError
	if errors.As(err, &missing) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("looking at network interface %s: %w", name, err)
	}
	return l, nil
}

// asVeth returns nil if l is no end of a veth pair.
func asVeth(l netlink.Link) *netlink.Veth {
	v, _ := l.(*netlink.Veth)
	return v
}

// newVeth makes a pair, which is down. A nil mac is chosen by the kernel.
func newVeth(name string, mtu int, mac net.HardwareAddr) (*veth, error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.HardwareAddr = name, mtu, mac
	v := netlink.NewVeth(attrs)
	v.PeerName = peerName(name)
	if err := netlink.LinkAdd(v); err != nil {
		return nil, explain("making network interface "+name, err)
	}
	made, err := find(name)
	if err == nil && made == nil {
		err = fmt.Errorf("network interface %s is gone", name)
	}
	return made, err
}

// seclude keeps everybody but vswitchd from using the peer: the host's stack has no addresses
// there, makes none, and neither asks nor answers. On a machine without IPv6 there is nothing to
// turn off.
func (v *veth) seclude() error {
	if err := netlink.LinkSetARPOff(v.peer); err != nil {
		return explain("turning ARP off on "+v.peer.Name, err)
	}
	// The first keeps link-local addresses away even where /proc/sys is read-only, the second
	// everything else.
	_ = netlink.LinkSetIP6AddrGenMode(v.peer, nl.IN6_ADDR_GEN_MODE_NONE)
	_ = os.WriteFile(ipv6Sysctls+"/"+v.peer.Name+"/disable_ipv6", []byte("1"), 0)
	// For whoever wonders what this interface is.
	_ = netlink.LinkSetAlias(v.peer, "vswitchd's end of "+v.host.Name)
	return nil
}

// setUp sets both ends up.
func (v *veth) setUp() error {
	for _, end := range []*netlink.Veth{v.peer, v.host} {
		if err := netlink.LinkSetUp(end); err != nil {
			return explain("setting "+end.Name+" up", err)
		}
	}
	return nil
}

// setMTU sets that of both ends.
func (v *veth) setMTU(mtu int) error {
	for _, end := range []*netlink.Veth{v.peer, v.host} {
		if err := netlink.LinkSetMTU(end, mtu); err != nil {
			return explain(fmt.Sprintf("setting the MTU of %s to %d", end.Name, mtu), err)
		}
	}
	return nil
}

// mac returns the address of the host's end.
func (v *veth) mac() vswitch.MAC { return vswitch.MAC(v.host.HardwareAddr) }

func (v *veth) setMAC(mac vswitch.MAC) error {
	if err := netlink.LinkSetHardwareAddr(v.host, mac[:]); err != nil {
		return explain(fmt.Sprintf("setting the MAC address of %s to %s", v.host.Name, mac), err)
	}
	return nil
}

// addAddress reports whether the host's end did not have the address.
func (v *veth) addAddress(a netip.Prefix) (added bool, err error) {
	err = netlink.AddrAdd(v.host, asAddr(a))
	if errors.Is(err, unix.EEXIST) {
		return false, nil
	}
	if err != nil {
		return false, explain(fmt.Sprintf("adding address %s to %s", a, v.host.Name), err)
	}
	return true, nil
}

// delAddress removes an address that the host's end may have.
func (v *veth) delAddress(a netip.Prefix) error {
	err := netlink.AddrDel(v.host, asAddr(a))
	if err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
		return explain(fmt.Sprintf("removing address %s from %s", a, v.host.Name), err)
	}
	return nil
}

// delAddresses is delAddress for several, and no others: together with the first IPv4 address in a
// network the kernel removes the other ones in that network, unless the sysctl promote_secondaries
// is on.
func (v *veth) delAddresses(old []netip.Prefix) error {
	had, err := netlink.AddrList(v.host, netlink.FAMILY_V4)
	errs := []error{err}
	for _, a := range old {
		errs = append(errs, v.delAddress(a))
	}
	for _, a := range had {
		if p, err := netip.ParsePrefix(a.IPNet.String()); err == nil && slices.Contains(old, p) {
			continue
		}
		if err := netlink.AddrAdd(v.host, &a); err != nil && !errors.Is(err, unix.EEXIST) {
			errs = append(errs, explain(fmt.Sprintf("adding address %s to %s again", a.IPNet, v.host.Name), err))
		}
	}
	return errors.Join(errs...)
}

// addresses returns those that the host's end has now, IPv4 first.
func (v *veth) addresses() (list []string) {
	addrs, err := netlink.AddrList(v.host, netlink.FAMILY_ALL)
	if err != nil {
		return nil
	}
	for _, a := range addrs {
		list = append(list, a.IPNet.String())
	}
	return list
}

func asAddr(a netip.Prefix) *netlink.Addr {
	ip := a.Addr()
	return &netlink.Addr{IPNet: &net.IPNet{IP: ip.AsSlice(), Mask: net.CIDRMask(a.Bits(), ip.BitLen())}}
}

// remove removes both ends.
func (v *veth) remove() error {
	if err := netlink.LinkDel(v.peer); err != nil {
		return explain("removing network interface "+v.host.Name, err)
	}
	return nil
}

// removePeer removes the peer with that index, if it is still there, and with it the host's end.
func removePeer(index int) error {
	l, err := netlink.LinkByIndex(index)
	var missing netlink.LinkNotFoundError
	if errors.As(err, &missing) {
		return nil
	}
	if err == nil {
		err = netlink.LinkDel(l)
	}
	return err
}

// explain says what failed, and what the process lacks if that is the reason.
func explain(doing string, err error) error {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return fmt.Errorf("%s: host ports need the capability CAP_NET_ADMIN (%w)", doing, err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}
