package uplink

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"

	vswitch "vswitchd/switch"
)

// Frames that the MTU allows and sendmsg does not.
//
// The MTU counts what lies behind the Ethernet header and the tags. For a frame that is sent with
// sendmsg, the kernel allows one tag of type 0x8100 besides (packet_extra_vlan_len_allowed). A full
// frame with more tags, or with one tag of IEEE 802.1ad, is refused with EMSGSIZE, though the
// interface would send it. For a frame from a transmit ring (PACKET_TX_RING) with a vnet header
// there is no such limit. So these frames, which are rare even where they occur, are copied into a
// small ring.
//
// A veth drops frames of more than one tag over the MTU of its peer when it hands them over
// (__is_skb_forwardable), whatever way they came; the peer's MTU has to be larger by 4 bytes for
// each further tag.

const (
	// longRingSize is how much memory the ring has, in bytes, unless minLongSlots take more.
	longRingSize = 128 << 10
	minLongSlots = 8

	// longData is where the vnet header lies in a slot, followed by the frame: TPACKET2_HDRLEN -
	// sizeof(struct sockaddr_ll).
	longData = unix.SizeofTpacket2Hdr
)

// needsRing reports whether the MTU allows a frame that sendmsg does not take. full is the length
// of a full frame without tags.
func needsRing(f *vswitch.Frame, full int) bool {
	if f.Len <= full || f.Offload.GSOType != vswitch.GSONone {
		return false
	}
	tags, first := 0, binary.BigEndian.Uint16(f.Head[12:])
	for tpid := first; isTag(tpid) && tags < vswitch.MaxTags; tags++ {
		tpid = binary.BigEndian.Uint16(f.Head[12+(tags+1)*tagLen:])
	}
	if f.Len > full+tags*tagLen {
		return false
	}
	return first != unix.ETH_P_8021Q || f.Len > full+tagLen
}

func isTag(etherType uint16) bool {
	return etherType == unix.ETH_P_8021Q || etherType == unix.ETH_P_8021AD
}

// A longSender is a socket with a transmit ring. Its methods may be called from several workers.
type longSender struct {
	fd   int
	ring *ring

	mu   sync.Mutex
	next int // the slot that the kernel sends next
}

// openLongSender opens a sender for an interface, for frames that fit into slots of a size.
func openLongSender(index, slotSize int) (_ *longSender, err error) {
	fd, err := openSender(index)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			unix.Close(fd)
		}
	}()
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V2); err != nil {
		return nil, fmt.Errorf("setting PACKET_VERSION: %w", err)
	}
	s := &longSender{fd: fd}
	s.ring, err = openRing(fd, unix.PACKET_TX_RING, max(longRingSize, minLongSlots*slotSize), slotSize)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (s *longSender) close() error { return errors.Join(s.ring.close(), unix.Close(s.fd)) }

// send sends one frame, which is copied. It panics if a guest's memory turns out to be gone, like
// every copy from there.
func (s *longSender) send(f *vswitch.Frame) unix.Errno {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ring.status(s.next) != unix.TP_STATUS_AVAILABLE {
		return unix.EAGAIN // not even those of the last time round are on the wire
	}
	if !s.ring.slot(s.next).put(f) {
		return unix.EMSGSIZE
	}
	s.ring.setStatus(s.next, unix.TP_STATUS_SEND_REQUEST)
	for {
		err := unix.Send(s.fd, nil, unix.MSG_DONTWAIT)
		if err == nil {
			break
		}
		if errno, _ := err.(unix.Errno); errno != unix.EINTR {
			// The kernel continues with the slot that it has refused.
			s.ring.setStatus(s.next, unix.TP_STATUS_AVAILABLE)
			return errno
		}
	}
	if s.next++; s.next == s.ring.slots {
		s.next = 0
	}
	return 0
}

// put copies a frame and its header into a slot of a transmit ring, or returns false if there is no
// room.
func (s slot) put(f *vswitch.Frame) bool {
	if longData+vnetHdrLen+f.Len > len(s) {
		return false
	}
	var hdr vnetHdr
	hdr.encode(f)
	at := longData + copy(s[longData:], hdr[:])
	at += copy(s[at:], f.Head)
	for _, piece := range f.Body {
		at += copy(s[at:], piece)
	}
	s.setFrameLen(at - longData)
	return true
}
