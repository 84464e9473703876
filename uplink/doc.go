// Package uplink makes an Ethernet interface of the host a port of the switch: a packet socket
// (packet(7)) that receives every frame which comes in by the interface, and sends frames out by
// it.
//
// The package knows the kernel's side: rings, socket options, links and their states. It knows
// nothing of guests, of where frames go, or of the threads that call it: package
// internal/port/uplinkport puts an uplink between a switch port ([vswitch.Port], implemented by
// [Uplink]) and a worker (which gets a [worker.Source]).
//
// The host's own stack does not talk through an uplink: what a guest sends to the interface's own
// address goes out by the wire, as it would from another machine. A host that wants to talk to its
// guests uses a veth pair, one end of which is the uplink (Config.HostEnd). What comes in for the
// host's own addresses has reached the host; the switch holds these addresses, so that no other
// port gets these frames (local.go).
//
// # One frame's way
//
// In: the kernel copies the frame into a slot of the ring, with a virtio_net_hdr before it
// (PACKET_VNET_HDR) that says what GRO or the sender's stack left to do: a checksum to fill in,
// segments to cut. Poll turns a slot into a [vswitch.Frame] where it lies; the tag that the kernel
// (or the NIC) took out is written in front again, into room that PACKET_RESERVE keeps. Deliver
// copies from the slot straight into guests' memory, and then the slot goes back. The kernel's
// description of a frame is translated into that of a guest's driver on the way (normalise.go): the
// kernel asks for more kinds of work, and gives less information about each.
//
// Out: sendmmsg takes a batch, each frame as {virtio_net_hdr, Head, Body...}, so that the kernel
// copies from the guest's memory itself; memory that is gone is an EFAULT and no signal. The kernel
// does the checksum and segmentation that the interface cannot.
//
// # Which ring
//
// TPACKET_V3 packs frames of any size into blocks, but hands a block over when it is full, or when
// its timer of a millisecond or more fires: a ping waits for the timer. TPACKET_V2 hands over each
// frame at once, but has slots of fixed size: with room for 64 KiB of GSO frame in each, a ring
// that is deep enough for bursts is 16 MiB of resident memory, and with less a GSO frame is
// truncated.
//
// So the ring is V2 with slots for the MTU, and a frame larger than its slot arrives outside the
// ring: PACKET_COPY_THRESH has the kernel queue such a frame on the socket too, from where it is
// fetched with one read. Measured between two ends of a veth on a shared two-core virtual machine,
// Linux 6.18 (BenchmarkRoundTrip; BenchmarkRing: CPU time of both ends, median of five runs, which
// differed by a fifth):
//
//	                           2 MiB V2,      16 MiB V2,       2 MiB V3,
//	                           2 KiB slots,   128 KiB slots    1 ms timer
//	                           and read
//	round trip of a ping          23 us           24 us        1008 us
//	send to delivery, 64 B       3.5 us          3.8 us         3.6 us
//	                1500 B       3.9 us          4.5 us         4.3 us
//	             4.5 KiB GSO     8.1 us          5.3 us         5.9 us
//	              64 KiB GSO      17 us           16 us          12 us
//
// So V3's timer costs every ping a millisecond, where V2 with small slots loses two to five
// microseconds on GSO frames, each of which stands for several on the wire, and is the cheapest for
// all others. Large slots save half of that loss for eight times the resident memory.
//
// Frames are sent by a separate socket, which no worker waits for: 64 B take 1.9 us to a veth
// instead of 2.2 us (BenchmarkTransmit, medians of six runs, measured alternately).
//
// PACKET_QDISC_BYPASS is not used: to a veth the difference was within the noise (64 B: 2.4 us
// without, 2.3 us with), and the option would hide what the switch sends from tcpdump and bypass
// the operator's traffic control.
package uplink
