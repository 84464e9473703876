// Package packaging tests what is installed: the Debian package, in a Debian system of its own with
// systemd, and how vswitchd fares there as a service. It knows vswitchd's programs, service and
// sockets, and nothing inside of them. `make e2e-long` runs it.
package packaging
