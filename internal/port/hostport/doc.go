// Package hostport is the kind of port that connects the host itself to the switch, as br0 does to
// a Linux bridge: a network interface that has the port's name, whose other end is in the switch.
//
// The interface is one end of a veth pair (veth.go), and package uplink serves the other end, the
// peer. The peer's name follows from the interface's. So a pair that a vswitchd left behind,
// because it was killed or because the pair is to stay, is recognised by the two names and taken
// over. The peer is for vswitchd alone: it has no addresses, and the host's stack ignores it.
//
// One process serves a host port at a time (lock.go).
//
// # Why a veth pair
//
// A TAP device would do as well: it goes with its process, and knows by itself whether another
// process has it. A prototype of a port that reads and writes a TAP device with IFF_VNET_HDR, one
// system call for each frame, was compared with a veth pair, by turns, from the host to a namespace
// behind an uplink and back (a shared two-core virtual machine, Linux 6.18, one worker, six runs of
// iperf3 that differed by a factor of three; the best rate, the range of the worker's CPU time):
//
//	                                    veth                  TAP
//	TCP, from the host    Gbit/s        11.6                  10.8
//	                      CPU ns/byte   0.40 to 0.55          0.39 to 0.51
//	TCP, to the host      Gbit/s        10.9                  10.6
//	                      CPU ns/byte   0.39 to 0.53          0.39 to 0.51
//	64 B, from the host   CPU us/frame  4.3 to 6.3            5.8 to 7.5
//	64 B, to the host     CPU us/frame  4.6 to 5.5            3.8 to 6.9
//
// So neither is faster in general, and the veth pair needs no further code on the hot path.
package hostport
