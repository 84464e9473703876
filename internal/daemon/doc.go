// Package daemon assembles a running switch from a configuration: the switch, the workers and the
// ports. It handles neither frames nor vhost-user messages, and it does not depend on the kinds of
// port, which are implemented in packages below internal/port; only kinds.go lists them.
// cmd/vswitchd creates a Daemon and runs it; package control presents it to clients.
//
// A port is opened once and exists as long as the configuration contains it. The port itself
// handles front-ends and interfaces that appear and disappear. Opening a port fails if the operator
// has to act, for example because a socket is in use or an interface carries no Ethernet frames.
// For an interface that does not exist, the port waits.
package daemon
