package uplink

import (
	"cmp"
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"

	vswitch "vswitchd/switch"
)

// Reception without promiscuous mode: the interface is given the addresses to receive frames for
// (PACKET_MR_UNICAST), besides its own and all multicast (PACKET_MR_ALLMULTI; the groups that
// guests join are not known). A NIC that can filter by address drops the rest in hardware. A NIC
// that cannot, or that has too few filters, is made promiscuous by the kernel. In that case, and
// where frames to other addresses arrive all the same (a veth, or an interface that another program
// made promiscuous), the receiver drops them.

// MaxAddresses is how many addresses of stations an interface is given at most. Each takes a filter
// in the NIC, of which there are a few dozen to a few hundred. Without a limit, a guest could take
// any number of filters by sending from that number of addresses.
const MaxAddresses = 256

// addressChanges bounds how many addresses one SetAddresses adds. Each takes a lock that all
// changes to the host's network need.
const addressChanges = 64

// A macSet is a set of MAC addresses that is not changed any more: a hash table with open
// addressing, of which at most a quarter is used.
type macSet struct {
	mask  uint64
	slots []uint64 // addresses plus 1
}

// macKey returns an address as a number.
func macKey(a vswitch.MAC) uint64 {
	return uint64(binary.BigEndian.Uint32(a[:]))<<16 | uint64(binary.BigEndian.Uint16(a[4:]))
}

func newMACSet(addresses []vswitch.MAC) *macSet {
	n := uint64(4)
	for n < 4*uint64(len(addresses)) {
		n *= 2
	}
	s := &macSet{mask: n - 1, slots: make([]uint64, n)}
	for _, a := range addresses {
		k := macKey(a)
		i := s.home(k)
		for s.slots[i] != 0 {
			i = (i + 1) & s.mask
		}
		s.slots[i] = k + 1
	}
	return s
}

func (s *macSet) home(k uint64) uint64 { return k * 0x9e3779b97f4a7c15 >> 32 & s.mask }

func (s *macSet) has(k uint64) bool {
	for i := s.home(k); s.slots[i] != 0; i = (i + 1) & s.mask {
		if s.slots[i] == k+1 {
			return true
		}
	}
	return false
}

// SetAddresses says which stations' addresses to receive frames for, those first that matter most:
// what exceeds MaxAddresses is left out. SetAddresses does nothing for a promiscuous uplink. more
// is true if work is left, because one call does a limited amount: SetAddresses is to be called
// again soon.
//
// SetAddresses may be called from any goroutine, but not from inside the functions of Config.
func (u *Uplink) SetAddresses(addresses []vswitch.MAC) (more bool) {
	if u.cfg.Promiscuous {
		return false
	}
	var want []vswitch.MAC
	seen := make(map[vswitch.MAC]struct{}, len(addresses))
	for _, a := range addresses {
		if _, twice := seen[a]; !twice {
			seen[a] = struct{}{}
			want = append(want, a)
		}
	}
	u.ctlMu.Lock()
	defer u.ctlMu.Unlock()
	u.leaveOut(len(want) - MaxAddresses)
	u.addresses = want[:min(len(want), MaxAddresses)]
	return u.program()
}

// leaveOut records how many addresses the interface is not given, if n is more than 0; it logs when
// that begins. ctlMu is held.
func (u *Uplink) leaveOut(n int) {
	n = max(n, 0)
	if n > 0 && u.leftOut == 0 {
		u.log.Warn("more stations than the interface is given addresses of: frames to the others are not received "+
			"unless promiscuous = true", "addresses", MaxAddresses, "left_out", n)
	}
	u.leftOut = n
}

// program makes the socket receive for u.addresses. more is true if there is work left. ctlMu is
// held.
func (u *Uplink) program() (more bool) {
	if u.sock == nil || u.cfg.Promiscuous {
		return false
	}
	more, err := u.sock.subscribe(u.addresses)
	if err != nil && !u.addressErr {
		u.log.Warn("the interface does not take an address to receive frames for", "error", err)
	}
	u.addressErr = err != nil
	return more
}

// subscribe leaves the addresses that are not wanted any more, and joins the others, at most
// addressChanges of them in one call. After an address that cannot be joined, the others are still
// joined: the error is that of one of the failures.
func (s *socket) subscribe(want []vswitch.MAC) (more bool, err error) {
	only := newMACSet(want)
	s.rx.only.Store(only)
	for a := range s.joined {
		if !only.has(macKey(a)) {
			err = cmp.Or(err, s.membership(unix.PACKET_DROP_MEMBERSHIP, a))
			delete(s.joined, a)
		}
	}
	fresh := 0
	for _, a := range want {
		if _, done := s.joined[a]; done {
			continue
		}
		if fresh++; fresh > addressChanges {
			return true, err
		}
		if e := s.membership(unix.PACKET_ADD_MEMBERSHIP, a); e != nil {
			err = e
			continue
		}
		s.joined[a] = struct{}{}
	}
	return false, err
}

// membership joins or leaves an address.
func (s *socket) membership(option int, a vswitch.MAC) error {
	m := unix.PacketMreq{Ifindex: int32(s.index), Type: unix.PACKET_MR_UNICAST, Alen: uint16(len(a))}
	copy(m.Address[:], a[:])
	if err := unix.SetsockoptPacketMreq(s.fd, unix.SOL_PACKET, option, &m); err != nil {
		return fmt.Errorf("%s: %w", a, err)
	}
	return nil
}

// joinAll has the interface receive frames to all addresses, or else to all groups.
func (s *socket) joinAll(promiscuous bool) error {
	m := unix.PacketMreq{Ifindex: int32(s.index), Type: unix.PACKET_MR_ALLMULTI}
	if promiscuous {
		m.Type = unix.PACKET_MR_PROMISC
	}
	if err := unix.SetsockoptPacketMreq(s.fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &m); err != nil {
		return fmt.Errorf("joining all addresses or groups: %w", err)
	}
	return nil
}
