// Package unixsock makes listening unix sockets: those of package vhostuser, to which vhost-user
// front-ends connect, and that of package internal/control, to which clients of the control API
// connect. The package arbitrates between processes that use the same path, sets who may connect,
// and ensures that Close removes only the file that the same Listener made.
//
// The package does not depend on what connections are used for, and from this module it imports
// only internal/platform/linux. The directory of a socket must exist.
package unixsock
