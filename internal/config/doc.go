// Package config turns vswitchd's TOML file and command-line flags into one checked [Config].
//
// It reports every error of a file in one pass, each with its line. It does not depend on how a
// switch is built from the result, and it does not inspect the machine, except that it looks up the
// users and groups that own sockets and resolves symbolic links in socket paths; [Kinds.Examine]
// also lets the kinds of port look for interfaces.
//
// # Where a key is declared
//
// Each key is declared once (package key). keys.go declares the keys of the tables that occur once,
// of static entries, and of ports of all kinds; the keys of one kind are declared in the kind's
// package. A declaration is bound to the field that stores the value; for keys that control how the
// switch handles a port, this is a field of [vswitch.PortConfig] itself. The following is derived
// from the declarations: the accepted contents of a file and the hints about errors; what a reload
// compares and reports; what the control API shows; docs/configuration.md and the sample, see
// [Kinds.Reference]. A new key therefore consists of a field, a declaration, and the code that uses
// the value.
//
// Callers: cmd/vswitchd loads a Config at start and for --check; internal/daemon provides the kinds
// of port, builds a switch from a Config, loads it anew at each reload, and edits it ([Running]).
//
// # How a file is read
//
// The TOML library parses the document into maps; a walk over these maps then checks each key
// against its declaration. Decoding into structs would be shorter, but stops at the first value of
// a wrong type. The library does not report the line of a key; package tomlpos does.
package config
