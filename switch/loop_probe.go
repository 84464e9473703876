package vswitch

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"
)

// The frames by which loops are detected. Behind the type, a probe has, in network byte order:
//
//	2 bytes   probeSubtype, which distinguishes probes from other uses of the type
//	1 byte    probeVersion
//	1 byte    0
//	2 bytes   the id of the port that the probe was sent to
//	2 bytes   the VLAN in which it was sent
//	4 bytes   the number of that port: ids are used again after a port was detached, numbers are not
//	4 bytes   the time at which it was sent, in seconds of the switch's clock
//	16 bytes  the token: the 12 bytes before, and 4 zeros, encrypted with AES and a key that only
//	          this switch has
//	14 bytes  0, so that the frame has the least length on a wire
//
// One block of AES is a pseudo-random function of a block of fixed length, so that nobody without
// the key can make the token of another port, VLAN or time. The cost is some nanoseconds, without
// memory to be allocated or records of what was sent.

const (
	// etherExperimental is the type for local experiments (IEEE 802-2014, section 9.2): protocols
	// that need no registration, because they stay within one network.
	etherExperimental = 0x88b5

	probeSubtype = 0x7673
	probeVersion = 1
	probeLen     = 46
	probeToken   = 16 // offset
	tokenLen     = aes.BlockSize

	// addrProbe is the destination of probes: a locally administered group address. Bridges relay
	// it to all ports, as any group address that is neither reserved nor of IP.
	addrProbe = addr(0x037673706c70)

	// probeLife is how long after its sending a probe counts, in seconds.
	probeLife = 5
)

// A probe is the contents of a probe.
type probe struct {
	port   portID
	vlan   uint16
	number uint32 // of the port
	sent   uint32 // second
}

// A prober makes tokens.
type prober struct{ key cipher.Block }

func newProber() prober {
	var key [16]byte
	rand.Read(key[:]) // never fails
	k, _ := aes.NewCipher(key[:])
	return prober{k}
}

// A probeRoom is scratch memory to make and check tokens.
type probeRoom struct{ plain, token [tokenLen]byte }

// seal returns the token of p, in the room.
func (k prober) seal(p *probe, room *probeRoom) []byte {
	room.plain = [tokenLen]byte{}
	p.put(room.plain[:])
	k.key.Encrypt(room.token[:], room.plain[:])
	return room.token[:]
}

// put writes p without its token.
func (p *probe) put(b []byte) {
	binary.BigEndian.PutUint16(b, uint16(p.port))
	binary.BigEndian.PutUint16(b[2:], p.vlan)
	binary.BigEndian.PutUint32(b[4:], p.number)
	binary.BigEndian.PutUint32(b[8:], p.sent)
}

// write writes p to b, which is probeLen long and zero: what follows the type of the frame.
func (k prober) write(b []byte, p *probe, room *probeRoom) {
	binary.BigEndian.PutUint16(b, probeSubtype)
	b[2] = probeVersion
	p.put(b[4:])
	copy(b[probeToken:], k.seal(p, room))
}

// read reads the probe in the frame that begins with head, whose type is at an offset. ok is false
// if that is no probe that k has made.
func (k prober) read(head []byte, at int, room *probeRoom) (p probe, ok bool) {
	if len(head) < at+2+probeToken+tokenLen || binary.BigEndian.Uint16(head[at:]) != etherExperimental {
		return p, false
	}
	b := head[at+2:]
	if binary.BigEndian.Uint16(b) != probeSubtype || b[2] != probeVersion {
		return p, false
	}
	p.port = portID(binary.BigEndian.Uint16(b[4:]))
	p.vlan = binary.BigEndian.Uint16(b[6:])
	p.number = binary.BigEndian.Uint32(b[8:])
	p.sent = binary.BigEndian.Uint32(b[12:])
	token := b[probeToken : probeToken+tokenLen]
	return p, subtle.ConstantTimeCompare(token, k.seal(&p, room)) == 1
}
