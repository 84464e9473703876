// Package uplinkport implements the port kind for uplinks: a network interface of the host (package
// uplink), which may appear and disappear at run time. The port keeps the interface's address
// filter in step with the stations on the other ports.
package uplinkport
