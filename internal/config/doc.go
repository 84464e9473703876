// Package config turns vswitchd's TOML file and command-line flags into one checked [Config].
//
// It finds every error of a file in one pass, each with the line it stands on. It does not know how
// a switch is built from the result, and except for the users and groups that own sockets it looks
// at nothing on the machine; [Kinds.Examine] has the kinds of port look for interfaces as well.
//
// # Where a key is declared
//
// A key is declared once (package key): keys.go has those of the tables that there are once, of
// static entries, and of ports of all kinds; those of one kind are in the kind's package. The
// declaration is bound to the field in which the value is stored, and for what the switch does with
// a port that is a field of [vswitch.PortConfig] itself. From the declarations are derived: what a
// file may say and the hints about it; what a reload compares and says; what the control API shows;
// docs/configuration.md and the sample, see [Kinds.Reference]. So a new key is a field, a
// declaration, and the code that uses it.
//
// Who calls it: cmd/vswitchd checks a Config at start and for --check, and loads one at each
// reload; internal/daemon knows the kinds of port, and builds a switch from a Config.
//
// # How a file is read
//
// The TOML library parses the document into plain maps; a walk over those maps then checks each key
// against its declaration. Decoding into structs would be shorter, but stops at the first value of
// a wrong type. The library does not say on which line a key stands; package tomlpos does.
//
// # Keys that are known but not built
//
// A key that this version does not implement is accepted with its default and refused with any
// other value: somebody who writes locked = true counts on it. Their declarations say so;
// unsupported.go has most of them.
package config
