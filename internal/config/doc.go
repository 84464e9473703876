// Package config turns vswitchd's TOML file and command-line flags into one
// checked [Config].
//
// It knows what every key means, what it may be and what it is when nobody
// sets it, and it finds every error of a file in one pass, each with the line
// it stands on. It does not know how a switch is built from the result, and
// but for the users and groups that own sockets it looks at nothing on the
// machine; [Check] looks for the uplinks' interfaces as well.
//
// Who calls it: cmd/vswitchd checks a Config at start and for --check, and loads one at
// each reload; internal/daemon builds a switch from it.
//
// # How a file is read
//
// The TOML library parses the document into plain maps; a walk over those maps
// then checks each key against the tables in schema.go. Decoding into structs
// would be shorter, but stops at the first value of a wrong type. The
// library does not say on which line a key stands, so that layout.go walks the
// text a second time and remembers it.
//
// # Keys that are known but not built
//
// A key that this version does not implement is accepted with its default and
// refused with any other value: somebody who writes locked = true counts on
// it. They are listed in unsupported.go, and nowhere else.
package config
