// Package hostport is the kind of port that connects the host itself to the switch, as br0 does to
// a Linux bridge: a network interface that has the port's name, whose other end is in the switch.
//
// The interface is one end of a veth pair (veth.go), and package uplink serves the other end, the
// peer. The peer's name follows from the interface's. So a pair that a vswitchd left behind,
// because it was killed or because the pair is to stay, is recognised by the two names and taken
// over. The peer is for vswitchd alone: it has no addresses, and the host's stack ignores it.
//
// One process serves a host port at a time (lock.go).
package hostport
