// Package uplinkport is the kind of port that uplinks are: a network interface of the host (package
// uplink), which may come later and go away, and which is told what stations there are on the other
// ports.
package uplinkport
