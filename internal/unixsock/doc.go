// Package unixsock makes listening unix sockets for two purposes: front-ends of vhost-user connect
// to those of package vhostuser, and clients of the control API to the one of package
// internal/control. For both the package settles which of several processes gets a path, who may
// connect, and whose file is removed at the end.
//
// It imports nothing else of this module, and knows nothing of what connections are for. The
// directory of a socket has to exist.
package unixsock
