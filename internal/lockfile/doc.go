// Package lockfile lets one process at a time do something to a file, such as replace a
// socket that another one has left behind.
//
// It knows nothing of what is done. Who calls it: whoever makes a listening socket
// (packages vhostuser and internal/control), for as long as that takes.
package lockfile
