// Package control is vswitchd's control API, both sides of it: HTTP/1.1 with JSON bodies over a
// unix socket, documented for users in docs/control-api.md.
//
// The package defines the values of the API (types.go), serves them from a [Backend] (server.go,
// listen.go) and requests them (client.go). It knows nothing of how a switch works. cmd/vswitchd
// runs a [Server], internal/daemon implements [Backend], cmd/vswitchctl is a shell around [Client].
//
// # Compatibility
//
// The paths begin with the version of the API. Within a version there are only additions: new
// paths, new fields, new values of enumerations. A client ignores fields that it does not know;
// lists are never null.
package control
