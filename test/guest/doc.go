// Package guest holds what a test guest and the host that drives it must agree on: the kernel
// parameters that configure the guest, and the messages of its agent.
//
// The guest itself is three things, put together by the script build-image: a Debian kernel,
// unpacked but not installed; an initramfs with busybox, iproute2, ping, iperf3, ethtool, tcpdump
// and the programs in the folders flow, inject and xdppass; and the one in agent as its first
// process. One image serves every test. Package vm boots it. The same initramfs with other modules
// is for User Mode Linux, a kernel that runs as a process of the host; the program in the folder
// umlexec starts that.
//
// The agent listens on the guest's second serial port. Both sides write one JSON object per line:
// the host a [Request], the agent a [Message]. A guest that starts, or starts again after a reboot,
// announces itself as ready without being asked, and again whenever the host sends an empty line,
// since a host may connect late. Either side skips a line that it cannot parse: a reboot can cut
// one short.
package guest
